//! What is the same for every kind: objects come from a queue, are reconciled with bounded concurrency, counted, and tried
//! again after a failure.

use std::{convert::Infallible, fmt::Debug, sync::Arc, time::Duration, time::Instant};

use futures::StreamExt;
use kube::{
    Resource,
    runtime::{
        controller::{self, Action},
        reflector::ObjectRef,
    },
};
use novasphere_runtime::{
    apply::ApplyError, backoff::Backoff, cache::Cache, lease::NotLeader, metrics::Metrics, queue::Queue,
};
use serde::de::DeserializeOwned;

/// Events that come within this time are one reconcile.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// At most so many failing objects of a kind are remembered for their back-off.
const BACKOFF_CAPACITY: usize = 20_000;

/// Why a reconcile has to be tried again. What a person should know of it is in the object's conditions already.
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
    },
    /// The object itself could not be written.
    #[error("the object could not be written: {0}")]
    Object(#[source] ApplyError),
}

impl ReconcileError {
    /// One word for the metric.
    fn reason(&self) -> &'static str {
        match self {
            Self::NotLeader(_) => "NotLeader",
            Self::Incomplete { reason } => reason,
            Self::Object(error) => error.reason(),
        }
    }
}

impl From<ApplyError> for ReconcileError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::NotLeader(lost) => Self::NotLeader(lost),
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
    let store = reconciler.cache().store();
    let shared = Arc::new(Shared {
        reconciler,
        backoff: Backoff::new(BACKOFF_CAPACITY),
        metrics,
    });
    let queue = queue
        .into_stream()
        .take_until(Box::pin(stop))
        .map(Ok::<ObjectRef<R::Kind>, Infallible>);
    let results = controller::applier(
        |object, shared| Box::pin(reconcile(object, shared)),
        error_policy::<R>,
        shared,
        store,
        queue,
        controller::Config::default()
            .debounce(DEBOUNCE)
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

struct Shared<R: Reconciler> {
    reconciler: Arc<R>,
    backoff: Backoff<ObjectRef<R::Kind>>,
    metrics: Metrics,
}

async fn reconcile<R: Reconciler>(object: Arc<R::Kind>, shared: Arc<Shared<R>>) -> Result<Action, ReconcileError> {
    let began = Instant::now();
    let key = ObjectRef::from_obj(object.as_ref());
    let Some(newest) = shared.reconciler.cache().newest(&key) else {
        return Ok(Action::await_change());
    };
    let result = shared.reconciler.reconcile(&newest).await;
    let reason = result.as_ref().map_or_else(ReconcileError::reason, |_| "Succeeded");
    shared.metrics.reconciled(R::NAME, reason, began.elapsed());
    if result.is_ok() {
        shared.backoff.reset(&key);
    }
    result
}

/// When a failed reconcile is tried again.
#[expect(clippy::needless_pass_by_value, reason = "the signature is kube-runtime's")]
fn error_policy<R: Reconciler>(object: Arc<R::Kind>, error: &ReconcileError, shared: Arc<Shared<R>>) -> Action {
    if matches!(error, ReconcileError::NotLeader(_)) {
        return Action::await_change();
    }
    Action::requeue(shared.backoff.failure(&ObjectRef::from_obj(object.as_ref())))
}
