//! What `build` makes of each feature of a workspace, compared with the snapshots beside this file, and the `NetworkPolicy` of
//! every combination of `network`, SSH and type of Service.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml exempts test functions, and these are their helpers"
)]

use std::{collections::BTreeSet, fs, path::PathBuf, sync::Arc};

use k8s_openapi::{
    api::networking::v1::NetworkPolicySpec,
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use novasphere_core::vnc_workspace::{
    build::{GatewayLocation, Prepared, build},
    lifecycle::{LifecycleHistory, decide},
    node_ports::NodePorts,
    references::{References, SnapshotApi},
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
        snapshot_api: SnapshotApi::Listed,
        shared_secrets: BTreeSet::from(["s".to_owned()]),
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
    let decision = decide(
        &valid.lifecycle,
        &LifecycleHistory::default(),
        &references.activity,
        now,
    );
    let ports = NodePorts {
        vnc: Some(30000),
        ssh: Some(31001),
    };
    let gateway = GatewayLocation {
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
                "podOverrides": {"metadata": {"annotations": {"novasphere.io/x-a": "b"}}, "spec": {"imagePullSecrets": [{"name": "pull"}]}},
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
                {"cidr": "169.0.0.0/8"},
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

/// Who tries to connect to a desktop.
struct Peer {
    namespace: &'static str,
    labels: &'static [(&'static str, &'static str)],
}

/// Whether the policy lets a peer reach a port, as the API's definition of a `NetworkPolicy` says; `None` is somebody outside the
/// cluster.
fn lets_in(policy: &NetworkPolicySpec, peer: Option<&Peer>, port: &str) -> bool {
    let rules = policy.ingress.iter().flatten();
    let mut open = rules.filter(|rule| {
        let ports = rule.ports.as_ref();
        ports.is_none_or(|ports| {
            ports
                .iter()
                .any(|of| of.port == Some(IntOrString::String(port.to_owned())))
        })
    });
    open.any(|rule| match (&rule.from, peer) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(from), Some(peer)) => from.iter().any(|from| {
            let namespace = from
                .namespace_selector
                .as_ref()
                .map_or(peer.namespace == "team-a", |selector| {
                    selects(selector, &[("kubernetes.io/metadata.name", peer.namespace)])
                });
            namespace
                && from
                    .pod_selector
                    .as_ref()
                    .is_none_or(|selector| selects(selector, peer.labels))
        }),
    })
}

fn selects(selector: &LabelSelector, labels: &[(&str, &str)]) -> bool {
    let value = |key: &str| labels.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
    let by_label = selector.match_labels.iter().flatten();
    let by_expression = selector.match_expressions.iter().flatten();
    by_label.into_iter().all(|(key, wanted)| value(key) == Some(wanted))
        && by_expression.into_iter().all(|expression| {
            assert_eq!(expression.operator, "In");
            let values = expression.values.as_ref().unwrap();
            value(&expression.key).is_some_and(|value| values.iter().any(|wanted| wanted == value))
        })
}

const GATEWAYS: &[Peer] = &[
    Peer {
        namespace: "novasphere-system",
        labels: &[
            ("app.kubernetes.io/name", "novasphere"),
            ("app.kubernetes.io/component", "console"),
        ],
    },
    Peer {
        namespace: "novasphere-system",
        labels: &[
            ("app.kubernetes.io/name", "novasphere"),
            ("app.kubernetes.io/component", "apiserver"),
        ],
    },
    Peer {
        namespace: "novasphere-system",
        labels: &[
            ("app.kubernetes.io/name", "novasphere"),
            ("app.kubernetes.io/component", "all"),
        ],
    },
];

const NEIGHBOURS: &[Peer] = &[
    Peer {
        namespace: "team-a",
        labels: &[],
    },
    Peer {
        namespace: "team-a",
        labels: &[
            ("app.kubernetes.io/name", "novasphere"),
            ("app.kubernetes.io/component", "console"),
        ],
    },
];

const STRANGERS: &[Peer] = &[
    Peer {
        namespace: "team-b",
        labels: &[],
    },
    Peer {
        namespace: "team-b",
        labels: &[
            ("app.kubernetes.io/name", "novasphere"),
            ("app.kubernetes.io/component", "console"),
        ],
    },
    Peer {
        namespace: "novasphere-system",
        labels: &[
            ("app.kubernetes.io/name", "novasphere"),
            ("app.kubernetes.io/component", "controller"),
        ],
    },
];

/// A row of the table: who, from where, with which `network.ingress` and types of Service.
type Row = (
    &'static str,
    Vec<Option<&'static Peer>>,
    &'static [&'static str],
    &'static [&'static str],
);

