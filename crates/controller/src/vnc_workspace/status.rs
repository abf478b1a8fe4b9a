//! Step 5: tells what came of it.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::{Resource, ResourceExt};
use novasphere_core::{
    transition::WritePriority,
    vnc_workspace::{
        lifecycle::LifecycleDecision,
        status::{Applied, Observed, status},
        transition::transition,
        validate::ValidateError,
        validated::ValidatedWorkspace,
    },
};
use novasphere_crd::VncWorkspaceStatus;
use novasphere_runtime::apply::WriteError;

use super::Look;

/// Writes the status when it says something new, and an event for each new failure. Returns how long details that were held back
/// have to wait.
///
/// # Errors
///
/// When the write was refused or did not come through.
pub(super) async fn write(
    look: &Look<'_>,
    validated: Result<&ValidatedWorkspace, &ValidateError>,
    decision: Option<&LifecycleDecision>,
    applied: &Applied,
    now: Timestamp,
) -> Result<Option<Duration>, WriteError> {
    let (workspace, context) = (look.workspace, look.context);
    let new = status(&Observed {
        workspace,
        validated,
        decision,
        references: &look.references,
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
    if transition.priority == WritePriority::Never {
        return Ok(None);
    }
    let uid = workspace.uid().unwrap_or_default();
    let only_details = transition.priority == WritePriority::Soon;
    if only_details && let Some(left) = context.status_writes.wait(&uid, Instant::now()) {
        return Ok(Some(left));
    }
    context
        .applier
        .apply_status(workspace, old.as_ref(), &new, &context.caches.vnc_workspaces)
        .await?;
    context.status_writes.written(uid, only_details, Instant::now());
    let about = workspace.object_ref(&());
    for event in transition.events {
        if event.is_warning {
            context
                .reporter
                .warning(&about, &event.reason, "Reconcile", &event.message)
                .await;
        } else {
            context
                .reporter
                .normal(&about, &event.reason, "Reconcile", &event.message)
                .await;
        }
    }
    Ok(None)
}
