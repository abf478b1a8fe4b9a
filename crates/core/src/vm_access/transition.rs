//! When a changed status is written, and the events that go with it.
//!
//! A machine that boots changes something every few seconds: KubeVirt's `printableStatus`, a node, an address. Programs that wait
//! for `Ready` need none of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use novasphere_crd::{VmAccessStatus, condition as types};

use strum::IntoEnumIterator as _;

use super::reason::{ServicesReason, VirtualMachineReason};
use crate::{
    condition::find,
    routes::reason::RoutesReason,
    transition::{EventNote, Transition, WritePriority},
};

/// Compares the status that an object has with the one that it should have.
#[must_use]
pub fn transition(old: Option<&VmAccessStatus>, new: &VmAccessStatus) -> Transition {
    let priority = priority(old, new);
    if priority == WritePriority::Never {
        return Transition::none();
    }
    Transition {
        priority,
        events: warnings(old, new),
    }
}

fn priority(old: Option<&VmAccessStatus>, new: &VmAccessStatus) -> WritePriority {
    let Some(old) = old else { return WritePriority::Now };
    if old == new {
        return WritePriority::Never;
    }
    let is_significant = old.observed_generation != new.observed_generation
        || old.services != new.services
        || old.routes != new.routes
        || old.conditions.len() != new.conditions.len()
        || new
            .conditions
            .iter()
            .any(|condition| is_significant(find(&old.conditions, &condition.type_), condition));
    if is_significant {
        WritePriority::Now
    } else {
        WritePriority::Soon
    }
}

fn is_significant(old: Option<&Condition>, new: &Condition) -> bool {
    let Some(old) = old else { return true };
    old.status != new.status || (old.reason != new.reason && !(is_progress(old) && is_progress(new)))
}

/// An event for each condition with a failure that `old` does not have.
fn warnings(old: Option<&VmAccessStatus>, new: &VmAccessStatus) -> Vec<EventNote> {
    let old = old.map(|status| status.conditions.as_slice()).unwrap_or_default();
    new.conditions
        .iter()
        .filter(|condition| ![types::READY, crate::condition::STALLED].contains(&condition.type_.as_str()))
        .filter(|condition| condition.status == "False" && !is_progress(condition))
        .filter(|condition| {
            find(old, &condition.type_)
                .is_none_or(|old| old.reason != condition.reason || old.message != condition.message)
        })
        .map(|condition| EventNote::warning(&condition.reason, &condition.message))
        .collect()
}

/// Whether the condition is about something under way, which ends by itself.
fn is_progress(condition: &Condition) -> bool {
    use VirtualMachineReason as Machine;
    let machine = [
        Machine::Pending,
        Machine::ChangingPower,
        Machine::Starting,
        Machine::Stopping,
        Machine::Terminating,
        Machine::Provisioning,
        Machine::WaitingForVolumeBinding,
        Machine::WaitingForReceiver,
        Machine::NotReady,
        Machine::UnknownStatus,
    ];
    let reason = condition.reason.as_str();
    machine.iter().any(|progress| <&str>::from(progress) == reason)
        || reason == <&str>::from(ServicesReason::LoadBalancerPending)
        || RoutesReason::iter().any(|progress| progress.is_progress() && <&str>::from(progress) == reason)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use novasphere_crd::VmAccessMachineStatus;

    use super::*;

    fn status(reason: VirtualMachineReason, message: &str, printable: &str) -> VmAccessStatus {
        let running = reason == VirtualMachineReason::Running;
        let condition = |type_: &str| Condition {
            type_: type_.into(),
            status: if running { "True" } else { "False" }.into(),
            reason: <&str>::from(reason).into(),
            message: message.into(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: Some(1),
        };
        VmAccessStatus {
            observed_generation: Some(1),
            conditions: vec![condition(types::READY), condition(types::VIRTUAL_MACHINE_READY)],
            virtual_machine: Some(VmAccessMachineStatus {
                printable_status: Some(printable.into()),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn progress_and_details_can_wait_and_results_cannot() {
        use VirtualMachineReason::{ErrImagePull, Pending, Running, Starting};
        let pending = status(Pending, "", "");
        assert_eq!(priority(None, &pending), WritePriority::Now);
        assert_eq!(priority(Some(&pending), &pending.clone()), WritePriority::Never);
        let starting = status(Starting, "", "Starting");
        assert_eq!(priority(Some(&pending), &starting), WritePriority::Soon);
        assert_eq!(
            priority(Some(&starting), &status(Starting, "", "Provisioning")),
            WritePriority::Soon
        );
        assert_eq!(
            priority(Some(&starting), &status(Running, "", "Running")),
            WritePriority::Now
        );
        assert_eq!(
            priority(Some(&starting), &status(ErrImagePull, "no such image", "Starting")),
            WritePriority::Now
        );
    }

    #[test]
    fn a_failure_is_told_once_and_progress_never() {
        use VirtualMachineReason::{ErrImagePull, Starting};
        let starting = status(Starting, "", "Starting");
        let failed = status(ErrImagePull, "no such image", "Starting");
        assert_eq!(transition(None, &starting).events, []);
        let events = transition(Some(&starting), &failed).events;
        assert_eq!(events, [EventNote::warning("ErrImagePull", "no such image")]);
        assert_eq!(transition(Some(&failed), &failed.clone()).events, []);
    }
}
