//! Snapshots of homes: when one is taken, and which ones go.

use super::*;

#[tokio::test]
async fn a_snapshot_is_taken_when_the_pod_has_gone() {
    let cluster = running(json!({"backup": {"onHibernate": true, "keep": 1}})).await;
    cluster.change(json!({"lifecycle": {"state": ASLEEP}}));
    cluster.reconciled().await;
    assert_eq!(
        without_events(cluster.calls()),
        [
            "GET secrets/alice-credentials",
            "DELETE pods/alice",
            "APPLY vncworkspaces/alice/status"
        ]
    );
    cluster.gone(POD);
    cluster.reconciled().await;
    let calls = cluster.calls();
    let snapshot = cluster.only("volumesnapshots/");
    assert!(calls.contains(&format!("APPLY {snapshot}")), "{calls:?}");
    cluster.reconciled().await;
    assert_eq!(cluster.calls(), SETTLED, "one for each sleep");
    cluster.merge(&snapshot, json!({"status": {"readyToUse": true}}));
    cluster.reconciled().await;
    let _ = cluster.calls();
    cluster.reconciled().await;
    assert_eq!(cluster.calls(), SETTLED);
}

#[tokio::test]
async fn a_snapshot_that_is_refused_is_told_and_does_not_keep_the_desktop_awake() {
    let cluster = running(json!({"backup": {"onHibernate": true}})).await;
    cluster.refuse(Refusal::new("APPLY volumesnapshots/", 403, "exceeded quota: team"));
    cluster.change(json!({"lifecycle": {"state": ASLEEP}}));
    cluster.reconciled().await;
    cluster.gone(POD);
    cluster.reconcile().await.unwrap_err();
    assert_eq!(cluster.reason("StorageReady"), "SnapshotFailed");
    assert_eq!(cluster.status()["phase"], "Hibernated");
}

#[tokio::test]
async fn old_snapshots_go_when_there_are_newer_ones() {
    let cluster = running(json!({"backup": {"onHibernate": true, "keep": 1}})).await;
    for (name, minute) in [("old", 1), ("new", 2)] {
        cluster.put(
            &format!("volumesnapshots/{name}"),
            json!({
                "metadata": {
                    "creationTimestamp": format!("2026-03-01T00:{minute:02}:00Z"),
                    "labels": {"novasphere.io/owner-uid": "alice-1"},
                },
                "spec": {"source": {"persistentVolumeClaimName": "alice-home"}},
                "status": {"readyToUse": true},
            }),
        );
    }
    cluster.reconciled().await;
    let calls = cluster.calls();
    assert_eq!(
        calls[..2],
        ["GET secrets/alice-credentials", "DELETE volumesnapshots/old"]
    );
    assert_eq!(cluster.only("volumesnapshots/"), "volumesnapshots/new");
}

#[tokio::test]
async fn a_snapshot_of_another_namespace_or_claim_lets_none_of_ours_go() {
    let cluster = running(json!({"backup": {"onHibernate": true, "keep": 1}})).await;
    let snapshot = |namespace: &str, claim: &str, minute: u8| {
        json!({
            "metadata": {
                "namespace": namespace,
                "creationTimestamp": format!("2026-03-01T00:{minute:02}:00Z"),
                "labels": {"novasphere.io/owner-uid": "alice-1"},
            },
            "spec": {"source": {"persistentVolumeClaimName": claim}},
            "status": {"readyToUse": true},
        })
    };
    cluster.put("volumesnapshots/ours", snapshot("team", "alice-home", 1));
    cluster.put("volumesnapshots/planted", snapshot("attacker", "alice-home", 2));
    cluster.put("volumesnapshots/small", snapshot("team", "small", 3));
    cluster.reconciled().await;
    let calls = cluster.calls();
    assert!(!calls.iter().any(|call| call.contains("volumesnapshots/")), "{calls:?}");
    let listed = cluster.status()["snapshots"].clone();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed[0]["name"], "ours");
}
