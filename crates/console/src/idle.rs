//! How long a stream has been without human input.

use std::time::Duration;

use tokio::time::Instant;

/// Tells when a stream is idle. What counts as input is decided by the filters.
#[derive(Clone, Copy, Debug)]
pub struct IdleClock {
    timeout: Option<Duration>,
    last: Instant,
}

impl IdleClock {
    /// A clock for a stream that was opened at `now`. Without a timeout the stream is never idle.
    #[must_use]
    pub const fn new(timeout: Option<Duration>, now: Instant) -> Self {
        Self { timeout, last: now }
    }

    /// A person did something.
    pub const fn touch(&mut self, now: Instant) {
        self.last = now;
    }

    /// When the stream is idle if nobody does anything until then.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        // Beyond the end of time is never.
        self.last.checked_add(self.timeout?)
    }

    /// Whether the stream is idle.
    #[must_use]
    pub fn is_idle(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_puts_the_deadline_off() {
        let start = Instant::now();
        let minute = Duration::from_mins(1);
        let mut clock = IdleClock::new(Some(minute), start);
        assert!(!clock.is_idle(start + minute - Duration::from_millis(1)));
        assert!(clock.is_idle(start + minute));
        clock.touch(start + minute);
        assert!(!clock.is_idle(start + minute));
        assert_eq!(clock.deadline(), Some(start + 2 * minute));
    }

    #[test]
    fn without_a_timeout_nothing_is_idle() {
        let start = Instant::now();
        assert_eq!(IdleClock::new(None, start).deadline(), None);
        assert_eq!(IdleClock::new(Some(Duration::MAX), start).deadline(), None);
        assert!(!IdleClock::new(None, start).is_idle(start + Duration::from_hours(1000)));
    }
}
