//! The status of a workspace: worked out in `core`, written here.

use std::time::Duration;

use jiff::Timestamp;
use novasphere_core::{
    pause::{Pause, paused_conditions},
    transition::Transition,
    vnc_workspace::{
        applied::Applied,
        lifecycle::LifecycleDecision,
        status::{Observed, status},
        transition::transition,
        validate::ValidateError,
        validated::ValidatedWorkspace,
    },
};
use novasphere_crd::{VncWorkspace, VncWorkspaceStatus};
use novasphere_runtime::apply::WriteError;

use super::{Context, Reconciliation};
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
    let old = own_status(workspace);
    let transition = transition(old.as_ref(), &new);
    let held_back = writer(context).write(workspace, old.as_ref(), &new, transition).await?;
    Ok(WrittenStatus { status: new, held_back })
}

/// Says that the workspace is paused, once, and leaves the rest of its status as it is.
///
/// # Errors
///
/// When the write was refused or did not come through.
pub(super) async fn write_paused(workspace: &VncWorkspace, pause: Pause, context: &Context) -> Result<(), WriteError> {
    let old = own_status(workspace);
    let status = old.clone().unwrap_or_default();
    let meanwhile = "Its desktop neither sleeps nor wakes, and its deletion waits.";
    let Some((conditions, event)) = paused_conditions(&status.conditions, pause, meanwhile, Timestamp::now()) else {
        return Ok(());
    };
    let new = VncWorkspaceStatus { conditions, ..status };
    let written = writer(context)
        .write(workspace, old.as_ref(), &new, Transition::now(event))
        .await;
    written.map(drop)
}

/// The status without what gateways write.
fn own_status(workspace: &VncWorkspace) -> Option<VncWorkspaceStatus> {
    workspace.status.clone().map(|old| VncWorkspaceStatus {
        wake_requested_at: None,
        ..old
    })
}

fn writer(context: &Context) -> TransitionWriter<'_, VncWorkspace> {
    TransitionWriter {
        applier: &context.applier,
        reporter: &context.reporter,
        throttle: &context.status_throttle,
        cache: &context.caches.vnc_workspaces,
    }
}
