//! What happens to a home when its desktop sleeps, its time is over, or its workspace is deleted.
//!
//! Nothing is deleted before its snapshot is ready to use, and nothing of it is decided from a watch alone, which may lag.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{Api, ResourceExt};
use novasphere_core::{
    failure::FailureKind,
    label::Owner,
    vnc_workspace::{
        lifecycle::Sleep,
        references::home_of,
        snapshots::{
            PendingSnapshot, SnapshotProgress, SnapshotTrigger, build, ended, expired_snapshots, has_volume,
            hibernation_name, last_name, progress,
        },
        status::Applied,
        validate::{has_finalizer, snapshot_policy},
    },
};
use novasphere_crd::ReclaimPolicy;
use novasphere_foreign::volume_snapshot::VolumeSnapshot;
use novasphere_runtime::{apply::WriteError, lease::NotLeader};

use super::{
    Look,
    apply::end_pod,
    keep::{home, keep_home, set_finalizer},
};
use crate::{
    applying::{apply_one, refused},
    reconciler::ReconcileError,
};

/// Reads Pod and home from the cluster itself, before what cannot be taken back.
async fn look_again(look: &mut Look<'_>) -> Result<(), WriteError> {
    let (client, workspace) = (&look.context.client, look.workspace);
    let namespace = workspace.namespace().unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
    let (pod_name, home_name) = (workspace.name_any(), home_of(workspace));
    let (pod, home) = tokio::try_join!(pods.get_opt(&pod_name), claims.get_opt(&home_name))?;
    look.references.pod = pod.map(Arc::new);
    look.references.home = home.map(Arc::new);
    Ok(())
}

/// Ends the Pod; whether there is none any more, also for the cluster itself. Then the home is as the cluster has it, too.
async fn is_quiet(look: &mut Look<'_>) -> Result<bool, ReconcileError> {
    if !end_pod(look).await? {
        return Ok(false);
    }
    look_again(look).await?;
    Ok(end_pod(look).await?)
}

/// Takes the snapshot `name` of the home when there is none yet, and says how it stands.
async fn snapshot(
    look: &mut Look<'_>,
    owner: &Owner,
    name: &str,
    claim: &PersistentVolumeClaim,
) -> Result<SnapshotProgress, NotLeader> {
    if !look.references.snapshot_api {
        let missing =
            "the cluster does not serve snapshot.storage.k8s.io; install the snapshot-controller and its CRDs";
        return Ok(SnapshotProgress::Refused(missing.to_owned()));
    }
    let found = progress(&look.references.snapshots, name);
    if found != SnapshotProgress::Missing {
        return Ok(found);
    }
    let class = snapshot_policy(&look.workspace.spec).class;
    let desired = build(owner, name, &claim.name_any(), class.as_deref());
    let context = look.context;
    let cache = &context.caches.volume_snapshots;
    Ok(
        match apply_one(&context.applier, &desired, cache, &mut look.retry).await? {
            Ok(_) => SnapshotProgress::Underway,
            Err(failure) if failure.kind == FailureKind::NamespaceTerminating => SnapshotProgress::Ready,
            Err(failure) => SnapshotProgress::Refused(failure.message),
        },
    )
}

/// Takes a snapshot when the desktop has gone to sleep, if that is wanted.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(super) async fn save_at_hibernation(
    look: &mut Look<'_>,
    owner: &Owner,
    sleep: Sleep,
    applied: &mut Applied,
) -> Result<(), NotLeader> {
    let Some(claim) = home(look).filter(|claim| has_volume(claim)) else {
        return Ok(());
    };
    if !snapshot_policy(&look.workspace.spec).on_hibernate || applied.pod_is_ending {
        return Ok(());
    }
    let name = hibernation_name(owner, sleep);
    let progress = snapshot(look, owner, &name, &claim).await?;
    if matches!(progress, SnapshotProgress::Failed(_) | SnapshotProgress::Refused(_)) {
        applied.snapshot = Some(PendingSnapshot {
            name,
            trigger: SnapshotTrigger::Hibernation,
            progress,
        });
    }
    Ok(())
}

