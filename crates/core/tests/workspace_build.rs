//! What `build` makes of each feature of a workspace, compared with the snapshots beside this file, and the `NetworkPolicy` of
//! every combination of `network`, SSH and type of Service.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml exempts test functions, and these are their helpers"
)]

use std::{collections::BTreeSet, fs, path::PathBuf, sync::Arc};

use novasphere_core::vnc_workspace::{
    build::{Gateway, Prepared, build},
    lifecycle::{Memory, decide},
    node_ports::NodePorts,
    references::References,
    validate::validate,
};
use novasphere_crd::VncWorkspace;
use serde_json::{Value, json};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl alice";

fn workspace(spec: &Value) -> VncWorkspace {
    let mut all = json!({"user": "alice", "image": "registry.example.org/desktop:1"});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "apiVersion": "novasphere.io/v1alpha1",
        "kind": "VncWorkspace",
        "metadata": {
            "name": "alice", "namespace": "team-a", "uid": "5f0b6a4e-6d0a-4c6e-8f43-0d2f1f3f0c11",
            "creationTimestamp": "2026-03-02T08:00:00Z",
        },
        "spec": all,
    }))
    .unwrap()
}

fn built(workspace: &VncWorkspace) -> Prepared {
    let object = |name: &str| json!({"metadata": {"name": name, "labels": {"novasphere.io/owner-uid": "old"}}});
    let from = workspace.spec.storage.restore_from.clone().unwrap_or_default();
    let references = References {
        snapshot_api: true,
        restored_snapshot: from
            .volume_snapshot_name
            .map(|name| Arc::new(serde_json::from_value(object(&name)).unwrap())),
        home: from
            .persistent_volume_claim_name
            .map(|name| Arc::new(serde_json::from_value(object(&name)).unwrap())),
        ..References::default()
    };
    let valid = validate(workspace, &references).unwrap();
    let now = "2026-03-02T08:00:00Z".parse().unwrap();
    let decision = decide(&valid.lifecycle, &Memory::default(), &references.activity, now);
    let ports = NodePorts {
        vnc: Some(30000),
        ssh: Some(31001),
    };
    let gateway = Gateway {
        namespace: "novasphere-system".to_owned(),
    };
    build(&valid, &decision, ports, &gateway)
}

fn shown(prepared: Prepared) -> Value {
    let Prepared {
        secret,
        home,
        network_policy,
        service,
        pod,
    } = prepared;
    json!({"secret": secret, "home": home, "networkPolicy": network_policy, "service": service, "pod": pod})
}

#[test]
fn every_feature_is_built_as_its_snapshot_says() {
    let sizes = json!({"requests": {"cpu": "500m"}, "limits": {"memory": "2Gi"}});
    for (name, spec) in [
        ("minimal", json!({})),
        ("asleep", json!({"lifecycle": {"state": "Hibernated"}})),
        (
            "everything",
            json!({
                "display": {"width": 1920, "height": 1080, "depth": 16},
                "resources": sizes,
                "gpu": {"resourceName": "nvidia.com/gpu", "count": 2},
                "storage": {"size": "20Gi", "storageClassName": "fast", "accessModes": ["ReadWriteMany"], "mountPath": "/home/alice",
                    "reclaim": "Delete", "restoreFrom": {"volumeSnapshotName": "old"}},
                "ssh": {"authorizedKeys": [KEY]},
                "env": [
                    {"name": "LANG", "value": "C"},
                    {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "t", "optional": true}}},
                    {"name": "CONF", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "c"}}},
                ],
                "podOverrides": {"metadata": {"annotations": {"a": "b"}}, "spec": {"imagePullSecrets": [{"name": "pull"}]}},
                "service": {"type": "NodePort", "annotations": {"example.org/pool": "a"}},
            }),
        ),
        (
            "restored_claim",
            json!({"storage": {"reclaim": "Snapshot", "restoreFrom": {"persistentVolumeClaimName": "bob-home"}}}),
        ),
    ] {
        insta::assert_yaml_snapshot!(name, shown(built(&workspace(&spec))));
    }
}

#[test]
fn every_network_gets_the_policy_that_its_snapshot_says() {
    let egresses = [
        ("all", Value::Null),
        ("none", json!([])),
        (
            "some",
            json!([
                {"cidr": "169.254.0.0/16"},
                {"cidr": "10.0.0.0/8", "ports": [{"port": 443}, {"port": 8000, "endPort": 8100, "protocol": "UDP"}]},
                {"namespaceSelector": {"matchLabels": {"team": "b"}}, "podSelector": {"matchLabels": {"app": "git"}}},
                {"podSelector": {"matchLabels": {"app": "db"}}},
            ]),
        ),
    ];
    for ingress in ["GatewayOnly", "Namespace"] {
        for (egress_name, egress) in &egresses {
            for ssh in [false, true] {
                for service in ["ClusterIP", "NodePort"] {
                    let mut network = json!({"ingress": ingress});
                    if !egress.is_null() {
                        network["egress"] = egress.clone();
                    }
                    let mut spec = json!({"network": network, "service": {"type": service}});
                    if ssh {
                        spec["ssh"] = json!({"authorizedKeys": [KEY]});
                    }
                    let policy = built(&workspace(&spec)).network_policy;
                    let ssh = if ssh { "ssh" } else { "no_ssh" };
                    insta::assert_yaml_snapshot!(
                        format!("policy_{ingress}_{egress_name}_{ssh}_{service}"),
                        policy.spec
                    );
                }
            }
        }
    }
}

#[test]
fn no_two_workspaces_have_an_object_in_common() {
    let mut names = BTreeSet::new();
    for name in [
        "a",
        "a-home",
        "a-credentials",
        &"a".repeat(52),
        &format!("{}b", "a".repeat(51)),
    ] {
        let mut workspace = workspace(&json!({}));
        workspace.metadata.name = Some(name.to_owned());
        let prepared = built(&workspace);
        for (kind, name) in [
            ("Secret", prepared.secret.metadata.name),
            ("PersistentVolumeClaim", prepared.home.metadata.name),
            ("Pod", prepared.pod.unwrap().metadata.name),
            ("Service", prepared.service.metadata.name),
        ] {
            let name = name.unwrap();
            assert!(name.len() <= 63, "{name}");
            assert!(names.insert((kind, name.clone())), "{kind} {name} twice");
        }
    }
}

/// A password in an argument, variable or annotation would be seen by everybody who may look at Pods.
#[test]
fn the_password_is_in_no_other_place_than_the_secret() {
    let workspace = workspace(&json!({}));
    let text = shown(built(&workspace)).to_string();
    assert!(
        !text.contains("\"data\""),
        "the Secret is made with its data by the controller alone"
    );
}

#[test]
fn every_snapshot_is_written() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    let count = fs::read_dir(directory)
        .unwrap()
        .filter(|entry| {
            let name = entry.as_ref().unwrap().file_name().into_string().unwrap();
            name.starts_with("workspace_build__")
        })
        .count();
    assert_eq!(count, 4 + 24, "delete the snapshots that no test writes");
}
