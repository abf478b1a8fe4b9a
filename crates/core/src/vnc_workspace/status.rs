//! What was found → the status of a `VncWorkspace`.

mod endpoints;
mod pod;
mod sleep;
mod storage;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use novasphere_crd::{SnapshotStatus, VncWorkspace, VncWorkspaceStatus, WorkspacePhase, condition as types};
use novasphere_foreign::volume_snapshot::VolumeSnapshot;

use self::{
    endpoints::{endpoints, route_details, routes},
    pod::pod,
    sleep::{hibernated, last_input_at, remember},
    storage::storage,
};
pub(super) use self::{sleep::is_much_newer, storage::is_on_its_way};
use super::{
    applied::{Applied, PodOutcome},
    backup, expiry, failure,
    lifecycle::{DesktopState, LifecycleDecision},
    reason::PodReason,
    references::{References, SnapshotApi, home_of},
    secret_name,
    snapshots::{expiries, taken_at},
    validate::ValidateError,
    validated::ValidatedWorkspace,
};
use crate::{
    condition::{ConditionStatus, NewCondition, STALLED, conditions},
    time::kubernetes_time,
};

/// How many snapshots the status lists.
const SNAPSHOTS_LIMIT: usize = 128;

/// Everything that a status is worked out from.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The object, with the status that it has.
    pub workspace: &'a VncWorkspace,
    /// The outcome of [`validate`](super::validate::validate).
    pub validated: Result<&'a ValidatedWorkspace, &'a ValidateError>,
    /// The outcome of [`decide_for`](super::lifecycle::decide_for).
    pub decision: Option<&'a LifecycleDecision>,
    /// What it refers to.
    pub references: &'a References,
    /// What became of the objects that it wants.
    pub applied: &'a Applied,
    /// Addresses of nodes, from [`addresses`](crate::node::addresses).
    pub node_addresses: &'a [String],
    /// The present time.
    pub now: Timestamp,
}

impl Observed<'_> {
    /// What the desktop is to be, as far as that is known.
    fn state(&self) -> Option<DesktopState> {
        self.decision.map(|decision| decision.state)
    }
}

/// The status of a `VncWorkspace`, but for `wakeRequestedAt`, which gateways write.
#[must_use]
pub fn status(observed: &Observed<'_>) -> VncWorkspaceStatus {
    let generation = observed.workspace.metadata.generation;
    let old = observed.workspace.status.clone().unwrap_or_default();
    let storage = storage(observed);
    let pod = pod(observed);
    let routes = routes(observed);
    let hibernated = hibernated(observed, &old);
    let mut findings = vec![
        ready(observed, &pod, &storage, &routes),
        pod,
        storage,
        routes,
        hibernated,
    ];
    findings.extend(stalled(observed));
    let phase = phase(observed, &findings);
    let mut status = VncWorkspaceStatus {
        observed_generation: generation,
        conditions: conditions(findings, generation, &old.conditions, observed.now),
        phase: Some(phase),
        home_claim: Some(home_of(observed.workspace)),
        credentials_secret: Some(secret_name(&observed.workspace.name_any())),
        expires_at: expiry::end(
            observed.workspace,
            observed.references.settings.expiry_notice,
            observed.now,
        )
        .map(Time),
        next_backup_at: next_backup(observed),
        snapshots: snapshots(observed),
        wake_requested_at: None,
        ..old.clone()
    };
    status.routes = route_details(observed, &old);
    status.endpoints = endpoints(observed).or(old.endpoints.clone());
    if let Some(decision) = observed.decision {
        remember(&mut status, decision);
    }
    let live = observed.applied.pod.pod().filter(|pod| failure::is_ready(pod));
    status.pod_name = live.map(kube::ResourceExt::name_any);
    status.node_name = live.and_then(|pod| pod.spec.as_ref()?.node_name.clone());
    let written = old.last_input_at.as_ref().map(|time| time.0);
    let old = VncWorkspaceStatus {
        wake_requested_at: None,
        ..old
    };
    let activity = &observed.references.activity;
    status.last_input_at = last_input_at(activity, written, status != old).map(Time);
    status
}

