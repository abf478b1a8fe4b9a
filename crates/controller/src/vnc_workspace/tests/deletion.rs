//! Deletion: what waits for what, and what must be sure before something goes.

use super::*;

#[tokio::test]
async fn a_deletion_waits_for_the_pod_and_then_for_the_snapshot() {
    let cluster = running(json!({"storage": {"reclaim": "Snapshot"}})).await;
    cluster.delete_workspace();
    cluster.reconciled().await;
    assert_eq!(
        without_events(cluster.calls()),
        ["DELETE pods/alice", "APPLY vncworkspaces/alice/status"]
    );
    assert_eq!(cluster.reason("PodReady"), "Deleting");
    cluster.gone(POD);
    cluster.reconciled().await;
    let snapshot = cluster.only("volumesnapshots/");
    assert_eq!(
        without_events(cluster.calls()),
        [
            "GET pods/alice",
            &format!("GET {HOME}"),
            &format!("APPLY {snapshot}"),
            "APPLY vncworkspaces/alice/status",
        ]
    );
    cluster.reconciled().await;
    assert_eq!(
        cluster.calls(),
        ["GET pods/alice", &format!("GET {HOME}")],
        "it is waited for"
    );
    cluster.merge(&snapshot, json!({"status": {"error": {"message": "no space"}}}));
    cluster.reconciled().await;
    let _ = cluster.calls();
    assert_eq!(cluster.reason("StorageReady"), "SnapshotFailed");
    cluster.merge(&snapshot, json!({"status": {"readyToUse": true}}));
    cluster.reconciled().await;
    assert_eq!(
        without_events(cluster.calls()),
        [
            "GET pods/alice",
            &format!("GET {HOME}"),
            &format!("GET {snapshot}"),
            &format!("DELETE {HOME}"),
            "JSON vncworkspaces/alice",
        ]
    );
}

#[tokio::test]
async fn a_snapshot_that_only_the_watch_has_saves_nothing() {
    let cluster = running(json!({"storage": {"reclaim": "Snapshot"}})).await;
    cluster.delete_workspace();
    cluster.reconciled().await;
    cluster.gone(POD);
    cluster.reconciled().await;
    let snapshot = cluster.only("volumesnapshots/");
    cluster.merge(&snapshot, json!({"status": {"readyToUse": true}}));
    cluster.fill();
    cluster.gone(&snapshot);
    let _ = cluster.calls();
    let failed = cluster.context.reconcile(&cluster.workspace()).await.unwrap_err();
    assert!(
        matches!(
            failed,
            ReconcileError::Incomplete {
                reason: "WatchLags",
                ..
            }
        ),
        "{failed}"
    );
    assert!(cluster.get(HOME).is_some());
}

#[tokio::test]
async fn a_pod_that_only_the_cluster_has_is_ended_before_its_home_goes() {
    let cluster = running(json!({"storage": {"reclaim": "Snapshot"}})).await;
    cluster.delete_workspace();
    cluster.reconciled().await;
    let pod = cluster.get(POD).unwrap();
    cluster.gone(POD);
    cluster.fill();
    let mut other = pod;
    other["metadata"]["deletionTimestamp"] = Value::Null;
    cluster.put(POD, other);
    let _ = cluster.calls();
    cluster.context.reconcile(&cluster.workspace()).await.unwrap();
    assert_eq!(
        cluster.calls()[..3],
        ["GET pods/alice", &format!("GET {HOME}"), "DELETE pods/alice"]
    );
    assert!(cluster.get(HOME).is_some());
}

#[tokio::test]
async fn a_deletion_of_what_needs_no_snapshot_is_left_to_the_collector() {
    for reclaim in ["Delete", "Retain"] {
        let cluster = running(json!({"storage": {"reclaim": reclaim}})).await;
        cluster.merge(WORKSPACE, json!({"metadata": {"finalizers": ["example.org/other"]}}));
        cluster.delete_workspace();
        assert_eq!(cluster.reconciled().await, Action::await_change());
        assert_eq!(cluster.calls(), Vec::<String>::new(), "{reclaim}");
    }
}

#[tokio::test]
async fn a_policy_that_changes_while_a_deletion_waits_counts() {
    for (reclaim, stays) in [("Retain", true), ("Delete", false)] {
        let cluster = running(json!({"storage": {"reclaim": "Snapshot"}})).await;
        cluster.delete_workspace();
        cluster.reconciled().await;
        cluster.gone(POD);
        cluster.change(json!({"storage": {"reclaim": reclaim}}));
        let _ = cluster.calls();
        cluster.reconciled().await;
        assert_eq!(cluster.get(HOME).is_some(), stays, "{reclaim}");
        assert_eq!(cluster.get(WORKSPACE), None, "{reclaim}");
        assert!(
            !cluster.calls().iter().any(|call| call.contains("volumesnapshots")),
            "{reclaim}"
        );
    }
}

#[tokio::test]
async fn an_invalid_spec_makes_nothing_and_hibernates_and_saves_all_the_same() {
    let weak = || json!({"podOverrides": {"spec": {"hostNetwork": true}}});
    let cluster = running(json!({"backup": {"onHibernate": true}, "storage": {"reclaim": "Delete"}})).await;
    cluster.change(weak());
    cluster.reconciled().await;
    assert_eq!(without_events(cluster.calls()), ["APPLY vncworkspaces/alice/status"]);
    assert_eq!(cluster.status()["podName"], "alice");
    cluster.change(json!({"lifecycle": {"state": ASLEEP}, "storage": {"reclaim": "Retain"}}));
    cluster.reconciled().await;
    assert_eq!(
        without_events(cluster.calls()),
        [
            &format!("MERGE {HOME}"),
            "DELETE pods/alice",
            "APPLY vncworkspaces/alice/status"
        ]
    );
    assert_eq!(cluster.get(HOME).unwrap()["metadata"]["ownerReferences"], json!([]));
    cluster.gone(POD);
    cluster.reconciled().await;
    let snapshot = cluster.only("volumesnapshots/");
    assert!(cluster.calls().contains(&format!("APPLY {snapshot}")));
    cluster.reconciled().await;
    assert_eq!(cluster.calls(), Vec::<String>::new());
}
