//! One lock per key, for as long as somebody holds or awaits it.

use std::{
    collections::HashMap,
    fmt::Debug,
    hash::Hash,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Locks by key. Clones share them.
///
/// Those who lock the same key wait for each other; others do not. A key takes memory only while it is locked, so there is nothing
/// to prune. What the lock holds (`V`) is handed from one holder to the next, and is forgotten when nobody waits any more.
#[derive(Debug)]
pub struct KeyedLock<K, V = ()>(Arc<Mutex<Locks<K, V>>>);

type Locks<K, V> = HashMap<K, Weak<AsyncMutex<V>>>;

impl<K, V> Clone for KeyedLock<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V> Default for KeyedLock<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Clone + Eq + Hash, V: Default> KeyedLock<K, V> {
    /// Waits until nobody else holds the lock of `key`; first come, first served.
    pub async fn lock(&self, key: &K) -> OwnedMutexGuard<V> {
        self.of(key).lock_owned().await
    }

    fn of(&self, key: &K) -> Arc<AsyncMutex<V>> {
        let mut locks = self.0.lock();
        if let Some(lock) = locks.get(key).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::default();
        locks.insert(key.clone(), Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn those_of_one_key_wait_for_each_other_and_no_others() {
        let locks = KeyedLock::<&str>::default();
        let first = locks.lock(&"a").await;
        assert!(locks.lock(&"a").now_or_never().is_none());
        assert!(locks.lock(&"b").now_or_never().is_some());
        drop(first);
        assert!(locks.lock(&"a").now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_value_goes_to_who_waits_and_is_forgotten_after_the_last() {
        let locks = KeyedLock::<&str, u32>::default();
        let mut first = locks.lock(&"a").await;
        let mut second = Box::pin(locks.lock(&"a"));
        assert!(futures::poll!(second.as_mut()).is_pending());
        *first = 7;
        drop(first);
        assert_eq!(*second.await, 7);
        assert_eq!(*locks.lock(&"a").await, 0);
        drop(locks.lock(&"b").await);
        assert_eq!(
            locks.0.lock().len(),
            1,
            "the lock of a is swept when another one is made"
        );
    }
}
