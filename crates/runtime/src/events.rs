//! Kubernetes events: what people see in `kubectl describe`.

mod recorder;

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::ObjectReference;
use parking_lot::Mutex;

use self::recorder::{EventMessage, EventRecorder};
use crate::{
    apply::{Applier, WriteError},
    metrics::Metrics,
};

/// The same event of the same object is sent again only after this time. Shorter than the 6 min for which the recorder
/// counts repetitions into one Event object.
const REPEAT_AFTER: Duration = Duration::from_mins(5);
/// So many different events of one object at once, ...
const BURST: u32 = 10;
/// ... and then one in this time (client-go's aggregator allows 25 and one in 5 min, which hides the cause of a late failure).
const REFILL: Duration = Duration::from_secs(30);
/// Objects, and Event objects, that are remembered. When there are more, all are forgotten: at worst events are repeated early.
const EVENTS_LIMIT: usize = 20_000;
/// The apiserver refuses longer notes.
const MAX_NOTE: usize = 1024;
/// A request for an event must never hold up a reconcile for long.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Writes events of one controller (`events.k8s.io/v1`, repetitions aggregated). Clones share the memory of what was said.
///
/// Events are for people and best effort: a failure is logged. RBAC: `create` and `patch` on events in `events.k8s.io`.
#[derive(Clone)]
pub struct Reporter {
    recorder: EventRecorder,
    limiter: Arc<Mutex<Limiter>>,
    metrics: Metrics,
}

impl Reporter {
    /// `controller` names the writer (`novasphere/vmaccess`), its field manager too; `instance` the process (the Pod's name). The client of
    /// `applier` should be the gated one, so that a process which lost its lease says nothing.
    #[must_use]
    pub fn new(applier: &Applier, controller: &str, instance: &str) -> Self {
        let applier = applier.with_field_manager(controller).within(REQUEST_TIMEOUT);
        Self {
            recorder: EventRecorder::new(applier, controller, instance),
            limiter: Arc::default(),
            metrics: Metrics::default(),
        }
    }

    /// The same, and each warning is counted in `metrics`. Its reasons have to be of a fixed list.
    #[must_use]
    pub fn counted(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// Says that something went wrong or needs a person. `reason` and `action` are `PascalCase` (at most 128 bytes), `note` is a
    /// sentence that says what to do; it is cut at 1024 bytes.
    pub async fn warning(&self, about: &ObjectReference, reason: &str, action: &str, note: &str) {
        self.publish("Warning", about, reason, action, note).await;
    }

    /// Says that something happened.
    pub async fn normal(&self, about: &ObjectReference, reason: &str, action: &str, note: &str) {
        self.publish("Normal", about, reason, action, note).await;
    }

    async fn publish(&self, type_: &'static str, about: &ObjectReference, reason: &str, action: &str, note: &str) {
        let note = cut(note);
        let message = EventMessage {
            type_,
            reason,
            action,
            note: &note,
        };
        let (object, event) = (identity_of(about), hash_of(&message));
        if !self.limiter.lock().allows(Instant::now(), object, event) {
            return;
        }
        let published = self.recorder.publish(message, about).await;
        // The event is for the next leader to write, which is this process again when it gets the lease back.
        if let Err(WriteError::NotLeader(_)) = published {
            self.limiter.lock().forget(object, event);
            return;
        }
        if type_ == "Warning" {
            self.metrics.warned(about.kind.as_deref().unwrap_or_default(), reason);
        }
        if let Err(error) = published {
            if error.is_transient() {
                self.limiter.lock().forget(object, event);
            }
            tracing::warn!(reason, name = about.name, "cannot write an event: {error}");
        }
    }
}

fn identity_of(about: &ObjectReference) -> u64 {
    hash_of(&(&about.uid, &about.kind, &about.namespace, &about.name))
}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn cut(note: &str) -> String {
    const MARK: &str = " ...";
    if note.len() <= MAX_NOTE {
        return note.to_owned();
    }
    let end = note.floor_char_boundary(MAX_NOTE - MARK.len());
    format!("{}{MARK}", note.get(..end).unwrap_or_default())
}

/// Decides which events are said.
#[derive(Debug, Default)]
struct Limiter {
    objects: HashMap<u64, Said>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Said {
    /// Fingerprints of events and when they were said, at most [`REPEAT_AFTER`] ago.
    events: Vec<(u64, Instant)>,
    allowance: u32,
    refilled: Instant,
}

impl Limiter {
    fn allows(&mut self, now: Instant, object: u64, event: u64) -> bool {
        self.sweep(now);
        let said = self.objects.entry(object).or_insert_with(|| Said {
            events: Vec::new(),
            allowance: BURST,
            refilled: now,
        });
        said.events.retain(|(_, at)| now.duration_since(*at) < REPEAT_AFTER);
        said.refill(now);
        if said.allowance == 0 || said.events.iter().any(|(known, _)| *known == event) {
            return false;
        }
        said.allowance -= 1;
        said.events.push((event, now));
        true
    }

    /// The event was not said after all, and may be the next time. Its part of the allowance stays used.
    fn forget(&mut self, object: u64, event: u64) {
        if let Some(said) = self.objects.get_mut(&object) {
            said.events.retain(|(known, _)| *known != event);
        }
    }

