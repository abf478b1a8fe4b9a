//! Node ports of desktops' Services.

use super::*;

#[tokio::test]
async fn a_port_of_somebody_else_is_left_and_another_one_taken() {
    let cluster = Cluster::new(json!({"service": {"type": "NodePort"}}));
    let port = "spec.ports[0].nodePort: Invalid value: 30000: provided port is already allocated";
    cluster.refuse(Refusal::once("APPLY services/alice", 422, port));
    cluster.reconciled().await;
    let calls = cluster.calls();
    assert_eq!(
        calls.iter().filter(|call| *call == "APPLY services/alice").count(),
        2,
        "{calls:?}"
    );
    assert_eq!(
        cluster.get("services/alice").unwrap()["spec"]["ports"][0]["nodePort"],
        30001
    );
    cluster.reconciled().await;
    let _ = cluster.calls();
    cluster.reconciled().await;
    assert_eq!(cluster.calls(), SETTLED);
}

#[tokio::test]
async fn a_port_that_a_person_asked_for_is_not_replaced() {
    let cluster = Cluster::new(json!({"service": {"type": "NodePort", "nodePorts": {"vnc": 30007}}}));
    let port = "spec.ports[0].nodePort: Invalid value: 30007: provided port is already allocated";
    cluster.refuse(Refusal::new("APPLY services/alice", 422, port));
    cluster.reconcile().await.unwrap_err();
    let calls = cluster.calls();
    assert_eq!(
        calls.iter().filter(|call| *call == "APPLY services/alice").count(),
        1,
        "{calls:?}"
    );
    assert!(!calls.contains(&"APPLY pods/alice".to_owned()) || cluster.get(POD).is_some());
    assert_eq!(cluster.reason("PodReady"), "NodePortInUse");
}

#[tokio::test]
async fn a_range_that_is_used_up_is_told_and_asked_again() {
    let cluster = Cluster::new(json!({"service": {"type": "NodePort"}}));
    cluster.put(
        "services/other",
        json!({"spec": {"ports": [
            {"port": 1, "nodePort": 30000}, {"port": 2, "nodePort": 30001}, {"port": 3, "nodePort": 30002},
        ]}}),
    );
    let failed = cluster.reconcile().await.unwrap_err();
    assert!(
        matches!(
            failed,
            ReconcileError::Incomplete {
                reason: "NodePortsUsedUp",
                ..
            }
        ),
        "{failed}"
    );
    let calls = cluster.calls();
    assert!(!calls.contains(&"APPLY services/alice".to_owned()), "{calls:?}");
    assert!(calls.contains(&"APPLY pods/alice".to_owned()), "{calls:?}");
    assert_eq!(cluster.reason("PodReady"), "NodePortsUsedUp");
}

/// Quota, rights, rules, a port of somebody else, a conflict, an apiserver that is away; and what fails before the Service is written.
#[tokio::test]
async fn a_port_is_given_back_whatever_keeps_the_service_from_being_written() {
    let service = "APPLY services/alice";
    let in_use = "spec.ports[0].nodePort: Invalid value: 30000: provided port is already allocated";
    for (call, code, message) in [
        (service, 403, "exceeded quota: team, requested: services.nodeports=1"),
        (service, 403, "not allowed"),
        (service, 422, "spec.type: Unsupported value"),
        (service, 422, in_use),
        (service, 409, "the object has been modified"),
        (service, 429, "too many requests"),
        (service, 500, "etcd is away"),
        (service, 504, "timeout"),
        ("APPLY vncworkspaces/alice", 403, "not allowed"),
    ] {
        let cluster = Cluster::new(json!({"service": {"type": "NodePort"}, "storage": {"reclaim": "Snapshot"}}));
        cluster.refuse(Refusal::new(call, code, message));
        for _ in 0..2 {
            cluster.reconcile().await.unwrap_err();
            assert!(!cluster.context.node_ports.holds("alice-1"), "{call} {code} {message}");
        }
    }
    let cluster = Cluster::new(json!({"service": {"type": "NodePort"}}));
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "a-1", "controller": true});
    cluster.put(
        "services/alice",
        json!({"metadata": {"ownerReferences": [owner]}, "spec": {"ports": []}}),
    );
    cluster.reconcile().await.unwrap_err();
    assert!(!cluster.context.node_ports.holds("alice-1"), "the name is taken");

    let cluster = running(json!({"service": {"type": "NodePort"}})).await;
    let port = |cluster: &Cluster| cluster.get("services/alice").unwrap()["spec"]["ports"][0]["nodePort"].clone();
    let before = port(&cluster);
    cluster.refuse(Refusal::once(service, 500, "etcd is away"));
    cluster.change(json!({"service": {"annotations": {"a": "b"}}}));
    cluster.reconcile().await.unwrap_err();
    cluster.reconciled().await;
    assert_eq!(port(&cluster), before, "a Service that is there keeps its ports");
}
