//! Reads what a `VmAccess` refers to, from the caches.

use kube::ResourceExt;
use novasphere_core::vm_access::{
    references::{Apis, References},
    virtual_machine_name,
};
use novasphere_crd::VmAccess;
use novasphere_sessions::view::machine_key;

use super::Context;
use crate::watches::{DATA_VOLUMES, has_kubevirt};

/// Reads only memory, so it cannot fail; a watch that lags is answered by the next event.
pub(super) fn dereference(vm_access: &VmAccess, context: &Context) -> References {
    let namespace = vm_access.namespace().unwrap_or_default();
    let virtual_machine_name = virtual_machine_name(vm_access);
    let caches = &context.caches;
    let mut others = caches
        .vm_accesses
        .indexed(&machine_key(&namespace, &virtual_machine_name));
    others.retain(|other| other.uid() != vm_access.uid());
    References {
        others,
        virtual_machine: caches.virtual_machines.get(&namespace, &virtual_machine_name),
        virtual_machine_instance: caches.virtual_machine_instances.get(&namespace, &virtual_machine_name),
        virtual_machine_name,
        apis: Apis {
            kubevirt: has_kubevirt(&context.apis),
            cdi: context.apis.served(&DATA_VOLUMES).is_some(),
        },
    }
}
