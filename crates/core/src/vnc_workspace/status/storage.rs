//! `StorageReady`.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use novasphere_crd::condition as types;

use super::{
    super::{
        failure,
        reason::StorageReason,
        references::home_of,
        snapshots::{PendingSnapshot, SnapshotProgress, SnapshotTrigger},
        validate::Part,
    },
    Observed,
};
use crate::{child::ChildOutcome, condition::NewCondition};

pub(super) fn storage(observed: &Observed<'_>) -> NewCondition {
    let type_ = types::STORAGE_READY;
    if let Some(finding) = observed.applied.snapshot.as_ref().and_then(waited_for) {
        return finding;
    }
    if let ChildOutcome::Failed(failure) = &observed.applied.home {
        let (reason, message) = failure::of_home_write(&home_of(observed.workspace), failure, observed.references);
        return NewCondition::new_false(type_, reason, message);
    }
    if observed.workspace.metadata.deletion_timestamp.is_some() {
        return deleting(observed);
    }
    let valid = match observed.validated {
        Err(error) if error.part() == Part::Storage => {
            return NewCondition::new_false(type_, StorageReason::InvalidSpec, error.to_string());
        }
        Err(_) => {
            return NewCondition::new_unknown(
                type_,
                StorageReason::NotChecked,
                "The home was left as it is, because another part of the spec is invalid.",
            );
        }
        Ok(valid) => valid,
    };
    match &observed.applied.home {
        ChildOutcome::NotTried | ChildOutcome::Failed(_) => {
            NewCondition::new_unknown(type_, StorageReason::ApiUnavailable, "The home was not checked yet.")
        }
        ChildOutcome::Applied(claim) => match failure::of_home(claim, &valid.home, observed.references) {
            Some((reason, message)) => NewCondition::new_false(type_, reason, message),
            None => resizing(claim)
                .unwrap_or_else(|| NewCondition::new_true(type_, StorageReason::Bound, "The home is there.")),
        },
    }
}

/// What is said while the workspace goes and its home is not the matter.
fn deleting(observed: &Observed<'_>) -> NewCondition {
    let type_ = types::STORAGE_READY;
    let phase = |claim: &PersistentVolumeClaim| claim.status.as_ref()?.phase.clone();
    match &observed.applied.home {
        ChildOutcome::Applied(claim) if phase(claim).as_deref() == Some("Bound") => {
            NewCondition::new_true(type_, StorageReason::Bound, "The home is there.")
        }
        _ => NewCondition::new_unknown(
            type_,
            StorageReason::NotChecked,
            "The workspace is being deleted, and has no home that holds anything.",
        ),
    }
}

/// What is said of a snapshot that is not there yet.
fn waited_for(taking: &PendingSnapshot) -> Option<NewCondition> {
    let why = match taking.trigger {
        SnapshotTrigger::Hibernation => "because the desktop went to sleep",
        SnapshotTrigger::Expiry => "because the workspace's time is over",
        SnapshotTrigger::Deletion => "before the home is deleted",
        SnapshotTrigger::BackupOnDelete => "because the workspace is deleted",
        SnapshotTrigger::Schedule => "by spec.backup.schedule",
    };
    let name = &taking.name;
    let (reason, message) = match &taking.progress {
        SnapshotProgress::Ready => return None,
        SnapshotProgress::Missing | SnapshotProgress::Underway => (
            StorageReason::TakingSnapshot,
            format!("A snapshot is being taken {why}."),
        ),
        SnapshotProgress::Unlisted => (
            StorageReason::TakingSnapshot,
            format!("A snapshot is taken {why}, as soon as the snapshots of the cluster have been listed."),
        ),
        SnapshotProgress::Ending => (
            StorageReason::TakingSnapshot,
            format!(
                "A snapshot is taken {why}, as soon as the VolumeSnapshot {name}, which is being deleted, has gone."
            ),
        ),
        SnapshotProgress::Refused(said) => (
            StorageReason::SnapshotFailed,
            format!(
                "The snapshot that is taken {why} cannot be made, and the home is kept: {said}. It is tried again. {}",
                without(taking.trigger)
            ),
        ),
        SnapshotProgress::Failed(said) => (
            StorageReason::SnapshotFailed,
            format!(
                "The snapshot that is taken {why} failed, and the home is kept: {said}. The driver tries again; see `kubectl describe \
                 volumesnapshot {name}`. After a change of spec.backup.volumeSnapshotClassName, delete that VolumeSnapshot: another one \
                 is taken. {}",
                without(taking.trigger)
            ),
        ),
    };
    Some(NewCondition::new_false(types::STORAGE_READY, reason, message))
}

/// What to do to go on without a snapshot.
const fn without(trigger: SnapshotTrigger) -> &'static str {
    match trigger {
        SnapshotTrigger::Hibernation => {
            "The desktop wakes all the same; to take none when it sleeps, set spec.backup.onHibernate to false."
        }
        SnapshotTrigger::Expiry => {
            "To go on working, move the end of its time on. To end without a snapshot, set spec.backup.onExpire to false and \
             spec.storage.reclaim to Retain, which keeps the home."
        }
        SnapshotTrigger::Deletion => {
            "To end without a snapshot, set spec.storage.reclaim to Retain, which keeps the home, or to Delete, which gives it up."
        }
        SnapshotTrigger::BackupOnDelete => {
            "After 10 minutes the workspace goes without it, and the home is kept. To end at once, set spec.backup.onDelete to false; \
             spec.storage.reclaim then says what becomes of the home."
        }
        SnapshotTrigger::Schedule => {
            "The desktop goes on, and the next one is taken when this one is ready; to take none, remove spec.backup.schedule."
        }
    }
}

/// A volume that grows is of use meanwhile.
fn resizing(claim: &PersistentVolumeClaim) -> Option<NewCondition> {
    let mut all = claim
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let pending = all.find(|condition| condition.type_ == "FileSystemResizePending" && condition.status == "True")?;
    let _ = pending;
    Some(NewCondition::new_true(
        types::STORAGE_READY,
        StorageReason::Resizing,
        "The volume has grown; its file system grows when the desktop next starts.",
    ))
}

/// A home that comes by itself.
pub(in super::super) fn is_on_its_way(reason: &str) -> bool {
    [StorageReason::WaitingForPod, StorageReason::Provisioning]
        .iter()
        .any(|on_its_way| <&str>::from(on_its_way) == reason)
}
