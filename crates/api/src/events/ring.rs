//! The last changes, for clients that come back.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::broadcast::error::RecvError;

use crate::watches::{Change, Watched};

/// Changes that are remembered.
const CHANGES_LIMIT: usize = 4096;

/// The last changes of this process. Clones share them.
#[derive(Clone)]
pub struct RecentChanges(Arc<Remembered>);

struct Remembered {
    /// Tells numbers of this process from those of other replicas, which count the same objects.
    process: u64,
    changes: Mutex<VecDeque<Change>>,
}

impl Default for RecentChanges {
    fn default() -> Self {
        Self(Arc::new(Remembered {
            process: rand::random(),
            changes: Mutex::default(),
        }))
    }
}

impl RecentChanges {
    /// The ID of an event.
    #[must_use]
    pub fn event_id(&self, number: u64) -> String {
        format!("{:016x}-{number}", self.0.process)
    }

    /// The number in the ID of an event; `None` for one of another process.
    #[must_use]
    pub fn number(&self, event_id: &str) -> Option<u64> {
        let (process, number) = event_id.split_once('-')?;
        let is_ours = u64::from_str_radix(process, 16).ok()? == self.0.process;
        is_ours.then(|| number.parse().ok()).flatten()
    }

    /// Remembers what changes, for ever: the work of a task.
    pub async fn follow(self, watched: Watched) {
        let mut changes = watched.changes();
        loop {
            match changes.recv().await {
                Ok(change) => self.remember(change),
                // There is a gap now, so nobody can come back over it.
                Err(RecvError::Lagged(_)) => self.0.changes.lock().clear(),
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn remember(&self, change: Change) {
        let mut changes = self.0.changes.lock();
        if changes.len() >= CHANGES_LIMIT {
            changes.pop_front();
        }
        changes.push_back(change);
    }

    /// What came after a change, up to `version` at least; `None` when that is not known (yet, or any more), or the client has seen nothing yet.
    #[must_use]
    pub fn after(&self, last: Option<u64>, version: u64) -> Option<Vec<Change>> {
        let last = last?;
        let changes = self.0.changes.lock();
        let (first, newest) = (changes.front()?.number, changes.back()?.number);
        let is_known = last.checked_add(1)? >= first && last <= newest && newest >= version;
        is_known.then(|| changes.iter().filter(|change| change.number > last).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watches::ChangeKind;

    fn change(number: u64) -> Change {
        Change {
            number,
            kind: ChangeKind::Machine,
            namespace: "team".to_owned(),
            id: number.to_string(),
            is_gone: false,
        }
    }

    #[test]
    fn who_comes_back_gets_what_was_missed_or_nothing() {
        let recent = RecentChanges::default();
        assert_eq!(recent.after(Some(0), 0), None);
        (5..10).for_each(|number| recent.remember(change(number)));
        let numbers = |last| {
            recent
                .after(Some(last), 9)
                .map(|changes| changes.iter().map(|change| change.number).collect::<Vec<_>>())
        };
        assert_eq!(numbers(7), Some(vec![8, 9]));
        assert_eq!(numbers(4), Some(vec![5, 6, 7, 8, 9]));
        assert_eq!(numbers(9), Some(Vec::new()));
        assert_eq!(numbers(3), None, "too old");
        assert_eq!(numbers(10), None, "of no event");
        assert_eq!(recent.after(Some(7), 10), None, "the last change is not remembered yet");
        assert_eq!(recent.after(None, 9), None);
    }

    #[test]
    fn events_of_other_replicas_are_not_taken_for_ours() {
        let (one, other) = (RecentChanges::default(), RecentChanges::default());
        assert_eq!(one.number(&one.event_id(7)), Some(7));
        assert_eq!(one.number(&other.event_id(7)), None);
        for bad in ["", "7", "-7", "x-7", "0-"] {
            assert_eq!(one.number(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let recent = RecentChanges::default();
        (0..5000).for_each(|number| recent.remember(change(number)));
        assert_eq!(recent.0.changes.lock().len(), CHANGES_LIMIT);
    }
}
