//! Pods that end by themselves, again and again: how long to wait before the next one.
//!
//! The kubelet does that for containers and gives it up for a Pod that has ended as a whole (`UnexpectedAdmissionError`, a deadline,
//! a volume over its limit). What is counted is forgotten with the process: the next one makes one Pod at once.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use novasphere_core::vnc_workspace::status::CrashLoop;
use parking_lot::{Mutex, MutexGuard};

/// The pause before the third Pod; it doubles with each. The second one comes at once: most ends are a node's.
const FIRST: Duration = Duration::from_secs(10);

/// The longest pause. All of these are the kubelet's for containers (kubernetes/kubernetes `pkg/kubelet/kubelet.go`).
const LONGEST: Duration = Duration::from_mins(5);

/// A Pod that lasted so long ends the row.
const LASTS: Duration = Duration::from_mins(10);

/// The last ends, by the UID of the workspace.
#[derive(Default)]
pub(crate) struct Ends {
    rows: Mutex<HashMap<String, Row>>,
}

/// Ends in a row.
struct Row {
    /// The UID of the last Pod.
    pod: String,
    said: String,
    times: u32,
    /// When the last end was seen.
    seen: Instant,
}

impl Row {
    fn pause(&self) -> Duration {
        match self.times {
            0 | 1 => Duration::ZERO,
            times => FIRST
                .saturating_mul(2_u32.saturating_pow(times.saturating_sub(2)))
                .min(LONGEST),
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.seen) > self.pause().saturating_add(LASTS)
    }

    /// What a person is told; a single end is no news.
    fn told(&self) -> Option<CrashLoop> {
        (self.times > 1).then(|| CrashLoop {
            message: self.said.clone(),
            exits: self.times,
        })
    }
}

/// The end of a Pod.
pub(super) struct End {
    /// The UID of its workspace.
    pub(super) workspace: String,
    /// Its own UID.
    pub(super) pod: String,
    /// Why.
    pub(super) said: String,
    /// How long there was that Pod.
    pub(super) lasted: Duration,
}

impl Ends {
    /// Takes in the end of a Pod, once, and returns what to tell of it and how long to wait from now. `exists` says whether there is
    /// a workspace of a UID.
    pub(super) fn note(&self, end: End, now: Instant, exists: impl Fn(&str) -> bool) -> (Option<CrashLoop>, Duration) {
        let mut rows = self.lock();
        let last = rows.get(&end.workspace);
        if last.is_none_or(|last| last.pod != end.pod) {
            let goes_on = last.filter(|last| end.lasted < LASTS && !last.is_over(now));
            let times = goes_on.map_or(1, |last| last.times.saturating_add(1));
            rows.retain(|workspace, row| !row.is_over(now) && exists(workspace));
            let row = Row {
                pod: end.pod,
                said: end.said,
                times,
                seen: now,
            };
            rows.insert(end.workspace.clone(), row);
        }
        rows.get(&end.workspace).map_or((None, Duration::ZERO), |row| {
            let waited = now.saturating_duration_since(row.seen);
            (row.told(), row.pause().saturating_sub(waited))
        })
    }

    /// The row of ends that is not over yet.
    pub(super) fn recent(&self, workspace: &str, now: Instant) -> Option<CrashLoop> {
        let rows = self.lock();
        rows.get(workspace).filter(|row| !row.is_over(now))?.told()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Row>> {
        self.rows.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(pod: &str, lasted: Duration) -> End {
        End {
            workspace: "a".to_owned(),
            pod: pod.to_owned(),
            said: "no device".to_owned(),
            lasted,
        }
    }

    #[test]
    fn pods_that_end_at_once_follow_each_other_with_growing_pauses() {
        let ends = Ends::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for pod in 0..9 {
            let (told, pause) = ends.note(end(&pod.to_string(), Duration::from_secs(1)), now, |_| true);
            assert_eq!(told.is_some(), pod > 0);
            pauses.push(pause.as_secs());
            let half = now + pause / 2;
            let (_, left) = ends.note(end(&pod.to_string(), Duration::from_secs(1)), half, |_| true);
            assert_eq!(left, pause.saturating_sub(pause / 2), "seen again, it is the same end");
            now += pause;
            let (_, left) = ends.note(end(&pod.to_string(), Duration::from_secs(1)), now, |_| true);
            assert_eq!(left, Duration::ZERO, "the pause is over");
            now += Duration::from_secs(2);
        }
        assert_eq!(pauses, [0, 10, 20, 40, 80, 160, 300, 300, 300]);
        let told = ends.recent("a", now).unwrap();
        assert_eq!((told.exits, told.message.as_str()), (9, "no device"));
    }

    #[test]
    fn a_pod_that_lasted_ends_the_row() {
        let ends = Ends::default();
        let now = Instant::now();
        for pod in ["1", "2", "3"] {
            ends.note(end(pod, Duration::ZERO), now, |_| true);
        }
        assert_eq!(ends.note(end("4", LASTS), now, |_| true), (None, Duration::ZERO));
        for pod in ["5", "6"] {
            ends.note(end(pod, Duration::ZERO), now, |_| true);
        }
        let later = now + LASTS + LONGEST;
        assert_eq!(ends.recent("a", later), None);
        assert_eq!(
            ends.note(end("7", Duration::ZERO), later, |_| true),
            (None, Duration::ZERO)
        );
    }

    #[test]
    fn workspaces_that_are_gone_are_forgotten() {
        let ends = Ends::default();
        let now = Instant::now();
        ends.note(end("1", Duration::ZERO), now, |_| true);
        let other = End {
            workspace: "b".to_owned(),
            ..end("2", Duration::ZERO)
        };
        ends.note(other, now, |uid| uid == "b");
        assert_eq!(ends.lock().keys().collect::<Vec<_>>(), ["b"]);
    }
}
