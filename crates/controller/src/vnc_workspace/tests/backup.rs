//! Snapshots by schedule and at deletion, and those that are not listed yet.

use super::*;
use crate::watches::VOLUME_SNAPSHOTS;

/// Once a year, so that no time of it comes while the test runs, but for the one that the status is made to tell.
const SCHEDULE: &str = "0 3 1 1 *";

/// A running workspace with this backup, whose schedule told a time that has come.
async fn due(more: Value) -> Cluster {
    let mut backup = json!({"schedule": SCHEDULE});
    backup
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let cluster = running(json!({ "backup": backup })).await;
    let told = cluster.status()["nextBackupAt"].clone();
    assert!(told.as_str().unwrap().ends_with("-01-01T03:00:00Z"), "{told}");
    cluster.merge(WORKSPACE, json!({"status": {"nextBackupAt": "2026-01-01T03:00:00Z"}}));
    cluster
}

#[tokio::test]
async fn a_snapshot_is_taken_by_schedule_once_and_the_next_time_is_told() {
    let cluster = due(json!({})).await;
    cluster.reconciled().await;
    let snapshot = cluster.only("volumesnapshots/");
    assert_eq!(
        without_events(cluster.calls()),
        ["GET secrets/alice-credentials", &format!("APPLY {snapshot}")],
        "the desktop goes on, and the time stays told"
    );
    cluster.reconciled().await;
    let _ = cluster.calls();
    cluster.reconciled().await;
    assert_eq!(cluster.calls(), SETTLED, "it is waited for");
    cluster.merge(&snapshot, json!({"status": {"readyToUse": true}}));
    cluster.reconciled().await;
    let told = cluster.status()["nextBackupAt"].clone();
    assert_ne!(told, "2026-01-01T03:00:00Z");
    let _ = cluster.calls();
    cluster.reconciled().await;
    assert_eq!(cluster.calls(), SETTLED);
    assert_eq!(cluster.only("volumesnapshots/"), snapshot);
}

#[tokio::test]
async fn a_schedule_that_is_set_waits_for_its_time() {
    let cluster = running(json!({})).await;
    cluster.change(json!({"backup": {"schedule": SCHEDULE}}));
    let action = cluster.reconciled().await;
    assert_ne!(action, Action::await_change(), "no event tells when the time has come");
    let calls = cluster.calls();
    assert!(!calls.iter().any(|call| call.contains("volumesnapshots/")), "{calls:?}");
    cluster.reconciled().await;
    assert_eq!(cluster.calls(), SETTLED);
}

#[tokio::test]
async fn a_backup_that_fails_is_told_and_leaves_one_snapshot() {
    let cluster = due(json!({})).await;
    cluster.refuse(Refusal::once("APPLY volumesnapshots/", 403, "exceeded quota: team"));
    cluster.reconcile().await.unwrap_err();
    assert_eq!(cluster.reason("StorageReady"), "SnapshotFailed");
    assert_eq!(cluster.status()["phase"], "Running", "the desktop goes on");
    cluster.reconciled().await;
    let snapshot = cluster.only("volumesnapshots/");
    cluster.merge(&snapshot, json!({"status": {"error": {"message": "no space"}}}));
    cluster.reconciled().await;
    assert!(
        cluster.message("StorageReady").contains("no space"),
        "{}",
        cluster.message("StorageReady")
    );
    let _ = cluster.calls();
    cluster.reconciled().await;
    assert_eq!(cluster.calls(), SETTLED);
    assert_eq!(cluster.only("volumesnapshots/"), snapshot);
    cluster.merge(&snapshot, json!({"status": {"readyToUse": true}}));
    cluster.reconciled().await;
    assert_eq!(cluster.reason("StorageReady"), "Bound");
}

