//! What was found → the status of a `VncWorkspace`.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Pod, Service},
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use kube::ResourceExt as _;
use novasphere_crd::{
    Hibernation, HibernationReason, ServiceType, SnapshotStatus, VncWorkspace, VncWorkspaceStatus, WorkspaceEndpoints,
    WorkspacePhase, condition as types,
};
use novasphere_foreign::volume_snapshot::VolumeSnapshot;

use super::{
    SSH_PORT, VNC_PORT, failure,
    lifecycle::{Decision, State, whole_second},
    reason::{HibernatedReason, PodReason, RoutesReason, StorageReason},
    references::{References, home_of},
    secret_name,
    snapshots::{Progress, taken_at},
    validate::{Part, ValidateError, ends_at},
    validated::ValidatedWorkspace,
};
use crate::{
    condition::{ConditionStatus, Finding, STALLED, conditions, find},
    vm_access::failure::Failure,
};

/// How many snapshots are told.
const MAX_SNAPSHOTS: usize = 128;

/// What became of the objects that a workspace wants.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The home, or why it could not be applied. `None` when that was not tried.
    pub home: Option<Result<PersistentVolumeClaim, Failure>>,
    /// The Service.
    pub service: Option<Result<Service, Failure>>,
    /// The Pod; `None` when none is wanted, or while an old one ends.
    pub pod: Option<Result<Pod, Failure>>,
    /// What else could not be applied, by what it is.
    pub failures: Vec<(&'static str, Failure)>,
    /// An old Pod is ending.
    pub pod_is_ending: bool,
    /// All ports on nodes of the range for this are taken.
    pub ports_used_up: Option<&'static str>,
    /// How the snapshot stands that is waited for, and what for.
    pub snapshot: Option<(Progress, &'static str)>,
}

/// Everything that a status is worked out from.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The object, with the status that it has.
    pub workspace: &'a VncWorkspace,
    /// The outcome of [`validate`](super::validate::validate), and what was decided.
    pub validated: Result<(&'a ValidatedWorkspace, &'a Decision), &'a ValidateError>,
    /// What it refers to.
    pub references: &'a References,
    /// What became of the objects that it wants.
    pub applied: &'a Applied,
    /// Addresses of nodes, from [`addresses`](crate::vm_access::node::addresses).
    pub node_addresses: &'a [String],
    /// The present time.
    pub now: Timestamp,
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
        last_input_at: last_input_at(observed, &old),
        expires_at: ends_at(observed.workspace).map(Time),
        snapshots: snapshots(observed.references),
        wake_requested_at: None,
        ..old.clone()
    };
    status.endpoints = endpoints(observed).or(old.endpoints);
    if let Ok((_, decision)) = observed.validated {
        remember(&mut status, decision);
    }
    let live = live_pod(observed).filter(|pod| failure::is_ready(pod));
    status.pod_name = live.map(kube::ResourceExt::name_any);
    status.node_name = live.and_then(|pod| pod.spec.as_ref()?.node_name.clone());
    status
}

/// The parts of the status that the next decision needs.
fn remember(status: &mut VncWorkspaceStatus, decision: &Decision) {
    status.hibernation = decision.hibernation.map(|sleep| Hibernation {
        reason: sleep.reason,
        since: Time(whole_second(sleep.since)),
    });
    status.awake_since = None;
    status.sleeps_at = None;
    if let State::Awake { since, warning } = decision.state {
        status.awake_since = Some(Time(whole_second(since)));
        status.sleeps_at = warning.map(|sleep| Time(whole_second(sleep.since)));
    }
}

/// A newer input is told when it is a minute newer, or when it decides about a sleep.
fn last_input_at(observed: &Observed<'_>, old: &VncWorkspaceStatus) -> Option<Time> {
    let told = old.last_input_at.as_ref().map(|time| time.0);
    let newest = observed.references.activity.last_input_at.map(whole_second);
    newest.max(told).map(Time)
}

fn live_pod<'a>(observed: &Observed<'a>) -> Option<&'a Pod> {
    match &observed.applied.pod {
        Some(Ok(pod)) => Some(pod),
        _ => None,
    }
}

/// `Ready`: what is wrong first. A desktop that sleeps is as its spec wants it.
fn ready(observed: &Observed<'_>, pod: &Finding, storage: &Finding, routes: &Finding) -> Finding {
    let sleeps = matches!(
        observed.validated,
        Ok((
            _,
            Decision {
                state: State::Asleep(_),
                ..
            }
        ))
    );
    let waits = is_on_its_way(storage.reason);
    let parts = [(storage, sleeps && waits), (pod, sleeps), (routes, false)];
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
        return Finding::fails(types::READY, part.reason, part.message.clone());
    }
    Finding::holds(types::READY, pod.reason, pod.message.clone())
}

