//! `Hibernated`, and what the next decision about sleep needs to know.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use novasphere_crd::{Hibernation, HibernationReason, VncWorkspaceStatus, condition as types};

use super::{
    super::{
        activity::Activity,
        lifecycle::{Decision, State, whole_second},
        reason::HibernatedReason,
    },
    Observed,
};
use crate::condition::{Finding, find};

/// `status.lastInputAt` trails by at most so much while somebody types.
const TOLD_EVERY: SignedDuration = SignedDuration::from_mins(10);

pub(super) fn hibernated(observed: &Observed<'_>, old: &VncWorkspaceStatus) -> Finding {
    let type_ = types::HIBERNATED;
    let Some(decision) = observed.decision else {
        let was = find(&old.conditions, type_).is_some_and(|condition| condition.status == "True");
        let message = "The schedule is invalid, so the desktop was left as it was.";
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

/// The parts of the status that the next decision needs.
pub(super) fn remember(status: &mut VncWorkspaceStatus, decision: &Decision) {
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

/// What is told of the last input. While somebody types it moves every minute, which is not worth a write each time: it is told
/// together with what else is new, when it is [`TOLD_EVERY`] newer, and when the session that showed it has gone.
pub(super) fn last_input_at(activity: &Activity, told: Option<Timestamp>, with_others: bool) -> Option<Timestamp> {
    let newest = activity.last_input_at.map(whole_second).max(told);
    let is_due = with_others || !activity.is_shown || is_much_newer(told, newest);
    if is_due { newest } else { told }
}

/// Whether an input is worth a write of its own.
pub(super) fn is_much_newer(told: Option<Timestamp>, newest: Option<Timestamp>) -> bool {
    match (told, newest) {
        (Some(told), Some(newest)) => newest.duration_since(told) >= TOLD_EVERY,
        (told, newest) => told != newest,
    }
}
