//! Whole reconciles against an apiserver in memory: which requests are sent, and in which order.

#![allow(
    clippy::needless_pass_by_value,
    reason = "json!({..}) reads better than &json!({..}) in a table"
)]

mod apiserver;
mod backup;

use serde_json::{Value, json};

use self::apiserver::{Cluster, POD, Refusal, WORKSPACE};
use super::*;

const HOME: &str = "persistentvolumeclaims/alice-home";

/// What the making of a workspace that nothing is refused to sends.
const MADE: [&str; 8] = [
    "GET secrets/alice-credentials",
    "APPLY secrets/alice-credentials",
    "APPLY persistentvolumeclaims/alice-home",
    "APPLY networkpolicies/alice",
    "APPLY services/alice",
    "APPLY pods/alice",
    "APPLY vncworkspaces/alice/status",
    "POST events",
];

/// What is sent for a workspace that is as its spec wants it: one read.
const SETTLED: [&str; 1] = ["GET secrets/alice-credentials"];

fn without_events(calls: Vec<String>) -> Vec<String> {
    calls.into_iter().filter(|call| !call.ends_with(" events")).collect()
}

/// A workspace whose desktop runs and to which nothing is left to do.
async fn running(spec: Value) -> Cluster {
    let cluster = Cluster::new(spec);
    cluster.reconciled().await;
    cluster.runs();
    cluster.reconciled().await;
    assert_eq!(
        cluster.calls().last().map(String::as_str),
        Some("APPLY vncworkspaces/alice/status")
    );
    cluster.reconciled().await;
    assert_eq!(cluster.calls(), SETTLED);
    cluster
}

#[tokio::test]
async fn a_workspace_is_made_in_order_and_costs_nothing_then() {
    let cluster = Cluster::new(json!({}));
    cluster.reconciled().await;
    assert_eq!(
        without_events(cluster.calls()),
        without_events(MADE.map(str::to_owned).to_vec())
    );
    cluster.reconciled().await;
    let _ = cluster.calls();
    cluster.reconciled().await;
    assert_eq!(cluster.calls(), SETTLED);
}

#[tokio::test]
async fn the_finalizer_is_there_before_anything_that_it_guards() {
    let cluster = Cluster::new(json!({"storage": {"reclaim": "Snapshot"}}));
    cluster.reconciled().await;
    assert_eq!(
        cluster.calls()[..3],
        [
            "APPLY vncworkspaces/alice",
            "GET secrets/alice-credentials",
            "APPLY secrets/alice-credentials"
        ]
    );
    let home = cluster.get(HOME).unwrap();
    assert_eq!(
        home["metadata"].get("ownerReferences"),
        None,
        "it does not go with its workspace"
    );
    cluster.change(json!({"storage": {"reclaim": "Delete"}}));
    cluster.reconciled().await;
    let calls = cluster.calls();
    assert_eq!(calls[0], "JSON vncworkspaces/alice");
    assert!(calls.contains(&format!("APPLY {HOME}")), "{calls:?}");
    assert_eq!(
        cluster.get(HOME).unwrap()["metadata"]["ownerReferences"][0]["uid"],
        "alice-1"
    );
}

#[tokio::test]
async fn nothing_is_made_while_the_finalizer_is_refused() {
    let cluster = Cluster::new(json!({"storage": {"reclaim": "Snapshot"}}));
    cluster.refuse(Refusal::new("APPLY vncworkspaces/alice", 403, "not allowed"));
    let failed = cluster.reconcile().await.unwrap_err();
    assert!(matches!(failed, ReconcileError::Object(_)), "{failed}");
    assert_eq!(cluster.calls(), ["APPLY vncworkspaces/alice"]);
}

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

const ASLEEP: &str = "Hibernated";

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

