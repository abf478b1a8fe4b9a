//! `PodReady`.

use novasphere_crd::condition as types;

use super::{
    super::{
        applied::{PodOutcome, ServiceOutcome},
        delay, failure,
        lifecycle::DesktopState,
        reason::PodReason,
        resize,
        validate::Part,
    },
    Observed,
};
use crate::{
    condition::NewCondition,
    failure::{Failure, FailureKind},
};

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
    if let ServiceOutcome::Refused(failure) = &applied.service {
        let (reason, message) = failure::of_write("Service", failure);
        return fails(reason, &message);
    }
    match observed.state() {
        Some(DesktopState::Expired) => return expired(),
        Some(DesktopState::Asleep(_)) => {
            return fails(PodReason::Hibernated, "The desktop is hibernated. Connect to wake it.");
        }
        Some(DesktopState::Awake { .. }) | None => {}
    }
    if let ServiceOutcome::NoFreePort { port, .. } = &applied.service {
        return fails(
            PodReason::NodePortsUsedUp,
            &format!(
                "All ports on nodes that the controller gives out for {port} are taken. Ask for a port in spec.service.nodePorts, use type \
                 ClusterIP, or let the administrator widen the range."
            ),
        );
    }
    if let Some(waits) = for_its_home(observed) {
        return waits;
    }
    awake(observed)
}

/// No Pod is made before its home, and a home that is refused does not come by itself.
fn for_its_home(observed: &Observed<'_>) -> Option<NewCondition> {
    let failure = observed.applied.home.failure()?;
    let is_absent = matches!(observed.applied.pod, PodOutcome::Absent);
    (is_absent && failure.kind != FailureKind::Unavailable).then(|| {
        let message = "The desktop has no home to start with; StorageReady says why, and what to do.";
        NewCondition::new_false(types::POD_READY, PodReason::HomeNotReady, message)
    })
}

/// The Pod of a desktop that is to be awake.
fn awake(observed: &Observed<'_>) -> NewCondition {
    let applied = observed.applied;
    let type_ = types::POD_READY;
    let fails = |reason: PodReason, message: &str| NewCondition::new_false(type_, reason, message);
    // A crash loop says more than that the next Pod starts or the last one is ending.
    let explains_itself = match &applied.pod {
        PodOutcome::Present { pod, .. } => {
            failure::is_ready(pod) || (!failure::has_ended(pod) && failure::of_pod(pod).is_some())
        }
        PodOutcome::Refused(_) => true,
        PodOutcome::Absent | PodOutcome::Ending | PodOutcome::Waiting(_) => false,
    };
    if let Some(crash_loop) = applied.crash_loop.as_ref().filter(|_| !explains_itself) {
        let (reason, message) = failure::of_crash_loop(crash_loop);
        return fails(reason, &message);
    }
    match &applied.pod {
        PodOutcome::Ending => fails(PodReason::Stopping, "The old Pod is ending; the next one follows."),
        PodOutcome::Absent | PodOutcome::Waiting(_) => fails(PodReason::Starting, "The desktop starts."),
        PodOutcome::Refused(failure) => {
            let (reason, message) = failure::of_write("Pod", failure);
            fails(reason, &message)
        }
        PodOutcome::Present { pod, resize_refused } if failure::is_ready(pod) => {
            let resources = resize_refused.as_ref().map(refused).or_else(|| resize::pending(pod));
            let message = resources.map_or_else(
                || "The desktop answers.".to_owned(),
                |resources| format!("The desktop answers. {resources}"),
            );
            NewCondition::new_true(type_, PodReason::Running, message)
        }
        PodOutcome::Present { pod, .. } => match failure::of_pod(pod)
            .or_else(|| delay::of_delay(pod, &observed.references.pod_warnings, observed.now))
        {
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
