//! Watches that survive objects that cannot be decoded, and that say when they may not read.

mod denied;

use std::fmt::Debug;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Api, Resource,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt,
        reflector::ObjectRef,
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

pub use self::denied::{DeniedWatch, DeniedWatches, denial};
use crate::metrics::Metrics;

/// What a watch says, as kube's [`Event`], and which object it shows but cannot decode.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent<K> {
    /// A list begins. What it does not show is gone when it ends.
    Init,
    /// The list shows an object.
    InitApply(K),
    /// The list has ended.
    InitDone,
    /// An object was created or changed.
    Apply(K),
    /// An object was deleted.
    Delete(K),
    /// An object is there, or was just deleted, that this version cannot decode. Nothing that was known of it is true any longer: for
    /// all that depends on it, this is a deletion.
    Undecodable(ObjectName),
}

/// The name of an object of a known kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectName {
    /// Its namespace, unless its kind has none.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl ObjectName {
    /// The name of an object.
    pub fn of<K: Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self {
            namespace: meta.namespace.clone(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }

    /// A reference that carries neither UID nor version.
    #[must_use]
    pub fn reference<K: Resource<DynamicType = ()>>(&self) -> ObjectRef<K> {
        let reference = ObjectRef::new(&self.name);
        match &self.namespace {
            Some(namespace) => reference.within(namespace),
            None => reference,
        }
    }
}

impl<K> WatchEvent<K> {
    /// Changes the object that the event carries.
    #[must_use]
    pub fn modify(mut self, change: impl Fn(&mut K)) -> Self {
        match &mut self {
            Self::Apply(object) | Self::InitApply(object) | Self::Delete(object) => change(object),
            Self::Init | Self::InitDone | Self::Undecodable(_) => {}
        }
        self
    }
}

/// An object in the cluster that we cannot decode.
#[derive(Clone, Debug)]
pub struct UndecodableObject {
    /// Which one.
    pub reference: ObjectReference,
    /// The version that cannot be decoded. A later one may be good again.
    pub resource_version: Option<String>,
    /// What is wrong with it.
    pub error: String,
}

/// What the watches of a process have in common: undecodable objects are logged, counted and reported; a watch that is denied is
/// remembered in [`DeniedWatches`].
#[derive(Clone, Debug)]
pub struct Guard {
    /// Counts undecodable objects and watches that broke.
    pub metrics: Metrics,
    /// Takes undecodable objects, so that an event is written about them. A full or closed channel loses the item, not the watch.
    pub undecodable_tx: Option<mpsc::Sender<UndecodableObject>>,
    /// Watches that this process may not have.
    pub denied: DeniedWatches,
}

/// The annotation in which `kubectl apply` keeps a copy of the whole object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Objects in one answer to a list, unless the caller wants fewer. A page is in memory as bytes and as parsed JSON, which is
/// ten times as much, before its objects are: with kube's default of 500, lists of 10,000 objects at the start left 10 MB
/// more that the process never used again.
const PAGE_LIMIT: u32 = 100;

/// Watches `api`, with kube's default back-off after errors, which are logged and counted here.
///
/// An object that cannot be decoded is an event of its own, and all others are seen.
///
/// `managedFields` and the copy that `kubectl apply` keeps are taken off every object: nothing here reads them, and they are often more than half of it.
pub fn guarded<K>(
    api: Api<DeserializeGuard<K>>,
    config: watcher::Config,
    guard: Guard,
) -> impl Stream<Item = watcher::Result<WatchEvent<K>>> + Send + 'static + use<K>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
{
    let page = config.page_size.unwrap_or(PAGE_LIMIT).min(PAGE_LIMIT);
    let events = watcher::watcher(api, config.page_size(page)).default_backoff();
    events.map(move |event| guard.admit(event))
}

