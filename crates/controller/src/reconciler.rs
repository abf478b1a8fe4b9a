//! What is the same for every kind: objects come from a queue, are reconciled with bounded concurrency, counted, and tried
//! again after a failure.

use std::{
    convert::Infallible,
    fmt::Debug,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use kube::{
    Resource,
    api::ObjectMeta,
    core::{PartialObjectMeta, PartialObjectMetaExt},
    runtime::{
        controller::{self, Action},
        reflector::{ObjectRef, Store, store::Writer},
        watcher::Event,
    },
};
use novasphere_runtime::{
    apply::WriteError, backoff::Backoff, cache::Cache, lease::NotLeader, metrics::Metrics, queue::Queue,
};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tracing::Instrument;

/// Events that come within this time are one reconcile.
const DEBOUNCE_INTERVAL: Duration = Duration::from_millis(50);

/// How many failing objects of a kind are remembered for their back-off.
const BACKOFF_LIMIT: usize = 20_000;

/// Why a reconcile has to be tried again. The object's conditions say already what a person should know of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    /// Nothing may be written any more; the process is about to end.
    #[error(transparent)]
    NotLeader(#[from] NotLeader),
    /// A child or a power call failed.
    #[error("not everything could be applied: {reason}")]
    Incomplete {
        /// The last failure's reason.
        reason: &'static str,
        /// When there is something else to do, however long the back-off is.
        next: Option<Duration>,
    },
    /// The object itself could not be written.
    #[error("the object could not be written: {0}")]
    Object(#[source] WriteError),
}

impl ReconcileError {
    /// One word for the metric.
    fn reason(&self) -> &'static str {
        match self {
            Self::NotLeader(_) => "NotLeader",
            Self::Incomplete { reason, .. } => reason,
            Self::Object(error) => error.reason(),
        }
    }

    /// How long to wait, with what the back-off says.
    fn wait(&self, backoff: Duration) -> Duration {
        match self {
            Self::Incomplete { next: Some(next), .. } => backoff.min(*next),
            Self::Incomplete { next: None, .. } | Self::NotLeader(_) | Self::Object(_) => backoff,
        }
    }
}

impl From<WriteError> for ReconcileError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::NotLeader(lost) => Self::NotLeader(lost),
            error => Self::Object(error),
        }
    }
}

/// The reconcile of one kind.
pub(crate) trait Reconciler: Send + Sync + 'static {
    /// The kind.
    type Kind: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static;

    /// Its name in metrics.
    const NAME: &'static str;

    /// Where the objects are.
    fn cache(&self) -> &Cache<Self::Kind>;

    /// Brings the cluster to what the object says, once.
    fn reconcile(&self, object: &Self::Kind) -> impl Future<Output = Result<Action, ReconcileError>> + Send;
}

/// Reconciles what comes out of `queue` until `stop`; then what is under way is finished.
pub(crate) async fn run<R: Reconciler>(
    reconciler: Arc<R>,
    queue: Queue<ObjectRef<R::Kind>>,
    concurrency: u16,
    metrics: Metrics,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let (keys, store) = KeyStore::new();
    let shared = Arc::new(Shared {
        reconciler,
        keys,
        backoff: Backoff::new(BACKOFF_LIMIT),
        metrics,
    });
    let waiting = Arc::clone(&shared);
    let shown = queue.clone();
    shared.metrics.show_queue(R::NAME, move || shown.reading());
    let queue = queue.into_stream().take_until(Box::pin(stop)).map(move |reference| {
        waiting.keys.add(&reference);
        Ok::<_, Infallible>(reference.into_kind_unchecked::<Key<R::Kind>>(()))
    });
    let results = controller::applier(
        |object, shared| Box::pin(reconcile(object, shared)),
        error_policy::<R>,
        shared,
        store,
        queue,
        controller::Config::default()
            .debounce(DEBOUNCE_INTERVAL)
            .concurrency(concurrency.clamp(1, 256)),
    );
    results
        .for_each(|result| async move {
            match result {
                // Deleted between its event and its turn.
                Err(controller::Error::ObjectNotFound(_)) | Ok(_) => {}
                Err(error) => tracing::debug!(%error, "a reconcile failed; its status says why"),
            }
        })
        .await;
}

/// What kube's applier gets of an object: its name and namespace.
type Key<K> = PartialObjectMeta<K>;

