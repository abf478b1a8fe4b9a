use proptest::prelude::*;
use serde_json::json;

use super::*;

fn paths(desired: &Value, live: &Value, schema: Schema) -> Vec<String> {
    differences(desired, live, schema)
        .into_iter()
        .map(|difference| difference.path)
        .collect()
}

fn built_in(desired: &Value, live: &Value) -> Vec<String> {
    paths(desired, live, Schema::BuiltIn)
}

fn desired_service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "web-1-ssh", "namespace": "ns",
            "labels": {"app.kubernetes.io/managed-by": "novasphere"},
            "annotations": {"novasphere.io/applied-hash": "abc"},
            "ownerReferences": [{"apiVersion": "novasphere.io/v1alpha1", "kind": "VmAccess", "name": "web-1", "uid": "u1", "controller": true}],
        },
        "spec": {
            "type": "NodePort",
            "selector": {"vmi.kubevirt.io/id": "web-1"},
            "ports": [{"name": "ssh", "port": 22, "protocol": "TCP", "targetPort": 22}, {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": "dns"}],
            "ipFamilyPolicy": "PreferDualStack",
        },
    })
}

/// What kube-apiserver 1.36 made of it (defaults and allocations), with another owner's label and port.
fn live_service() -> Value {
    json!({
        "metadata": {
            "name": "web-1-ssh", "namespace": "ns", "uid": "s1", "resourceVersion": "7", "creationTimestamp": "2026-11-20T10:00:00Z",
            "labels": {"app.kubernetes.io/managed-by": "novasphere", "team": "a"},
            "annotations": {"novasphere.io/applied-hash": "abc", "metallb.universe.tf/ip-allocated-from-pool": "p"},
            "ownerReferences": [{"apiVersion": "novasphere.io/v1alpha1", "kind": "VmAccess", "name": "web-1", "uid": "u1", "controller": true}],
            "finalizers": ["service.kubernetes.io/load-balancer-cleanup"],
        },
        "spec": {
            "type": "NodePort",
            "selector": {"vmi.kubevirt.io/id": "web-1"},
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": "dns", "nodePort": 30053},
                {"name": "ssh", "port": 22, "protocol": "TCP", "targetPort": 22, "nodePort": 30022},
                {"name": "foreign", "port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30080},
            ],
            "clusterIP": "10.0.0.7", "clusterIPs": ["10.0.0.7"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "PreferDualStack",
            "sessionAffinity": "None", "externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster",
        },
        "status": {"loadBalancer": {}},
    })
}

#[test]
fn what_the_apiserver_adds_to_a_service_is_no_difference() {
    assert_eq!(built_in(&desired_service(), &live_service()), [""; 0]);
}

#[test]
fn every_kind_of_drift_of_a_service_is_found_and_named() {
    type Edit = fn(&mut Value);
    let cases: [(Edit, &str); 10] = [
        (|live| live["spec"]["type"] = json!("ClusterIP"), "spec.type"),
        (
            |live| live["spec"]["selector"] = json!({"vmi.kubevirt.io/id": "other"}),
            "spec.selector.vmi.kubevirt.io/id",
        ),
        (|live| live["spec"]["selector"]["extra"] = json!("x"), "spec.selector"),
        (
            |live| live["spec"]["ports"][1]["targetPort"] = json!(2222),
            "spec.ports[22/TCP].targetPort",
        ),
        (
            |live| live["spec"]["ports"][1]["name"] = json!("other"),
            "spec.ports[22/TCP].name",
        ),
        (
            |live| drop(live["spec"]["ports"].as_array_mut().unwrap().remove(0)),
            "spec.ports[53/UDP]",
        ),
        (
            |live| live["metadata"]["labels"] = json!({}),
            "metadata.labels.app.kubernetes.io/managed-by",
        ),
        (
            |live| live["metadata"]["annotations"]["novasphere.io/applied-hash"] = json!("old"),
            "metadata.annotations.novasphere.io/applied-hash",
        ),
        (
            |live| live["metadata"]["ownerReferences"][0]["controller"] = json!(false),
            "metadata.ownerReferences[u1].controller",
        ),
        (
            |live| drop(live["spec"].as_object_mut().unwrap().remove("ipFamilyPolicy")),
            "spec.ipFamilyPolicy",
        ),
    ];
    for (edit, path) in cases {
        let mut live = live_service();
        edit(&mut live);
        assert_eq!(built_in(&desired_service(), &live), [path]);
    }
}

#[test]
fn a_port_without_a_protocol_is_tcp() {
    let desired = json!({"spec": {"ports": [{"port": 22}]}});
    let live = json!({"spec": {"ports": [{"port": 22, "protocol": "TCP", "targetPort": 22}, {"port": 22, "protocol": "UDP"}]}});
    assert_eq!(built_in(&desired, &live), [""; 0]);
}

fn desired_machine() -> Value {
    json!({
        "metadata": {"name": "web-1"},
        "spec": {
            "runStrategy": "Always",
            "template": {"spec": {
                "domain": {
                    "cpu": {"cores": 2},
                    "memory": {"guest": "1Gi"},
                    "resources": {"requests": {"memory": "1024Mi", "cpu": "500m"}},
                    "devices": {"disks": [{"name": "root", "disk": {"bus": "virtio"}}], "interfaces": [{"name": "default", "masquerade": {}}]},
                },
                "networks": [{"name": "default", "pod": {}}],
                "volumes": [{"name": "root", "containerDisk": {"image": "example/guest:1"}}],
            }},
        },
    })
}

/// What virt-api 1.8's mutating webhook makes of it.
fn live_machine() -> Value {
    json!({
        "metadata": {"name": "web-1", "finalizers": ["kubevirt.io/virtualMachineControllerFinalize"],
                     "annotations": {"kubevirt.io/latest-observed-api-version": "v1", "kubevirt.io/storage-observed-api-version": "v1"}},
        "spec": {
            "runStrategy": "Always",
            "template": {"metadata": {"creationTimestamp": null}, "spec": {
                "architecture": "amd64",
                "domain": {
                    "cpu": {"cores": 2},
                    "firmware": {"uuid": "6a1a24a1-4061-4607-8bf4-a3963d0c5895", "serial": "x"},
                    "machine": {"type": "q35"},
                    "memory": {"guest": "1024Mi"},
                    "resources": {"requests": {"memory": "1Gi", "cpu": "0.5"}},
                    "devices": {"disks": [{"name": "root", "disk": {"bus": "virtio"}}],
                                "interfaces": [{"name": "default", "masquerade": {}, "macAddress": "02:00:00:00:00:01"}]},
                },
                "networks": [{"name": "default", "pod": {}}],
                "volumes": [{"name": "root", "containerDisk": {"image": "example/guest:1", "imagePullPolicy": "IfNotPresent"}}],
            }},
        },
        "status": {"ready": true},
    })
}

#[test]
fn what_kubevirt_adds_to_a_machine_is_no_difference() {
    assert_eq!(paths(&desired_machine(), &live_machine(), Schema::Custom), [""; 0]);
}

#[test]
fn lists_of_custom_resources_are_atomic() {
    let mut live = live_machine();
    live["spec"]["template"]["spec"]["volumes"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "added"}));
    assert_eq!(
        paths(&desired_machine(), &live, Schema::Custom),
        ["spec.template.spec.volumes"]
    );
    let mut live = live_machine();
    live["spec"]["template"]["spec"]["domain"]["devices"]["disks"][0]["disk"]["bus"] = json!("sata");
    assert_eq!(
        paths(&desired_machine(), &live, Schema::Custom),
        ["spec.template.spec.domain.devices.disks[0].disk.bus"]
    );
}