/// Whether the home is in a snapshot that was taken since the desktop ended, and that the cluster itself has.
async fn is_saved(
    look: &mut Look<'_>,
    owner: &Owner,
    claim: &PersistentVolumeClaim,
    trigger: SnapshotTrigger,
    applied: &mut Applied,
) -> Result<bool, ReconcileError> {
    let name = last_name(owner, ended(look.workspace, Timestamp::now()));
    let was_known = progress(&look.references.snapshots, &name) == SnapshotProgress::Ready;
    let mut found = snapshot(look, owner, &name, claim).await?;
    if was_known {
        let snapshots: Api<VolumeSnapshot> = Api::namespaced(look.context.client.clone(), &owner.namespace);
        let live = snapshots.get_opt(&name).await.map_err(WriteError::from)?;
        let live: Vec<_> = live.map(Arc::new).into_iter().collect();
        found = progress(&live, &name);
        if found != SnapshotProgress::Ready {
            look.retry = Some("WatchLags");
        }
    }
    let is_saved = found == SnapshotProgress::Ready;
    applied.snapshot = Some(PendingSnapshot {
        name,
        trigger,
        progress: found,
    });
    Ok(is_saved)
}

/// Whether it is not known what became of the home. That a home is refused is known: one that cannot grow is as good as before, and one
/// that belongs to somebody else is not at stake.
fn is_uncertain(applied: &Applied) -> bool {
    matches!(&applied.home, Some(Err(failure)) if failure.kind == FailureKind::Unavailable)
}

/// Ends a workspace whose time is over, once its home is saved as far as that is wanted. Whether it was deleted.
///
/// # Errors
///
/// When something could not be read or written.
pub(super) async fn expire(look: &mut Look<'_>, owner: &Owner, applied: &mut Applied) -> Result<bool, ReconcileError> {
    if applied.pod_is_ending || is_uncertain(applied) {
        return Ok(false);
    }
    if !is_quiet(look).await? {
        applied.pod_is_ending = true;
        return Ok(false);
    }
    // With a wrong owner reference the home would go although it is to stay.
    let mut again = Applied::default();
    keep_home(look, owner, &mut again).await?;
    if let Some(Err(failure)) = again.home {
        applied.home = Some(Err(failure));
        return Ok(false);
    }
    let spec = &look.workspace.spec;
    let is_wanted = snapshot_policy(spec).on_expire || spec.storage.reclaim == ReclaimPolicy::Snapshot;
    if is_wanted
        && let Some(claim) = home(look).filter(|claim| has_volume(claim))
        && !is_saved(look, owner, &claim, SnapshotTrigger::Expiry, applied).await?
    {
        return Ok(false);
    }
    // Somebody may just have moved its time on.
    look.context.applier.delete_unchanged(look.workspace).await?;
    Ok(true)
}

/// Ends a workspace that is being deleted. `None` when nothing is left to do: owner references take the rest with it.
///
/// # Errors
///
/// When something could not be read or written.
pub(super) async fn delete(look: &mut Look<'_>) -> Result<Option<Applied>, ReconcileError> {
    if !has_finalizer(look.workspace) {
        return Ok(None);
    }
    let Some(owner) = Owner::of(look.workspace) else {
        return Ok(None);
    };
    let mut applied = Applied {
        home: home(look).map(|claim| Ok(claim.as_ref().clone())),
        ..Applied::default()
    };
    if !is_quiet(look).await? {
        applied.pod_is_ending = true;
        return Ok(Some(applied));
    }
    if let Some(claim) = home(look) {
        let reclaim = look.workspace.spec.storage.reclaim;
        if reclaim == ReclaimPolicy::Snapshot
            && has_volume(&claim)
            && !is_saved(look, &owner, &claim, SnapshotTrigger::Deletion, &mut applied).await?
        {
            applied.home = Some(Ok(claim.as_ref().clone()));
            return Ok(Some(applied));
        }
        if reclaim != ReclaimPolicy::Retain {
            look.context.applier.delete_unchanged(claim.as_ref()).await?;
        }
    }
    set_finalizer(look, false).await?;
    Ok(None)
}

/// Removes snapshots beyond those that are kept.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(super) async fn prune_snapshots(look: &mut Look<'_>) -> Result<(), NotLeader> {
    for old in expired_snapshots(&look.references.snapshots, snapshot_policy(&look.workspace.spec).keep) {
        match look.context.applier.delete(old.as_ref()).await {
            Ok(_) => look.context.caches.volume_snapshots.deleted(&old),
            Err(error) => {
                refused(old.as_ref(), &error, &mut look.retry)?;
            }
        }
    }
    Ok(())
}
