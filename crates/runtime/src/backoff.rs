//! When to try a failed object again.

use std::{hash::Hash, marker::PhantomData, time::Duration};

/// Exponential back-off per object: 1 s, 2 s, 4 s ... capped at 5 min, each shortened at random by up to half, so that
/// objects which failed together do not come back together. Shared by reference; it locks inside for a moment only.
#[derive(Debug)]
pub struct Backoff<K> {
    _key: PhantomData<K>,
}

impl<K: Hash + Eq + Clone> Backoff<K> {
    /// Remembers at most `capacity` failing objects; when full, the one whose delay is shortest is forgotten.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let _ = capacity;
        todo!()
    }

    /// Notes a failure and says how long to wait.
    pub fn failure(&self, key: &K) -> Duration {
        let _ = key;
        todo!()
    }

    /// Forgets the failures of an object: after a success, and when it is deleted.
    pub fn reset(&self, key: &K) {
        let _ = key;
        todo!()
    }
}