#[test]
fn a_changed_quantity_is_a_difference() {
    let mut live = live_machine();
    live["spec"]["template"]["spec"]["domain"]["memory"]["guest"] = json!("1G");
    assert_eq!(
        paths(&desired_machine(), &live, Schema::Custom),
        ["spec.template.spec.domain.memory.guest"]
    );
}

#[test]
fn pods_are_merged_by_name_and_path() {
    let desired = json!({"spec": {
        "hostNetwork": false,
        "volumes": [{"name": "home", "emptyDir": {"medium": "", "sizeLimit": "1Gi"}}],
        "containers": [{
            "name": "desktop", "image": "i", "args": ["a", "b"],
            "env": [{"name": "B", "value": "2"}, {"name": "EMPTY", "value": ""}],
            "ports": [{"containerPort": 5901}],
            "resources": {"limits": {"cpu": "1000m"}, "requests": {}},
            "volumeMounts": [{"mountPath": "/home", "name": "home", "readOnly": false}],
        }],
        "tolerations": [{"key": "mine", "operator": "Exists"}],
    }});
    let live = json!({"spec": {
        "volumes": [{"name": "kube-api-access-x", "projected": {}}, {"name": "home", "emptyDir": {"sizeLimit": "1024Mi"}}],
        "containers": [
            {"name": "sidecar", "image": "injected"},
            {
                "name": "desktop", "image": "i", "args": ["a", "b"],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}, {"name": "EMPTY"}],
                "ports": [{"containerPort": 5901, "protocol": "TCP"}],
                "resources": {"limits": {"cpu": "1"}},
                "volumeMounts": [{"mountPath": "/home", "name": "home"}],
                "imagePullPolicy": "Always",
            },
        ],
        "restartPolicy": "Always",
        "tolerations": [{"key": "mine", "operator": "Exists"}, {"key": "node.kubernetes.io/not-ready", "operator": "Exists"}],
    }});
    assert_eq!(built_in(&desired, &live), [""; 0]);
    let mut changed = live.clone();
    changed["spec"]["containers"][1]["args"] = json!(["b", "a"]);
    changed["spec"]["containers"][1]["env"][1]["value"] = json!("3");
    changed["spec"]["containers"][1]["volumeMounts"][0]["readOnly"] = json!(true);
    let mut found = built_in(&desired, &changed);
    found.sort();
    let container = "spec.containers[desktop]";
    assert_eq!(
        found,
        [
            format!("{container}.args[0]"),
            format!("{container}.args[1]"),
            format!("{container}.env[B].value"),
            format!("{container}.volumeMounts[/home].readOnly")
        ]
    );
}

