//! Step 5: tells what came of it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use kube::{Resource, ResourceExt};
use novasphere_core::vm_access::urgency::{Urgency, urgency, warnings};
use novasphere_crd::{VmAccess, VmAccessStatus};
use novasphere_runtime::apply::ApplyError;

use super::Context;

/// Details alone are written at most this often.
const DETAILS_EVERY: Duration = Duration::from_secs(10);

/// When the status of each object was written last. Forgotten after [`DETAILS_EVERY`].
#[derive(Debug, Default)]
pub(crate) struct StatusWrites {
    last: Mutex<HashMap<String, Instant>>,
}

impl StatusWrites {
    fn written(&self, uid: String) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|_, at| at.elapsed() < DETAILS_EVERY);
        last.insert(uid, Instant::now());
    }

    /// How long details have to wait still.
    fn wait(&self, uid: &str) -> Option<Duration> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        DETAILS_EVERY
            .checked_sub(last.get(uid)?.elapsed())
            .filter(|left| !left.is_zero())
    }
}

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
) -> Result<Option<Duration>, ApplyError> {
    let uid = vm_access.uid().unwrap_or_default();
    let old = vm_access.status.as_ref();
    match urgency(old, status) {
        Urgency::None => return Ok(None),
        Urgency::Soon => {
            if let Some(left) = context.status_writes.wait(&uid) {
                return Ok(Some(left));
            }
        }
        Urgency::Now => {}
    }
    if let Some(written) = context.applier.apply_status(vm_access, old, status).await? {
        context.caches.vm_accesses.written(written);
    }
    context.status_writes.written(uid);
    let about = vm_access.object_ref(&());
    for warning in warnings(old, status) {
        context
            .reporter
            .warning(&about, &warning.reason, "Reconcile", &warning.message)
            .await;
    }
    Ok(None)
}
