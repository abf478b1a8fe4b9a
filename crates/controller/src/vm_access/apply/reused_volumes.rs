//! Volumes that were there before their disk came back.
//!
//! The volume of a disk that leaves the template stays until the machine is deleted: it may have somebody's data, and leaving it out may
//! have been a mistake. So a disk that comes back under its name has what was written to it before, whatever its source and size say
//! now. Nothing else shows that.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Api, Resource, ResourceExt};
use novasphere_core::vm_access::build::added_data_volumes;
use novasphere_crd::VmAccess;
use novasphere_foreign::kubevirt::VirtualMachine;

use super::Context;

/// Those of the volumes that the machine is about to get which have a claim already. It only explains, so what cannot be read is left
/// out.
pub(super) async fn find(desired: &VirtualMachine, context: &Context) -> Vec<String> {
    let (namespace, name) = (desired.namespace().unwrap_or_default(), desired.name_any());
    let Some(live) = context.caches.virtual_machines.get(&namespace, &name) else {
        return Vec::new();
    };
    let mut reused = Vec::new();
    // The claim of a data volume has its name (`CreateDataVolume` in kubevirt/containerized-data-importer), also after CDI has collected
    // the data volume.
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), &namespace);
    for volume in added_data_volumes(desired, &live) {
        let claim = claims.get_metadata_opt(&volume).await.ok().flatten();
        if claim.is_some_and(|claim| claim.metadata.deletion_timestamp.is_none()) {
            reused.push(volume);
        }
    }
    reused
}

/// Says of each that it has its former contents.
pub(super) async fn report(vm_access: &VmAccess, reused: &[String], context: &Context) {
    for volume in reused {
        let note = format!(
            "The disk of data volume {volume} is in the template again, and its volume from before is used with all that is on it; source and \
             size of the template are not applied to it. To have it filled from its source, stop the machine, `kubectl delete datavolume,pvc \
             {volume}`, and start it"
        );
        let about = vm_access.object_ref(&());
        context.reporter.warning(&about, "VolumeReused", "Apply", &note).await;
    }
}