/// A home that comes by itself.
fn is_on_its_way(reason: &str) -> bool {
    [StorageReason::WaitingForPod, StorageReason::Provisioning]
        .iter()
        .any(|on_its_way| <&str>::from(on_its_way) == reason)
}

/// `Stalled`, while only a person can help.
fn stalled(observed: &Observed<'_>) -> Option<Finding> {
    let applied = observed.applied;
    if let Err(error) = observed.validated {
        return (!error.may_mend_itself()).then(|| Finding::holds(STALLED, "InvalidSpec", error.to_string()));
    }
    let pod = applied
        .pod
        .as_ref()
        .and_then(|pod| pod.as_ref().err())
        .filter(|failure| failure.needs_a_change());
    let (reason, message) = failure::of_write("Pod", pod?);
    Some(Finding::holds(STALLED, reason, message))
}

fn storage(observed: &Observed<'_>) -> Finding {
    let type_ = types::STORAGE_READY;
    let (valid, _) = match observed.validated {
        Err(error) if error.part() == Part::Storage => {
            return Finding::fails(type_, StorageReason::InvalidSpec, error.to_string());
        }
        Err(_) => {
            return Finding::unknown(
                type_,
                StorageReason::NotChecked,
                "Nothing was done, because another part of the spec is invalid.",
            );
        }
        Ok(valid) => valid,
    };
    if let Some((progress, why)) = &observed.applied.snapshot {
        match progress {
            Progress::Ready => {}
            Progress::Failed(said) => {
                return Finding::fails(
                    type_,
                    StorageReason::SnapshotFailed,
                    format!(
                        "The snapshot that is taken {why} failed, and the home is kept: {said}. The driver tries again; see \
                         `kubectl describe volumesnapshots`. To give the home up, set spec.storage.reclaim to Delete."
                    ),
                );
            }
            Progress::Missing | Progress::Underway => {
                return Finding::fails(
                    type_,
                    StorageReason::TakingSnapshot,
                    format!("A snapshot is being taken {why}."),
                );
            }
        }
    }
    match &observed.applied.home {
        None => Finding::unknown(type_, StorageReason::ApiUnavailable, "The home was not looked at yet."),
        Some(Err(failure)) => {
            let (reason, message) = failure::of_home_write(&valid.home.name, failure);
            Finding::fails(type_, reason, message)
        }
        Some(Ok(claim)) => match failure::of_home(claim, &valid.home, observed.references) {
            Some((reason, message)) => Finding::fails(type_, reason, message),
            None => {
                resizing(claim).unwrap_or_else(|| Finding::holds(type_, StorageReason::Bound, "The home is there."))
            }
        },
    }
}

/// A volume that grows is of use meanwhile.
fn resizing(claim: &PersistentVolumeClaim) -> Option<Finding> {
    let mut all = claim
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let pending = all.find(|condition| condition.type_ == "FileSystemResizePending" && condition.status == "True")?;
    let _ = pending;
    Some(Finding::holds(
        types::STORAGE_READY,
        StorageReason::Resizing,
        "The volume has grown; its file system grows when the desktop next starts.",
    ))
}

fn pod(observed: &Observed<'_>) -> Finding {
    let type_ = types::POD_READY;
    let fails = |reason: PodReason, message: &str| Finding::fails(type_, reason, message);
    let decision = match observed.validated {
        Err(error) if error.part() == Part::Pod => return fails(PodReason::InvalidSpec, &error.to_string()),
        Err(_) => {
            return Finding::unknown(
                type_,
                PodReason::InvalidSpec,
                "Nothing was done, because the home cannot be made; see StorageReady.",
            );
        }
        Ok((_, decision)) => decision,
    };
    if observed.workspace.metadata.deletion_timestamp.is_some() {
        return fails(PodReason::Deleting, "The workspace is being deleted.");
    }
    let applied = observed.applied;
    if let Some((what, failure)) = applied.failures.first() {
        let (reason, message) = failure::of_write(what, failure);
        return fails(reason, &message);
    }
    if let Some(Err(failure)) = &applied.service {
        let (reason, message) = failure::of_write("Service", failure);
        return fails(reason, &message);
    }
    match decision.state {
        State::Expired => return fails(PodReason::Expired, "The workspace's time is over."),
        State::Asleep(_) => return fails(PodReason::Hibernated, "The desktop sleeps. Whoever connects wakes it."),
        State::Awake { .. } => {}
    }
    if let Some(which) = applied.ports_used_up {
        return fails(
            PodReason::NodePortsUsedUp,
            &format!(
                "All ports on nodes that the controller gives out for {which} are taken. Ask for a port in spec.service.nodePorts, use type \
                 ClusterIP, or let the administrator widen the range."
            ),
        );
    }
    match &applied.pod {
        None if applied.pod_is_ending => fails(PodReason::Stopping, "The old Pod is ending; the next one follows."),
        None => fails(PodReason::Starting, "The desktop starts."),
        Some(Err(failure)) => {
            let (reason, message) = failure::of_write("Pod", failure);
            fails(reason, &message)
        }
        Some(Ok(pod)) if failure::is_ready(pod) => Finding::holds(type_, PodReason::Running, "The desktop answers."),
        Some(Ok(pod)) => match failure::of_pod(pod) {
            Some((reason, message)) => fails(reason, &message),
            None => fails(PodReason::Starting, "The desktop starts."),
        },
    }
}

