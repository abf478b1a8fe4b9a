//! A work queue without duplicates, as client-go's `workqueue`.

use std::{
    collections::{HashSet, VecDeque},
    hash::Hash,
    sync::Arc,
    time::Instant,
};

use futures::{Stream, stream};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::metrics::QueueReading;

/// Collects what has to be reconciled until somebody takes it.
///
/// An entry waits once however often it is added, so the queue is bounded by the number of objects
/// that exist, also in a standby replica that takes nothing from it.
#[derive(Debug)]
pub struct Queue<T> {
    inner: Arc<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    waiting: Mutex<Waiting<T>>,
    added: Notify,
}

#[derive(Debug)]
struct Waiting<T> {
    order: VecDeque<(T, Instant)>,
    present: HashSet<T>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            inner: Arc::new(Inner {
                waiting: Mutex::new(Waiting {
                    order: VecDeque::new(),
                    present: HashSet::new(),
                }),
                added: Notify::new(),
            }),
        }
    }
}

impl<T: Clone + Eq + Hash> Queue<T> {
    /// Adds what is not waiting yet.
    pub fn add(&self, entries: impl IntoIterator<Item = T>) {
        let now = Instant::now();
        let mut waiting = self.inner.waiting.lock();
        for entry in entries {
            if waiting.present.insert(entry.clone()) {
                waiting.order.push_back((entry, now));
            }
        }
        self.inner.added.notify_one();
    }

    /// How many entries wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.waiting.lock().order.len()
    }

    /// How many entries wait, and for how long the oldest has.
    #[must_use]
    pub fn reading(&self) -> QueueReading {
        let waiting = self.inner.waiting.lock();
        QueueReading {
            depth: waiting.order.len(),
            oldest: waiting
                .order
                .front()
                .map(|(_, since)| since.elapsed())
                .unwrap_or_default(),
        }
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the entries one by one, oldest first; never ends. For one consumer.
    pub fn into_stream(self) -> impl Stream<Item = T> + Send
    where
        T: Send,
    {
        stream::unfold(self, |queue| async move {
            loop {
                if let Some(entry) = queue.take() {
                    return Some((entry, queue));
                }
                queue.inner.added.notified().await;
            }
        })
    }

    fn take(&self) -> Option<T> {
        let mut waiting = self.inner.waiting.lock();
        let (entry, _) = waiting.order.pop_front()?;
        waiting.present.remove(&entry);
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn an_entry_waits_once_and_may_come_again_after_it_was_taken() {
        let queue = Queue::default();
        queue.add(["a", "b", "a"]);
        assert_eq!((queue.len(), queue.reading().depth), (2, 2));
        let mut stream = Box::pin(queue.clone().into_stream());
        assert_eq!(stream.next().await, Some("a"));
        queue.add(["a"]);
        assert_eq!(stream.next().await, Some("b"));
        assert_eq!(stream.next().await, Some("a"));
    }
}
