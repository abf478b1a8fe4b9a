//! Homes that are there already.

use super::*;

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
