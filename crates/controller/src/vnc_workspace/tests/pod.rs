//! The Pod: what it is made after, when it is replaced, and its size.

use super::*;

#[tokio::test]
async fn a_pod_is_not_made_before_its_home() {
    let cluster = Cluster::new(json!({}));
    cluster.refuse(Refusal::new(&format!("APPLY {HOME}"), 403, "exceeded quota: team"));
    let failed = cluster.reconcile().await.unwrap_err();
    assert!(
        matches!(
            failed,
            ReconcileError::Incomplete {
                reason: "QuotaExceeded",
                ..
            }
        ),
        "{failed}"
    );
    let calls = cluster.calls();
    assert!(!calls.contains(&"APPLY pods/alice".to_owned()), "{calls:?}");
    assert!(
        calls.contains(&"APPLY services/alice".to_owned()),
        "the rest is made: {calls:?}"
    );
    assert_eq!(cluster.reason("StorageReady"), "QuotaExceeded");
    assert_eq!(cluster.reason("PodReady"), "HomeNotReady");
    assert_eq!(cluster.status()["phase"], "Failed");
}

#[tokio::test]
async fn a_pod_stays_as_it_is_while_its_secret_is_not_known() {
    let cluster = running(json!({})).await;
    cluster.change(json!({"image": "registry.example.org/desktop:2"}));
    cluster.refuse(Refusal::new("GET secrets/alice-credentials", 403, "not allowed"));
    cluster.reconcile().await.unwrap_err();
    assert_eq!(
        without_events(cluster.calls()),
        ["GET secrets/alice-credentials", "APPLY vncworkspaces/alice/status"]
    );
    assert_eq!(cluster.reason("PodReady"), "Forbidden");
    assert_eq!(cluster.status()["podName"], "alice");
}

#[tokio::test]
async fn a_pod_that_is_made_from_something_else_is_replaced() {
    let cluster = running(json!({})).await;
    cluster.change(json!({"image": "registry.example.org/desktop:2"}));
    cluster.reconciled().await;
    assert_eq!(
        without_events(cluster.calls()),
        [
            "GET secrets/alice-credentials",
            "DELETE pods/alice",
            "APPLY vncworkspaces/alice/status"
        ]
    );
    assert_eq!(cluster.reason("PodReady"), "Stopping");
    cluster.reconciled().await;
    assert_eq!(cluster.calls(), SETTLED, "it has to go first");
    cluster.gone(POD);
    cluster.reconciled().await;
    assert_eq!(
        without_events(cluster.calls()),
        [
            "GET secrets/alice-credentials",
            "APPLY pods/alice",
            "APPLY vncworkspaces/alice/status"
        ]
    );
}

#[tokio::test]
async fn a_pod_that_ended_is_replaced_at_once_and_the_next_one_after_a_pause() {
    let cluster = running(json!({})).await;
    cluster.merge(
        POD,
        json!({"status": {"phase": "Failed", "reason": "UnexpectedAdmissionError", "conditions": null}}),
    );
    cluster.reconciled().await;
    assert!(cluster.calls().contains(&"DELETE pods/alice".to_owned()));
    cluster.gone(POD);
    cluster.reconciled().await;
    let _ = cluster.calls();
    cluster.merge(
        POD,
        json!({
            "metadata": {"uid": "pod-2"},
            "status": {"phase": "Failed", "reason": "UnexpectedAdmissionError"},
        }),
    );
    let action = cluster.reconciled().await;
    assert_ne!(action, Action::await_change(), "no event tells when the pause is over");
    let calls = cluster.calls();
    assert!(!calls.contains(&"DELETE pods/alice".to_owned()), "{calls:?}");
    assert_eq!(cluster.reason("PodReady"), "Ended");
}

#[tokio::test]
async fn a_running_pod_is_resized_in_place_or_replaced() {
    let resources = |cpu| json!({"resources": {"requests": {"cpu": cpu}}});
    for refused in [false, true] {
        let cluster = running(resources("500m")).await;
        cluster.change(resources("1"));
        if refused {
            cluster.refuse(Refusal::new("RESIZE pods/alice/resize", 422, "Pod QoS is immutable"));
        }
        cluster.reconciled().await;
        let calls = cluster.calls();
        assert_eq!(
            calls[..2],
            ["GET secrets/alice-credentials", "RESIZE pods/alice/resize"]
        );
        assert_eq!(calls.contains(&"DELETE pods/alice".to_owned()), refused, "{calls:?}");
    }
}

#[tokio::test]
async fn a_desktop_keeps_its_size_when_another_is_refused() {
    let cluster = running(json!({"resources": {"requests": {"cpu": "500m"}}})).await;
    cluster.change(json!({"resources": {"requests": {"cpu": "1"}}}));
    cluster.refuse(Refusal::new("RESIZE pods/alice/resize", 403, "exceeded quota: team"));
    cluster.reconcile().await.unwrap_err();
    assert!(!cluster.calls().contains(&"APPLY pods/alice".to_owned()));
    assert_eq!(cluster.reason("PodReady"), "Running");
    assert!(
        cluster.message("PodReady").contains("exceeded quota"),
        "{}",
        cluster.message("PodReady")
    );
}
