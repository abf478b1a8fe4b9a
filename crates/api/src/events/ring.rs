//! The last changes, for clients that come back.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::broadcast::error::RecvError;

use crate::watches::{Change, Watched};

/// Changes that are remembered.
const CHANGES_LIMIT: usize = 4096;

/// The last changes of this process. Clones share them.
#[derive(Clone, Default)]
pub struct RecentChanges(Arc<Mutex<VecDeque<Change>>>);

impl RecentChanges {
    /// Remembers what changes, for ever: the work of a task.
    pub async fn follow(self, watched: Watched) {
        let mut changes = watched.changes();
        loop {
            match changes.recv().await {
                Ok(change) => self.remember(change),
                // There is a gap now, so nobody can come back over it.
                Err(RecvError::Lagged(_)) => self.0.lock().clear(),
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn remember(&self, change: Change) {
        let mut changes = self.0.lock();
        if changes.len() >= CHANGES_LIMIT {
            changes.pop_front();
        }
        changes.push_back(change);
    }

    /// What came after a change; `None` when that is not known (any more), or the client has seen nothing yet.
    #[must_use]
    pub fn after(&self, last: Option<u64>) -> Option<Vec<Change>> {
        let last = last?;
        let changes = self.0.lock();
        let (first, newest) = (changes.front()?.number, changes.back()?.number);
        // A number of another process is mostly beyond what is known here.
        let is_known = last.checked_add(1)? >= first && last <= newest;
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
        assert_eq!(recent.after(Some(0)), None);
        (5..10).for_each(|number| recent.remember(change(number)));
        let numbers = |last| {
            recent
                .after(Some(last))
                .map(|changes| changes.iter().map(|change| change.number).collect::<Vec<_>>())
        };
        assert_eq!(numbers(7), Some(vec![8, 9]));
        assert_eq!(numbers(4), Some(vec![5, 6, 7, 8, 9]));
        assert_eq!(numbers(9), Some(Vec::new()));
        assert_eq!(numbers(3), None, "too old");
        assert_eq!(numbers(10), None, "of another process");
        assert_eq!(recent.after(None), None);
    }

    #[test]
    fn memory_is_bounded() {
        let recent = RecentChanges::default();
        (0..5000).for_each(|number| recent.remember(change(number)));
        assert_eq!(recent.0.lock().len(), CHANGES_LIMIT);
    }
}
