//! How soon a changed status has to be written, and what of it deserves an event.
//!
//! A machine that boots changes something every few seconds: a word of `KubeVirt`'s, a node, an address. Whoever waits for
//! `Ready` needs none of it, and each write costs every watcher of the object a message.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use novasphere_crd::{VmAccessStatus, condition as types};

use super::reason::{ServicesReason, VirtualMachineReason};
use crate::condition::find;

/// How soon a status has to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Nothing has changed.
    None,
    /// Only details have: a little later, together with what else comes.
    Soon,
    /// Something that people and programs wait for has.
    Now,
}

/// A condition that a person should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The condition's reason.
    pub reason: String,
    /// The condition's message.
    pub message: String,
}

/// Compares the status that an object has with the one that it should have.
#[must_use]
pub fn urgency(old: Option<&VmAccessStatus>, new: &VmAccessStatus) -> Urgency {
    let Some(old) = old else { return Urgency::Now };
    if old == new {
        return Urgency::None;
    }
    let is_news = old.observed_generation != new.observed_generation
        || old.services != new.services
        || old.conditions.len() != new.conditions.len()
        || new
            .conditions
            .iter()
            .any(|condition| is_news(find(&old.conditions, &condition.type_), condition));
    if is_news { Urgency::Now } else { Urgency::Soon }
}

fn is_news(old: Option<&Condition>, new: &Condition) -> bool {
    let Some(old) = old else { return true };
    old.status != new.status || (old.reason != new.reason && !(is_progress(old) && is_progress(new)))
}

/// The failures among the conditions that were not told yet.
#[must_use]
pub fn warnings(old: Option<&VmAccessStatus>, new: &VmAccessStatus) -> Vec<Warning> {
    let old = old.map(|status| status.conditions.as_slice()).unwrap_or_default();
    new.conditions
        .iter()
        .filter(|condition| ![types::READY, crate::condition::STALLED].contains(&condition.type_.as_str()))
        .filter(|condition| condition.status == "False" && !is_progress(condition))
        .filter(|condition| {
            find(old, &condition.type_)
                .is_none_or(|old| old.reason != condition.reason || old.message != condition.message)
        })
        .map(|condition| Warning {
            reason: condition.reason.clone(),
            message: condition.message.clone(),
        })
        .collect()
}

/// Whether the condition tells of something under way, which ends by itself.
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
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use novasphere_crd::VirtualMachineStatus;

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
            virtual_machine: Some(VirtualMachineStatus {
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
        assert_eq!(urgency(None, &pending), Urgency::Now);
        assert_eq!(urgency(Some(&pending), &pending.clone()), Urgency::None);
        let starting = status(Starting, "", "Starting");
        assert_eq!(urgency(Some(&pending), &starting), Urgency::Soon);
        assert_eq!(
            urgency(Some(&starting), &status(Starting, "", "Provisioning")),
            Urgency::Soon
        );
        assert_eq!(urgency(Some(&starting), &status(Running, "", "Running")), Urgency::Now);
        assert_eq!(
            urgency(Some(&starting), &status(ErrImagePull, "no such image", "Starting")),
            Urgency::Now
        );
    }

    #[test]
    fn a_failure_is_told_once_and_progress_never() {
        use VirtualMachineReason::{ErrImagePull, Starting};
        let starting = status(Starting, "", "Starting");
        let failed = status(ErrImagePull, "no such image", "Starting");
        assert_eq!(warnings(None, &starting), []);
        let told = warnings(Some(&starting), &failed);
        assert_eq!(
            told,
            [Warning {
                reason: "ErrImagePull".into(),
                message: "no such image".into()
            }]
        );
        assert_eq!(warnings(Some(&failed), &failed.clone()), []);
    }
}
