//! A machine that is to stay when its `VmAccess` goes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::ResourceExt;
use novasphere_core::label::{self, Owner};
use novasphere_foreign::kubevirt::VirtualMachine;
use novasphere_runtime::{apply::WriteError, lease::NotLeader};
use serde_json::json;

use super::Context;

/// Takes the owner off the live machine, after an apply that should have done so was refused: a template that `KubeVirt` refuses
/// must not cost the machine its life. The label with the owner's UID still names its owner.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(super) async fn drop_owner(desired: &VirtualMachine, owner: &Owner, context: &Context) -> Result<(), NotLeader> {
    let (namespace, name) = (desired.namespace().unwrap_or_default(), desired.name_any());
    let machines = &context.caches.virtual_machines;
    let Some(live) = machines.get(&namespace, &name) else {
        return Ok(());
    };
    let Some(others) = owners_without(owner, &live.metadata) else {
        return Ok(());
    };
    let patch = json!({"metadata": {"labels": {label::KEY_OWNER_UID: owner.uid}, "ownerReferences": others}});
    match context.applier.merge_unchanged(live.as_ref(), patch, machines).await {
        Ok(_) => tracing::info!(namespace, name, "the machine has no owner any more"),
        Err(WriteError::NotLeader(lost)) => return Err(lost),
        Err(error) => {
            tracing::warn!(namespace, name, %error, "cannot take the owner off a machine that is to stay");
        }
    }
    Ok(())
}

/// The other owners of a machine that `owner` controls and that nobody has deleted yet.
fn owners_without<'a>(owner: &Owner, live: &'a ObjectMeta) -> Option<Vec<&'a OwnerReference>> {
    let controller = label::controller(live)?;
    if controller.uid != owner.uid || live.deletion_timestamp.is_some() {
        return None;
    }
    let owners = live.owner_references.iter().flatten();
    Some(owners.filter(|other| other.uid != owner.uid).collect())
}
