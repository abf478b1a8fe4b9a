//! `PodReady`.

use novasphere_crd::condition as types;

use super::{
    super::{failure, lifecycle::State, reason::PodReason, resize, validate::Part},
    Observed,
};
use crate::{condition::Finding, vm_access::failure::Failure};

pub(super) fn pod(observed: &Observed<'_>) -> Finding {
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
        Some(Ok(pod)) if failure::is_ready(pod) => {
            let resources = applied.resize.as_ref().map(refused).or_else(|| resize::pending(pod));
            let message = resources.map_or_else(
                || "The desktop answers.".to_owned(),
                |resources| format!("The desktop answers. {resources}"),
            );
            Finding::holds(type_, PodReason::Running, message)
        }
        Some(Ok(pod)) => match failure::of_pod(pod) {
            Some((reason, message)) => fails(reason, &message),
            None => fails(PodReason::Starting, "The desktop starts."),
        },
    }
}

/// The desktop goes on with what it has.
fn refused(failure: &Failure) -> String {
    let (_, message) = failure::of_write("Pod's new size", failure);
    format!("It keeps its former resources: {message}")
}