fn hibernated(observed: &Observed<'_>, old: &VncWorkspaceStatus) -> Finding {
    let type_ = types::HIBERNATED;
    let Ok((_, decision)) = observed.validated else {
        let was = find(&old.conditions, type_).is_some_and(|condition| condition.status == "True");
        let message = "The spec is invalid, so the desktop was left as it was.";
        return if was {
            Finding::holds(type_, HibernatedReason::InvalidSpec, message)
        } else {
            Finding::fails(type_, HibernatedReason::InvalidSpec, message)
        };
    };
    match decision.state {
        State::Expired => Finding::fails(type_, HibernatedReason::Expired, "The workspace's time is over."),
        State::Asleep(sleep) => {
            let (reason, message) = match sleep.reason {
                HibernationReason::Asked => (
                    HibernatedReason::Asked,
                    "The desktop sleeps because spec.lifecycle.state is Hibernated. Set it to Running, or connect, to wake it.",
                ),
                HibernationReason::Idle => (
                    HibernatedReason::Idle,
                    "The desktop sleeps because nobody typed for spec.lifecycle.idleTimeout. Connect to wake it, or set \
                     spec.lifecycle.keepAwakeUntil.",
                ),
                HibernationReason::Schedule => (
                    HibernatedReason::Schedule,
                    "The desktop sleeps because of spec.lifecycle.schedule. Connect to wake it, or set \
                     spec.lifecycle.keepAwakeUntil.",
                ),
            };
            Finding::holds(type_, reason, message)
        }
        State::Awake {
            warning: Some(sleep), ..
        } => Finding::fails(
            type_,
            HibernatedReason::SleepsSoon,
            format!(
                "The desktop goes to sleep at {}. {}",
                whole_second(sleep.since),
                stay_awake(sleep.reason)
            ),
        ),
        State::Awake { warning: None, .. } => {
            Finding::fails(type_, HibernatedReason::Awake, "The desktop is to be awake.")
        }
    }
}

const fn stay_awake(reason: HibernationReason) -> &'static str {
    match reason {
        HibernationReason::Schedule => "Set spec.lifecycle.keepAwakeUntil to go on.",
        HibernationReason::Asked | HibernationReason::Idle => "Type or move the pointer to go on.",
    }
}

fn routes(observed: &Observed<'_>) -> Finding {
    let type_ = types::ROUTES_READY;
    if observed.workspace.spec.routes.is_empty() {
        return Finding::holds(type_, RoutesReason::NoRoutes, "No route is wanted.");
    }
    let names: Vec<_> = observed
        .workspace
        .spec
        .routes
        .iter()
        .map(|route| route.name.as_str())
        .collect();
    Finding::fails(
        type_,
        RoutesReason::NoGatewayConfigured,
        format!(
            "No gateway is configured for the controller, so these routes lead nowhere: {}. Remove spec.routes, and use spec.service of \
             type NodePort or LoadBalancer.",
            names.join(", ")
        ),
    )
}

fn phase(observed: &Observed<'_>, findings: &[Finding]) -> WorkspacePhase {
    let Ok((_, decision)) = observed.validated else {
        return WorkspacePhase::Failed;
    };
    let reason = |type_: &str| {
        findings
            .iter()
            .find(|finding| finding.type_ == type_)
            .map(|finding| finding.reason)
    };
    let ends = observed.applied.pod_is_ending;
    match decision.state {
        State::Expired => WorkspacePhase::Expiring,
        State::Asleep(_) if ends => WorkspacePhase::Hibernating,
        State::Asleep(_) => WorkspacePhase::Hibernated,
        State::Awake { .. } => match reason(types::POD_READY) {
            Some("Running") => WorkspacePhase::Running,
            Some("Starting" | "Stopping") => WorkspacePhase::Starting,
            _ => WorkspacePhase::Failed,
        },
    }
}

