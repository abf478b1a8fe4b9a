//! [`ValidatedVmAccess`] → the objects that it wants. Nothing here can fail.

mod data_volume;
mod services;
mod virtual_machine;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use novasphere_foreign::kubevirt::VirtualMachine;

pub use self::data_volume::added as added_data_volumes;
pub(super) use self::virtual_machine::{plain_spec, wanted_spec};
use super::validated::{Machine, ValidatedVmAccess};
use crate::routes::plan::{PlannedRoute, service_annotations};

/// The objects to apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// The virtual machine; `None` for an adopted one, and while nothing can be done about it.
    pub virtual_machine: Option<VirtualMachine>,
    /// Its run strategy is that of the live machine, of which the version is stated; see [`repeat`](super::run_strategy::repeat).
    pub repeats_run_strategy: bool,
    /// The Services, in the order of the spec. Those of this owner that are not among them are to be deleted.
    pub services: Vec<PreparedService>,
    /// The routes, in the order of the spec. Objects of routes of this owner that are not among theirs are to be deleted.
    pub routes: Vec<PlannedRoute>,
}

/// A Service to apply.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedService {
    /// The name in the spec.
    pub name: String,
    /// The object.
    pub service: Service,
}

/// The objects that `vm_access` wants, beside those of its `routes`, which are planned already.
#[must_use]
pub fn build(vm_access: &ValidatedVmAccess, routes: Vec<PlannedRoute>) -> Prepared {
    let owned = match &vm_access.machine {
        Ok(Machine::Owned(machine)) => Some(machine),
        Ok(Machine::Adopted) | Err(_) => None,
    };
    let name = vm_access.machine_name.as_str();
    let services = vm_access.services.iter().map(|service| PreparedService {
        name: service.name.clone(),
        service: annotated(
            services::build(&vm_access.owner, name, service),
            service_annotations(&routes, service.object_name.as_str()),
        ),
    });
    Prepared {
        virtual_machine: owned.map(|machine| virtual_machine::build(&vm_access.owner, name, machine)),
        repeats_run_strategy: owned.is_some_and(|machine| machine.run_strategy.is_peoples()),
        services: services.collect(),
        routes,
    }
}

/// A Service with what gateways need on it. What a person writes there counts.
fn annotated(mut service: Service, annotations: BTreeMap<String, String>) -> Service {
    if !annotations.is_empty() {
        let all = service.metadata.annotations.get_or_insert_default();
        for (key, value) in annotations {
            all.entry(key).or_insert(value);
        }
    }
    service
}
