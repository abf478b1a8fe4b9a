//! What happens to a home when its desktop sleeps, its time is over, or its workspace is deleted.
//!
//! Nothing is deleted before its snapshot is ready to use.

use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use novasphere_core::{
    label::{self, Owner},
    vm_access::failure::FailureKind,
    vnc_workspace::{
        FINALIZER,
        lifecycle::Sleep,
        snapshots::{Progress, build, has_volume, hibernation_name, last_name, progress, surplus},
        status::Applied,
        validate::{has_finalizer, needs_finalizer},
        validated::ValidatedWorkspace,
    },
};
use novasphere_crd::{ReclaimPolicy, VncWorkspace};
use novasphere_runtime::{apply::ApplyError, lease::NotLeader};
use serde_json::json;

use super::{Look, apply::end_pod};
use crate::{
    applying::{apply_one, refused},
    reconciler::ReconcileError,
};

/// A manager of its own: an apply that leaves the finalizer out takes it away, and touches nothing else.
const FINALIZER_MANAGER: &str = "novasphere/vncworkspace-finalizer";

/// Sets or takes away the finalizer, as the reclaim policy needs it.
///
/// # Errors
///
/// When the workspace could not be written: nothing that would need the finalizer is made before it is there.
pub(super) async fn keep_finalizer(look: &Look<'_>) -> Result<(), ReconcileError> {
    let wanted = needs_finalizer(look.workspace);
    if wanted == has_finalizer(look.workspace) {
        return Ok(());
    }
    set_finalizer(look, wanted).await
}

async fn set_finalizer(look: &Look<'_>, wanted: bool) -> Result<(), ReconcileError> {
    let workspace = look.workspace;
    let api: Api<VncWorkspace> =
        Api::namespaced(look.context.client.clone(), &workspace.namespace().unwrap_or_default());
    let finalizers = if wanted { vec![FINALIZER] } else { Vec::new() };
    let patch = json!({
        "apiVersion": "novasphere.io/v1alpha1",
        "kind": "VncWorkspace",
        "metadata": {"name": workspace.name_any(), "uid": workspace.uid(), "finalizers": finalizers},
    });
    let parameters = PatchParams::apply(FINALIZER_MANAGER).force();
    match api
        .patch(&workspace.name_any(), &parameters, &Patch::Apply(patch))
        .await
    {
        Ok(mut written) => {
            written.metadata.managed_fields = None;
            let cache = &look.context.caches.vnc_workspaces;
            if written.metadata.deletion_timestamp.is_some() && written.finalizers().is_empty() {
                // That was its end, and the answer has the version of before.
                cache.deleted(workspace);
            } else {
                cache.written(written);
            }
            Ok(())
        }
        Err(error) => match ApplyError::from(error) {
            ApplyError::NotFound(_) => Ok(()),
            error => Err(error.into()),
        },
    }
}

/// The home as it is, when it is ours.
fn home(look: &Look<'_>) -> Option<Arc<PersistentVolumeClaim>> {
    let uid = look.workspace.metadata.uid.as_deref();
    let home = look.references.home.clone()?;
    (label::owner_uid(&home.metadata) == uid).then_some(home)
}

/// Takes the snapshot `name` of the home when there is none yet, and says how it stands.
async fn snapshot(
    look: &mut Look<'_>,
    owner: &Owner,
    name: &str,
    claim: &PersistentVolumeClaim,
) -> Result<Progress, NotLeader> {
    if !look.references.snapshot_api {
        let missing =
            "the cluster does not serve snapshot.storage.k8s.io; install the snapshot-controller and its CRDs";
        return Ok(Progress::Failed(missing.to_owned()));
    }
    let found = progress(&look.references.snapshots, name);
    if found != Progress::Missing {
        return Ok(found);
    }
    let backup = look.workspace.spec.backup.as_ref();
    let class = backup.and_then(|backup| backup.volume_snapshot_class_name.as_deref());
    let desired = build(owner, name, &claim.name_any(), class);
    let context = look.context;
    let cache = &context.caches.volume_snapshots;
    Ok(
        match apply_one(&context.applier, &desired, cache, &mut look.retry).await? {
            Ok(_) => Progress::Underway,
            Err(failure) if failure.kind == FailureKind::NamespaceTerminating => Progress::Ready,
            Err(failure) => Progress::Failed(failure.message),
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
    valid: &ValidatedWorkspace,
    sleep: Sleep,
    applied: &mut Applied,
) -> Result<(), NotLeader> {
    let Some(claim) = home(look).filter(|claim| has_volume(claim)) else {
        return Ok(());
    };
    if !valid.backup.on_hibernate || applied.pod_is_ending {
        return Ok(());
    }
    let name = hibernation_name(&valid.owner, sleep);
    let found = snapshot(look, &valid.owner, &name, &claim).await?;
    if matches!(found, Progress::Failed(_)) {
        applied.snapshot = Some((found, "at hibernation"));
    }
    Ok(())
}

/// Ends a workspace whose time is over, once its home is saved as far as that is wanted. Whether it was deleted.
///
/// # Errors
///
/// When something could not be written.
pub(super) async fn expire(
    look: &mut Look<'_>,
    valid: &ValidatedWorkspace,
    applied: &mut Applied,
) -> Result<bool, ReconcileError> {
    if applied.pod_is_ending {
        return Ok(false);
    }
    let is_wanted = valid.backup.on_expire || valid.home.reclaim == ReclaimPolicy::Snapshot;
    if is_wanted && let Some(claim) = home(look).filter(|claim| has_volume(claim)) {
        let name = last_name(&valid.owner);
        let found = snapshot(look, &valid.owner, &name, &claim).await?;
        let is_ready = found == Progress::Ready;
        applied.snapshot = Some((found, "because the workspace's time is over"));
        if !is_ready {
            return Ok(false);
        }
    }
    look.context.applier.delete(look.workspace).await?;
    Ok(true)
}

/// Ends a workspace that is being deleted. `None` when nothing is left to do: owner references take the rest with it.
///
/// # Errors
///
/// When something could not be written.
pub(super) async fn delete(look: &mut Look<'_>) -> Result<Option<Applied>, ReconcileError> {
    if !has_finalizer(look.workspace) {
        return Ok(None);
    }
    let Some(owner) = Owner::of(look.workspace) else {
        return Ok(None);
    };
    let mut applied = Applied::default();
    if !end_pod(look).await? {
        applied.pod_is_ending = true;
        return Ok(Some(applied));
    }
    if let Some(claim) = home(look) {
        let reclaim = look.workspace.spec.storage.reclaim;
        if reclaim == ReclaimPolicy::Snapshot && has_volume(&claim) {
            let found = snapshot(look, &owner, &last_name(&owner), &claim).await?;
            if found != Progress::Ready {
                applied.home = Some(Ok(claim.as_ref().clone()));
                applied.snapshot = Some((found, "before the home is deleted"));
                return Ok(Some(applied));
            }
        }
        if reclaim != ReclaimPolicy::Retain {
            look.context.applier.delete(claim.as_ref()).await?;
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
pub(super) async fn prune_snapshots(look: &mut Look<'_>, valid: &ValidatedWorkspace) -> Result<(), NotLeader> {
    for old in surplus(&look.references.snapshots, valid.backup.keep) {
        match look.context.applier.delete(old.as_ref()).await {
            Ok(_) => look.context.caches.volume_snapshots.deleted(&old),
            Err(error) => {
                refused(old.as_ref(), &error, &mut look.retry)?;
            }
        }
    }
    Ok(())
}
