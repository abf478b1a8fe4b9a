//! Read, decide, replace: status that several processes write, without losing what another one wrote.
//!
//! The status of a kind that has one writer is applied ([`Applier::apply_status`]). Where several processes count in the same list,
//! each replaces the whole status at the version from which it decided, and decides again after a conflict.

use std::{
    convert::Infallible,
    fmt::{self, Debug},
    marker::PhantomData,
    sync::Arc,
    time::Duration,
};

use kube::{ResourceExt, core::object::HasStatus};

use crate::{
    apply::{ApiReason, Applier, WriteError},
    cache::Cache,
    keyed_lock::KeyedLock,
    namespaced::Namespaced,
};

/// Conflicts in a row after which a write is given up. Each means that somebody else's write went through.
const ATTEMPTS_LIMIT: usize = 32;

/// How long a read or a write may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);

/// One object, and not another one that gets its name later.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl ObjectKey {
    /// The key of an object that the apiserver has given a UID.
    pub fn of<K: Namespaced>(object: &K) -> Option<Self> {
        Some(Self {
            namespace: object.namespace()?,
            name: object.meta().name.clone()?,
            uid: object.uid()?,
        })
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// Why a status was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError<E> {
    /// The decision was that there is no new status.
    #[error("the write was refused")]
    Refused(E),
    /// The object does not exist any more, or another one has its name.
    #[error("the object is gone")]
    Gone,
    /// Too many write the object at once.
    #[error("the object changed {ATTEMPTS_LIMIT} times while its status was written")]
    Contended,
    /// The request failed.
    #[error("cannot write the status: {0}")]
    Write(#[source] WriteError),
}

/// What to do about a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<S> {
    /// To replace it.
    Write(Box<S>),
    /// It is as it should be.
    Keep,
}

impl<S: PartialEq> Decision<S> {
    /// To write `after`, if it differs.
    pub fn change(before: &S, after: S) -> Self {
        if after == *before {
            Self::Keep
        } else {
            Self::Write(Box::new(after))
        }
    }
}

/// Decides about the status of an object.
pub trait Decide<K: HasStatus>: Send {
    /// Why there is no new status.
    type Refusal: Send;

    /// The status of an object that looks like this. Asked again after each conflict.
    fn decide(&mut self, object: &K) -> impl Future<Output = Result<Decision<K::Status>, Self::Refusal>> + Send;
}

/// A decision by a closure, which neither waits nor refuses.
pub struct Infallibly<F>(pub F);

impl<K, F> Decide<K> for Infallibly<F>
where
    K: HasStatus<Status: Send> + Sync,
    F: FnMut(&K) -> Decision<K::Status> + Send,
{
    type Refusal = Infallible;

    async fn decide(&mut self, object: &K) -> Result<Decision<K::Status>, Infallible> {
        Ok((self.0)(object))
    }
}

/// What [`Updater::update`] did, with the object as it is now.
#[derive(Clone, Debug, PartialEq)]
pub enum Updated<K> {
    /// Nothing was sent.
    Unchanged(Arc<K>),
    /// The status was replaced.
    Written(Arc<K>),
}

impl<K> Updated<K> {
    /// The object.
    #[must_use]
    pub fn into_object(self) -> Arc<K> {
        match self {
            Self::Unchanged(object) | Self::Written(object) => object,
        }
    }
}

