//! `StorageReady`.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use novasphere_crd::condition as types;

use super::{
    super::{failure, reason::StorageReason, snapshots::Progress, validate::Part},
    Observed,
};
use crate::condition::Finding;

pub(super) fn storage(observed: &Observed<'_>) -> Finding {
    let type_ = types::STORAGE_READY;
    let (valid, _) = match observed.validated {
        Err(error) if error.part() == Part::Storage => {
            return Finding::fails(type_, StorageReason::InvalidSpec, error.to_string());
        }
        Err(_) => {
            return Finding::unknown(
                type_,
                StorageReason::NotChecked,
                "Nothing was done, because another part of the spec is invalid.",
            );
        }
        Ok(valid) => valid,
    };
    if let Some((progress, why)) = &observed.applied.snapshot {
        match progress {
            Progress::Ready => {}
            Progress::Failed(said) => {
                return Finding::fails(
                    type_,
                    StorageReason::SnapshotFailed,
                    format!(
                        "The snapshot that is taken {why} failed, and the home is kept: {said}. The driver tries again; see \
                         `kubectl describe volumesnapshots`. To give the home up, set spec.storage.reclaim to Delete."
                    ),
                );
            }
            Progress::Missing | Progress::Underway => {
                return Finding::fails(
                    type_,
                    StorageReason::TakingSnapshot,
                    format!("A snapshot is being taken {why}."),
                );
            }
        }
    }
    match &observed.applied.home {
        None => Finding::unknown(type_, StorageReason::ApiUnavailable, "The home was not looked at yet."),
        Some(Err(failure)) => {
            let (reason, message) = failure::of_home_write(&valid.home.name, failure);
            Finding::fails(type_, reason, message)
        }
        Some(Ok(claim)) => match failure::of_home(claim, &valid.home, observed.references) {
            Some((reason, message)) => Finding::fails(type_, reason, message),
            None => {
                resizing(claim).unwrap_or_else(|| Finding::holds(type_, StorageReason::Bound, "The home is there."))
            }
        },
    }
}

/// A volume that grows is of use meanwhile.
fn resizing(claim: &PersistentVolumeClaim) -> Option<Finding> {
    let mut all = claim
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let pending = all.find(|condition| condition.type_ == "FileSystemResizePending" && condition.status == "True")?;
    let _ = pending;
    Some(Finding::holds(
        types::STORAGE_READY,
        StorageReason::Resizing,
        "The volume has grown; its file system grows when the desktop next starts.",
    ))
}

/// A home that comes by itself.
pub(super) fn is_on_its_way(reason: &str) -> bool {
    [StorageReason::WaitingForPod, StorageReason::Provisioning]
        .iter()
        .any(|on_its_way| <&str>::from(on_its_way) == reason)
}
