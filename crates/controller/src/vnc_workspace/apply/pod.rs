//! The Pod of a desktop that is awake: created, resized, or replaced by another one.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{Resource, ResourceExt};
use novasphere_core::{
    child::ChildOutcome,
    label,
    vnc_workspace::{
        applied::PodOutcome,
        build::{TEMPLATE_HASH_ANNOTATION, as_live},
        failure::{end_of, has_ended},
    },
};
use novasphere_runtime::lease::NotLeader;

use super::{
    super::{Reconciliation, crash_backoff::PodExit},
    resize::{Resized, resize},
};
use crate::children::Children;

/// Applies the Pod. One that has ended, or was created from something else, is deleted first. `is_complete` says whether everything
/// that the Pod needs is there.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(super) async fn apply(
    of: Reconciliation<'_>,
    children: &mut Children<'_>,
    desired: &Pod,
    is_complete: bool,
) -> Result<PodOutcome, NotLeader> {
    let adapted = of.own_pod().map(|live| as_live(desired, live));
    let desired = adapted.as_ref().unwrap_or(desired);
    if let Some(live) = of.own_pod() {
        if let Some((action, why)) = replacement_reason(live, desired) {
            return replace(of, children, live, action, why).await;
        }
        if has_ended(live) {
            return replace_finished(of, children, live).await;
        }
        match resize(of, children, live, desired).await? {
            Resized::Done => {}
            Resized::Impossible(obstacle, why) => {
                let why = format!("its resources cannot be changed while it runs ({why})");
                return replace(of, children, live, obstacle.into(), &why).await;
            }
            Resized::Refused(failure) => {
                let note = format!("The desktop keeps its resources: {}", failure.message);
                let about = of.workspace.object_ref(&());
                let reporter = &of.context.reporter;
                reporter.warning(&about, "ResizeRefused", "Reconcile", &note).await;
                return Ok(PodOutcome::Present {
                    pod: Box::new(live.clone()),
                    resize_refused: Some(failure),
                });
            }
        }
    } else if !is_complete {
        // Without its Secret or home it would only wait.
        return Ok(PodOutcome::Absent);
    }
    Ok(match children.apply(desired, &of.context.caches.pods).await? {
        ChildOutcome::Applied(pod) => PodOutcome::present(pod),
        ChildOutcome::Failed(failure) => PodOutcome::Refused(failure),
        ChildOutcome::NotTried => PodOutcome::Absent,
    })
}

/// Why a Pod cannot stay, whatever its resources: in one word and in a sentence.
fn replacement_reason(live: &Pod, desired: &Pod) -> Option<(&'static str, &'static str)> {
    if live.metadata.deletion_timestamp.is_some() {
        Some(("Deleted", "it is being deleted"))
    } else if live.annotations().get(TEMPLATE_HASH_ANNOTATION) != desired.annotations().get(TEMPLATE_HASH_ANNOTATION) {
        Some(("Changed", "what it is made from has changed"))
    } else {
        None
    }
}

/// Replaces a Pod that has ended by itself: at once when it ran for long, else after a pause.
async fn replace_finished(
    of: Reconciliation<'_>,
    children: &mut Children<'_>,
    live: &Pod,
) -> Result<PodOutcome, NotLeader> {
    let context = of.context;
    let created = live.metadata.creation_timestamp.as_ref();
    let lasted = created.map(|created| Timestamp::now().duration_since(created.0));
    let lasted = lasted
        .and_then(|lasted| Duration::try_from(lasted).ok())
        .unwrap_or_default();
    let exit = PodExit {
        workspace: label::own_key(&of.workspace.metadata).unwrap_or_default(),
        pod: live.uid().unwrap_or_default(),
        message: end_of(live),
        lasted,
    };
    let why = format!("it has ended ({})", exit.message);
    let exists = |workspace: &str| !context.caches.vnc_workspaces.indexed(workspace).is_empty();
    let (_, pause) = context.crash_backoff.record(exit, Instant::now(), exists);
    if !pause.is_zero() {
        return Ok(PodOutcome::Waiting(pause));
    }
    replace(of, children, live, "Ended", &why).await
}

/// Deletes a Pod that another one follows, and says why.
async fn replace(
    of: Reconciliation<'_>,
    children: &mut Children<'_>,
    live: &Pod,
    action: &'static str,
    why: &str,
) -> Result<PodOutcome, NotLeader> {
    let is_asked_already = live.metadata.deletion_timestamp.is_some();
    delete_pod(children, live).await?;
    if !is_asked_already {
        let about = of.workspace.object_ref(&());
        // Events of one reason and action are counted as one, which keeps the first note: the action distinguishes them.
        let note = format!("The Pod is replaced, because {why}.");
        of.context.reporter.normal(&about, "PodReplaced", action, &note).await;
    }
    Ok(PodOutcome::Ending)
}

/// Deletes a Pod. A failure is recorded, and the Pod still has to go.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(in super::super) async fn delete_pod(children: &mut Children<'_>, live: &Pod) -> Result<(), NotLeader> {
    if let Err(error) = children.applier().delete(live).await {
        children.record_failure(live, &error)?;
    }
    Ok(())
}
