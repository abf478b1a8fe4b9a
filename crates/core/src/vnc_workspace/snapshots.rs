//! Which snapshots of a home are taken, waited for and removed.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::PersistentVolumeClaim, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::ResourceExt as _;
use novasphere_crd::{SnapshotStatus, VncWorkspace};
use novasphere_foreign::volume_snapshot::{VolumeSnapshot, VolumeSnapshotSource, VolumeSnapshotSpec};

use super::{
    KEY_WORKSPACE,
    expiry::asked_end,
    lifecycle::Sleep,
    plan::is_own,
    references::{References, SnapshotApi, home_of},
    validate::snapshot_policy,
};
use crate::{
    label::{Component, Owner},
    name,
    time::{after, whole_second},
};

/// How a snapshot stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotProgress {
    /// It has to be made.
    Missing,
    /// One of its name is being deleted; it can be made when that has gone.
    Ending,
    /// Whether there is one of its name is not known, because the snapshots of the cluster have not been listed yet.
    Unlisted,
    /// The driver is at it.
    Underway,
    /// It could not be asked for, for this reason.
    Refused(String),
    /// The driver failed, in its own words. It tries again by itself.
    Failed(String),
    /// A home can be restored from it.
    Ready,
}

/// What a snapshot is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SnapshotTrigger {
    /// The desktop went to sleep; its home stays.
    Hibernation,
    /// The workspace's time is over.
    Expiry,
    /// The workspace is being deleted, and its home goes when the snapshot is ready.
    Deletion,
    /// The workspace is being deleted, and `backup.onDelete` asks for one.
    BackupOnDelete,
    /// A time of `backup.schedule` has come; the home stays.
    Schedule,
}

/// A snapshot that is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingSnapshot {
    /// Its name.
    pub name: String,
    /// What for.
    pub trigger: SnapshotTrigger,
    /// How it stands.
    pub progress: SnapshotProgress,
}

/// The end of a workspace's time, once that has passed. A workspace that is being deleted stays what it was when that was asked for.
#[must_use]
pub fn ended(workspace: &VncWorkspace, now: Timestamp) -> Option<Timestamp> {
    let asked = workspace.metadata.deletion_timestamp.as_ref();
    asked_end(workspace).filter(|ends_at| *ends_at <= asked.map_or(now, |asked| asked.0))
}

/// The name of the snapshot that is taken of a home before it goes. It is the same whether time or a person ends the workspace, so that
/// one is enough; it is another one when the time was moved on in between, because the desktop was used again.
#[must_use]
pub fn last_name(owner: &Owner, ended: Option<Timestamp>) -> String {
    let ended = ended.map(|ended| ended.to_string());
    let mut parts = vec![owner.name.as_str(), "last", &owner.uid];
    parts.extend(ended.as_deref());
    name::hashed(&parts).to_string()
}

/// The name of the snapshot that is taken at a hibernation.
#[must_use]
pub fn hibernation_name(owner: &Owner, sleep: Sleep) -> String {
    let since = sleep.since.as_second().to_string();
    name::hashed(&[&owner.name, "hibernation", &owner.uid, &since]).to_string()
}

