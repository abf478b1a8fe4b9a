//! What was found → the status of a `VmAccess`.

mod advice;
mod machine;
mod progress;
mod services;

use jiff::Timestamp;
use novasphere_crd::{RouteStatus, VmAccess, VmAccessStatus, condition as types};

use super::{
    failure::{of_service, of_virtual_machine},
    observed::{Applied, LiveMachine, is_ours},
    power::PowerDecision,
    references::References,
    validate::{Part, ValidateError},
    validated::ValidatedVmAccess,
};
use crate::{
    condition::{ConditionStatus, NewCondition, STALLED, conditions},
    failure::Failure,
    routes::reason::RoutesReason,
};

/// Everything that a status is worked out from.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The object, with the status that it has.
    pub vm_access: &'a VmAccess,
    /// The outcome of [`validate`](super::validate::validate).
    pub validated: Result<&'a ValidatedVmAccess, &'a ValidateError>,
    /// What it refers to.
    pub references: &'a References,
    /// What became of the objects that it wants; `None` when nothing was applied.
    pub applied: Option<&'a Applied>,
    /// What [`decide`](super::power::decide) said.
    pub power: &'a PowerDecision,
    /// Why the call that it said did not succeed.
    pub power_failure: Option<&'a Failure>,
    /// Addresses of nodes, from [`addresses`](crate::node::addresses).
    pub node_addresses: &'a [String],
    /// How many console sessions are open on the machine.
    pub active_sessions: u32,
    /// The present time.
    pub now: Timestamp,
}

/// A status, and when it is to be worked out again.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The status to write.
    pub status: VmAccessStatus,
    /// The next known deadline; before it, only a change in the cluster makes a difference.
    pub next: Option<Timestamp>,
}

impl Observed<'_> {
    /// The machine as applied, else as the caches have it; nothing when it was not made for this object.
    fn live(&self) -> LiveMachine<'_> {
        let applied = self.applied.and_then(|applied| applied.virtual_machine.applied());
        let uid = self.vm_access.metadata.uid.as_deref().unwrap_or_default();
        let is_adopted = self.vm_access.spec.virtual_machine.name.is_some();
        let machine = applied.or(self.references.virtual_machine.as_deref());
        match machine.filter(|machine| is_adopted || is_ours(uid, machine)) {
            None => LiveMachine::default(),
            machine => LiveMachine {
                machine,
                instance: self.references.virtual_machine_instance.as_deref(),
            },
        }
    }
}

/// The status of a `VmAccess`.
#[must_use]
pub fn status(observed: &Observed<'_>) -> Outcome {
    let generation = observed.vm_access.metadata.generation;
    let old = observed.vm_access.status.clone().unwrap_or_default();
    let live = observed.live();
    let machine = machine::finding(observed, live);
    let next = next(observed, live, machine.reason);
    let services = services::finding(observed, live);
    let routes = routes(observed);
    let mut findings = vec![ready([&machine, &services, &routes]), machine, services, routes];
    findings.extend(stalled(observed));
    let status = VmAccessStatus {
        observed_generation: generation,
        conditions: conditions(findings, generation, &old.conditions, observed.now),
        virtual_machine: machine::details(observed, live),
        services: services::details(observed, &old),
        routes: route_details(observed, &old),
        active_sessions: observed.active_sessions,
    };
    Outcome { status, next }
}

/// `Ready`: what is wrong first, else what is unknown first, else the machine's state.
fn ready(parts: [&NewCondition; 3]) -> NewCondition {
    let first = |status| parts.into_iter().find(|part| part.status == status);
    if let Some(part) = first(ConditionStatus::False).or_else(|| first(ConditionStatus::Unknown)) {
        return NewCondition::new_false(types::READY, part.reason, part.message.clone());
    }
    let [machine, ..] = parts;
    NewCondition::new_true(types::READY, machine.reason, machine.message.clone())
}

/// `Stalled`, while only a change by a user helps.
fn stalled(observed: &Observed<'_>) -> Option<NewCondition> {
    let error = observed
        .validated
        .err()
        .filter(|error| !error.may_recover())
        .map(|error| (error.reason(), error.to_string()));
    let machine = observed.applied.and_then(|applied| applied.virtual_machine.failure());
    let machine = machine.filter(|failure| failure.needs_spec_change()).map(|failure| {
        let (reason, message) = of_virtual_machine(failure);
        (reason.into(), message)
    });
    let service = || {
        observed.applied?.services.iter().find_map(|service| {
            let failure = service
                .outcome
                .failure()
                .filter(|failure| failure.needs_spec_change())?;
            let (reason, message) = of_service(failure);
            Some((reason.into(), format!("Service {}: {message}", service.name)))
        })
    };
    let route = || observed.applied?.routes.stalled();
    let (reason, message): (&'static str, String) = error.or(machine).or_else(service).or_else(route)?;
    Some(NewCondition::new_true(STALLED, reason, message))
}

fn routes(observed: &Observed<'_>) -> NewCondition {
    let type_ = types::ROUTES_READY;
    match (observed.validated, observed.applied) {
        (Err(error), _) => invalid(type_, error, Part::Routes, RoutesReason::InvalidSpec),
        (Ok(_), Some(applied)) => applied.routes.finding(type_),
        (Ok(_), None) => NewCondition::new_unknown(type_, RoutesReason::ApiUnavailable, "Nothing was done yet."),
    }
}

/// `status.routes`. While the spec is invalid, the routes stay as they are.
fn route_details(observed: &Observed<'_>, old: &VmAccessStatus) -> Vec<RouteStatus> {
    let applied = observed.applied.filter(|_| observed.validated.is_ok());
    applied.map_or_else(|| old.routes.clone(), |applied| applied.routes.details(&old.routes))
}

/// An invalid spec: `False` for the part that is wrong, `Unknown` for the others, which were not looked at.
fn invalid(type_: &'static str, error: &ValidateError, part: Part, reason: impl Into<&'static str>) -> NewCondition {
    if error.part() == part {
        NewCondition::new_false(type_, reason, error.to_string())
    } else {
        NewCondition::new_unknown(
            type_,
            reason,
            "Nothing was done, because another part of the spec is invalid.",
        )
    }
}

/// The earliest of the deadlines that are known.
fn next(observed: &Observed<'_>, live: LiveMachine<'_>, reason: &str) -> Option<Timestamp> {
    let retry = live
        .status()
        .and_then(|status| status.start_failure.as_ref()?.retry_after_timestamp.as_ref());
    let retry = retry.map(|time| time.0).filter(|time| *time > observed.now);
    let progress = progress::deadline(observed, live, reason);
    retry.into_iter().chain(observed.power.next).chain(progress).min()
}

#[cfg(test)]
mod tests;