/// A deleted workspace without its Pod, as it was when it was deleted so long ago.
async fn deleted(reclaim: &str, deleted_at: &str) -> Cluster {
    let cluster = running(json!({"storage": {"reclaim": reclaim}, "backup": {"onDelete": true}})).await;
    let finalizers = cluster.get(WORKSPACE).unwrap()["metadata"]["finalizers"].clone();
    assert_eq!(finalizers, json!([FINALIZER]));
    let owners = cluster.get(HOME).unwrap()["metadata"]["ownerReferences"].clone();
    assert!(
        owners.is_null(),
        "a foreground deletion would take the home first: {owners}"
    );
    cluster.merge(WORKSPACE, json!({"metadata": {"deletionTimestamp": deleted_at}}));
    cluster.gone(POD);
    let _ = cluster.calls();
    cluster
}

#[tokio::test]
async fn a_backup_at_deletion_is_taken_before_the_home_goes_or_stays() {
    for (reclaim, stays) in [("Retain", true), ("Delete", false)] {
        let cluster = deleted(reclaim, &Timestamp::now().to_string()).await;
        let action = cluster.reconciled().await;
        assert_ne!(action, Action::await_change(), "the time is bounded");
        let snapshot = cluster.only("volumesnapshots/");
        assert_eq!(cluster.reason("StorageReady"), "TakingSnapshot");
        assert!(cluster.get(HOME).is_some());
        cluster.merge(&snapshot, json!({"status": {"readyToUse": true}}));
        cluster.reconciled().await;
        assert_eq!(cluster.get(HOME).is_some(), stays, "{reclaim}");
        assert_eq!(cluster.get(WORKSPACE), None, "{reclaim}");
    }
}

#[tokio::test]
async fn a_backup_at_deletion_that_fails_holds_the_workspace_for_a_while_and_leaves_its_home() {
    for reclaim in ["Retain", "Delete"] {
        let cluster = deleted(reclaim, &Timestamp::now().to_string()).await;
        cluster.refuse(Refusal::new("APPLY volumesnapshots/", 403, "exceeded quota: team"));
        cluster.reconcile().await.unwrap_err();
        assert_eq!(cluster.reason("StorageReady"), "SnapshotFailed");
        assert!(
            cluster.message("StorageReady").contains("After 10 minutes"),
            "{}",
            cluster.message("StorageReady")
        );
        assert!(cluster.get(WORKSPACE).is_some());

        let cluster = deleted(reclaim, "2026-01-01T00:00:00Z").await;
        cluster.refuse(Refusal::new("APPLY volumesnapshots/", 403, "exceeded quota: team"));
        cluster.reconciled().await;
        assert!(cluster.calls().contains(&"POST events".to_owned()), "it is told");
        assert!(cluster.get(HOME).is_some(), "{reclaim}: nothing is lost");
        assert_eq!(cluster.get(WORKSPACE), None);
    }
}

#[tokio::test]
async fn snapshots_that_are_not_listed_yet_are_neither_missed_nor_counted_nor_forgotten() {
    let mut cluster = due(json!({"keep": 1})).await;
    let snapshot = |minute: u8| {
        json!({
            "metadata": {
                "creationTimestamp": format!("2026-03-01T00:{minute:02}:00Z"),
                "labels": {"novasphere.io/owner-uid": "alice-1"},
            },
            "spec": {"source": {"persistentVolumeClaimName": "alice-home"}},
            "status": {"readyToUse": true},
        })
    };
    let entry = |name: &str, expires: Value| json!({"name": name, "createdAt": "2026-03-01T00:01:00Z", "readyToUse": true, "expiresAt": expires});
    let listed = json!([entry("new", json!(null)), entry("old", json!("2026-03-01T00:30:00Z"))]);
    cluster.merge(WORKSPACE, json!({"status": {"snapshots": listed}}));
    cluster.put("volumesnapshots/old", snapshot(1));
    // The list has shown one of the two.
    cluster.unseen("volumesnapshots/new", snapshot(2));
    cluster.context.apis = OptionalApis::unlisted([(VOLUME_SNAPSHOTS, "v1")].into());
    cluster.reconciled().await;
    let calls = cluster.calls();
    assert!(!calls.iter().any(|call| call.contains("volumesnapshots/")), "{calls:?}");
    let known = cluster.status()["snapshots"].clone();
    assert_eq!(known.as_array().unwrap().len(), 2, "{known}");
    assert_eq!(
        known[1]["expiresAt"], "2026-03-01T00:30:00Z",
        "what was announced stays"
    );
}