/// The name of the snapshot that is taken at a time of the schedule.
#[must_use]
pub fn scheduled_name(owner: &Owner, due: Timestamp) -> String {
    let due = due.as_second().to_string();
    name::hashed(&[&owner.name, "backup", &owner.uid, &due]).to_string()
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

/// Whether a snapshot was taken for a workspace, of its home. Users who may write snapshots can give one the labels of ours, and one that is
/// counted lets others go.
#[must_use]
pub fn is_of_home(workspace: &VncWorkspace, snapshot: &VolumeSnapshot) -> bool {
    let spec = snapshot.spec.as_ref();
    let claim = spec.and_then(|spec| spec.source.persistent_volume_claim_name.as_deref());
    claim == Some(home_of(workspace).as_str())
        && snapshot.metadata.namespace == workspace.metadata.namespace
        && is_own(workspace, &snapshot.metadata)
}

/// How the snapshot of a name stands.
#[must_use]
pub fn progress(snapshots: &[Arc<VolumeSnapshot>], name: &str) -> SnapshotProgress {
    let Some(snapshot) = snapshots.iter().find(|snapshot| snapshot.name_any() == name) else {
        return SnapshotProgress::Missing;
    };
    if snapshot.metadata.deletion_timestamp.is_some() {
        return SnapshotProgress::Ending;
    }
    if snapshot.is_ready() {
        return SnapshotProgress::Ready;
    }
    match snapshot.error() {
        Some(error) => SnapshotProgress::Failed(error.to_owned()),
        None => SnapshotProgress::Underway,
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

/// The snapshots beyond the newest `keep`; none without a limit. Only those that are ready and stay count, so that none
/// goes before a newer one can stand for it.
#[must_use]
pub fn expired_snapshots(snapshots: &[Arc<VolumeSnapshot>], keep: Option<usize>) -> Vec<Arc<VolumeSnapshot>> {
    let Some(keep) = keep else { return Vec::new() };
    let mut ready: Vec<_> = snapshots
        .iter()
        .filter(|snapshot| snapshot.is_ready() && snapshot.metadata.deletion_timestamp.is_none())
        .cloned()
        .collect();
    ready.sort_by_key(|snapshot| std::cmp::Reverse(taken_at(snapshot)));
    ready.into_iter().skip(keep).collect()
}

/// When each of the snapshots beyond those that are kept goes. Where a newer one has become ready the oldest goes at once; where the spec
/// keeps fewer than before they are announced in the status first, so that the change can be taken back.
#[must_use]
pub fn expiries(
    workspace: &VncWorkspace,
    references: &References,
    now: Timestamp,
) -> Vec<(Arc<VolumeSnapshot>, Timestamp)> {
    if references.snapshot_api != SnapshotApi::Listed {
        return Vec::new();
    }
    let expired = expired_snapshots(&references.snapshots, snapshot_policy(&workspace.spec).keep);
    let listed = workspace
        .status
        .as_ref()
        .map(|status| status.snapshots.as_slice())
        .unwrap_or_default();
    let told = |snapshot: &VolumeSnapshot| {
        let entry = listed.iter().find(|entry| entry.name == snapshot.name_any())?;
        Some(entry.expires_at.as_ref()?.0)
    };
    let untold = expired.iter().filter(|snapshot| told(snapshot).is_none()).count();
    let is_replaced = untold <= newly_ready(&references.snapshots, listed);
    let soon = whole_second(after(now, references.settings.expiry_notice));
    let at = |snapshot: &VolumeSnapshot| told(snapshot).unwrap_or(if is_replaced { now } else { soon });
    expired
        .into_iter()
        .map(|snapshot| (Arc::clone(&snapshot), at(&snapshot)))
        .collect()
}

/// How many snapshots are ready that the status does not list as such. It lists the newest.
fn newly_ready(snapshots: &[Arc<VolumeSnapshot>], listed: &[SnapshotStatus]) -> usize {
    let oldest = listed.iter().map(|entry| entry.created_at.0).min();
    let is_new = |snapshot: &VolumeSnapshot| match listed.iter().find(|entry| entry.name == snapshot.name_any()) {
        Some(entry) => !entry.ready_to_use,
        None => taken_at(snapshot).map(whole_second) >= oldest,
    };
    let ready = snapshots.iter().filter(|snapshot| snapshot.is_ready());
    ready.filter(|snapshot| is_new(snapshot)).count()
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
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use novasphere_crd::VncWorkspaceStatus;
    use serde_json::json;

    use super::{
        super::samples::{at, references, workspace},
        *,
    };

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
            expired_snapshots(&all, keep)
                .iter()
                .map(|snapshot| snapshot.name_any())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(Some(3)), Vec::<String>::new());
        assert_eq!(names(Some(2)), ["a"]);
        assert_eq!(names(Some(1)), ["b", "a"]);
        assert_eq!(names(None), Vec::<String>::new(), "nobody asks for fewer");
        let all = [all[0].clone(), all[1].clone(), going(&all[2])];
        assert_eq!(
            expired_snapshots(&all, Some(2)),
            Vec::new(),
            "one that goes stands for none"
        );
    }

    /// What goes at once, and what in how many seconds, of four snapshots of which the status lists `listed` as ready.
    fn expiring(keep: u8, listed: &[&str], told: &[(&str, i64)], second: i64) -> Vec<(String, i64)> {
        let ready = json!({"readyToUse": true});
        let names = ["a", "b", "c", "d"];
        let mut workspace = workspace(&json!({"backup": {"keep": keep}}));
        let entry = |name: &&str| {
            let told = told.iter().find(|(told, _)| told == name);
            let expires = told.map(|(_, second)| at(*second).to_string());
            let entry =
                json!({"name": name, "createdAt": "2026-03-01T00:00:00Z", "readyToUse": true, "expiresAt": expires});
            serde_json::from_value(entry).unwrap()
        };
        workspace.status = Some(VncWorkspaceStatus {
            observed_generation: Some(1),
            snapshots: listed.iter().map(entry).collect(),
            ..VncWorkspaceStatus::default()
        });
        let references = References {
            snapshots: (1..)
                .zip(names)
                .map(|(minute, name)| snapshot(name, minute, &ready))
                .collect(),
            ..references()
        };
        let all = expiries(&workspace, &references, at(second)).into_iter();
        all.map(|(snapshot, time)| (snapshot.name_any(), time.as_second() - at(0).as_second()))
            .collect()
    }

    #[test]
    fn fewer_that_are_kept_are_announced_and_older_ones_are_replaced() {
        let all = ["a", "b", "c", "d"];
        let expected = |expiring: &[(&str, i64)]| -> Vec<(String, i64)> {
            expiring
                .iter()
                .map(|(name, second)| ((*name).to_owned(), *second))
                .collect()
        };
        assert_eq!(expiring(4, &all, &[], 0), expected(&[]));
        assert_eq!(
            expiring(3, &all[..3], &[], 5),
            expected(&[("a", 5)]),
            "a newer one has become ready"
        );
        assert_eq!(
            expiring(2, &all, &[], 5),
            expected(&[("b", 305), ("a", 305)]),
            "fewer are kept"
        );
        assert_eq!(
            expiring(2, &all, &[("a", 305), ("b", 305)], 200),
            expected(&[("b", 305), ("a", 305)])
        );
        assert_eq!(
            expiring(1, &all, &[("a", 305)], 200),
            expected(&[("c", 500), ("b", 500), ("a", 305)])
        );
        assert_eq!(
            expiring(1, &all[..3], &[], 5),
            expected(&[("c", 305), ("b", 305), ("a", 305)]),
            "one new, three go"
        );
    }

    fn going(snapshot: &VolumeSnapshot) -> Arc<VolumeSnapshot> {
        let mut snapshot = snapshot.clone();
        snapshot.metadata.deletion_timestamp = Some(Time(at(0)));
        Arc::new(snapshot)
    }

    #[test]
    fn only_a_snapshot_of_this_home_counts() {
        let alice = workspace(&json!({}));
        let of = |namespace: &str, uid: &str, source: serde_json::Value| {
            let labels = json!({"novasphere.io/owner-uid": uid});
            let object = json!({
                "metadata": {"name": "s", "namespace": namespace, "labels": labels}, "spec": {"source": source},
            });
            is_of_home(&alice, &serde_json::from_value(object).unwrap())
        };
        let claim = |name: &str| json!({"persistentVolumeClaimName": name});
        assert!(of("team", "alice-1", claim("alice-home")));
        assert!(!of("other", "alice-1", claim("alice-home")), "of another namespace");
        assert!(!of("team", "bob-1", claim("alice-home")), "for somebody else");
        assert!(!of("team", "alice-1", claim("small")), "of another claim");
        assert!(
            !of("team", "alice-1", json!({"volumeSnapshotContentName": "c"})),
            "of no claim"
        );
    }

    #[test]
    fn a_last_snapshot_is_of_one_end_alone() {
        let name = |lifecycle: &serde_json::Value, second, deleted: Option<i64>| {
            let mut workspace = workspace(&json!({ "lifecycle": lifecycle }));
            workspace.metadata.deletion_timestamp = deleted.map(|second| Time(at(second)));
            let owner = Owner::of(&workspace).unwrap();
            last_name(&owner, ended(&workspace, at(second)))
        };
        let until = |second| json!({"expiresAt": at(second).to_string()});
        let first = name(&until(10), 10, None);
        assert_eq!(first, name(&until(10), 500, None), "as long as it takes");
        assert_eq!(first, name(&until(10), 500, Some(500)), "then it is deleted");
        let moved_on = name(&until(1000), 1000, None);
        assert_ne!(first, moved_on, "the desktop was used in between");
        let deleted = name(&until(1000), 20, Some(20));
        assert_ne!(first, deleted, "deleted before its new time is over");
        assert_eq!(deleted, name(&until(1000), 2000, Some(20)), "its time passes meanwhile");
        assert_eq!(deleted, name(&json!({}), 20, Some(20)));
        assert_eq!(name(&json!({"maxLifetime": "10s"}), 10, None), first);
        assert!(first.len() <= name::LABEL_LENGTH_LIMIT, "{first}");
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
        assert_eq!(progress(&all, "missing"), SnapshotProgress::Missing);
        assert_eq!(progress(&all, "failed"), SnapshotProgress::Failed("no space".into()));
        assert_eq!(progress(&all, "new"), SnapshotProgress::Underway);
        assert_eq!(progress(&all, "ready"), SnapshotProgress::Ready);
        assert_eq!(progress(&[going(&all[2])], "ready"), SnapshotProgress::Ending);
    }
}