#[tokio::test]
async fn a_home_of_the_same_name_that_was_kept_is_recognised_and_left_alone() {
    let kept =
        json!({"metadata": {"labels": {"novasphere.io/owner-uid": "alice-0", "novasphere.io/workspace": "alice"}}});
    for (claim, is_ours, says) in [
        (
            kept,
            true,
            "is the home of an earlier workspace alice, kept when that was deleted. To go on with it",
        ),
        (json!({"metadata": {}}), false, "that novasphere did not make"),
    ] {
        let cluster = Cluster::new(json!({"storage": {"reclaim": "Delete"}}));
        if is_ours {
            cluster.put(HOME, claim);
        } else {
            cluster.unseen(HOME, claim);
        }
        let before = cluster.get(HOME);
        cluster.reconcile().await.unwrap_err();
        assert_eq!(cluster.reason("StorageReady"), "HomeTaken");
        assert_eq!(cluster.reason("PodReady"), "HomeNotReady");
        assert_eq!(cluster.status()["phase"], "Failed");
        let message = cluster.message("StorageReady");
        assert!(message.contains(says), "{message}");
        assert_eq!(cluster.get(HOME), before);
        assert_eq!(cluster.get(POD), None);
    }
}

#[tokio::test]
async fn a_home_that_was_left_is_taken_over_at_the_version_that_was_seen_and_grows() {
    let cluster = Cluster::new(json!({"storage": {
        "size": "20Gi", "restoreFrom": {"persistentVolumeClaimName": "bob-home"},
    }}));
    let home = "persistentvolumeclaims/bob-home";
    cluster.put(
        home,
        json!({
            "metadata": {"labels": {"novasphere.io/owner-uid": "bob-1", "novasphere.io/workspace": "bob"}},
            "spec": {"resources": {"requests": {"storage": "10Gi"}}, "volumeName": "v"},
            "status": {"phase": "Bound"},
        }),
    );
    cluster.reconciled().await;
    assert_eq!(
        cluster.calls()[..5],
        [
            // Whether its former workspace is there, which the cache may not be able to read.
            "GET vncworkspaces/bob",
            "GET secrets/alice-credentials",
            "APPLY secrets/alice-credentials",
            &format!("MERGE {home}"),
            &format!("MERGE {home}"),
        ]
    );
    let live = cluster.get(home).unwrap();
    assert_eq!(live["metadata"]["labels"]["novasphere.io/owner-uid"], "alice-1");
    assert_eq!(live["spec"]["resources"]["requests"]["storage"], "20Gi");
}

#[tokio::test]
async fn a_home_is_not_asked_to_grow_when_no_size_is_given() {
    let left = |size: &str, owner: &str| {
        json!({
            "metadata": {"labels": {"novasphere.io/owner-uid": format!("{owner}-1"), "novasphere.io/workspace": owner}},
            "spec": {"resources": {"requests": {"storage": size}}, "volumeName": "v"},
            "status": {"phase": "Bound"},
        })
    };
    let cluster = Cluster::new(json!({"storage": {"restoreFrom": {"persistentVolumeClaimName": "bob-home"}}}));
    let home = "persistentvolumeclaims/bob-home";
    cluster.put(home, left("2Gi", "bob"));
    cluster.reconciled().await;
    let merges = cluster.calls().iter().filter(|call| call.starts_with("MERGE")).count();
    assert_eq!(merges, 1, "it is taken over, and nothing else");
    assert_eq!(
        cluster.get(home).unwrap()["spec"]["resources"]["requests"]["storage"],
        "2Gi"
    );

    let cluster = running(json!({})).await;
    let made = cluster.get(HOME).unwrap();
    assert_eq!(
        made["spec"]["resources"]["requests"]["storage"], "10Gi",
        "a new one has the default"
    );
    // Somebody let it grow by hand.
    cluster.merge(HOME, json!({"spec": {"resources": {"requests": {"storage": "30Gi"}}}}));
    cluster.reconciled().await;
    let _ = cluster.calls();
    cluster.reconciled().await;
    assert_eq!(cluster.calls(), SETTLED);
    assert_eq!(
        cluster.get(HOME).unwrap()["spec"]["resources"]["requests"]["storage"],
        "30Gi"
    );
}

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

