//! Whether a desktop is awake or asleep, and why; when that is looked at next.
//!
//! What it decided before is in the status ([`LifecycleHistory`]): an input that is reported late must not wake a desktop again, and a
//! desktop that a viewer woke must not fall asleep for the reason that it slept before.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use novasphere_crd::{HibernationReason, LifecycleState, VncWorkspace, VncWorkspaceStatus};

use super::{activity::Activity, expiry, failure::ready_since, references::References, schedule::Cron, validate};
use crate::{
    label,
    time::{after, before, whole_second},
};

/// How long before it hibernates a desktop is warned, at most; never longer than a fifth of the idle timeout.
pub const WARNING_LEAD_LIMIT: Duration = Duration::from_mins(5);

/// The idle timeout of a desktop that is to hibernate and that a viewer woke, when none is given.
pub const WOKEN_IDLE_TIMEOUT: Duration = Duration::from_mins(30);

/// Gateways report input once a minute, so with a viewer connected nothing is known about the last minute.
pub const INPUT_REPORT_TIMEOUT: Duration = Duration::from_secs(65);

/// When a desktop is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedLifecycle {
    /// Whether it may run.
    pub state: LifecycleState,
    /// It sleeps without input for this time.
    pub idle_timeout: Option<Duration>,
    /// Neither idleness nor schedule lets it sleep before.
    pub keep_awake_until: Option<Timestamp>,
    /// When the workspace ends.
    pub ends_at: Option<Timestamp>,
    /// When the schedule wakes it.
    pub wake: Option<Cron>,
    /// When the schedule lets it sleep.
    pub hibernate: Option<Cron>,
}

/// What was decided and asked before, from the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LifecycleHistory {
    /// Since when it is awake; `None` while it sleeps, and for a new object.
    pub awake_since: Option<Timestamp>,
    /// Its present sleep, or that out of which a connection woke it.
    pub hibernation: Option<Sleep>,
    /// When a gateway last asked to wake it.
    pub wake_requested_at: Option<Timestamp>,
    /// Since when its Pod answers; `None` while it does not. The Pod says it, not the status.
    pub ready_since: Option<Timestamp>,
}

impl LifecycleHistory {
    /// What a status remembers.
    #[must_use]
    pub fn of(status: &VncWorkspaceStatus) -> Self {
        Self {
            awake_since: status.awake_since.as_ref().map(|time| time.0),
            hibernation: status.hibernation.as_ref().map(|hibernation| Sleep {
                reason: hibernation.reason,
                since: hibernation.since.0,
            }),
            wake_requested_at: status.wake_requested_at.as_ref().map(|time| time.0),
            ready_since: None,
        }
    }

    /// With what the Pod says.
    #[must_use]
    pub fn with_pod(self, pod: Option<&Pod>) -> Self {
        Self {
            ready_since: pod.and_then(ready_since),
            ..self
        }
    }
}

/// A sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sleep {
    /// Who put it to sleep.
    pub reason: HibernationReason,
    /// Since when.
    pub since: Timestamp,
}

/// What a desktop is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DesktopState {
    /// It runs.
    Awake {
        /// Since when.
        since: Timestamp,
        /// That it is about to sleep, when and why.
        warning: Option<Sleep>,
    },
    /// Its Pod is gone.
    Asleep(Sleep),
    /// Its time is over.
    Expired,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LifecycleDecision {
    /// What the desktop is to be.
    pub state: DesktopState,
    /// The sleep to remember.
    pub hibernation: Option<Sleep>,
    /// When to decide again, unless something changes before.
    pub next: Option<Timestamp>,
}

impl LifecycleDecision {
    /// Whether the Pod is wanted.
    #[must_use]
    pub const fn is_awake(&self) -> bool {
        matches!(self.state, DesktopState::Awake { .. })
    }
}

