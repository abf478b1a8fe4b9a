//! Event objects, as kube-runtime's `Recorder` makes them but for two things. Its names are the object's name and 17 characters more,
//! so objects with long names have no events at all. And it counts an event with another note as a repetition of the first, whose
//! note stays: of two viewers who connect only one would be told.

use std::{collections::HashMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use parking_lot::Mutex;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{EVENTS_LIMIT, hash_of, identity_of};
use crate::apply::{ApiReason, Applier, WriteError};

/// A repetition within this time is counted in the Event of the first; the apiserver keeps an Event for an hour.
const SERIES_TTL: SignedDuration = SignedDuration::from_mins(6);

/// The longest name of an object.
const NAME_BYTES_LIMIT: usize = 253;
/// Digits of a time in nanoseconds, and the dot before them.
const TIME_BYTES: usize = 17;
/// The longest `reportingInstance`; the apiserver refuses longer ones (`ReportingInstanceLengthLimit` in k8s.io/kubernetes).
const INSTANCE_BYTES_LIMIT: usize = 128;
/// Digits of a hash in a name that is cut.
const HASH_DIGITS: usize = 8;

/// What an event says.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct EventMessage<'a> {
    /// `Normal` or `Warning`.
    pub(super) type_: &'static str,
    pub(super) reason: &'a str,
    pub(super) action: &'a str,
    pub(super) note: &'a str,
}

/// Writes Event objects. Clones share the memory of what was written.
#[derive(Clone)]
pub(super) struct EventRecorder {
    applier: Applier,
    controller: Arc<str>,
    instance: Arc<str>,
    written: Arc<Mutex<HashMap<u64, WrittenEvent>>>,
}

#[derive(Clone, Debug)]
struct WrittenEvent {
    name: String,
    count: i32,
    at: Timestamp,
}

impl EventRecorder {
    pub(super) fn new(applier: Applier, controller: &str, instance: &str) -> Self {
        Self {
            applier,
            controller: controller.into(),
            instance: start_of(instance, INSTANCE_BYTES_LIMIT).into(),
            written: Arc::default(),
        }
    }

    /// Writes an Event, or counts it in the one that says the same.
    pub(super) async fn publish(&self, message: EventMessage<'_>, about: &ObjectReference) -> Result<(), WriteError> {
        let now = Timestamp::now();
        let key = hash_of(&(identity_of(about), message));
        let repeated = match self.earlier(key, now) {
            Some(earlier) => self.count(about, earlier, now).await?,
            None => None,
        };
        let written = match repeated {
            Some(written) => written,
            None => self.create(message, about, now).await?,
        };
        self.written.lock().insert(key, written);
        Ok(())
    }

    fn earlier(&self, key: u64, now: Timestamp) -> Option<WrittenEvent> {
        let mut written = self.written.lock();
        written.retain(|_, event| now.duration_since(event.at) < SERIES_TTL);
        if written.len() >= EVENTS_LIMIT {
            written.clear();
        }
        written.get(&key).cloned()
    }