#[tokio::test]
async fn credentials_are_made_again_when_a_person_asks() {
    let cluster = running(json!({})).await;
    cluster.merge(
        WORKSPACE,
        json!({"metadata": {"annotations": {"novasphere.io/rotate-credentials": "2"}}}),
    );
    cluster.reconciled().await;
    let calls = cluster.calls();
    assert_eq!(
        calls[..2],
        ["GET secrets/alice-credentials", "APPLY secrets/alice-credentials"]
    );
    cluster.reconciled().await;
    assert!(!cluster.calls().contains(&"APPLY secrets/alice-credentials".to_owned()));
}

#[tokio::test]
async fn only_metadata_of_a_named_secret_is_read() {
    let cluster = Cluster::new(json!({"podOverrides": {"spec": {"volumes": [
        {"name": "v", "secret": {"secretName": "theirs"}},
    ]}}}));
    cluster.put(
        "secrets/theirs",
        json!({"metadata": {"labels": {"novasphere.io/shared-with-desktops": "true"}}}),
    );
    cluster.reconciled().await;
    assert_eq!(
        cluster.calls()[..2],
        ["GET secrets/theirs", "GET secrets/alice-credentials"]
    );
}

#[tokio::test]
async fn a_claim_is_mounted_when_its_label_says_so_and_a_home_of_another_never() {
    let theirs = "persistentvolumeclaims/theirs";
    let spec = json!({"podOverrides": {"spec": {"volumes": [
        {"name": "v", "persistentVolumeClaim": {"claimName": "theirs"}},
    ]}}});
    let labelled = |value: &str| json!({"metadata": {"labels": {"novasphere.io/shared-with-desktops": value}}});
    for (claim, is_home, says) in [
        (None, false, "there is no PersistentVolumeClaim theirs"),
        (Some("false"), false, "may not mount the PersistentVolumeClaim theirs"),
        (Some("true"), true, "is the home of another workspace"),
        (Some("true"), false, ""),
    ] {
        let cluster = Cluster::new(spec.clone());
        match claim.map(labelled) {
            Some(claim) if is_home => cluster.put(theirs, claim),
            Some(claim) => cluster.unseen(theirs, claim),
            None => {}
        }
        cluster.reconciled().await;
        let is_read = cluster.calls()[0] == format!("GET {theirs}");
        assert_ne!(is_read, is_home, "a home needs no look at its label");
        let is_made = cluster.get(POD).is_some();
        assert_eq!(is_made, says.is_empty(), "{claim:?}");
        if !is_made {
            assert_eq!(cluster.reason("PodReady"), "InvalidSpec");
            let message = cluster.message("PodReady");
            assert!(message.contains(says), "{message}");
        }
    }
}

#[tokio::test]
async fn a_paused_workspace_stays_as_it_is_until_it_goes_on() {
    let cluster = running(json!({})).await;
    let annotated = |value: &str| json!({"metadata": {"annotations": {"novasphere.io/paused": value}}});
    cluster.merge(WORKSPACE, annotated("true"));
    cluster.reconciled().await;
    assert_eq!(without_events(cluster.calls()), ["APPLY vncworkspaces/alice/status"]);
    assert_eq!(cluster.reason("Paused"), "PausedByAnnotation");
    assert_eq!(cluster.reason("PodReady"), "Running", "what was known stays");
    cluster.change(json!({"lifecycle": {"state": "Hibernated"}}));
    cluster.reconciled().await;
    assert_eq!(cluster.calls(), [""; 0]);

    cluster.merge(WORKSPACE, annotated("false"));
    cluster.reconciled().await;
    let calls = cluster.calls();
    assert!(calls.contains(&"DELETE pods/alice".to_owned()), "{calls:?}");
    assert!(!cluster.status().to_string().contains("Paused"), "{}", cluster.status());
}