/// Decides about a workspace, also while the rest of its spec is invalid: it hibernates and expires all the same.
///
/// Of a workspace whose schedule is malformed nothing is known but its end: `None` before that. The end is that of [`expiry::end`], with
/// the notice of the settings.
#[must_use]
pub fn decide_for(workspace: &VncWorkspace, references: &References, now: Timestamp) -> Option<LifecycleDecision> {
    let history = workspace.status.as_ref().map(LifecycleHistory::of).unwrap_or_default();
    let uid = workspace.metadata.uid.as_deref();
    let pod = references.pod.as_deref();
    let history = history.with_pod(pod.filter(|pod| label::owner_uid(&pod.metadata) == uid));
    let ends_at = expiry::end(workspace, references.settings.expiry_notice, now);
    match validate::lifecycle(workspace) {
        Ok(lifecycle) => {
            let lifecycle = ValidatedLifecycle { ends_at, ..lifecycle };
            Some(decide(&lifecycle, &history, &references.activity, now))
        }
        Err(_) => (ends_at? <= now).then_some(LifecycleDecision {
            state: DesktopState::Expired,
            hibernation: history.hibernation,
            next: None,
        }),
    }
}

/// Decides. Times are compared in whole seconds, which is what the status carries.
#[must_use]
pub fn decide(
    lifecycle: &ValidatedLifecycle,
    history: &LifecycleHistory,
    activity: &Activity,
    now: Timestamp,
) -> LifecycleDecision {
    let now = whole_second(now);
    if lifecycle.ends_at.is_some_and(|ends_at| ends_at <= now) {
        return LifecycleDecision {
            state: DesktopState::Expired,
            hibernation: history.hibernation,
            next: None,
        };
    }
    let decision = match (history.awake_since, history.hibernation) {
        (None, Some(sleep)) if !wakes(lifecycle, history, sleep, now) => asleep(lifecycle, sleep, now),
        (None, Some(sleep)) => {
            // Awake by a connection although it is to hibernate: that is remembered, or it would sleep again at once.
            let remembered = (lifecycle.state == LifecycleState::Hibernated).then_some(Sleep {
                reason: HibernationReason::Asked,
                ..sleep
            });
            awake(lifecycle, history, remembered, now, activity, now)
        }
        (None, None) => awake(lifecycle, history, None, now, activity, now),
        (Some(since), hibernation) => {
            let remembered = hibernation.filter(|_| lifecycle.state == LifecycleState::Hibernated);
            awake(lifecycle, history, remembered, since, activity, now)
        }
    };
    LifecycleDecision {
        next: decision.next.into_iter().chain(lifecycle.ends_at).min(),
        ..decision
    }
}

fn wakes(lifecycle: &ValidatedLifecycle, history: &LifecycleHistory, sleep: Sleep, now: Timestamp) -> bool {
    if history
        .wake_requested_at
        .is_some_and(|at| whole_second(at) >= sleep.since)
    {
        return true;
    }
    if lifecycle.state == LifecycleState::Hibernated {
        return false;
    }
    let kept = lifecycle.keep_awake_until.is_some_and(|until| until > now);
    let scheduled = || {
        lifecycle
            .wake
            .as_ref()
            .is_some_and(|wake| wake.last(sleep.since, now).is_some())
    };
    kept || scheduled()
        || match sleep.reason {
            HibernationReason::Asked => true,
            HibernationReason::Idle => lifecycle.idle_timeout.is_none(),
            HibernationReason::Schedule => lifecycle.hibernate.is_none(),
        }
}

fn asleep(lifecycle: &ValidatedLifecycle, sleep: Sleep, now: Timestamp) -> LifecycleDecision {
    let may_wake = lifecycle.state == LifecycleState::Running;
    LifecycleDecision {
        state: DesktopState::Asleep(sleep),
        hibernation: Some(sleep),
        next: lifecycle
            .wake
            .as_ref()
            .filter(|_| may_wake)
            .and_then(|wake| wake.next(now)),
    }
}

