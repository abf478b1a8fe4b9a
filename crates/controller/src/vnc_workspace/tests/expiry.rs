//! The end of a workspace's time.

use super::*;

#[tokio::test]
async fn a_workspace_whose_time_is_over_goes_after_its_home_is_saved() {
    let cluster = running(json!({"storage": {"reclaim": "Snapshot"}})).await;
    cluster.change(json!({"lifecycle": {"expiresAt": "2026-01-01T00:00:00Z"}}));
    cluster.reconciled().await;
    assert_eq!(
        without_events(cluster.calls()),
        [
            "GET secrets/alice-credentials",
            "DELETE pods/alice",
            "APPLY vncworkspaces/alice/status"
        ]
    );
    assert_eq!(cluster.reason("PodReady"), "Expired");
    cluster.gone(POD);
    cluster.reconciled().await;
    let snapshot = cluster.only("volumesnapshots/");
    assert_eq!(
        without_events(cluster.calls()),
        [
            "GET secrets/alice-credentials",
            "GET pods/alice",
            &format!("GET {HOME}"),
            &format!("APPLY {snapshot}"),
            "APPLY vncworkspaces/alice/status",
        ]
    );
    assert_eq!(cluster.reason("StorageReady"), "TakingSnapshot");
    cluster.merge(&snapshot, json!({"status": {"readyToUse": true}}));
    cluster.reconciled().await;
    assert_eq!(
        without_events(cluster.calls()),
        [
            "GET secrets/alice-credentials",
            "GET pods/alice",
            &format!("GET {HOME}"),
            &format!("GET {snapshot}"),
            "DELETE vncworkspaces/alice",
        ]
    );
    // It has its finalizer still.
    let action = cluster.reconciled().await;
    assert_eq!(action, Action::await_change());
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
    assert_eq!(cluster.get(WORKSPACE), None);
}

#[tokio::test]
async fn an_end_by_a_change_is_announced_and_waits_and_is_told_before_anything_goes() {
    let mut cluster = running(json!({"storage": {"reclaim": "Delete"}})).await;
    let settings = |expiry_notice| WorkspaceSettings {
        expiry_notice,
        ..WorkspaceSettings::default()
    };
    cluster.context.settings = Arc::new(settings(Duration::from_mins(5)));
    cluster.change(json!({"lifecycle": {"expiresAt": "2026-01-01T00:00:00Z"}}));
    let action = cluster.reconciled().await;
    assert_ne!(action, Action::await_change(), "no event tells when the time has come");
    let calls = cluster.calls();
    assert_eq!(
        calls,
        [
            "GET secrets/alice-credentials",
            "APPLY vncworkspaces/alice/status",
            "POST events"
        ]
    );
    assert_eq!(cluster.reason("PodReady"), "Running");
    cluster.reconciled().await;
    assert_eq!(cluster.calls(), SETTLED, "told once");
    // The end was told five minutes ago.
    cluster.merge(WORKSPACE, json!({"status": {"expiresAt": "2026-01-01T00:05:00Z"}}));
    cluster.reconciled().await;
    assert_eq!(
        cluster.calls()[..3],
        ["POST events", "GET secrets/alice-credentials", "DELETE pods/alice"]
    );
}

#[tokio::test]
async fn a_time_before_its_creation_ends_and_makes_nothing() {
    let before = || json!({"lifecycle": {"expiresAt": "2024-01-01T00:00:00Z"}, "storage": {"reclaim": "Delete"}});
    let new = Cluster::new(before());
    new.reconciled().await;
    assert_eq!(without_events(new.calls()), ["APPLY vncworkspaces/alice/status"]);
    assert_eq!(new.reason("PodReady"), "InvalidSpec");

    let cluster = running(json!({"storage": {"reclaim": "Delete"}})).await;
    cluster.change(before());
    cluster.reconciled().await;
    assert_eq!(without_events(cluster.calls()), ["APPLY vncworkspaces/alice/status"]);
    assert!(cluster.get(POD).is_some() && cluster.get(HOME).is_some());
}

#[tokio::test]
async fn the_end_of_a_time_that_was_moved_on_is_not_carried_out() {
    let cluster = running(json!({"lifecycle": {"expiresAt": "2036-01-01T00:00:00Z"}})).await;
    cluster.change(json!({"lifecycle": {"expiresAt": "2026-01-01T00:00:00Z"}}));
    cluster.reconciled().await;
    cluster.gone(POD);
    cluster.fill();
    let seen = cluster.workspace();
    cluster.change(json!({"lifecycle": {"expiresAt": "2036-01-01T00:00:00Z"}}));
    let _ = cluster.calls();
    let failed = cluster.context.reconcile(&seen).await.unwrap_err();
    assert!(matches!(failed, ReconcileError::Object(_)), "{failed}");
    assert_eq!(
        cluster.calls(),
        [
            "GET secrets/alice-credentials",
            "GET pods/alice",
            &format!("GET {HOME}"),
            "DELETE vncworkspaces/alice"
        ]
    );
    assert!(cluster.get(WORKSPACE).is_some());
}
