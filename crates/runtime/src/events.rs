//! Kubernetes events.

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{self, Event, EventType, Recorder},
};

/// The same event of an object is not sent again within this time. kube-runtime counts a repeated event up by a patch, which is a
/// write as well.
const QUIET: Duration = Duration::from_secs(300);

/// So many events are remembered; beyond, the memory is dropped and an event may be repeated early.
const CAPACITY: usize = 4096;

/// The longest note that the apiserver takes, in bytes (kubernetes/kubernetes `pkg/apis/core/validation/events.go`).
const MAX_NOTE: usize = 1024;

/// Writes events of one controller. Clones share the memory of what was said already.
#[derive(Clone)]
pub struct Reporter {
    recorder: Recorder,
    said: Arc<Mutex<HashMap<u64, Instant>>>,
}

impl Reporter {
    /// `controller` names the writer (`novasphere/vmaccess`), `instance` the process (the Pod's name).
    /// `client` should be the gated one, so that a process which lost its lease says nothing.
    #[must_use]
    pub fn new(client: Client, controller: &str, instance: &str) -> Self {
        let reporter = events::Reporter { controller: controller.to_owned(), instance: Some(instance.to_owned()) };
        Self { recorder: Recorder::new(client, reporter), said: Arc::default() }
    }

    /// Says that something went wrong or needs a person. `reason` and `action` are `PascalCase`, `note` is a sentence with
    /// what to do; what is beyond 1024 bytes is cut off. An event that cannot be written is logged.
    pub async fn warning(&self, about: &ObjectReference, reason: &str, action: &str, note: &str) {
        self.publish(EventType::Warning, about, reason, action, note).await;
    }

    /// Says that something happened. As [`Self::warning`].
    pub async fn normal(&self, about: &ObjectReference, reason: &str, action: &str, note: &str) {
        self.publish(EventType::Normal, about, reason, action, note).await;
    }

    async fn publish(&self, type_: EventType, about: &ObjectReference, reason: &str, action: &str, note: &str) {
        if !is_news(&self.said, about, reason, note, Instant::now()) {
            return;
        }
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(shortened(note).to_owned()),
            action: action.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, about).await {
            tracing::warn!(%error, reason, kind = about.kind, name = about.name, "cannot write an event");
        }
    }
}

fn is_news(said: &Mutex<HashMap<u64, Instant>>, about: &ObjectReference, reason: &str, note: &str, now: Instant) -> bool {
    let mut hasher = DefaultHasher::new();
    (&about.uid, &about.namespace, &about.name, &about.kind, reason, note).hash(&mut hasher);
    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
    if said.len() >= CAPACITY {
        said.retain(|_, at| now.saturating_duration_since(*at) < QUIET);
    }
    if said.len() >= CAPACITY {
        said.clear();
    }
    let key = hasher.finish();
    if said.get(&key).is_some_and(|at| now.saturating_duration_since(*at) < QUIET) {
        return false;
    }
    said.insert(key, now);
    true
}

fn shortened(note: &str) -> &str {
    if note.len() <= MAX_NOTE { note } else { note.get(..note.floor_char_boundary(MAX_NOTE)).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(uid: &str) -> ObjectReference {
        ObjectReference { uid: Some(uid.into()), ..ObjectReference::default() }
    }

    #[test]
    fn the_same_is_said_again_after_a_while_only() {
        let said = Mutex::default();
        let now = Instant::now();
        assert!(is_news(&said, &about("a"), "Rejected", "no", now));
        assert!(!is_news(&said, &about("a"), "Rejected", "no", now + QUIET / 2));
        assert!(is_news(&said, &about("a"), "Rejected", "still no", now));
        assert!(is_news(&said, &about("b"), "Rejected", "no", now));
        assert!(is_news(&said, &about("a"), "Rejected", "no", now + QUIET));
    }

    #[test]
    fn the_memory_is_bounded() {
        let said = Mutex::default();
        let now = Instant::now();
        for number in 0..=CAPACITY {
            is_news(&said, &about(&number.to_string()), "Rejected", "no", now);
        }
        assert!(said.lock().unwrap().len() <= CAPACITY);
    }

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let note = "ä".repeat(MAX_NOTE);
        assert!(shortened(&note).len() <= MAX_NOTE);
        assert_eq!(shortened("short"), "short");
    }
}
