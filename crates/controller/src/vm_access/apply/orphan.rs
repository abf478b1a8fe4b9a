//! A machine that is to stay when its `VmAccess` goes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use novasphere_core::label::{self, Owner};
use novasphere_foreign::kubevirt::VirtualMachine;
use novasphere_runtime::{apply::WriteError, lease::NotLeader};
use serde_json::json;

use super::Context;
use crate::run::VM_ACCESS_MANAGER;

/// Takes the owner off the live machine, after an apply that should have done so was refused: a template that `KubeVirt` refuses
/// must not cost the machine its life. The label with the owner's UID still says whose it is.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(super) async fn let_go(desired: &VirtualMachine, owner: &Owner, context: &Context) -> Result<(), NotLeader> {
    let (namespace, name) = (desired.namespace().unwrap_or_default(), desired.name_any());
    let Some(live) = context.caches.virtual_machines.get(&namespace, &name) else {
        return Ok(());
    };
    let Some(kept) = owners_without(owner, &live.metadata) else {
        return Ok(());
    };
    let patch = json!({
        "metadata": {
            // Only over what was seen.
            "uid": live.uid(),
            "resourceVersion": live.resource_version(),
            "labels": {label::KEY_OWNER_UID: owner.uid},
            "ownerReferences": kept,
        },
    });
    let parameters = PatchParams {
        field_manager: Some(VM_ACCESS_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let api: Api<VirtualMachine> = Api::namespaced(context.client.clone(), &namespace);
    match api.patch(&name, &parameters, &Patch::Merge(patch)).await {
        Ok(mut machine) => {
            tracing::info!(namespace, name, "the machine has no owner any more");
            machine.metadata.managed_fields = None;
            context.caches.virtual_machines.written(machine);
        }
        Err(error) => match WriteError::from(error) {
            WriteError::NotLeader(lost) => return Err(lost),
            error => tracing::warn!(namespace, name, %error, "cannot take the owner off a machine that is to stay"),
        },
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
