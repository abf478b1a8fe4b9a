//! Pods that end by themselves, again and again: how long to wait before the next one.
//!
//! The kubelet does that for containers and gives it up for a Pod that has ended as a whole (`UnexpectedAdmissionError`, a deadline,
//! a volume over its limit). The count is lost with the process: the next one creates one Pod at once.

use std::time::{Duration, Instant};

use novasphere_core::vnc_workspace::applied::CrashLoop;
use novasphere_runtime::per_object::PerObject;
use parking_lot::Mutex;

/// The pause before the third Pod; it doubles with each. The second one comes at once: most exits are a node's fault.
const INITIAL_PAUSE: Duration = Duration::from_secs(10);

/// The longest pause. All of these are the kubelet's for containers (kubernetes/kubernetes `pkg/kubelet/kubelet.go`).
const MAX_PAUSE: Duration = Duration::from_mins(5);

/// A Pod that ran this long resets the back-off.
const STABLE_AFTER: Duration = Duration::from_mins(10);

/// The exits of each workspace's Pods.
#[derive(Default)]
pub(crate) struct CrashBackoff {
    streaks: Mutex<PerObject<Streak>>,
}

/// Exits in a row.
struct Streak {
    /// The UID of the last Pod.
    pod: String,
    message: String,
    exits: u32,
    /// When the last exit was seen.
    seen: Instant,
}

impl Streak {
    fn pause(&self) -> Duration {
        match self.exits {
            0 | 1 => Duration::ZERO,
            exits => INITIAL_PAUSE
                .saturating_mul(2_u32.saturating_pow(exits.saturating_sub(2)))
                .min(MAX_PAUSE),
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.seen) > self.pause().saturating_add(STABLE_AFTER)
    }

    /// What the status says of it; a single exit is none.
    fn crash_loop(&self) -> Option<CrashLoop> {
        (self.exits > 1).then(|| CrashLoop {
            message: self.message.clone(),
            exits: self.exits,
        })
    }
}

/// The end of a Pod that nobody deleted.
pub(super) struct PodExit {
    /// Its workspace, by [`owner_key`](novasphere_core::label::owner_key).
    pub(super) workspace: String,
    /// Its own UID.
    pub(super) pod: String,
    /// Why it ended.
    pub(super) message: String,
    /// How long it ran.
    pub(super) lasted: Duration,
}

impl CrashBackoff {
    /// Takes in the exit of a Pod, once, and returns what the status says of it and how long to wait from now. `exists` says whether
    /// there is a workspace with that key.
    pub(super) fn record(
        &self,
        exit: PodExit,
        now: Instant,
        exists: impl Fn(&str) -> bool,
    ) -> (Option<CrashLoop>, Duration) {
        let mut streaks = self.streaks.lock();
        let last = streaks.get(&exit.workspace);
        if last.is_none_or(|last| last.pod != exit.pod) {
            let continued = last.filter(|last| exit.lasted < STABLE_AFTER && !last.is_over(now));
            let streak = Streak {
                exits: continued.map_or(1, |last| last.exits.saturating_add(1)),
                pod: exit.pod,
                message: exit.message,
                seen: now,
            };
            streaks.insert(&exit.workspace, streak, |workspace, streak| {
                !streak.is_over(now) && exists(workspace)
            });
        }
        streaks.get(&exit.workspace).map_or((None, Duration::ZERO), |streak| {
            let waited = now.saturating_duration_since(streak.seen);
            (streak.crash_loop(), streak.pause().saturating_sub(waited))
        })
    }

    /// The streak that is not over yet.
    pub(super) fn current(&self, workspace: &str, now: Instant) -> Option<CrashLoop> {
        let streaks = self.streaks.lock();
        let streak = streaks.get(workspace).filter(|streak| !streak.is_over(now))?;
        streak.crash_loop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(pod: &str, lasted: Duration) -> PodExit {
        PodExit {
            workspace: "a".to_owned(),
            pod: pod.to_owned(),
            message: "no device".to_owned(),
            lasted,
        }
    }

    #[test]
    fn pods_that_end_at_once_follow_each_other_with_growing_pauses() {
        let backoff = CrashBackoff::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for pod in 0..9 {
            let (crash_loop, pause) = backoff.record(exit(&pod.to_string(), Duration::from_secs(1)), now, |_| true);
            assert_eq!(crash_loop.is_some(), pod > 0);
            pauses.push(pause.as_secs());
            let half = now + pause / 2;
            let (_, left) = backoff.record(exit(&pod.to_string(), Duration::from_secs(1)), half, |_| true);
            assert_eq!(left, pause.saturating_sub(pause / 2), "seen again, it is the same exit");
            now += pause;
            let (_, left) = backoff.record(exit(&pod.to_string(), Duration::from_secs(1)), now, |_| true);
            assert_eq!(left, Duration::ZERO, "the pause is over");
            now += Duration::from_secs(2);
        }
        assert_eq!(pauses, [0, 10, 20, 40, 80, 160, 300, 300, 300]);
        let crash_loop = backoff.current("a", now).unwrap();
        assert_eq!((crash_loop.exits, crash_loop.message.as_str()), (9, "no device"));
    }

    #[test]
    fn a_pod_that_lasted_resets_the_backoff() {
        let backoff = CrashBackoff::default();
        let now = Instant::now();
        for pod in ["1", "2", "3"] {
            backoff.record(exit(pod, Duration::ZERO), now, |_| true);
        }
        assert_eq!(
            backoff.record(exit("4", STABLE_AFTER), now, |_| true),
            (None, Duration::ZERO)
        );
        for pod in ["5", "6"] {
            backoff.record(exit(pod, Duration::ZERO), now, |_| true);
        }
        let later = now + STABLE_AFTER + MAX_PAUSE;
        assert_eq!(backoff.current("a", later), None);
        assert_eq!(
            backoff.record(exit("7", Duration::ZERO), later, |_| true),
            (None, Duration::ZERO)
        );
    }

    #[test]
    fn workspaces_that_are_gone_are_forgotten() {
        let backoff = CrashBackoff::default();
        let now = Instant::now();
        backoff.record(exit("1", Duration::ZERO), now, |_| true);
        let other = PodExit {
            workspace: "b".to_owned(),
            ..exit("2", Duration::ZERO)
        };
        backoff.record(other, now, |uid| uid == "b");
        let streaks = backoff.streaks.lock();
        assert_eq!(streaks.iter().map(|(uid, _)| uid).collect::<Vec<_>>(), ["b"]);
    }
}
