//! Snapshots of the home: taken, checked in the cluster itself, and removed.

use std::sync::Arc;

use kube::{Api, ResourceExt};
use novasphere_core::{
    child::ChildOutcome,
    failure::FailureKind,
    vnc_workspace::{
        plan::SnapshotPlan,
        snapshots::{PendingSnapshot, SnapshotProgress, is_of_home, progress},
    },
};
use novasphere_foreign::volume_snapshot::VolumeSnapshot;
use novasphere_runtime::{apply::WriteError, lease::NotLeader};

use super::Reconciliation;
use crate::{children::Children, reconciler::ReconcileError};

/// Takes the snapshot for which a time of the schedule has come, and says how it stands.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(super) async fn take_by_schedule(
    of: Reconciliation<'_>,
    children: &mut Children<'_>,
    plan: &SnapshotPlan,
) -> Result<PendingSnapshot, NotLeader> {
    take(of, children, plan).await
}

/// What went wrong with a snapshot that nothing waits for.
pub(super) fn failed(taken: &PendingSnapshot) -> Option<PendingSnapshot> {
    let is_failure = matches!(
        taken.progress,
        SnapshotProgress::Failed(_) | SnapshotProgress::Refused(_)
    );
    is_failure.then(|| taken.clone())
}

/// Takes the snapshot of a hibernation, which nothing waits for. What is returned is what went wrong with it.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(super) async fn take_on_hibernate(
    of: Reconciliation<'_>,
    children: &mut Children<'_>,
    plan: &SnapshotPlan,
) -> Result<Option<PendingSnapshot>, NotLeader> {
    Ok(failed(&take(of, children, plan).await?))
}

/// Takes the snapshot after which the home may go, and says how it stands. It is ready only when the cluster itself says so: a watch
/// may lag behind its deletion.
///
/// # Errors
///
/// When the snapshot could not be read, or this process may not write any more.
pub(super) async fn take_and_verify(
    of: Reconciliation<'_>,
    children: &mut Children<'_>,
    plan: &SnapshotPlan,
) -> Result<PendingSnapshot, ReconcileError> {
    let mut taken = take(of, children, plan).await?;
    if plan.seen == SnapshotProgress::Ready {
        let namespace = plan.desired.namespace().unwrap_or_default();
        let snapshots: Api<VolumeSnapshot> = Api::namespaced(of.context.client.clone(), &namespace);
        let live = snapshots.get_opt(&taken.name).await.map_err(WriteError::from)?;
        let live = live.filter(|live| is_of_home(of.workspace, live));
        let live: Vec<_> = live.map(Arc::new).into_iter().collect();
        taken.progress = progress(&live, &taken.name);
        if taken.progress != SnapshotProgress::Ready {
            children.retry_because("WatchLags");
        }
    }
    Ok(taken)
}

/// Takes the snapshot when there is none yet.
async fn take(
    of: Reconciliation<'_>,
    children: &mut Children<'_>,
    plan: &SnapshotPlan,
) -> Result<PendingSnapshot, NotLeader> {
    let progress = if plan.seen == SnapshotProgress::Missing {
        let cache = &of.context.caches.volume_snapshots;
        match children.apply(&plan.desired, cache).await? {
            ChildOutcome::NotTried | ChildOutcome::Applied(_) => SnapshotProgress::Underway,
            // None can be taken any more, and the home goes with its namespace.
            ChildOutcome::Failed(failure) if failure.kind == FailureKind::NamespaceTerminating => {
                SnapshotProgress::Ready
            }
            ChildOutcome::Failed(failure) => SnapshotProgress::Refused(failure.message),
        }
    } else {
        plan.seen.clone()
    };
    Ok(PendingSnapshot {
        name: plan.desired.name_any(),
        trigger: plan.trigger,
        progress,
    })
}

/// Removes snapshots beyond those that are kept.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(super) async fn prune(
    of: Reconciliation<'_>,
    children: &mut Children<'_>,
    expired: &[Arc<VolumeSnapshot>],
) -> Result<(), NotLeader> {
    for snapshot in expired {
        match children.applier().delete(snapshot.as_ref()).await {
            Ok(_) => of.context.caches.volume_snapshots.deleted(snapshot),
            Err(error) => {
                children.record_failure(snapshot.as_ref(), &error)?;
            }
        }
    }
    Ok(())
}
