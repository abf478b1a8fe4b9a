//! CPU and memory of a Pod that runs.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use novasphere_core::{
    failure::Failure,
    vnc_workspace::resize::{ResizeChange, ResizeObstacle, change},
};
use novasphere_runtime::{
    apply::{ApiReason, WriteError, same_quantity},
    lease::NotLeader,
};

use super::Look;
use crate::{applying::refused, run::VNC_WORKSPACE_MANAGER};

/// What became of the resources of a running Pod.
pub(super) enum Resized {
    /// It has those that are wanted.
    Done,
    /// It keeps those that it has, and goes on.
    Refused(Failure),
    /// It has to be made anew, because of this.
    Impossible(ResizeObstacle, String),
}

/// Gives a running Pod the resources of `desired`.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(super) async fn resize(look: &mut Look<'_>, live: &Pod, desired: &Pod) -> Result<Resized, NotLeader> {
    let patch = match change(live, desired, same_quantity) {
        ResizeChange::Nothing => return Ok(Resized::Done),
        ResizeChange::Recreate(obstacle, why) => return Ok(Resized::Impossible(obstacle, why)),
        ResizeChange::InPlace(patch) => patch,
    };
    let pods: Api<Pod> = Api::namespaced(look.context.client.clone(), &live.namespace().unwrap_or_default());
    let parameters = PatchParams {
        field_manager: Some(VNC_WORKSPACE_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let result = pods
        .patch_resize(&live.name_any(), &parameters, &Patch::Strategic(patch))
        .await;
    match result.map_err(WriteError::from) {
        Ok(mut pod) => {
            tracing::info!(namespace = live.namespace(), name = live.name_any(), "resized in place");
            pod.metadata.managed_fields = None;
            look.context.caches.pods.written(pod);
            Ok(Resized::Done)
        }
        // What the apiserver cannot change in place, as another QoS class; or it has no such subresource.
        Err(error) if error.is(ApiReason::Invalid) || error.is(ApiReason::NotFound) => {
            Ok(Resized::Impossible(ResizeObstacle::NotAllowed, error.to_string()))
        }
        Err(error) => Ok(Resized::Refused(refused(live, &error, &mut look.retry)?)),
    }
}
