//! `Hibernated`, and what the next decision about sleep needs to know.

use jiff::{SignedDuration, Timestamp};
use novasphere_crd::{Hibernation, HibernationReason, VncWorkspaceStatus, condition as types};

use super::{
    super::{
        activity::Activity,
        lifecycle::{DesktopState, LifecycleDecision},
        reason::HibernatedReason,
        schedule::Cron,
    },
    Observed,
};
use crate::{
    condition::{NewCondition, find},
    time::{kubernetes_time, whole_second},
};

/// `status.lastInputAt` trails by at most this during input.
const LAST_INPUT_WRITE_INTERVAL: SignedDuration = SignedDuration::from_mins(10);

pub(super) fn hibernated(observed: &Observed<'_>, old: &VncWorkspaceStatus) -> NewCondition {
    let type_ = types::HIBERNATED;
    let Some(decision) = observed.decision else {
        let was = find(&old.conditions, type_).is_some_and(|condition| condition.status == "True");
        let message = "spec.lifecycle is invalid, so the desktop was left as it was.";
        return if was {
            NewCondition::new_true(type_, HibernatedReason::InvalidSpec, message)
        } else {
            NewCondition::new_false(type_, HibernatedReason::InvalidSpec, message)
        };
    };
    match decision.state {
        DesktopState::Expired => {
            NewCondition::new_false(type_, HibernatedReason::Expired, "The workspace's time is over.")
        }
        DesktopState::Asleep(sleep) => {
            let never = never_comes(observed);
            let (reason, message) = match sleep.reason {
                HibernationReason::Asked => (
                    HibernatedReason::Asked,
                    "The desktop sleeps because spec.lifecycle.state is Hibernated. Set it to Running, or connect, to wake it.",
                ),
                HibernationReason::Idle => (
                    HibernatedReason::Idle,
                    "The desktop sleeps because there was no input for spec.lifecycle.idleTimeout. Connect to wake it, or set \
                     spec.lifecycle.keepAwakeUntil.",
                ),
                HibernationReason::Schedule => (
                    HibernatedReason::Schedule,
                    "The desktop sleeps because of spec.lifecycle.schedule. Connect to wake it, or set \
                     spec.lifecycle.keepAwakeUntil.",
                ),
            };
            NewCondition::new_true(type_, reason, format!("{message}{never}"))
        }
        DesktopState::Awake {
            warning: Some(sleep), ..
        } => NewCondition::new_false(
            type_,
            HibernatedReason::SleepsSoon,
            format!(
                "The desktop goes to sleep at {}. {}",
                whole_second(sleep.since),
                stay_awake(sleep.reason)
            ),
        ),
        DesktopState::Awake { warning: None, .. } => {
            let message = format!("The desktop is to be awake.{}", never_comes(observed));
            NewCondition::new_false(type_, HibernatedReason::Awake, message)
        }
    }
}

/// What is said of times that no calendar has.
fn never_comes(observed: &Observed<'_>) -> String {
    let Ok(valid) = observed.validated else {
        return String::new();
    };
    let lifecycle = &valid.lifecycle;
    let never = [("wake", &lifecycle.wake), ("hibernate", &lifecycle.hibernate)].into_iter();
    let never = never.filter(|(_, cron)| cron.as_ref().is_some_and(Cron::never_comes));
    let said: Vec<_> = never
        .map(|(field, _)| {
            format!(" spec.lifecycle.schedule.{field} never comes: none of its months has such a day; correct it.")
        })
        .collect();
    said.concat()
}

const fn stay_awake(reason: HibernationReason) -> &'static str {
    match reason {
        HibernationReason::Schedule => "Set spec.lifecycle.keepAwakeUntil to go on.",
        HibernationReason::Asked | HibernationReason::Idle => "Type or move the pointer to go on.",
    }
}

/// The parts of the status that the next decision needs.
pub(super) fn remember(status: &mut VncWorkspaceStatus, decision: &LifecycleDecision) {
    status.hibernation = decision.hibernation.map(|sleep| Hibernation {
        reason: sleep.reason,
        since: kubernetes_time(sleep.since),
    });
    status.awake_since = None;
    status.sleeps_at = None;
    if let DesktopState::Awake { since, warning } = decision.state {
        status.awake_since = Some(kubernetes_time(since));
        status.sleeps_at = warning.map(|sleep| kubernetes_time(sleep.since));
    }
}

/// `status.lastInputAt`. While somebody types it moves every minute, which is not worth a write each time: it is written
/// together with what else is new, when it is [`LAST_INPUT_WRITE_INTERVAL`] newer, and when the session that showed it has gone.
pub(super) fn last_input_at(activity: &Activity, written: Option<Timestamp>, with_others: bool) -> Option<Timestamp> {
    let newest = activity.last_input_at.map(whole_second).max(written);
    let is_due = with_others || !activity.is_shown || is_much_newer(written, newest);
    if is_due { newest } else { written }
}

/// Whether an input is worth a write of its own.
pub(in super::super) fn is_much_newer(written: Option<Timestamp>, newest: Option<Timestamp>) -> bool {
    match (written, newest) {
        (Some(written), Some(newest)) => newest.duration_since(written) >= LAST_INPUT_WRITE_INTERVAL,
        (written, newest) => written != newest,
    }
}
