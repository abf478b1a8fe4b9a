//! Whether a desktop is awake or asleep, and why; when that is looked at next.
//!
//! What it decided before is in the status ([`Memory`]): an input that is told late must not wake a desktop again, and one that
//! somebody woke must not fall asleep for the reason that it slept before.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use novasphere_crd::{HibernationReason, LifecycleState, VncWorkspaceStatus};

use super::{activity::Activity, failure::ready_since, schedule::Cron};

/// How long before its sleep a desktop is warned of, at most; never longer than a fifth of the time that makes it idle.
pub const WARNING: Duration = Duration::from_mins(5);

/// The idle timeout of a desktop that is to hibernate and that somebody woke, when none is given.
pub const WOKEN_FOR: Duration = Duration::from_mins(30);

/// Gateways tell of input once a minute, so with somebody connected nothing is known of the last minute.
pub const REPORTS_WITHIN: Duration = Duration::from_secs(65);

/// When a desktop is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Lifecycle {
    /// Whether it may run.
    pub state: LifecycleState,
    /// Without input for so long it sleeps.
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
pub struct Memory {
    /// Since when it is awake; `None` while it sleeps, and for a new object.
    pub awake_since: Option<Timestamp>,
    /// Its present sleep, or that out of which a connection woke it.
    pub hibernation: Option<Sleep>,
    /// When a gateway last asked to wake it.
    pub wake_requested_at: Option<Timestamp>,
    /// Since when its Pod answers; `None` while it does not. The Pod says it, not the status.
    pub ready_since: Option<Timestamp>,
}

impl Memory {
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
pub enum State {
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
pub struct Decision {
    /// What the desktop is to be.
    pub state: State,
    /// The sleep to remember.
    pub hibernation: Option<Sleep>,
    /// When to decide again, unless something changes before.
    pub next: Option<Timestamp>,
}

impl Decision {
    /// Whether the Pod is wanted.
    #[must_use]
    pub const fn is_awake(&self) -> bool {
        matches!(self.state, State::Awake { .. })
    }
}

/// Decides. Times are compared in whole seconds, which is what the status carries.
#[must_use]
pub fn decide(lifecycle: &Lifecycle, memory: &Memory, activity: &Activity, now: Timestamp) -> Decision {
    let now = whole_second(now);
    if lifecycle.ends_at.is_some_and(|ends_at| ends_at <= now) {
        return Decision {
            state: State::Expired,
            hibernation: memory.hibernation,
            next: None,
        };
    }
    let decision = match (memory.awake_since, memory.hibernation) {
        (None, Some(sleep)) if !wakes(lifecycle, memory, sleep, now) => asleep(lifecycle, sleep, now),
        (None, Some(sleep)) => {
            // Awake by a connection although it is to hibernate: that is remembered, or it would sleep again at once.
            let remembered = (lifecycle.state == LifecycleState::Hibernated).then_some(Sleep {
                reason: HibernationReason::Asked,
                ..sleep
            });
            awake(lifecycle, memory, remembered, now, activity, now)
        }
        (None, None) => awake(lifecycle, memory, None, now, activity, now),
        (Some(since), hibernation) => {
            let remembered = hibernation.filter(|_| lifecycle.state == LifecycleState::Hibernated);
            awake(lifecycle, memory, remembered, since, activity, now)
        }
    };
    Decision {
        next: decision.next.into_iter().chain(lifecycle.ends_at).min(),
        ..decision
    }
}

fn wakes(lifecycle: &Lifecycle, memory: &Memory, sleep: Sleep, now: Timestamp) -> bool {
    if memory
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

fn asleep(lifecycle: &Lifecycle, sleep: Sleep, now: Timestamp) -> Decision {
    let may_wake = lifecycle.state == LifecycleState::Running;
    Decision {
        state: State::Asleep(sleep),
        hibernation: Some(sleep),
        next: lifecycle
            .wake
            .as_ref()
            .filter(|_| may_wake)
            .and_then(|wake| wake.next(now)),
    }
}

fn awake(
    lifecycle: &Lifecycle,
    memory: &Memory,
    remembered: Option<Sleep>,
    since: Timestamp,
    activity: &Activity,
    now: Timestamp,
) -> Decision {
    let Some((sleep, lead)) = sleep(lifecycle, memory, remembered, since, activity, now) else {
        return Decision {
            state: State::Awake { since, warning: None },
            hibernation: remembered,
            next: None,
        };
    };
    if sleep.since <= now {
        return asleep(lifecycle, Sleep { since: now, ..sleep }, now);
    }
    let warns_at = earlier(sleep.since, lead);
    let warning = (warns_at <= now).then_some(sleep);
    Decision {
        state: State::Awake { since, warning },
        hibernation: remembered,
        next: Some(if warning.is_some() { sleep.since } else { warns_at }),
    }
}

/// When and why an awake desktop sleeps next, and how long before to warn.
fn sleep(
    lifecycle: &Lifecycle,
    memory: &Memory,
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
    let timeout = lifecycle.idle_timeout.or(is_asked.then_some(WOKEN_FOR));
    // One that does not answer is not idle: asleep it would look as if nothing were wrong. One that is to hibernate goes back to that.
    let usable_since = if is_asked { Some(since) } else { memory.ready_since };
    let idle = timeout.zip(usable_since).map(|(timeout, usable_since)| {
        let lag = if activity.connected {
            REPORTS_WITHIN
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
                since: later(later(active, timeout), lag),
            },
            WARNING.min(timeout / 5),
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
            Some((Sleep { reason, since: at }, WARNING))
        });
    let kept_until = lifecycle.keep_awake_until.filter(|_| !is_asked);
    let (sleep, lead) = [idle, scheduled]
        .into_iter()
        .flatten()
        .min_by_key(|(sleep, _)| sleep.since)?;
    let since = kept_until.map_or(sleep.since, |until| sleep.since.max(until));
    Some((Sleep { since, ..sleep }, lead))
}

/// What `metav1.Time` carries.
pub(super) fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn earlier(time: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    time.checked_sub(by).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests;