impl Guard {
    /// Reports to nobody.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self {
            denied: DeniedWatches::new(metrics.clone()),
            metrics,
            undecodable_tx: None,
        }
    }

    fn admit<K>(&self, event: watcher::Result<Event<DeserializeGuard<K>>>) -> watcher::Result<WatchEvent<K>>
    where
        K: Resource<DynamicType = ()>,
    {
        Ok(match self.passed(&K::kind(&()), &K::plural(&()), event)? {
            Event::Init => WatchEvent::Init,
            Event::InitDone => WatchEvent::InitDone,
            Event::InitApply(object) => self.decoded(object, WatchEvent::InitApply),
            Event::Apply(object) => self.decoded(object, WatchEvent::Apply),
            Event::Delete(object) => self.decoded(object, WatchEvent::Delete),
        })
    }

    /// Notes whether a watch of a kind works, and hands its event on.
    pub(crate) fn passed<K>(
        &self,
        kind: &str,
        plural: &str,
        event: watcher::Result<Event<K>>,
    ) -> watcher::Result<Event<K>> {
        let event = event.inspect_err(|error| self.failed(kind, plural, error))?;
        // Each try to list begins with `Init`, also one that is denied then.
        if !matches!(event, Event::Init) {
            self.denied.succeeded(kind);
        }
        Ok(event)
    }

    fn failed(&self, kind: &str, plural: &str, error: &watcher::Error) {
        self.metrics.watch_error(kind);
        if !self.denied.failed(kind, plural, error) {
            tracing::warn!(%kind, %error, "a watch failed and is tried again");
        }
    }

    fn decoded<K: Resource<DynamicType = ()>>(
        &self,
        object: DeserializeGuard<K>,
        event: fn(K) -> WatchEvent<K>,
    ) -> WatchEvent<K> {
        let reference = object.object_ref(&());
        match object.0 {
            Ok(mut object) => {
                let meta = object.meta_mut();
                meta.managed_fields = None;
                if let Some(annotations) = &mut meta.annotations {
                    annotations.remove(LAST_APPLIED);
                }
                event(object)
            }
            Err(invalid) => {
                let name = ObjectName {
                    namespace: invalid.metadata.namespace,
                    name: invalid.metadata.name.unwrap_or_default(),
                };
                self.report(UndecodableObject {
                    reference,
                    resource_version: invalid.metadata.resource_version,
                    error: invalid.error,
                });
                WatchEvent::Undecodable(name)
            }
        }
    }

    fn report(&self, object: UndecodableObject) {
        let reference = &object.reference;
        let kind = reference.kind.as_deref().unwrap_or_default();
        tracing::error!(
            kind,
            namespace = reference.namespace,
            name = reference.name,
            "an object cannot be decoded and is left out: {}",
            object.error
        );
        self.metrics.undecodable(kind);
        if let Some(undecodable_tx) = &self.undecodable_tx
            && undecodable_tx.try_send(object).is_err()
        {
            tracing::debug!("too many undecodable objects to report each");
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use k8s_openapi::api::core::v1::Service;
    use kube::{Client, client::Body};
    use serde_json::json;
    use tower_test::mock;

    use super::*;

    #[tokio::test]
    async fn one_bad_object_does_not_stop_the_watch_and_is_reported() {
        let (service, mut calls) = mock::pair::<Request<Body>, Response<Body>>();
        let (undecodable_tx, mut reports) = mpsc::channel(1);
        let guard = Guard {
            undecodable_tx: Some(undecodable_tx),
            ..Guard::new(Metrics::default())
        };
        let api = Api::all(Client::new(service, "default"));
        let mut events = Box::pin(guarded::<Service>(api, watcher::Config::default(), guard.clone()));
        let list = json!({"apiVersion": "v1", "kind": "ServiceList", "metadata": {"resourceVersion": "1"}, "items": [
            {"metadata": {"name": "bad", "namespace": "ns", "uid": "u", "resourceVersion": "7"}, "spec": {"ports": "not-a-list"}},
            {"metadata": {"name": "bad-2", "namespace": "ns"}, "spec": 7},
            {"metadata": {"name": "good", "namespace": "ns", "managedFields": [{"manager": "m"}], "annotations": {LAST_APPLIED: "{}", "a": "b"}}},
        ]});
        let answer = async {
            let (_, respond) = calls.next_request().await.unwrap();
            respond.send_response(Response::new(Body::from(serde_json::to_vec(&list).unwrap())));
        };
        let (seen, ()) = tokio::join!(events.by_ref().take(5).collect::<Vec<_>>(), answer);
        let seen: Vec<_> = seen.into_iter().map(Result::unwrap).collect();
        let [
            WatchEvent::Init,
            WatchEvent::Undecodable(bad),
            WatchEvent::Undecodable(_),
            WatchEvent::InitApply(good),
            WatchEvent::InitDone,
        ] = seen.as_slice()
        else {
            panic!("{seen:?}")
        };
        assert_eq!((bad.namespace.as_deref(), bad.name.as_str()), (Some("ns"), "bad"));
        assert_eq!(
            (good.metadata.name.as_deref(), &good.metadata.managed_fields),
            (Some("good"), &None)
        );
        assert_eq!(
            good.metadata.annotations,
            Some([("a".to_owned(), "b".to_owned())].into())
        );
        let bad = reports.recv().await.unwrap();
        assert_eq!(
            (bad.reference.kind.as_deref(), bad.reference.name.as_deref()),
            (Some("Service"), Some("bad"))
        );
        assert_eq!(bad.resource_version.as_deref(), Some("7"));
        assert!(bad.error.contains("not-a-list"), "{}", bad.error);
        assert_eq!(guard.metrics.undecodable_count("Service"), 2);
    }
}
