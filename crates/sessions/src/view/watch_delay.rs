//! Whether the watch of sessions is known to be behind the API server. A cache that is late must not be taken for a "no".

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long a watch that broke counts as behind: longer than the longest pause of kube's watcher between two tries (30 s,
/// `kube_runtime::watcher::DefaultBackoff`), so another error comes before, or the watch is back.
const BROKEN_TTL: Duration = Duration::from_secs(45);

/// How long a watch counts as behind after the API server has shown something that it has not.
const LATE_TTL: Duration = Duration::from_secs(10);

/// What is known of the delay of one watch.
#[derive(Debug, Default)]
pub(super) struct WatchDelay(Mutex<Option<Instant>>);

impl WatchDelay {
    /// The watch broke.
    pub(super) fn broke(&self) {
        self.extend(BROKEN_TTL);
    }

    /// The API server has shown what the watch has not shown yet.
    pub(super) fn is_late(&self) {
        self.extend(LATE_TTL);
    }

    /// A list has ended: the watch has everything that was there when it began.
    pub(super) fn caught_up(&self) {
        *self.0.lock() = None;
    }

    /// Whether what the watch does not show may be there all the same.
    pub(super) fn is_behind(&self) -> bool {
        self.0.lock().is_some_and(|until| Instant::now() < until)
    }

    fn extend(&self, ttl: Duration) {
        let until = Instant::now() + ttl;
        let mut known = self.0.lock();
        *known = Some(known.map_or(until, |before| before.max(until)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_watch_is_behind_after_an_error_until_it_has_listed_or_long_enough() {
        let delay = WatchDelay::default();
        assert!(!delay.is_behind());
        delay.broke();
        delay.is_late();
        tokio::time::advance(LATE_TTL * 2).await;
        assert!(delay.is_behind(), "the longer time counts");
        tokio::time::advance(BROKEN_TTL).await;
        assert!(!delay.is_behind());
        delay.is_late();
        assert!(delay.is_behind());
        delay.caught_up();
        assert!(!delay.is_behind());
    }
}
