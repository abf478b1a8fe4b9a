//! The status of a `VmAccess`: worked out in `core`, written here.

use std::time::Duration;

use novasphere_core::vm_access::transition::transition;
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
    let old = vm_access.status.as_ref();
    let writer = TransitionWriter {
        applier: &context.applier,
        reporter: &context.reporter,
        throttle: &context.status_throttle,
        cache: &context.caches.vm_accesses,
    };
    writer.write(vm_access, old, status, transition(old, status)).await
}
