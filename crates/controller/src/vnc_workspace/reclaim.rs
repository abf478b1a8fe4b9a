//! The owner reference of a home, which decides whether it is collected with its workspace. Together with the finalizer it implements
//! `spec.storage.reclaim` and `spec.backup.onDelete`.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use novasphere_core::{
    child::ChildOutcome,
    label::Owner,
    vnc_workspace::{home::owner_references, plan::own_home, validate::goes_along},
};
use novasphere_runtime::lease::NotLeader;
use serde_json::json;

use super::Reconciliation;
use crate::children::Children;

/// Makes the home go with its workspace, or stay, as the reclaim policy says. `home` is what became of the home before, and the result
/// is what became of it all in all.
///
/// With a valid spec the apply of the home did that already, but for a reference that this function has written before.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(super) async fn sync_home_owner(
    of: Reconciliation<'_>,
    children: &mut Children<'_>,
    home: ChildOutcome<PersistentVolumeClaim>,
) -> Result<ChildOutcome<PersistentVolumeClaim>, NotLeader> {
    let Some(claim) = home.applied().or_else(|| own_home(of.workspace, of.references)) else {
        return Ok(home);
    };
    Ok(match (sync_owner_of(of, children, claim).await?, home) {
        (ChildOutcome::NotTried, home) => home,
        // Another failure of the home stays in the status.
        (ChildOutcome::Applied(_), failed @ ChildOutcome::Failed(_)) => failed,
        (synced, _) => synced,
    })
}

/// The same for this claim. [`ChildOutcome::NotTried`] when it is as it should be.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(super) async fn sync_owner_of(
    of: Reconciliation<'_>,
    children: &mut Children<'_>,
    claim: &PersistentVolumeClaim,
) -> Result<ChildOutcome<PersistentVolumeClaim>, NotLeader> {
    let goes_along = goes_along(&of.workspace.spec);
    let owners = Owner::of(of.workspace).and_then(|owner| owner_references(&owner, goes_along, &claim.metadata));
    let Some(owners) = owners else {
        return Ok(ChildOutcome::NotTried);
    };
    let patch = json!({"metadata": {"ownerReferences": owners}});
    let cache = &of.context.caches.claims;
    let result = children.applier().merge_unchanged(claim, patch, cache).await;
    children.record(claim, result)
}