/// Replaces the status of objects of one kind. Clones share what is being written.
#[derive(Clone)]
pub struct Updater<K> {
    applier: Applier,
    locks: KeyedLock<ObjectKey>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Updater<K>
where
    K: Namespaced + HasStatus,
{
    /// Writes as `applier`'s field manager.
    #[must_use]
    pub fn new(applier: Applier) -> Self {
        Self {
            applier: applier.within(REQUEST_TIMEOUT),
            locks: KeyedLock::default(),
            kind: PhantomData,
        }
    }

    /// Replaces the status of an object with what `decide` makes of the newest one that `cache` has; after a conflict reads it and
    /// asks again. Those who update the same object in this process wait for each other. What was written is in `cache` at once.
    ///
    /// # Errors
    ///
    /// [`UpdateError`]; nothing was written then, unless the answer got lost.
    pub async fn update<D: Decide<K>>(
        &self,
        key: &ObjectKey,
        cache: &Cache<K>,
        decide: &mut D,
    ) -> Result<Updated<K>, UpdateError<D::Refusal>> {
        let _turn = self.locks.lock(key).await;
        let known = cache.get(&key.namespace, &key.name);
        let is_same = |object: &K| object.uid().as_deref() == Some(&key.uid);
        let mut object = known.filter(|known| is_same(known)).ok_or(UpdateError::Gone)?;
        for _ in 0..ATTEMPTS_LIMIT {
            let status = match decide.decide(&object).await.map_err(UpdateError::Refused)? {
                Decision::Keep => return Ok(Updated::Unchanged(object)),
                Decision::Write(status) => status,
            };
            let mut wanted = object.as_ref().clone();
            *wanted.status_mut() = Some(*status);
            match self.applier.replace_status(&wanted, cache).await {
                Ok(written) => return Ok(Updated::Written(Arc::new(written))),
                Err(error) if error.is(ApiReason::Conflict) => {}
                Err(error) => return Err(failed(error)),
            }
            let newest = self.applier.read(object.as_ref()).await.map_err(failed::<D::Refusal>)?;
            object = newest.filter(is_same).map(Arc::new).ok_or(UpdateError::Gone)?;
        }
        Err(UpdateError::Contended)
    }
}

fn failed<E>(error: WriteError) -> UpdateError<E> {
    if error.is(ApiReason::NotFound) {
        UpdateError::Gone
    } else {
        UpdateError::Write(error)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, io};

    use http::{Method, Request, Response};
    use kube::{Client, CustomResource, client::Body};
    use parking_lot::Mutex;
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};
    use serde_json::{Value, json};

    use super::*;
    use crate::{metrics::Metrics, watch::WatchEvent};

