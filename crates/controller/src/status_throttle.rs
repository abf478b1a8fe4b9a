//! When the status of each object was written, because details alone are not worth a write each.

use std::time::{Duration, Instant};

use novasphere_runtime::per_object::PerObject;
use parking_lot::Mutex;

/// Details follow a significant write after this time, together with what else has changed until then.
const FIRST_DETAILS_INTERVAL: Duration = Duration::from_secs(5);

/// Further details follow details after this time. A machine that boots slowly has something new every few seconds, and none of
/// it is worth a write.
const MORE_DETAILS_INTERVAL: Duration = Duration::from_mins(1);

/// The last write of each object's status.
#[derive(Debug, Default)]
pub(crate) struct StatusThrottle {
    last: Mutex<PerObject<LastWrite>>,
}

#[derive(Clone, Copy, Debug)]
struct LastWrite {
    at: Instant,
    only_details: bool,
}

impl StatusThrottle {
    /// Records a write.
    pub(crate) fn written(&self, uid: &str, only_details: bool, now: Instant) {
        let is_recent = |_: &str, last: &LastWrite| now.saturating_duration_since(last.at) < MORE_DETAILS_INTERVAL;
        self.last
            .lock()
            .insert(uid, LastWrite { at: now, only_details }, is_recent);
    }

    /// How long details still have to wait.
    pub(crate) fn wait(&self, uid: &str, now: Instant) -> Option<Duration> {
        let last = *self.last.lock().get(uid)?;
        let interval = if last.only_details {
            MORE_DETAILS_INTERVAL
        } else {
            FIRST_DETAILS_INTERVAL
        };
        interval
            .checked_sub(now.saturating_duration_since(last.at))
            .filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_follow_significant_writes_soon_and_details_late() {
        let throttle = StatusThrottle::default();
        let now = Instant::now();
        assert_eq!(throttle.wait("a", now), None, "nothing was written yet");
        throttle.written("a", false, now);
        assert_eq!(throttle.wait("a", now), Some(FIRST_DETAILS_INTERVAL));
        assert_eq!(throttle.wait("b", now), None, "another object");
        let later = now + FIRST_DETAILS_INTERVAL;
        assert_eq!(throttle.wait("a", later), None);
        throttle.written("a", true, later);
        assert_eq!(throttle.wait("a", later), Some(MORE_DETAILS_INTERVAL));
        assert_eq!(throttle.wait("a", later + MORE_DETAILS_INTERVAL), None);
    }
}
