//! Secrets: the workspace's own, and what its Pod may mount.

use super::*;

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
