//! The end of a workspace: its time is over, or it is deleted.
//!
//! Nothing is deleted before its snapshot is ready to use, and nothing of it is decided from a watch alone, which may lag.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{Api, Resource as _, ResourceExt};
use novasphere_core::{
    child::ChildOutcome,
    failure::{Failure, FailureKind},
    vnc_workspace::{
        FINALIZER,
        applied::{Applied, PodOutcome},
        deletion::{DeletionPlan, given_up},
        plan::{SnapshotPlan, is_own, own_home},
        references::home_of,
        snapshots::{PendingSnapshot, SnapshotProgress, has_volume},
    },
};
use novasphere_runtime::apply::WriteError;

use super::{Reconciliation, apply::delete_pod, reclaim, snapshots};
use crate::{children::Children, reconciler::ReconcileError, status::emit};

/// How far a workspace whose time is over has come.
pub(super) enum Expiry {
    /// It was deleted.
    Deleted,
    /// Something of it is not known or not gone yet, as its status says already.
    NotNow,
    /// Its Pod is ending.
    PodEnding,
    /// What should become of its home could not be written.
    HomeFailed(Failure),
    /// Its home is not saved yet.
    Saving(PendingSnapshot),
}

/// The home of a workspace without a Pod, both as the cluster itself has them.
struct AtRest {
    home: Option<PersistentVolumeClaim>,
}

/// Deletes the Pod. `Some` when there is none any more, for the cluster itself as well.
async fn pod_is_gone(of: Reconciliation<'_>, children: &mut Children<'_>) -> Result<Option<AtRest>, ReconcileError> {
    if let Some(pod) = of.own_pod() {
        delete_pod(children, pod).await?;
        return Ok(None);
    }
    let (client, workspace) = (&of.context.client, of.workspace);
    let namespace = workspace.namespace().unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
    let (pod_name, home_name) = (workspace.name_any(), home_of(workspace));
    let (pod, home) =
        tokio::try_join!(pods.get_opt(&pod_name), claims.get_opt(&home_name)).map_err(WriteError::from)?;
    if let Some(pod) = pod.filter(|pod| is_own(workspace, &pod.metadata)) {
        delete_pod(children, &pod).await?;
        return Ok(None);
    }
    Ok(Some(AtRest {
        home: home.filter(|home| is_own(workspace, &home.metadata)),
    }))
}

/// Whether it is not known what became of the home. That a home is refused is known: one that cannot grow is as good as before, and one
/// that belongs to somebody else is not at stake.
fn home_is_unknown(applied: &Applied) -> bool {
    let failure = applied.home.failure();
    failure.is_some_and(|failure| failure.kind == FailureKind::Unavailable)
}

/// Deletes a workspace whose time is over, once its home is saved as far as that is wanted.
///
/// # Errors
///
/// When something could not be read or written.
pub(super) async fn expire(
    of: Reconciliation<'_>,
    children: &mut Children<'_>,
    snapshot: Option<&SnapshotPlan>,
    applied: &Applied,
) -> Result<Expiry, ReconcileError> {
    if matches!(applied.pod, PodOutcome::Ending) || home_is_unknown(applied) {
        return Ok(Expiry::NotNow);
    }
    let Some(AtRest { home }) = pod_is_gone(of, children).await? else {
        return Ok(Expiry::PodEnding);
    };
    if let Some(home) = &home {
        // With a wrong owner reference the home would go although it is to stay.
        let synced = reclaim::sync_owner_of(of, children, home).await?;
        if let ChildOutcome::Failed(failure) = synced {
            return Ok(Expiry::HomeFailed(failure));
        }
    }
    if let (Some(snapshot), Some(_)) = (snapshot, home.as_ref().filter(|home| has_volume(home))) {
        let taken = snapshots::take_and_verify(of, children, snapshot).await?;
        if taken.progress != SnapshotProgress::Ready {
            return Ok(Expiry::Saving(taken));
        }
    }
    // Somebody may just have moved its end on.
    children.applier().delete_unchanged(of.workspace).await?;
    Ok(Expiry::Deleted)
}

/// Ends a workspace that is being deleted. `None` when nothing is left to do: owner references take the rest with it.
///
/// # Errors
///
/// When something could not be read or written.
pub(super) async fn delete(
    of: Reconciliation<'_>,
    children: &mut Children<'_>,
    plan: &DeletionPlan,
    now: Timestamp,
) -> Result<Option<Applied>, ReconcileError> {
    let Some(AtRest { home }) = pod_is_gone(of, children).await? else {
        let seen = own_home(of.workspace, of.references).cloned();
        return Ok(Some(Applied {
            home: seen.map_or(ChildOutcome::NotTried, ChildOutcome::Applied),
            pod: PodOutcome::Ending,
            ..Applied::default()
        }));
    };
    if let Some(home) = home {
        let mut is_saved = true;
        if let Some(snapshot) = plan.snapshot.as_ref().filter(|_| has_volume(&home)) {
            let taken = snapshots::take_and_verify(of, children, snapshot).await?;
            is_saved = taken.progress == SnapshotProgress::Ready;
            if !is_saved && !plan.gives_up(&taken, now) {
                return Ok(Some(Applied {
                    home: ChildOutcome::Applied(home),
                    snapshot: Some(taken),
                    ..Applied::default()
                }));
            }
            if !is_saved {
                let told = given_up(&taken, &home.name_any());
                emit(&of.context.reporter, &of.workspace.object_ref(&()), vec![told]).await;
            }
        }
        if plan.deletes_home && is_saved {
            children.applier().delete_unchanged(&home).await?;
        }
    }
    let cache = &of.context.caches.vnc_workspaces;
    let applier = children.applier();
    applier.set_finalizer(of.workspace, FINALIZER, false, cache).await?;
    Ok(None)
}
