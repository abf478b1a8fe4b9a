//! The clock that leadership is measured by.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// An instant of this machine, as the time since it booted.
///
/// `std::time::Instant` is `CLOCK_MONOTONIC` on Linux: it goes on while a process is stopped (SIGSTOP), but stands still while
/// the machine is suspended, so a leader on a laptop that slept for an hour would believe its lease. `CLOCK_BOOTTIME` goes on
/// in both cases (`clock_gettime(2)`), and no administrator or NTP daemon can set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// Later than every moment that will be.
    pub(crate) const NEVER: Self = Self(Duration::MAX);

    /// The present moment.
    #[must_use]
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        // Both parts are never negative for this clock.
        Self(Duration::new(
            u64::try_from(time.tv_sec).unwrap_or(0),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        ))
    }

    /// This moment and `duration` more.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// How long it is from `earlier` to this moment; zero when `earlier` is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// A moment at a given time since boot, for tests with a clock of their own.
    #[cfg(test)]
    pub(crate) fn at(since_boot: Duration) -> Self {
        Self(since_boot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_go_forward() {
        let first = BootInstant::now();
        let second = BootInstant::now();
        assert!(second >= first);
        assert_eq!(first.since(first.after(Duration::from_secs(1))), Duration::ZERO);
        assert_eq!(first.after(Duration::from_secs(1)).since(first), Duration::from_secs(1));
    }
}
