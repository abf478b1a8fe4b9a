//! What was found in the cluster after applying.

use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;
use novasphere_foreign::kubevirt::{Condition, VirtualMachine, VirtualMachineInstance};

use super::failure::Failure;
use crate::label;

/// What became of [`Prepared`](super::build::Prepared).
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The virtual machine as it is in the cluster now, or why it could not be applied. `None` when there was none to
    /// apply.
    pub virtual_machine: Option<Result<VirtualMachine, Failure>>,
    /// What became of each Service, in the order of the spec.
    pub services: Vec<AppliedService>,
}

/// What became of one Service.
#[derive(Clone, Debug)]
pub struct AppliedService {
    /// The name in the spec.
    pub name: String,
    /// The Service as it is in the cluster now, or why it could not be applied.
    pub result: Result<Service, Failure>,
}

/// A virtual machine and its present run, as they are in the cluster now.
#[derive(Clone, Copy, Debug, Default)]
pub struct LiveMachine<'a> {
    /// The machine, as applied or adopted.
    pub machine: Option<&'a VirtualMachine>,
    /// Its present run.
    pub instance: Option<&'a VirtualMachineInstance>,
}

/// Whether a machine was made for the `VmAccess` of its name with this UID.
///
/// It is when that is its controller, or when it has no controller and was made for a `VmAccess`. The latter can only be one
/// of the machine's own name: this one, with deletion policy `Orphan`, or an earlier one that left the machine behind. The
/// machine is then taken back, for example after a restore of both from a backup.
#[must_use]
pub fn is_ours(vm_access_uid: &str, machine: &VirtualMachine) -> bool {
    match label::controller(&machine.metadata) {
        Some(controller) => controller.uid == vm_access_uid,
        None => machine.labels().contains_key(label::KEY_OWNER_UID),
    }
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

    /// A condition of the machine; `KubeVirt` copies those of the instance to it.
    pub(super) fn condition(&self, type_: &str) -> Option<&'a Condition> {
        self.status()?
            .conditions
            .iter()
            .find(|condition| condition.type_ == type_)
    }
}
