//! When to try a failed object again.

use std::{collections::HashMap, hash::Hash, time::Duration};

use parking_lot::Mutex;
use rand::RngExt;

/// Delay after the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// Longest delay.
const CAP: Duration = Duration::from_mins(5);

/// Exponential back-off per object: 1 s, 2 s, 4 s ... capped at 5 min, each shortened at random by up to a half, so that
/// objects which failed together do not come back together. Shared by reference; it locks inside for a moment only.
#[derive(Debug)]
pub struct Backoff<K> {
    failures: Mutex<HashMap<K, u32>>,
    capacity: usize,
}

impl<K: Hash + Eq + Clone> Backoff<K> {
    /// Remembers at most `capacity` failing objects (at least one). When full, one that failed least often is forgotten and
    /// begins at 1 s again.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            failures: Mutex::default(),
            capacity: capacity.max(1),
        }
    }

    /// Notes a failure and says how long to wait: at most 5 min.
    pub fn failure(&self, key: &K) -> Duration {
        let count = self.count(key);
        let full = FIRST
            .saturating_mul(2_u32.saturating_pow(count.saturating_sub(1)))
            .min(CAP);
        full.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Forgets the failures of an object: after a success, and when it is deleted.
    pub fn reset(&self, key: &K) {
        self.lock().remove(key);
    }

    fn count(&self, key: &K) -> u32 {
        let mut failures = self.lock();
        if failures.len() >= self.capacity && !failures.contains_key(key) {
            let least = failures
                .iter()
                .min_by_key(|(_, count)| **count)
                .map(|(key, _)| key.clone());
            if let Some(least) = least {
                failures.remove(&least);
            }
        }
        let count = failures.entry(key.clone()).or_default();
        *count = count.saturating_add(1);
        *count
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, HashMap<K, u32>> {
        self.failures.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_about(delay: Duration, full: Duration) {
        assert!(
            delay <= full && delay >= full / 2,
            "{delay:?} is not within half of {full:?}"
        );
    }

    #[test]
    fn delays_double_up_to_the_cap() {
        let backoff = Backoff::new(10);
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            assert_about(backoff.failure(&"a"), Duration::from_secs(seconds));
        }
        for _ in 0..100 {
            assert_about(backoff.failure(&"a"), CAP);
        }
    }

    #[test]
    fn objects_do_not_share_delays_and_a_success_begins_anew() {
        let backoff = Backoff::new(10);
        backoff.failure(&"a");
        backoff.failure(&"a");
        assert_about(backoff.failure(&"b"), FIRST);
        backoff.reset(&"a");
        assert_about(backoff.failure(&"a"), FIRST);
    }

    #[test]
    fn memory_is_bounded_and_keeps_the_worst() {
        let backoff = Backoff::new(3);
        for _ in 0..5 {
            backoff.failure(&0);
        }
        for key in 1..1000 {
            backoff.failure(&key);
        }
        assert_eq!(backoff.lock().len(), 3);
        assert_about(backoff.failure(&0), Duration::from_secs(32));
    }
}