/// The store in which kube's applier looks up what it takes from the queue. The objects themselves are in the [`Cache`], which
/// keeps them in a form that kube does not know.
///
/// It stands on two properties of `kube::runtime::controller::applier`: an object that is not in its store is skipped without a
/// reconcile, and a name stays in the store until it is removed here. Should kube stop to look there first, reconciles of deleted
/// objects would end at [`Shared::newest`] instead.
struct KeyStore<K: Resource<DynamicType = ()> + Clone + 'static>(Mutex<Writer<Key<K>>>);

impl<K: Resource<DynamicType = ()> + Clone + 'static> KeyStore<K> {
    fn new() -> (Self, Store<Key<K>>) {
        let mut writer = Writer::default();
        let store = writer.as_reader();
        // The applier waits for the end of a list.
        writer.apply_watcher_event(&Event::InitDone);
        (Self(Mutex::new(writer)), store)
    }

    fn add(&self, reference: &ObjectRef<K>) {
        self.apply(&Event::Apply(key(reference)));
    }

    fn remove(&self, reference: &ObjectRef<K>) {
        self.apply(&Event::Delete(key(reference)));
    }

    fn apply(&self, event: &Event<Key<K>>) {
        let mut writer = self.0.lock();
        writer.apply_watcher_event(event);
    }
}

fn key<K: Resource<DynamicType = ()>>(reference: &ObjectRef<K>) -> Key<K> {
    let metadata = ObjectMeta {
        name: Some(reference.name.clone()),
        namespace: reference.namespace.clone(),
        ..ObjectMeta::default()
    };
    let mut key = metadata.into_request_partial();
    key.types = None;
    key
}

struct Shared<R: Reconciler> {
    reconciler: Arc<R>,
    keys: KeyStore<R::Kind>,
    backoff: Backoff<ObjectRef<R::Kind>>,
    metrics: Metrics,
}

impl<R: Reconciler> Shared<R> {
    /// The object, if there still is one.
    fn newest(&self, reference: &ObjectRef<R::Kind>) -> Option<Arc<R::Kind>> {
        let cache = self.reconciler.cache();
        cache.newest(reference).or_else(|| {
            self.keys.remove(reference);
            self.backoff.reset(reference);
            // Created again in between: its event was in the queue before its key was removed.
            let created_again = cache.newest(reference)?;
            self.keys.add(reference);
            Some(created_again)
        })
    }
}

fn reference<K: Resource<DynamicType = ()>>(key: &Key<K>) -> ObjectRef<K> {
    ObjectRef::from_obj(key).into_kind_unchecked(())
}

async fn reconcile<R: Reconciler>(key: Arc<Key<R::Kind>>, shared: Arc<Shared<R>>) -> Result<Action, ReconcileError> {
    let began = Instant::now();
    let reference = reference(&key);
    let Some(newest) = shared.newest(&reference) else {
        return Ok(Action::await_change());
    };
    let span = tracing::info_span!(
        "reconcile",
        kind = %R::Kind::kind(&()),
        namespace = reference.namespace,
        // Not `name`: the JSON layer writes the span's own name under that key. Nor `object`: kube's span has `object.ref`, and stores of logs
        // take the dot for a nested field.
        object_name = reference.name
    );
    let result = shared.reconciler.reconcile(&newest).instrument(span).await;
    let reason = result.as_ref().map_or_else(ReconcileError::reason, |_| "Succeeded");
    shared.metrics.reconciled(R::NAME, reason, began.elapsed());
    if result.is_ok() {
        shared.backoff.reset(&reference);
    }
    result
}

/// When a failed reconcile is tried again.
#[expect(clippy::needless_pass_by_value, reason = "the signature is kube-runtime's")]
fn error_policy<R: Reconciler>(key: Arc<Key<R::Kind>>, error: &ReconcileError, shared: Arc<Shared<R>>) -> Action {
    if matches!(error, ReconcileError::NotLeader(_)) {
        return Action::await_change();
    }
    Action::requeue(error.wait(shared.backoff.failure(&reference(&key))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_does_not_put_off_a_deadline() {
        let failed = |next| ReconcileError::Incomplete {
            reason: "Invalid",
            next,
        };
        let (short, long) = (Duration::from_secs(3), Duration::from_mins(5));
        assert_eq!(failed(Some(short)).wait(long), short);
        assert_eq!(failed(Some(long)).wait(short), short);
        assert_eq!(failed(None).wait(long), long);
    }
}