    /// `None` when the Event is gone.
    async fn count(
        &self,
        about: &ObjectReference,
        earlier: WrittenEvent,
        now: Timestamp,
    ) -> Result<Option<WrittenEvent>, WriteError> {
        let count = earlier.count.saturating_add(1);
        let series = json!({"series": {"count": count, "lastObservedTime": MicroTime(now)}});
        let place = Event {
            metadata: metadata(about, &earlier.name),
            ..Event::default()
        };
        match self.applier.merge_any(&place, series).await {
            Ok(_) => Ok(Some(WrittenEvent {
                count,
                at: now,
                ..earlier
            })),
            Err(error) if error.is(ApiReason::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn create(
        &self,
        message: EventMessage<'_>,
        about: &ObjectReference,
        now: Timestamp,
    ) -> Result<WrittenEvent, WriteError> {
        let name = event_name(about.name.as_deref().unwrap_or("unnamed"), now);
        let event = Event {
            metadata: metadata(about, &name),
            type_: Some(message.type_.to_owned()),
            reason: Some(message.reason.to_owned()),
            action: Some(message.action.to_owned()),
            note: Some(message.note.to_owned()),
            event_time: Some(MicroTime(now)),
            regarding: Some(about.clone()),
            reporting_controller: Some(self.controller.to_string()),
            reporting_instance: Some(self.instance.to_string()),
            ..Event::default()
        };
        self.applier.create_unowned(&event).await?;
        Ok(WrittenEvent {
            name,
            count: 1,
            at: now,
        })
    }
}

/// An Event is in the namespace of its object; that of an object without one in `default`.
fn metadata(about: &ObjectReference, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(about.namespace.clone().unwrap_or_else(|| "default".to_owned())),
        ..ObjectMeta::default()
    }
}

/// `<name>.<time>`, as client-go names events. A name that leaves no room for the time is cut and hashed.
fn event_name(about: &str, now: Timestamp) -> String {
    let time = now.as_nanosecond();
    let limit = NAME_BYTES_LIMIT - TIME_BYTES;
    if about.len() <= limit {
        return format!("{about}.{time:016x}");
    }
    let mut hash = base16ct::lower::encode_string(&Sha256::digest(about.as_bytes()));
    hash.truncate(HASH_DIGITS);
    let start = start_of(about, limit - HASH_DIGITS - 1).trim_end_matches(['-', '.']);
    format!("{start}-{hash}.{time:016x}")
}

fn start_of(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http::{Method, Request, Response};
    use kube::{Client, client::Body};
    use serde_json::Value;
    use tower_test::mock;

    use super::*;
    use crate::metrics::Metrics;

    fn about(name: &str) -> ObjectReference {
        ObjectReference {
            api_version: Some("novasphere.io/v1alpha1".to_owned()),
            kind: Some("ConsoleSession".to_owned()),
            namespace: Some("ns".to_owned()),
            name: Some(name.to_owned()),
            uid: Some("u1".to_owned()),
            ..ObjectReference::default()
        }
    }

    fn connected(note: &str) -> EventMessage<'_> {
        EventMessage {
            type_: "Normal",
            reason: "Connected",
            action: "Connect",
            note,
        }
    }

    /// Method, path and body of each request.
    type Asked = Arc<Mutex<Vec<(Method, String, Value)>>>;

    /// An apiserver that answers 201 to everything but patches of what `is_gone`, what it was asked, and what was counted.
    fn apiserver(is_gone: bool) -> (EventRecorder, Asked, Metrics) {
        let (service, mut calls) = mock::pair::<Request<Body>, Response<Body>>();
        let asked = Asked::default();
        let log = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Some((request, respond)) = calls.next_request().await {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let code = if is_gone && parts.method == Method::PATCH {
                    404
                } else {
                    201
                };
                let path = parts.uri.path().to_owned();
                let query = parts.uri.query().unwrap_or_default();
                assert!(query.contains("fieldManager=novasphere%2Ftest"), "{query}");
                log.lock()
                    .push((parts.method, path, serde_json::from_slice(&body).unwrap()));
                let answer = json!({"metadata": {}, "status": "Failure", "code": code, "message": "", "reason": ""});
                respond.send_response(
                    Response::builder()
                        .status(code)
                        .body(Body::from(serde_json::to_vec(&answer).unwrap()))
                        .unwrap(),
                );
            }
        });
        let metrics = Metrics::default();
        let applier = Applier::new(Client::new(service, "default"), "novasphere/test", metrics.clone());
        (EventRecorder::new(applier, "novasphere/test", "pod-1"), asked, metrics)
    }

    #[tokio::test]
    async fn an_object_with_the_longest_name_has_events() {
        let (recorder, asked, _) = apiserver(false);
        let name = format!("{}.{}", "a".repeat(226), "b".repeat(26));
        assert_eq!(name.len(), NAME_BYTES_LIMIT);
        recorder.publish(connected("ann"), &about(&name)).await.unwrap();
        let asked = asked.lock();
        let (method, path, event) = asked.first().unwrap();
        assert_eq!(
            (method, path.as_str()),
            (&Method::POST, "/apis/events.k8s.io/v1/namespaces/ns/events")
        );
        assert_eq!(
            event["regarding"]["name"], name,
            "kubectl describe looks for the object, not for the name"
        );
        let given = event["metadata"]["name"].as_str().unwrap();
        assert!(given.len() <= NAME_BYTES_LIMIT, "{}", given.len());
        let is_label = |label: &str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
        assert!(given.split('.').all(is_label), "{given}");
    }

    #[test]
    fn names_that_are_cut_differ() {
        let (now, long) = (Timestamp::now(), "a".repeat(252));
        let [one, two] = ["b", "c"].map(|end| event_name(&format!("{long}{end}"), now));
        assert_ne!(one, two);
        assert_eq!(event_name("web", now), format!("web.{:016x}", now.as_nanosecond()));
        assert_eq!(event_name(&"a".repeat(236), now).len(), NAME_BYTES_LIMIT);
        assert_eq!(start_of("ä", 1), "");
    }

    #[tokio::test]
    async fn a_repetition_is_counted_and_another_note_is_another_event() {
        let (recorder, asked, metrics) = apiserver(false);
        for note in ["ann", "ann", "ben", "ann"] {
            recorder.publish(connected(note), &about("web")).await.unwrap();
        }
        let asked = asked.lock();
        let methods: Vec<&Method> = asked.iter().map(|(method, ..)| method).collect();
        assert_eq!(
            methods,
            [Method::POST, Method::PATCH, Method::POST, Method::PATCH].each_ref()
        );
        let name = asked[0].2["metadata"]["name"].as_str().unwrap();
        for (number, count) in [(1, 2), (3, 3)] {
            assert!(asked[number].1.ends_with(name), "{}", asked[number].1);
            assert_eq!(asked[number].2["series"]["count"], count);
        }
        assert_eq!(metrics.writes("Event", "create", "Succeeded"), 2);
        assert_eq!(metrics.writes("Event", "merge", "Succeeded"), 2);
    }

    #[tokio::test]
    async fn an_event_that_somebody_deleted_is_written_again() {
        let (recorder, asked, metrics) = apiserver(true);
        for _ in 0..2 {
            recorder.publish(connected("ann"), &about("web")).await.unwrap();
        }
        let methods: Vec<Method> = asked.lock().iter().map(|(method, ..)| method.clone()).collect();
        assert_eq!(methods, [Method::POST, Method::PATCH, Method::POST]);
        assert_eq!(metrics.writes("Event", "merge", "NotFound"), 1);
    }
}