fn snapshots(references: &References) -> Vec<SnapshotStatus> {
    let mut all: Vec<&Arc<VolumeSnapshot>> = references.snapshots.iter().collect();
    all.sort_by_key(|snapshot| std::cmp::Reverse(taken_at(snapshot)));
    let told = all.into_iter().filter_map(|snapshot| {
        Some(SnapshotStatus {
            name: snapshot.name_any(),
            created_at: Time(whole_second(taken_at(snapshot)?)),
            ready_to_use: snapshot.is_ready(),
        })
    });
    told.take(MAX_SNAPSHOTS).collect()
}

/// Where the desktop is reached from outside novasphere's gateways.
fn endpoints(observed: &Observed<'_>) -> Option<WorkspaceEndpoints> {
    let Some(Ok(service)) = &observed.applied.service else {
        return None;
    };
    let spec = service.spec.as_ref()?;
    let service_type = observed.workspace.spec.service.r#type;
    let address = match service_type {
        ServiceType::ClusterIP => spec
            .cluster_ip
            .clone()
            .filter(|address| !address.is_empty() && address != "None"),
        ServiceType::NodePort => observed.node_addresses.first().cloned(),
        ServiceType::LoadBalancer => {
            let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
            let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref()?.first().cloned());
            ingress.and_then(|ingress| ingress.ip.or(ingress.hostname))
        }
    };
    let at = |name: &str| {
        let port = spec
            .ports
            .iter()
            .flatten()
            .find(|port| port.name.as_deref() == Some(name))?;
        let number = if service_type == ServiceType::NodePort {
            port.node_port?
        } else {
            port.port
        };
        let address = address.as_ref()?;
        Some(if address.contains(':') {
            format!("[{address}]:{number}")
        } else {
            format!("{address}:{number}")
        })
    };
    Some(WorkspaceEndpoints {
        web: None,
        vnc: at(VNC_PORT),
        ssh: at(SSH_PORT),
    })
}

/// Whether a status says something that people or programs wait for, compared with the one that an object has.
#[must_use]
pub fn is_news(old: Option<&VncWorkspaceStatus>, new: &VncWorkspaceStatus) -> bool {
    let Some(old) = old else { return true };
    // That the home has come is told with what the desktop does next.
    let comes = |old: &Condition, new: &Condition| {
        new.type_ == types::STORAGE_READY
            && is_on_its_way(&old.reason)
            && (new.status == "True" || is_on_its_way(&new.reason))
    };
    let changed = |condition: &Condition| {
        find(&old.conditions, &condition.type_).is_none_or(|old| {
            (&old.status, &old.reason) != (&condition.status, &condition.reason) && !comes(old, condition)
        })
    };
    old.conditions.len() != new.conditions.len()
        || new.conditions.iter().any(changed)
        || (
            old.observed_generation,
            &old.awake_since,
            &old.hibernation,
            &old.sleeps_at,
        ) != (
            new.observed_generation,
            &new.awake_since,
            &new.hibernation,
            &new.sleeps_at,
        )
        || (old.phase, &old.snapshots, &old.pod_name) != (new.phase, &new.snapshots, &new.pod_name)
        || (&old.expires_at, &old.endpoints) != (&new.expires_at, &new.endpoints)
}

/// What a person should hear of, with whether it is a warning.
#[must_use]
pub fn news(old: Option<&VncWorkspaceStatus>, new: &VncWorkspaceStatus) -> Vec<(bool, String, String)> {
    let old = old.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let quiet = [
        "Starting",
        "Stopping",
        "Hibernated",
        "Provisioning",
        "WaitingForPod",
        "Awake",
        "Expired",
        "Deleting",
        "TakingSnapshot",
    ];
    let told = new.conditions.iter().filter(|condition| {
        let is_new = find(old, &condition.type_).is_none_or(|old| old.reason != condition.reason);
        let wrong = condition.status == "False"
            && condition.type_ != types::READY
            && !quiet.contains(&condition.reason.as_str());
        let sleeps = condition.type_ == types::HIBERNATED && condition.status == "True";
        is_new && (wrong || sleeps)
    });
    told.map(|condition| {
        let is_warning = condition.status == "False";
        let reason = if is_warning {
            condition.reason.clone()
        } else {
            "Hibernated".to_owned()
        };
        (is_warning, reason, condition.message.clone())
    })
    .collect()
}

#[cfg(test)]
mod tests;