    #[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
    #[kube(
        group = "example.org",
        version = "v1",
        kind = "Counter",
        namespaced,
        status = "CounterStatus"
    )]
    struct CounterSpec {}

    #[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
    struct CounterStatus {
        count: u32,
    }

    fn counter(uid: &str, version: u32, count: u32) -> Value {
        json!({
            "apiVersion": "example.org/v1", "kind": "Counter",
            "metadata": {"name": "c", "namespace": "ns", "uid": uid, "resourceVersion": version.to_string()},
            "spec": {}, "status": {"count": count},
        })
    }

    fn failure(code: u16, reason: &str) -> Value {
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason})
    }

    type Calls = Arc<Mutex<Vec<(Method, Value)>>>;

    /// Answers in turn; without an answer left, never.
    fn updater(answers: impl IntoIterator<Item = Value>) -> (Updater<Counter>, Calls) {
        let answers = Mutex::new(answers.into_iter().collect::<VecDeque<_>>());
        let calls = Calls::default();
        let seen = Arc::clone(&calls);
        let answers = Arc::new(answers);
        let service = tower::service_fn(move |request: Request<Body>| {
            let (seen, answers) = (Arc::clone(&seen), Arc::clone(&answers));
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await.map_err(io::Error::other)?;
                let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                seen.lock().push((parts.method, body));
                let next = answers.lock().pop_front();
                let Some(answer) = next else {
                    return std::future::pending().await;
                };
                let code = answer["code"].as_u64().unwrap_or(200);
                let response = Response::builder().status(u16::try_from(code).unwrap());
                Ok::<_, io::Error>(response.body(Body::from(answer.to_string().into_bytes())).unwrap())
            }
        });
        let client = Client::new(service, "default");
        (
            Updater::new(Applier::new(client, "novasphere/test", Metrics::default())),
            calls,
        )
    }

    fn cache() -> Cache<Counter> {
        let cache = Cache::new(|_| None);
        cache.observe(&WatchEvent::Apply(serde_json::from_value(counter("u", 7, 1)).unwrap()));
        cache
    }

    fn key() -> ObjectKey {
        ObjectKey {
            namespace: "ns".to_owned(),
            name: "c".to_owned(),
            uid: "u".to_owned(),
        }
    }

    fn count_of(object: &Counter) -> u32 {
        object.status.as_ref().unwrap().count
    }

    fn one_more(object: &Counter) -> Decision<CounterStatus> {
        Decision::Write(Box::new(CounterStatus {
            count: count_of(object) + 1,
        }))
    }

    #[tokio::test]
    async fn after_a_conflict_it_is_decided_again_from_what_is_there() {
        let answers = [failure(409, "Conflict"), counter("u", 8, 5), counter("u", 9, 6)];
        let (updater, calls) = updater(answers);
        let cache = cache();
        let after = updater.update(&key(), &cache, &mut Infallibly(one_more)).await.unwrap();
        assert!(matches!(&after, Updated::Written(written) if count_of(written) == 6));
        let calls = calls.lock();
        let [(Method::PUT, first), (Method::GET, _), (Method::PUT, second)] = calls.as_slice() else {
            panic!("{calls:?}")
        };
        assert_eq!(
            (&first["status"]["count"], &first["metadata"]["resourceVersion"]),
            (&json!(2), &json!("7"))
        );
        assert_eq!(
            (&second["status"]["count"], &second["metadata"]["resourceVersion"]),
            (&json!(6), &json!("8"))
        );
        assert_eq!(
            count_of(&cache.get("ns", "c").unwrap()),
            6,
            "it is seen before the watch shows it"
        );
    }

    #[tokio::test]
    async fn a_status_that_is_as_it_should_be_costs_no_call() {
        let (updater, calls) = updater([]);
        let mut keep = Infallibly(|object: &Counter| {
            Decision::change(&object.status.clone().unwrap(), CounterStatus { count: 1 })
        });
        let after = updater.update(&key(), &cache(), &mut keep).await.unwrap();
        assert!(matches!(after, Updated::Unchanged(_)));
        assert!(calls.lock().is_empty());
    }

    #[tokio::test]
    async fn an_object_that_went_is_gone_also_when_another_one_has_its_name() {
        let cases = [
            vec![failure(404, "NotFound")],
            vec![failure(409, "Conflict"), failure(404, "NotFound")],
            vec![failure(409, "Conflict"), counter("another", 9, 0)],
        ];
        for answers in cases {
            let (updater, _) = updater(answers.clone());
            let result = updater.update(&key(), &cache(), &mut Infallibly(one_more)).await;
            assert!(matches!(result, Err(UpdateError::Gone)), "{answers:?}");
        }
        let (updater, calls) = updater([]);
        let other = ObjectKey {
            uid: "another".to_owned(),
            ..key()
        };
        let result = updater.update(&other, &cache(), &mut Infallibly(one_more)).await;
        assert!(matches!(result, Err(UpdateError::Gone)) && calls.lock().is_empty());
    }

    #[tokio::test]
    async fn a_write_against_many_others_is_given_up() {
        let conflicts = (0..ATTEMPTS_LIMIT).flat_map(|_| [failure(409, "Conflict"), counter("u", 8, 5)]);
        let (updater, calls) = updater(conflicts);
        let result = updater.update(&key(), &cache(), &mut Infallibly(one_more)).await;
        assert!(matches!(result, Err(UpdateError::Contended)));
        assert_eq!(calls.lock().len(), 2 * ATTEMPTS_LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn an_apiserver_that_does_not_answer_is_not_waited_for_long() {
        let (updater, _) = updater([]);
        let result = updater.update(&key(), &cache(), &mut Infallibly(one_more)).await;
        assert!(matches!(result, Err(UpdateError::Write(error)) if error.is(ApiReason::Timeout)));
    }

    #[tokio::test]
    async fn a_refusal_writes_nothing() {
        struct Refuses;
        impl Decide<Counter> for Refuses {
            type Refusal = &'static str;
            async fn decide(&mut self, _: &Counter) -> Result<Decision<CounterStatus>, &'static str> {
                Err("full")
            }
        }
        let (updater, calls) = updater([]);
        let result = updater.update(&key(), &cache(), &mut Refuses).await;
        assert!(matches!(result, Err(UpdateError::Refused("full"))) && calls.lock().is_empty());
    }
}
