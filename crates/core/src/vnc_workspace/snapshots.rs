//! Which snapshots of a home are taken, waited for and removed.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::PersistentVolumeClaim, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::ResourceExt as _;
use novasphere_foreign::volume_snapshot::{VolumeSnapshot, VolumeSnapshotSource, VolumeSnapshotSpec};

use super::{KEY_WORKSPACE, lifecycle::Sleep};
use crate::{
    label::{Component, Owner},
    name,
};

/// How a snapshot stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// It has to be made.
    Missing,
    /// The driver is at it.
    Underway,
    /// The driver failed, in its own words. It tries again by itself.
    Failed(String),
    /// A home can be restored from it.
    Ready,
}

/// The name of the snapshot that is taken of a home before it goes. It is the same whether time or a person ends the workspace, so that
/// one is enough.
#[must_use]
pub fn last_name(owner: &Owner) -> String {
    name::hashed(&[&owner.name, "last", &owner.uid]).to_string()
}

/// The name of the snapshot that is taken at a hibernation.
#[must_use]
pub fn hibernation_name(owner: &Owner, sleep: Sleep) -> String {
    let since = sleep.since.as_second().to_string();
    name::hashed(&[&owner.name, "hibernation", &owner.uid, &since]).to_string()
}

/// A snapshot of `claim`. It outlives its owner, so it has no owner reference.
#[must_use]
pub fn build(owner: &Owner, name: &str, claim: &str, class: Option<&str>) -> VolumeSnapshot {
    let mut labels = owner.labels(Component::Snapshot);
    labels.insert(KEY_WORKSPACE.to_owned(), owner.name.clone());
    VolumeSnapshot {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(owner.namespace.clone()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(VolumeSnapshotSpec {
            source: VolumeSnapshotSource {
                persistent_volume_claim_name: Some(claim.to_owned()),
            },
            volume_snapshot_class_name: class.map(str::to_owned),
        }),
        status: None,
    }
}

/// How the snapshot of a name stands.
#[must_use]
pub fn progress(snapshots: &[Arc<VolumeSnapshot>], name: &str) -> Progress {
    let Some(snapshot) = snapshots.iter().find(|snapshot| snapshot.name_any() == name) else {
        return Progress::Missing;
    };
    if snapshot.is_ready() {
        return Progress::Ready;
    }
    match snapshot.error() {
        Some(error) => Progress::Failed(error.to_owned()),
        None => Progress::Underway,
    }
}

/// Whether a claim holds anything: one that was never bound has no volume yet.
#[must_use]
pub fn has_volume(claim: &PersistentVolumeClaim) -> bool {
    claim
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_name.as_deref())
        .is_some_and(|volume| !volume.is_empty())
}

/// The snapshots beyond the newest `keep`. Only those that are ready count, so that none goes before a newer one can stand for it.
#[must_use]
pub fn surplus(snapshots: &[Arc<VolumeSnapshot>], keep: usize) -> Vec<Arc<VolumeSnapshot>> {
    let mut ready: Vec<_> = snapshots
        .iter()
        .filter(|snapshot| snapshot.is_ready())
        .cloned()
        .collect();
    ready.sort_by_key(|snapshot| std::cmp::Reverse(taken_at(snapshot)));
    ready
        .into_iter()
        .skip(keep)
        .filter(|snapshot| snapshot.metadata.deletion_timestamp.is_none())
        .collect()
}

/// When a snapshot was taken, or asked for.
#[must_use]
pub fn taken_at(snapshot: &VolumeSnapshot) -> Option<Timestamp> {
    let taken = snapshot
        .status
        .as_ref()
        .and_then(|status| status.creation_time.as_ref());
    taken
        .or(snapshot.metadata.creation_timestamp.as_ref())
        .map(|time| time.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn snapshot(name: &str, minute: u8, status: &serde_json::Value) -> Arc<VolumeSnapshot> {
        let object = json!({
            "metadata": {"name": name, "creationTimestamp": format!("2026-03-01T00:{minute:02}:00Z")},
            "status": status,
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn only_ready_snapshots_let_older_ones_go() {
        let ready = json!({"readyToUse": true});
        let all = [
            snapshot("a", 1, &ready),
            snapshot("b", 2, &ready),
            snapshot("c", 3, &ready),
            snapshot("d", 4, &json!({"readyToUse": false})),
        ];
        let names = |keep| {
            surplus(&all, keep)
                .iter()
                .map(|snapshot| snapshot.name_any())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(3), Vec::<String>::new());
        assert_eq!(names(2), ["a"]);
        assert_eq!(names(1), ["b", "a"]);
    }

    #[test]
    fn a_snapshot_stands_as_its_driver_says() {
        let failed = json!({"readyToUse": false, "error": {"message": "no space"}});
        let all = [
            snapshot("failed", 1, &failed),
            snapshot("new", 2, &json!(null)),
            // The error of an earlier try stays.
            snapshot(
                "ready",
                3,
                &json!({"readyToUse": true, "error": {"message": "no space"}}),
            ),
        ];
        assert_eq!(progress(&all, "missing"), Progress::Missing);
        assert_eq!(progress(&all, "failed"), Progress::Failed("no space".into()));
        assert_eq!(progress(&all, "new"), Progress::Underway);
        assert_eq!(progress(&all, "ready"), Progress::Ready);
    }
}
