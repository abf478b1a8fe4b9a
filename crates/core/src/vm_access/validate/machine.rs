//! Whose machine it is, and whether anything can be done about it now.

use novasphere_foreign::kubevirt::VirtualMachine;

use super::super::{
    observed::is_ours,
    reason::VirtualMachineReason,
    references::References,
    validated::{MachineUnavailable, Template, ValidatedDiskSource},
};
use crate::{
    label::{self, Owner},
    name::DnsSubdomain,
};

/// Whether the machine to adopt is there.
pub(super) fn adopted(owner: &Owner, name: &DnsSubdomain, references: &References) -> Result<(), MachineUnavailable> {
    kubevirt_is_there(references)?;
    if references.virtual_machine.is_some() {
        return Ok(());
    }
    let namespace = &owner.namespace;
    let message = if references.virtual_machine_instance.is_some() {
        format!(
            "There is a VirtualMachineInstance {name} in namespace {namespace} without a VirtualMachine, and only VirtualMachines are \
             served. Make a VirtualMachine of its spec, or correct spec.virtualMachine.name; this goes on by itself when it appears."
        )
    } else {
        format!(
            "VirtualMachine {name} does not exist in namespace {namespace}. Make it, or correct spec.virtualMachine.name; this goes \
             on by itself when it appears."
        )
    };
    Err(MachineUnavailable {
        reason: VirtualMachineReason::VirtualMachineNotFound,
        message,
    })
}

/// Whether the machine can be made or is ours, and the live one.
pub(super) fn owned<'a>(
    owner: &Owner,
    name: &DnsSubdomain,
    template: &Template,
    references: &'a References,
) -> Result<Option<&'a VirtualMachine>, MachineUnavailable> {
    kubevirt_is_there(references)?;
    if !references.apis.cdi
        && template
            .disks
            .iter()
            .any(|disk| matches!(disk.source, ValidatedDiskSource::DataVolume(..)))
    {
        return Err(MachineUnavailable {
            reason: VirtualMachineReason::CdiNotInstalled,
            message:
                "The template has a dataVolume disk, and the cluster has no CDI (cdi.kubevirt.io). Install CDI, or use \
                      another kind of disk; this goes on by itself when CDI appears."
                    .into(),
        });
    }
    match references.virtual_machine.as_deref() {
        Some(live) if !is_ours(&owner.uid, live) => Err(taken(owner, name, live)),
        live => Ok(live),
    }
}

fn taken(owner: &Owner, name: &DnsSubdomain, live: &VirtualMachine) -> MachineUnavailable {
    let (whose, hand_over) = match label::controller(&live.metadata) {
        Some(controller) => (
            format!("belongs to {} {}", controller.kind, controller.name),
            String::new(),
        ),
        // Taking it back without being asked to would change a machine that may have been left alone on purpose.
        None if label::owner_uid(&live.metadata).is_some() => (
            "was left behind by an earlier VmAccess".to_owned(),
            format!(
                " To hand it over to the template, `kubectl label virtualmachine {name} {}={} --overwrite`.",
                label::KEY_OWNER_UID,
                owner.uid
            ),
        ),
        None => ("was not made by novasphere".to_owned(), String::new()),
    };
    MachineUnavailable {
        reason: VirtualMachineReason::VirtualMachineTaken,
        message: format!(
            "VirtualMachine {name} exists already and {whose}; it is left alone. To use it as it is, set \
             spec.virtualMachine.name in place of the template, in a new VmAccess; else choose another name.{hand_over}"
        ),
    }
}

fn kubevirt_is_there(references: &References) -> Result<(), MachineUnavailable> {
    if references.apis.kubevirt {
        return Ok(());
    }
    Err(MachineUnavailable {
        reason: VirtualMachineReason::KubeVirtNotInstalled,
        message:
            "The cluster has no KubeVirt (kubevirt.io). Install KubeVirt; this goes on by itself when KubeVirt appears."
                .into(),
    })
}