    fn sweep(&mut self, now: Instant) {
        let due = self.swept.is_none_or(|at| now.duration_since(at) >= REPEAT_AFTER);
        if due {
            // By then every allowance is full again, so nothing is lost.
            self.objects
                .retain(|_, said| said.events.iter().any(|(_, at)| now.duration_since(*at) < REPEAT_AFTER));
            self.swept = Some(now);
        }
        if self.objects.len() >= EVENTS_LIMIT {
            self.objects.clear();
        }
    }
}

impl Said {
    fn refill(&mut self, now: Instant) {
        let periods = u32::try_from(now.duration_since(self.refilled).as_nanos() / REFILL.as_nanos()).unwrap_or(BURST);
        if periods > 0 {
            self.allowance = self.allowance.saturating_add(periods).min(BURST);
            self.refilled = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use kube::{Client, client::Body};
    use serde_json::Value;
    use tower_test::mock;

    use super::*;
    use crate::lease::NotLeader;

    fn about() -> ObjectReference {
        ObjectReference {
            api_version: Some("novasphere.io/v1alpha1".to_owned()),
            kind: Some("VmAccess".to_owned()),
            namespace: Some("ns".to_owned()),
            name: Some("web".to_owned()),
            uid: Some("u1".to_owned()),
            ..ObjectReference::default()
        }
    }

    #[tokio::test]
    async fn an_event_is_said_once_and_a_failure_to_say_it_is_no_error() {
        let (service, mut calls) = mock::pair::<Request<Body>, Response<Body>>();
        let applier = Applier::new(Client::new(service, "default"), "novasphere", Metrics::default());
        let reporter = Reporter::new(&applier, "novasphere/test", "pod-1");
        let answer = async {
            let (request, respond) = calls.next_request().await.unwrap();
            respond.send_response(
                Response::builder()
                    .status(403)
                    .body(Body::from(b"{\"status\": \"Failure\", \"code\": 403}".to_vec()))
                    .unwrap(),
            );
            request
        };
        let about = about();
        let ((), request) = tokio::join!(
            reporter.warning(&about, "EntryPointInUse", "Apply", "use another"),
            answer
        );
        let path = request.uri().path().to_owned();
        let body: Value = serde_json::from_slice(&request.into_body().collect_bytes().await.unwrap()).unwrap();
        assert_eq!(path, "/apis/events.k8s.io/v1/namespaces/ns/events");
        assert_eq!(
            (&body["reportingController"], &body["reportingInstance"]),
            (&"novasphere/test".into(), &"pod-1".into())
        );
        assert_eq!(
            (&body["type"], &body["reason"], &body["note"]),
            (&"Warning".into(), &"EntryPointInUse".into(), &"use another".into())
        );
        // Would wait for an answer for 5 s if it made a call.
        reporter
            .warning(&about, "EntryPointInUse", "Apply", "use another")
            .await;
        assert!(!matches!(calls.poll_request(), std::task::Poll::Ready(Some(_))));
    }

    #[tokio::test]
    async fn an_event_that_a_process_without_the_lease_did_not_write_is_written_when_it_leads_again() {
        let writes = Arc::new(Mutex::new(Vec::new()));
        let seen = writes.clone();
        let client = tower::service_fn(move |_: Request<Body>| {
            let mut writes = seen.lock();
            writes.push(());
            let first = writes.len() == 1;
            async move {
                if first {
                    return Err::<Response<Body>, tower::BoxError>(NotLeader.into());
                }
                Ok(Response::builder().status(403).body(Body::empty()).unwrap())
            }
        });
        let applier = Applier::new(Client::new(client, "default"), "novasphere", Metrics::default());
        let reporter = Reporter::new(&applier, "novasphere/test", "pod-1");
        for expected in [1, 2, 2] {
            reporter
                .warning(&about(), "EntryPointInUse", "Apply", "use another")
                .await;
            assert_eq!(writes.lock().len(), expected);
        }
    }

    #[test]
    fn the_same_event_waits_and_others_do_not() {
        let (mut limiter, start) = (Limiter::default(), Instant::now());
        assert!(limiter.allows(start, 1, 1));
        assert!(!limiter.allows(start + Duration::from_secs(299), 1, 1));
        assert!(limiter.allows(start + Duration::from_secs(299), 1, 2));
        assert!(limiter.allows(start + Duration::from_secs(299), 2, 1));
        assert!(limiter.allows(start + REPEAT_AFTER, 1, 1));
    }

    #[test]
    fn an_event_that_could_not_be_said_is_tried_again_within_the_allowance() {
        let (mut limiter, start) = (Limiter::default(), Instant::now());
        let tries = (0..100).filter(|_| {
            let allowed = limiter.allows(start, 1, 1);
            limiter.forget(1, 1);
            allowed
        });
        assert_eq!(tries.count(), 10);
    }

    #[test]
    fn an_object_that_says_something_new_every_time_is_bounded() {
        let (mut limiter, start) = (Limiter::default(), Instant::now());
        let said = |limiter: &mut Limiter, from: u64, at| {
            (from..from + 100).filter(|event| limiter.allows(at, 1, *event)).count()
        };
        assert_eq!(said(&mut limiter, 0, start), 10);
        assert_eq!(said(&mut limiter, 100, start + REFILL), 1);
        assert_eq!(said(&mut limiter, 200, start + REFILL * 100), 10);
    }

    #[test]
    fn memory_is_bounded() {
        let (mut limiter, start) = (Limiter::default(), Instant::now());
        for object in 0..50_000 {
            limiter.allows(start, object, 1);
        }
        assert!(limiter.objects.len() <= EVENTS_LIMIT);
        limiter.allows(start + REPEAT_AFTER, 1, 1);
        assert_eq!(limiter.objects.len(), 1);
    }

    #[test]
    fn long_notes_are_cut_at_a_character() {
        let cut_note = cut(&"ä".repeat(1000));
        assert!(
            cut_note.len() <= MAX_NOTE && cut_note.ends_with("ä ..."),
            "{}",
            cut_note.len()
        );
        assert_eq!(cut("short"), "short");
    }
}
