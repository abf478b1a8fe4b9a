//! Step 5: tells what came of it.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::{Resource, ResourceExt};
use novasphere_core::vnc_workspace::{
    lifecycle::Decision,
    status::{Applied, Observed, is_news, news, status},
    validate::ValidateError,
    validated::ValidatedWorkspace,
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
    decision: Option<&Decision>,
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
    if old.as_ref() == Some(&new) {
        return Ok(None);
    }
    let uid = workspace.uid().unwrap_or_default();
    let is_news = is_news(old.as_ref(), &new);
    if !is_news && let Some(left) = context.status_writes.wait(&uid, Instant::now()) {
        return Ok(Some(left));
    }
    context
        .applier
        .apply_status(workspace, old.as_ref(), &new, &context.caches.vnc_workspaces)
        .await?;
    context.status_writes.written(uid, !is_news, Instant::now());
    let about = workspace.object_ref(&());
    for (is_warning, reason, message) in news(old.as_ref(), &new) {
        if is_warning {
            context.reporter.warning(&about, &reason, "Reconcile", &message).await;
        } else {
            context.reporter.normal(&about, &reason, "Reconcile", &message).await;
        }
    }
    Ok(None)
}