fn awake(
    lifecycle: &ValidatedLifecycle,
    history: &LifecycleHistory,
    remembered: Option<Sleep>,
    since: Timestamp,
    activity: &Activity,
    now: Timestamp,
) -> LifecycleDecision {
    let Some((sleep, lead)) = sleep(lifecycle, history, remembered, since, activity, now) else {
        return LifecycleDecision {
            state: DesktopState::Awake { since, warning: None },
            hibernation: remembered,
            next: None,
        };
    };
    if sleep.since <= now {
        let since = sleep_start(history, now);
        return asleep(lifecycle, Sleep { since, ..sleep }, now);
    }
    let warns_at = before(sleep.since, lead);
    let warning = (warns_at <= now).then_some(sleep);
    LifecycleDecision {
        state: DesktopState::Awake { since, warning },
        hibernation: remembered,
        next: Some(if warning.is_some() { sleep.since } else { warns_at }),
    }
}

/// Since when a desktop sleeps that falls asleep now. It is after the last request to wake it, which was followed: one of the same second,
/// or of a gateway whose clock is ahead, would wake it again at once. A later request is never before it, because gateways ask with this
/// time at least (`wake_request_time`).
fn sleep_start(history: &LifecycleHistory, now: Timestamp) -> Timestamp {
    let followed = history.wake_requested_at.map(whole_second);
    followed.map_or(now, |asked| now.max(after(asked, Duration::from_secs(1))))
}

/// When and why an awake desktop sleeps next, and how long before to warn.
fn sleep(
    lifecycle: &ValidatedLifecycle,
    history: &LifecycleHistory,
    remembered: Option<Sleep>,
    since: Timestamp,
    activity: &Activity,
    now: Timestamp,
) -> Option<(Sleep, Duration)> {
    let is_asked = lifecycle.state == LifecycleState::Hibernated;
    if is_asked && remembered.is_none() {
        let reason = HibernationReason::Asked;
        return Some((Sleep { reason, since: now }, Duration::ZERO));
    }
    let timeout = lifecycle.idle_timeout.or(is_asked.then_some(WOKEN_IDLE_TIMEOUT));
    // One that does not answer is not idle: asleep it would look as if nothing were wrong. One that is to hibernate goes back to that.
    let usable_since = if is_asked { Some(since) } else { history.ready_since };
    let idle = timeout.zip(usable_since).map(|(timeout, usable_since)| {
        let lag = if activity.connected {
            INPUT_REPORT_TIMEOUT
        } else {
            Duration::ZERO
        };
        let reason = if is_asked {
            HibernationReason::Asked
        } else {
            HibernationReason::Idle
        };
        let active = since
            .max(whole_second(usable_since))
            .max(activity.last_input_at.unwrap_or(since));
        (
            Sleep {
                reason,
                since: after(after(active, timeout), lag),
            },
            WARNING_LEAD_LIMIT.min(timeout / 5),
        )
    });
    let scheduled = lifecycle
        .hibernate
        .as_ref()
        .filter(|_| !is_asked)
        .and_then(|hibernate| {
            let missed = hibernate.last(since, now).filter(|missed| {
                let wake = lifecycle.wake.as_ref();
                wake.and_then(|wake| wake.last(*missed, now)).is_none()
            });
            let at = missed.or_else(|| hibernate.next(now))?;
            let reason = HibernationReason::Schedule;
            Some((Sleep { reason, since: at }, WARNING_LEAD_LIMIT))
        });
    let kept_until = lifecycle.keep_awake_until.filter(|_| !is_asked);
    let (sleep, lead) = [idle, scheduled]
        .into_iter()
        .flatten()
        .min_by_key(|(sleep, _)| sleep.since)?;
    let since = kept_until.map_or(sleep.since, |until| sleep.since.max(until));
    Some((Sleep { since, ..sleep }, lead))
}

#[cfg(test)]
mod tests;