#[test]
fn a_false_that_means_something_must_be_there() {
    let desired = json!({"spec": {"automountServiceAccountToken": false}});
    assert_eq!(
        built_in(&desired, &json!({"spec": {}})),
        ["spec.automountServiceAccountToken"]
    );
    let desired = json!({"spec": {"storageClassName": ""}});
    assert_eq!(built_in(&desired, &json!({"spec": {}})), ["spec.storageClassName"]);
    let desired = json!({"spec": {"running": false, "name": ""}});
    assert_eq!(
        paths(&desired, &json!({"spec": {}}), Schema::Custom),
        ["spec.name", "spec.running"]
    );
}

#[test]
fn an_empty_statement_is_met_by_absence_and_by_additions() {
    for live in [json!({}), json!({"spec": null}), json!({"spec": {"podSelector": {}}})] {
        assert_eq!(
            built_in(&json!({"spec": {"podSelector": {}, "ingress": []}}), &live),
            [""; 0],
            "{live}"
        );
    }
    // An empty selector selects everything: more in it is less.
    let live = json!({"spec": {"podSelector": {"matchLabels": {"a": "b"}}}});
    assert_eq!(
        built_in(&json!({"spec": {"podSelector": {}}}), &live),
        ["spec.podSelector"]
    );
    assert_eq!(
        built_in(&json!({"spec": {"ingress": []}}), &json!({"spec": {"ingress": [{}]}})),
        ["spec.ingress"]
    );
}

#[test]
fn types_that_do_not_match_are_a_difference() {
    for (desired, live) in [
        (json!("80"), json!(80)),
        (json!({"a": 1}), json!("a")),
        (json!([1]), json!({"a": 1})),
        (json!(true), json!("true")),
    ] {
        assert_eq!(
            built_in(&json!({"spec": desired}), &json!({"spec": live})).len(),
            1,
            "{desired} {live}"
        );
    }
    assert_eq!(
        built_in(&json!({"spec": {"a": 1}}), &json!({"spec": {"a": 1.0}})),
        [""; 0]
    );
}

#[test]
fn network_policy_ports_are_atomic() {
    let desired = json!({"spec": {"ingress": [{"ports": [{"port": 5901, "protocol": "TCP"}]}]}});
    let live =
        json!({"spec": {"ingress": [{"ports": [{"port": 5901, "protocol": "TCP"}, {"port": 22, "protocol": "TCP"}]}]}});
    assert_eq!(built_in(&desired, &live), ["spec.ingress[0].ports"]);
}

#[test]
fn groups_are_told_apart() {
    for group in [
        "",
        "apps",
        "batch",
        "policy",
        "networking.k8s.io",
        "coordination.k8s.io",
    ] {
        assert_eq!(Schema::of_group(group), Schema::BuiltIn, "{group}");
    }
    for group in [
        "kubevirt.io",
        "traefik.io",
        "gateway.networking.k8s.io",
        "snapshot.storage.k8s.io",
        "configuration.konghq.com",
    ] {
        assert_eq!(Schema::of_group(group), Schema::Custom, "{group}");
    }
}

/// Documents as builders make them: objects, lists and texts, without nulls.
fn documents() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        "[a-z]{1,4}".prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-d]", inner, 0..4).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

/// Adds a field to every object, as a server does that sets defaults.
fn with_defaults(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let added = std::iter::once(("server".to_owned(), json!("default")));
            fields
                .iter()
                .map(|(key, value)| (key.clone(), with_defaults(value)))
                .chain(added)
                .collect()
        }
        Value::Array(items) => items.iter().map(with_defaults).collect(),
        other => other.clone(),
    }
}

/// Changes every text, number and truth value.
fn with_other_values(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.clone(), with_other_values(value)))
            .collect(),
        Value::Array(items) => items.iter().map(with_other_values).collect(),
        Value::Bool(truth) => json!(!truth),
        _ => json!("OTHER"),
    }
}

fn leaves(value: &Value) -> usize {
    match value {
        Value::Object(fields) => fields.values().map(leaves).sum(),
        Value::Array(items) => items.iter().map(leaves).sum(),
        _ => 1,
    }
}

proptest! {
    #[test]
    fn defaults_are_never_a_difference_and_every_other_value_is(document in documents(), custom in any::<bool>()) {
        let schema = if custom { Schema::Custom } else { Schema::BuiltIn };
        let desired = json!({"spec": document});
        prop_assert_eq!(paths(&desired, &with_defaults(&desired), schema), [""; 0]);
        prop_assert_eq!(paths(&desired, &with_other_values(&desired), schema).len(), leaves(&document));
    }
}
