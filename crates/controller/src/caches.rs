//! What the watches have seen, shared by all reconciles.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Service};
use kube::{Resource, ResourceExt};
use novasphere_core::{label, vm_access::node};
use novasphere_crd::VmAccess;
use novasphere_foreign::kubevirt::{VirtualMachine, VirtualMachineInstance};
use novasphere_runtime::cache::Cache;

/// The watch caches of the controller.
pub(crate) struct Caches {
    /// By `namespace/name` of the virtual machine that each is for.
    pub(crate) vm_accesses: Cache<VmAccess>,
    pub(crate) virtual_machines: Cache<VirtualMachine>,
    pub(crate) virtual_machine_instances: Cache<VirtualMachineInstance>,
    /// By the UID of the owner.
    pub(crate) services: Cache<Service>,
    pub(crate) nodes: Cache<Node>,
}

impl Caches {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            vm_accesses: Cache::new(virtual_machine_key),
            virtual_machines: Cache::new(owner_uid),
            virtual_machine_instances: Cache::new(|_| None),
            services: Cache::new(owner_uid),
            nodes: Cache::new(|_| None),
        })
    }
}

impl Caches {
    /// Where a NodePort answers.
    pub(crate) fn node_addresses(&self) -> Vec<String> {
        node::addresses(self.nodes.store().state().iter().map(AsRef::as_ref))
    }
}

/// The index key of a virtual machine, `namespace/name`.
pub(crate) fn machine_key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

fn virtual_machine_key(vm_access: &VmAccess) -> Option<String> {
    let namespace = vm_access.namespace()?;
    Some(machine_key(
        &namespace,
        &novasphere_core::vm_access::virtual_machine_name(vm_access),
    ))
}

fn owner_uid<K: Resource>(object: &K) -> Option<String> {
    label::owner_uid(object.meta()).map(str::to_owned)
}
