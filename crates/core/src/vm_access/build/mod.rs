//! [`ValidatedVmAccess`] → the objects that it wants. Nothing here can fail.

mod data_volume;
mod services;
mod virtual_machine;

use k8s_openapi::api::core::v1::Service;
use novasphere_foreign::kubevirt::VirtualMachine;

pub(super) use self::virtual_machine::{plain_spec, wanted_spec};
use super::validated::{Machine, ValidatedVmAccess};

/// The objects to apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// The virtual machine; `None` for an adopted one, and while nothing can be done about it.
    pub virtual_machine: Option<VirtualMachine>,
    /// The Services, in the order of the spec. Those of this owner that are not among them are to be deleted.
    pub services: Vec<PreparedService>,
}

/// A Service to apply.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedService {
    /// The name in the spec.
    pub name: String,
    /// The object.
    pub service: Service,
}

/// The objects that `vm_access` wants.
#[must_use]
pub fn build(vm_access: &ValidatedVmAccess) -> Prepared {
    let virtual_machine = match &vm_access.machine {
        Ok(Machine::Owned(machine)) => Some(virtual_machine::build(
            &vm_access.owner,
            vm_access.machine_name.as_str(),
            machine,
        )),
        Ok(Machine::Adopted) | Err(_) => None,
    };
    let services = vm_access.services.iter().map(|service| PreparedService {
        name: service.name.clone(),
        service: services::build(&vm_access.owner, vm_access.machine_name.as_str(), service),
    });
    Prepared {
        virtual_machine,
        services: services.collect(),
    }
}
