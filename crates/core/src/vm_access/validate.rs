//! `VmAccess` and what it refers to → [`ValidatedVmAccess`], or what a user has to change.

mod cloud_init;
mod error;
mod machine;
mod overrides;
mod power_conflict;
pub(super) mod template;

use kube::ResourceExt;
use novasphere_crd::{AccessService, PowerState, VmAccess, VmAccessSpec};

pub use self::error::{Part, ValidateError};
use super::{
    allowed_references,
    references::References,
    run_strategy::RunStrategy,
    validated::{Machine, OwnedMachine, ValidatedPower, ValidatedService, ValidatedVmAccess, WantedState},
};
use crate::{
    label::Owner,
    name::{self, DnsSubdomain},
    routes::{Backend, ValidatedRoute},
    service::{AnnotationRefusal, refused_annotation},
    time::whole_second,
};

/// Checks a `VmAccess` and resolves what it refers to.
///
/// # Errors
///
/// What a user has to change. What may come by itself (`KubeVirt`, the machine to adopt) is no error but
/// [`MachineUnavailable`](super::validated::MachineUnavailable) in the result, so that the rest goes on.
pub fn validate(vm_access: &VmAccess, references: &References) -> Result<ValidatedVmAccess, ValidateError> {
    let spec = &vm_access.spec;
    let owner = Owner::of(vm_access).ok_or(ValidateError::NoIdentity)?;
    let machine_name = machine_name(vm_access, references)?;
    let power = power(spec)?;
    let machine = match (&spec.virtual_machine.name, &spec.virtual_machine.template) {
        (Some(_), None) => machine::adopted(&owner, &machine_name, references).map(|()| Machine::Adopted),
        (None, Some(template)) => {
            let template = template::validate(template, machine_name.as_str())?;
            allowed_references::check(&template, &owner.namespace, references)?;
            if !spec.services.is_empty() && !template.may_have_pod_network() {
                return Err(ValidateError::NoPodNetwork);
            }
            machine::owned(&owner, &machine_name, &template, references).map(|live| {
                let run_strategy = RunStrategy::of(power.state, live);
                let repeated = live.filter(|_| run_strategy.is_peoples());
                Machine::Owned(Box::new(OwnedMachine {
                    deletion_policy: spec.virtual_machine.deletion_policy.unwrap_or_default(),
                    repeated_version: repeated.and_then(ResourceExt::resource_version),
                    run_strategy,
                    template,
                }))
            })
        }
        _ => {
            return Err(ValidateError::NotExactlyOne {
                field: "spec.virtualMachine".into(),
                options: "name and template",
            });
        }
    };
    Ok(ValidatedVmAccess {
        machine,
        machine_name,
        power,
        power_conflict: power_conflict::power_conflict(vm_access, references),
        services: services(spec, &owner.name, references)?,
        routes: routes(spec, &owner.name)?,
        owner,
    })
}

fn machine_name(vm_access: &VmAccess, references: &References) -> Result<DnsSubdomain, ValidateError> {
    let field = if vm_access.spec.virtual_machine.name.is_some() {
        "spec.virtualMachine.name"
    } else {
        "metadata.name"
    };
    DnsSubdomain::parse(&references.virtual_machine_name).map_err(|source| ValidateError::Name {
        field: field.into(),
        source,
    })
}

fn power(spec: &VmAccessSpec) -> Result<ValidatedPower, ValidateError> {
    let Some(power) = &spec.power else {
        return Ok(ValidatedPower::default());
    };
    let state = match power.state {
        None => WantedState::Any,
        Some(PowerState::Running) => WantedState::Running,
        Some(PowerState::Stopped) => WantedState::Stopped,
        Some(PowerState::Paused) => WantedState::Paused,
    };
    let restarted_at = power.restarted_at.as_ref().map(|time| whole_second(time.0));
    if restarted_at.is_some() && !matches!(state, WantedState::Any | WantedState::Running) {
        return Err(ValidateError::Excluded {
            field: "spec.power.restartedAt".into(),
            problem: "a stopped or paused machine is not restarted; remove it, or set state to Running",
        });
    }
    Ok(ValidatedPower { state, restarted_at })
}

fn services(spec: &VmAccessSpec, owner: &str, references: &References) -> Result<Vec<ValidatedService>, ValidateError> {
    let allowed = &references.limits.service_annotations;
    let service = |service: &AccessService| {
        if let Some((key, refusal)) = refused_annotation(&service.settings, allowed) {
            return Err(ValidateError::ServiceAnnotation {
                service: service.name.clone(),
                key: key.to_owned(),
                problem: match refusal {
                    AnnotationRefusal::Own => "is novasphere's own; choose another key, such as novasphere.io/x-team",
                    AnnotationRefusal::NotAllowed => {
                        "is not allowed for Services; remove it, or ask the administrator to add it to \
                         controller.machines.allowedServiceAnnotations in the configuration"
                    }
                },
            });
        }
        Ok(ValidatedService {
            name: service.name.clone(),
            object_name: name::joined(&[owner, &service.name]),
            service_type: service.r#type,
            ports: service.ports.clone(),
            settings: service.settings.clone(),
        })
    };
    spec.services.iter().map(service).collect()
}

fn routes(spec: &VmAccessSpec, owner: &str) -> Result<Vec<ValidatedRoute>, ValidateError> {
    let leads_somewhere = |route: &novasphere_crd::VmRoute| {
        spec.services
            .iter()
            .filter(|service| service.name == route.service)
            .any(|service| {
                service
                    .ports
                    .iter()
                    .any(|port| port.port == route.port && port.protocol == novasphere_crd::PortProtocol::Tcp)
            })
    };
    let route = |route: &novasphere_crd::VmRoute| ValidatedRoute {
        name: route.name.clone(),
        backend: Some(Backend {
            service: name::joined(&[owner, &route.service]).to_string(),
            port: route.port,
        }),
        rule: route.rule.clone(),
    };
    match spec.routes.iter().find(|route| !leads_somewhere(route)) {
        None => Ok(spec.routes.iter().map(route).collect()),
        Some(route) => Err(ValidateError::RouteTarget {
            route: route.name.clone(),
            service: route.service.clone(),
            port: route.port,
        }),
    }
}

#[cfg(test)]
mod tests;
