//! `PodReady`.

use novasphere_crd::condition as types;

use super::{
    super::{failure, lifecycle::DesktopState, reason::PodReason, resize, validate::Part},
    Observed,
};
use crate::{condition::NewCondition, failure::Failure};

pub(super) fn pod(observed: &Observed<'_>) -> NewCondition {
    let type_ = types::POD_READY;
    let fails = |reason: PodReason, message: &str| NewCondition::new_false(type_, reason, message);
    if observed.workspace.metadata.deletion_timestamp.is_some() {
        return fails(PodReason::Deleting, "The workspace is being deleted.");
    }
    match observed.validated {
        Err(_) if observed.state() == Some(DesktopState::Expired) => return expired(),
        Err(error) if error.part() == Part::Pod => return fails(PodReason::InvalidSpec, &error.to_string()),
        Err(_) => {
            return NewCondition::new_unknown(
                type_,
                PodReason::InvalidSpec,
                "No Pod is made or changed, because the home cannot be made; see StorageReady.",
            );
        }
        Ok(_) => {}
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
    match observed.state() {
        Some(DesktopState::Expired) => return expired(),
        Some(DesktopState::Asleep(_)) => {
            return fails(PodReason::Hibernated, "The desktop sleeps. Whoever connects wakes it.");
        }
        Some(DesktopState::Awake { .. }) | None => {}
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
    let answers = matches!(&applied.pod, Some(Ok(pod)) if failure::is_ready(pod));
    let explained = match &applied.pod {
        Some(Ok(pod)) if !failure::has_ended(pod) => failure::of_pod(pod).is_some(),
        Some(Err(_)) => true,
        _ => false,
    };
    if let Some(crash_loop) = applied.crash_loop.as_ref().filter(|_| !answers && !explained) {
        let (reason, message) = failure::of_crash_loop(crash_loop);
        return fails(reason, &message);
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
            NewCondition::new_true(type_, PodReason::Running, message)
        }
        Some(Ok(pod)) => match failure::of_pod(pod) {
            Some((reason, message)) => fails(reason, &message),
            None => fails(PodReason::Starting, "The desktop starts."),
        },
    }
}

fn expired() -> NewCondition {
    NewCondition::new_false(types::POD_READY, PodReason::Expired, "The workspace's time is over.")
}

/// The desktop goes on with what it has.
fn refused(failure: &Failure) -> String {
    let (_, message) = failure::of_write("Pod's new size", failure);
    format!("It keeps its former resources: {message}")
}
