//! When status was written, for details that are not worth a write of their own.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
/// Details follow a write that was news after this time, together with what else has come until then.
const FIRST_DETAILS: Duration = Duration::from_secs(5);

/// Further details follow details after this time. A machine that boots slowly has something new every few seconds, and none of
/// it is worth a write.
const MORE_DETAILS: Duration = Duration::from_mins(1);

/// When the status of each object was written last. Forgotten after [`MORE_DETAILS`].
#[derive(Debug, Default)]
pub(crate) struct StatusWrites {
    last: Mutex<HashMap<String, Written>>,
}

#[derive(Clone, Copy, Debug)]
struct Written {
    at: Instant,
    only_details: bool,
}

impl StatusWrites {
    pub(crate) fn written(&self, uid: String, only_details: bool, now: Instant) {
        let mut last = self.last.lock();
        last.retain(|_, written| now.saturating_duration_since(written.at) < MORE_DETAILS);
        last.insert(uid, Written { at: now, only_details });
    }

    /// How long details have to wait still.
    pub(crate) fn wait(&self, uid: &str, now: Instant) -> Option<Duration> {
        let last = self.last.lock();
        let written = last.get(uid)?;
        let pause = if written.only_details {
            MORE_DETAILS
        } else {
            FIRST_DETAILS
        };
        pause
            .checked_sub(now.saturating_duration_since(written.at))
            .filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_follow_news_soon_and_details_late() {
        let writes = StatusWrites::default();
        let now = Instant::now();
        assert_eq!(writes.wait("a", now), None, "nothing was written yet");
        writes.written("a".into(), false, now);
        assert_eq!(writes.wait("a", now), Some(FIRST_DETAILS));
        assert_eq!(writes.wait("b", now), None, "another object");
        let later = now + FIRST_DETAILS;
        assert_eq!(writes.wait("a", later), None);
        writes.written("a".into(), true, later);
        assert_eq!(writes.wait("a", later), Some(MORE_DETAILS));
        assert_eq!(writes.wait("a", later + MORE_DETAILS), None);
    }
}