/// `Ready`: what is wrong first. A desktop that sleeps is as its spec wants it.
fn ready(observed: &Observed<'_>, pod: &NewCondition, storage: &NewCondition, routes: &NewCondition) -> NewCondition {
    let sleeps = matches!(observed.state(), Some(DesktopState::Asleep(_)));
    let waits = is_on_its_way(storage.reason);
    // Asleep, a Service or Secret that is refused is still wrong.
    let rests = sleeps && pod.reason == <&str>::from(PodReason::Hibernated);
    let parts = [(storage, sleeps && waits), (pod, rests), (routes, false)];
    let parts: Vec<_> = parts
        .into_iter()
        .filter(|(_, excused)| !excused)
        .map(|(part, _)| part)
        .collect();
    let first = |status| parts.iter().find(|part| part.status == status);
    if let Some(part) = first(ConditionStatus::False).or_else(|| first(ConditionStatus::Unknown)) {
        // The desktop's own failure says more than that its home waits for it.
        let part = if waits && part.type_ == storage.type_ && pod.status == ConditionStatus::False {
            pod
        } else {
            part
        };
        return NewCondition::new_false(types::READY, part.reason, part.message.clone());
    }
    NewCondition::new_true(types::READY, pod.reason, pod.message.clone())
}

/// `Stalled`, while only a change by a user helps.
fn stalled(observed: &Observed<'_>) -> Option<NewCondition> {
    if let Err(error) = observed.validated {
        return (!error.may_recover()).then(|| NewCondition::new_true(STALLED, "InvalidSpec", error.to_string()));
    }
    let refused = match &observed.applied.pod {
        PodOutcome::Refused(failure) => Some(failure).filter(|failure| failure.needs_spec_change()),
        _ => None,
    };
    let Some(failure) = refused else {
        let (reason, message) = observed.applied.routes.stalled()?;
        return Some(NewCondition::new_true(STALLED, reason, message));
    };
    let (reason, message) = failure::of_write("Pod", failure);
    Some(NewCondition::new_true(STALLED, reason, message))
}

fn phase(observed: &Observed<'_>, findings: &[NewCondition]) -> WorkspacePhase {
    let is_valid = observed.validated.is_ok();
    let Some(state) = observed
        .state()
        .filter(|state| is_valid || *state == DesktopState::Expired)
    else {
        return WorkspacePhase::Failed;
    };
    let reason = |type_: &str| {
        findings
            .iter()
            .find(|finding| finding.type_ == type_)
            .map(|finding| finding.reason)
    };
    let ends = matches!(observed.applied.pod, PodOutcome::Ending);
    match state {
        DesktopState::Expired => WorkspacePhase::Expiring,
        DesktopState::Asleep(_) if ends => WorkspacePhase::Hibernating,
        DesktopState::Asleep(_) => WorkspacePhase::Hibernated,
        DesktopState::Awake { .. } => match reason(types::POD_READY) {
            Some("Running") => WorkspacePhase::Running,
            Some("Starting" | "Stopping") => WorkspacePhase::Starting,
            _ => WorkspacePhase::Failed,
        },
    }
}

/// What is over, or is being deleted, is saved otherwise.
fn next_backup(observed: &Observed<'_>) -> Option<Time> {
    let is_over = observed.state() == Some(DesktopState::Expired);
    let next = backup::next(observed.workspace, observed.applied.backup.as_ref(), observed.now);
    next.filter(|_| !is_over).map(kubernetes_time)
}

fn snapshots(observed: &Observed<'_>) -> Vec<SnapshotStatus> {
    if observed.references.snapshot_api == SnapshotApi::Unlisted {
        // What is not listed yet is not gone. What was announced of it must not be forgotten either.
        let known = observed.workspace.status.as_ref();
        return known.map(|status| status.snapshots.clone()).unwrap_or_default();
    }
    let expiries = expiries(observed.workspace, observed.references, observed.now);
    let expires_at = |name: &str| {
        let found = expiries.iter().find(|(snapshot, _)| snapshot.name_any() == name);
        found.map(|(_, at)| kubernetes_time(*at))
    };
    let mut all: Vec<&Arc<VolumeSnapshot>> = observed.references.snapshots.iter().collect();
    all.sort_by_key(|snapshot| std::cmp::Reverse(taken_at(snapshot)));
    let listed = all.into_iter().filter_map(|snapshot| {
        let name = snapshot.name_any();
        Some(SnapshotStatus {
            created_at: kubernetes_time(taken_at(snapshot)?),
            ready_to_use: snapshot.is_ready(),
            expires_at: expires_at(&name),
            name,
        })
    });
    listed.take(SNAPSHOTS_LIMIT).collect()
}

#[cfg(test)]
mod tests;
