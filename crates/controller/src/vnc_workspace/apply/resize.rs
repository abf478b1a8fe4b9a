//! CPU and memory of a Pod that runs.

use k8s_openapi::api::core::v1::Pod;
use novasphere_core::{
    failure::Failure,
    vnc_workspace::resize::{ResizeChange, ResizeObstacle, change},
};
use novasphere_runtime::{apply::ApiReason, lease::NotLeader, quantity::same_quantity};

use super::super::Reconciliation;
use crate::children::Children;

/// What became of the resources of a running Pod.
pub(super) enum Resized {
    /// It has those that are wanted.
    Done,
    /// It keeps those that it has, and goes on.
    Refused(Failure),
    /// It has to be replaced, for this reason.
    Impossible(ResizeObstacle, String),
}

/// Gives a running Pod the resources of `desired`.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(super) async fn resize(
    of: Reconciliation<'_>,
    children: &mut Children<'_>,
    live: &Pod,
    desired: &Pod,
) -> Result<Resized, NotLeader> {
    let patch = match change(live, desired, same_quantity) {
        ResizeChange::Nothing => return Ok(Resized::Done),
        ResizeChange::Recreate(obstacle, why) => return Ok(Resized::Impossible(obstacle, why)),
        ResizeChange::InPlace(patch) => patch,
    };
    match children.applier().resize(live, patch, &of.context.caches.pods).await {
        Ok(_) => Ok(Resized::Done),
        // What the apiserver cannot change in place, as another QoS class; or it has no such subresource.
        Err(error) if error.is(ApiReason::Invalid) || error.is(ApiReason::NotFound) => {
            Ok(Resized::Impossible(ResizeObstacle::NotAllowed, error.to_string()))
        }
        Err(error) => Ok(Resized::Refused(children.record_failure(live, &error)?)),
    }
}
