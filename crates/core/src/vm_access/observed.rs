//! What was found in the cluster after applying.

use k8s_openapi::api::core::v1::Service;
use novasphere_foreign::kubevirt::{Condition, VirtualMachine, VirtualMachineInstance};

use crate::{child::ChildOutcome, label, routes::status::RoutesOutcome};

/// What became of [`Prepared`](super::build::Prepared).
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// What became of the virtual machine.
    pub virtual_machine: ChildOutcome<VirtualMachine>,
    /// What became of each Service, in the order of the spec.
    pub services: Vec<AppliedService>,
    /// What became of the routes.
    pub routes: RoutesOutcome,
}

/// What became of one Service.
#[derive(Clone, Debug)]
pub struct AppliedService {
    /// The name in the spec.
    pub name: String,
    /// What became of it.
    pub outcome: ChildOutcome<Service>,
}

/// A virtual machine and its present run, as they are in the cluster now.
#[derive(Clone, Copy, Debug, Default)]
pub struct LiveMachine<'a> {
    /// The machine, as applied or adopted.
    pub machine: Option<&'a VirtualMachine>,
    /// Its present run.
    pub instance: Option<&'a VirtualMachineInstance>,
}

/// Whether a machine was made for the `VmAccess` with this UID: it is the machine's controller, or the machine has none and
/// carries its UID as a label, as with deletion policy `Orphan`.
#[must_use]
pub fn is_ours(vm_access_uid: &str, machine: &VirtualMachine) -> bool {
    label::owner_uid(&machine.metadata) == Some(vm_access_uid)
}

/// `KubeVirt`'s status of a machine that it has not looked at yet.
pub(super) const NO_STATUS: &str = "";

impl<'a> LiveMachine<'a> {
    /// `KubeVirt`'s one-word status, empty when it has none yet.
    pub(super) fn printable_status(&self) -> &'a str {
        self.status()
            .and_then(|status| status.printable_status.as_deref())
            .unwrap_or(NO_STATUS)
    }

    pub(super) fn status(&self) -> Option<&'a novasphere_foreign::kubevirt::VirtualMachineStatus> {
        self.machine.and_then(|machine| machine.status.as_ref())
    }

    pub(super) fn instance_status(&self) -> Option<&'a novasphere_foreign::kubevirt::VirtualMachineInstanceStatus> {
        self.instance.and_then(|instance| instance.status.as_ref())
    }

    /// A condition of the machine; `KubeVirt` copies those of the instance to it, a moment later.
    pub(super) fn condition(&self, type_: &str) -> Option<&'a Condition> {
        let of_machine = self.status().map(|status| status.conditions.as_slice());
        let of_instance = self.instance_status().map(|status| status.conditions.as_slice());
        let find = |conditions: &'a [Condition]| conditions.iter().find(|condition| condition.type_ == type_);
        of_machine.and_then(find).or_else(|| of_instance.and_then(find))
    }
}