/// The table of `docs/workspace.md`, each row over everything that it does not name.
#[test]
fn the_documents_say_who_may_reach_which_port() {
    let documents =
        fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/workspace.md")).unwrap();
    let (gateway, namespace): (&[&str], &[&str]) = (&["GatewayOnly"], &["Namespace"]);
    let (any, inside): (&[&str], &[&str]) = (&["GatewayOnly", "Namespace"], &["ClusterIP"]);
    let outside: &[&str] = &["NodePort", "LoadBalancer"];
    let pods = |peers: &'static [Peer]| peers.iter().map(Some).collect::<Vec<_>>();
    let rows: [Row; 6] = [
        (
            "novasphere's gateways (roles console, apiserver, all) in the controller's namespace",
            pods(GATEWAYS),
            any,
            inside,
        ),
        (
            "Pods of the same namespace, `network.ingress: GatewayOnly`",
            pods(NEIGHBOURS),
            gateway,
            inside,
        ),
        (
            "Pods of the same namespace, `network.ingress: Namespace`",
            pods(NEIGHBOURS),
            namespace,
            inside,
        ),
        ("Pods of other namespaces", pods(STRANGERS), any, inside),
        ("anybody, `service.type: ClusterIP`", vec![None], any, inside),
        (
            "anybody, `service.type: NodePort` or `LoadBalancer`",
            vec![None],
            any,
            outside,
        ),
    ];
    for (from, peers, ingresses, services) in rows {
        let mut cells = BTreeSet::new();
        for (ingress, service) in ingresses
            .iter()
            .flat_map(|ingress| services.iter().map(move |service| (ingress, service)))
        {
            for egress in [json!(null), json!([]), json!([{"cidr": "10.0.0.0/8"}])] {
                let spec = json!({
                    "network": {"ingress": ingress, "egress": egress},
                    "service": {"type": service},
                    "ssh": {"authorizedKeys": [KEY]},
                });
                let policy = built(&workspace(&spec)).network_policy.spec.unwrap();
                let yes = |port| {
                    if peers.iter().all(|peer| lets_in(&policy, *peer, port)) {
                        "yes"
                    } else {
                        "no"
                    }
                };
                let some = |port| peers.iter().any(|peer| lets_in(&policy, *peer, port));
                for port in ["vnc", "ssh", "8080"] {
                    assert_eq!(yes(port) == "yes", some(port), "{from} is not one group: {port}");
                }
                cells.insert(format!("{} | {} | {}", yes("vnc"), yes("ssh"), yes("8080")));
            }
        }
        assert_eq!(cells.len(), 1, "{from}: {cells:?}");
        let row = format!("| {from} | {} |", cells.first().unwrap());
        assert!(
            documents.lines().any(|line| line == row),
            "docs/workspace.md has no row {row}"
        );
    }
}

#[test]
fn a_desktop_without_ssh_lets_nobody_to_its_port_and_a_balancer_is_as_a_port_on_nodes() {
    for ingress in ["GatewayOnly", "Namespace"] {
        for ssh in [json!(null), json!({"authorizedKeys": [KEY]})] {
            let policy = |service: &str| {
                let mut spec = json!({"network": {"ingress": ingress}, "service": {"type": service}});
                if !ssh.is_null() {
                    spec["ssh"] = ssh.clone();
                }
                built(&workspace(&spec)).network_policy.spec.unwrap()
            };
            assert_eq!(policy("LoadBalancer"), policy("NodePort"));
            for service in ["ClusterIP", "NodePort", "LoadBalancer"] {
                assert_eq!(lets_in(&policy(service), Some(&GATEWAYS[0]), "ssh"), !ssh.is_null());
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
