//! The status of a `VmAccess`: worked out in `core`, written here.

use std::time::Duration;

use jiff::Timestamp;
use novasphere_core::{
    pause::{Pause, paused_conditions},
    transition::Transition,
    vm_access::transition::transition,
};
use novasphere_crd::{VmAccess, VmAccessStatus};
use novasphere_runtime::apply::WriteError;

use super::Context;
use crate::status::TransitionWriter;

/// Writes `status`, unless it is as it should be. Returns how long details that were held back have to wait.
///
/// # Errors
///
/// When the write was refused or did not come through.
pub(super) async fn write(
    vm_access: &VmAccess,
    status: &VmAccessStatus,
    context: &Context,
) -> Result<Option<Duration>, WriteError> {
    write_as(
        vm_access,
        status,
        transition(vm_access.status.as_ref(), status),
        context,
    )
    .await
}

/// Says that the object is paused, once, and leaves the rest of its status as it is.
///
/// # Errors
///
/// When the write was refused or did not come through.
pub(super) async fn write_paused(vm_access: &VmAccess, pause: Pause, context: &Context) -> Result<(), WriteError> {
    let old = vm_access.status.clone().unwrap_or_default();
    let meanwhile = "Its machine, services and routes stay as they are.";
    let Some((conditions, event)) = paused_conditions(&old.conditions, pause, meanwhile, Timestamp::now()) else {
        return Ok(());
    };
    let status = VmAccessStatus { conditions, ..old };
    write_as(vm_access, &status, Transition::now(event), context)
        .await
        .map(drop)
}

async fn write_as(
    vm_access: &VmAccess,
    status: &VmAccessStatus,
    transition: Transition,
    context: &Context,
) -> Result<Option<Duration>, WriteError> {
    let old = vm_access.status.as_ref();
    let writer = TransitionWriter {
        applier: &context.applier,
        reporter: &context.reporter,
        throttle: &context.status_throttle,
        cache: &context.caches.vm_accesses,
    };
    writer.write(vm_access, old, status, transition).await
}
