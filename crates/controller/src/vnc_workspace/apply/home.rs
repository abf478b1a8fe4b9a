//! The home of a workspace: created, taken over from another one, or grown.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use novasphere_core::{
    child::ChildOutcome,
    vnc_workspace::{
        plan::own_home,
        validated::{HomeSource, ValidatedWorkspace},
    },
};
use novasphere_runtime::{lease::NotLeader, quantity::larger_quantity};
use serde_json::json;

use super::super::Reconciliation;
use crate::children::Children;

/// Applies the home; one that another workspace left is taken over.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(super) async fn apply(
    of: Reconciliation<'_>,
    children: &mut Children<'_>,
    valid: &ValidatedWorkspace,
    desired: &PersistentVolumeClaim,
) -> Result<ChildOutcome<PersistentVolumeClaim>, NotLeader> {
    match of.references.home.as_deref() {
        Some(live) if valid.home.source == HomeSource::Claim => match take_over(of, children, desired, live).await? {
            ChildOutcome::Applied(claim) => grow(of, children, claim, &valid.home.size.0).await,
            other => Ok(other),
        },
        _ => children.apply(desired, &of.context.caches.claims).await,
    }
}

/// Whether there is a home to start with. One that could not be changed, as one that cannot grow, is as good as before.
pub(super) fn is_usable(of: Reconciliation<'_>, home: &ChildOutcome<PersistentVolumeClaim>) -> bool {
    match home {
        ChildOutcome::NotTried => false,
        ChildOutcome::Applied(_) => true,
        ChildOutcome::Failed(_) => {
            own_home(of.workspace, of.references).is_some_and(|live| live.metadata.deletion_timestamp.is_none())
        }
    }
}

/// Gives a claim that was left our labels and owner, at the version that was seen: two workspaces that want it do not both
/// get it.
///
/// Not by server-side apply: the former workspace applied the claim's spec under the same manager's name, and an apply without
/// that spec would take it away, which is refused.
async fn take_over(
    of: Reconciliation<'_>,
    children: &mut Children<'_>,
    desired: &PersistentVolumeClaim,
    live: &PersistentVolumeClaim,
) -> Result<ChildOutcome<PersistentVolumeClaim>, NotLeader> {
    let mut labels = desired.labels().iter();
    let is_labelled = labels.all(|(key, value)| live.labels().get(key) == Some(value));
    if is_labelled && desired.owner_references() == live.owner_references() {
        return Ok(ChildOutcome::Applied(live.clone()));
    }
    let patch = json!({"metadata": {"labels": desired.labels(), "ownerReferences": desired.owner_references()}});
    let cache = &of.context.caches.claims;
    let result = children.applier().merge_unchanged(live, patch, cache).await;
    children.record(live, result)
}

/// Lets a home that was taken over grow to `size`. Kubernetes grows claims that are bound, and no others.
async fn grow(
    of: Reconciliation<'_>,
    children: &mut Children<'_>,
    live: PersistentVolumeClaim,
    size: &str,
) -> Result<ChildOutcome<PersistentVolumeClaim>, NotLeader> {
    let is_bound = live.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    let requests = live
        .spec
        .as_ref()
        .and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
    let present = requests.and_then(|requests| requests.get("storage"));
    if !is_bound || !present.is_some_and(|present| larger_quantity(size, &present.0)) {
        return Ok(ChildOutcome::Applied(live));
    }
    let patch = json!({"spec": {"resources": {"requests": {"storage": size}}}});
    let result = children.applier().merge(&live, patch, &of.context.caches.claims).await;
    children.record(&live, result)
}
