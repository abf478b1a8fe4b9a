//! Step 5: tells what came of it.

use std::time::{Duration, Instant};

use kube::{Resource, ResourceExt};
use novasphere_core::{transition::WritePriority, vm_access::transition::transition};
use novasphere_crd::{VmAccess, VmAccessStatus};
use novasphere_runtime::apply::WriteError;

use super::Context;

/// Writes `status` when it says something new, and an event for each new failure. Returns how long details that were held back
/// have to wait.
///
/// # Errors
///
/// When the write was refused or did not come through.
pub(super) async fn write(
    vm_access: &VmAccess,
    status: &VmAccessStatus,
    context: &Context,
) -> Result<Option<Duration>, WriteError> {
    let uid = vm_access.uid().unwrap_or_default();
    let old = vm_access.status.as_ref();
    let transition = transition(old, status);
    match transition.priority {
        WritePriority::Never => return Ok(None),
        WritePriority::Soon => {
            if let Some(left) = context.status_writes.wait(&uid, Instant::now()) {
                return Ok(Some(left));
            }
        }
        WritePriority::Now => {}
    }
    context
        .applier
        .apply_status(vm_access, old, status, &context.caches.vm_accesses)
        .await?;
    let only_details = transition.priority == WritePriority::Soon;
    context.status_writes.written(uid, only_details, Instant::now());
    let about = vm_access.object_ref(&());
    for event in transition.events {
        context
            .reporter
            .warning(&about, &event.reason, "Reconcile", &event.message)
            .await;
    }
    Ok(None)
}
