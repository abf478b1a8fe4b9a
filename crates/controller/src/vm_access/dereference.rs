//! Step 1: what a `VmAccess` refers to, from the caches.

use kube::ResourceExt;
use novasphere_core::vm_access::{
    references::{Apis, References},
    virtual_machine_name,
};
use novasphere_crd::VmAccess;

use super::Context;
use crate::{
    caches::machine_key,
    watches::{DATA_VOLUMES, has_kubevirt},
};

/// Reads only memory, so it cannot fail; a watch that lags is answered by the next event.
pub(super) fn dereference(vm_access: &VmAccess, context: &Context) -> References {
    let namespace = vm_access.namespace().unwrap_or_default();
    let machine = virtual_machine_name(vm_access);
    let mut others = context.caches.vm_accesses.indexed(&machine_key(&namespace, &machine));
    others.retain(|other| other.uid() != vm_access.uid());
    References {
        others,
        virtual_machine: context.caches.virtual_machines.get(&namespace, &machine),
        virtual_machine_instance: context.caches.virtual_machine_instances.get(&namespace, &machine),
        apis: Apis {
            kubevirt: has_kubevirt(&context.apis),
            cdi: context.apis.served(&DATA_VOLUMES).is_some(),
        },
    }
}
