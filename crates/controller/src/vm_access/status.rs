//! Step 5: tells what came of it.

use std::time::{Duration, Instant};

use kube::{Resource, ResourceExt};
use novasphere_core::vm_access::urgency::{Urgency, urgency, warnings};
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
    let urgency = urgency(old, status);
    match urgency {
        Urgency::None => return Ok(None),
        Urgency::Soon => {
            if let Some(left) = context.status_writes.wait(&uid, Instant::now()) {
                return Ok(Some(left));
            }
        }
        Urgency::Now => {}
    }
    context
        .applier
        .apply_status(vm_access, old, status, &context.caches.vm_accesses)
        .await?;
    let only_details = urgency == Urgency::Soon;
    context.status_writes.written(uid, only_details, Instant::now());
    let about = vm_access.object_ref(&());
    for warning in warnings(old, status) {
        context
            .reporter
            .warning(&about, &warning.reason, "Reconcile", &warning.message)
            .await;
    }
    Ok(None)
}
