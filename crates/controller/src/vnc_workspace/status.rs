//! The status of a workspace: worked out in `core`, written here.

use std::time::Duration;

use jiff::Timestamp;
use novasphere_core::vnc_workspace::{
    applied::Applied,
    lifecycle::LifecycleDecision,
    status::{Observed, status},
    transition::transition,
    validate::ValidateError,
    validated::ValidatedWorkspace,
};
use novasphere_crd::VncWorkspaceStatus;
use novasphere_runtime::apply::WriteError;

use super::Reconciliation;
use crate::status::TransitionWriter;

/// A status as it should be.
pub(super) struct WrittenStatus {
    pub(super) status: VncWorkspaceStatus,
    /// How long details that were held back have to wait.
    pub(super) held_back: Option<Duration>,
}

/// Writes the status, unless it is as it should be.
///
/// # Errors
///
/// When the write was refused or did not come through.
pub(super) async fn write(
    of: Reconciliation<'_>,
    validated: Result<&ValidatedWorkspace, &ValidateError>,
    decision: Option<&LifecycleDecision>,
    applied: &Applied,
    now: Timestamp,
) -> Result<WrittenStatus, WriteError> {
    let Reconciliation {
        workspace,
        references,
        context,
    } = of;
    let new = status(&Observed {
        workspace,
        validated,
        decision,
        references,
        applied,
        node_addresses: &context.caches.node_addresses(),
        now,
    });
    // What gateways write is not ours.
    let old = workspace.status.clone().map(|old| VncWorkspaceStatus {
        wake_requested_at: None,
        ..old
    });
    let transition = transition(old.as_ref(), &new);
    let writer = TransitionWriter {
        applier: &context.applier,
        reporter: &context.reporter,
        throttle: &context.status_throttle,
        cache: &context.caches.vnc_workspaces,
    };
    let held_back = writer.write(workspace, old.as_ref(), &new, transition).await?;
    Ok(WrittenStatus { status: new, held_back })
}
