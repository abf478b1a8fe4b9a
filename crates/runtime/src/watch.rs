//! Watches that survive bad objects and keep little in memory.

use std::fmt::Debug;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Api, Resource,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::metrics::Metrics;

/// An object in the cluster that we cannot decode.
#[derive(Clone, Debug)]
pub struct BadObject {
    /// Which one.
    pub reference: ObjectReference,
    /// The version that cannot be decoded. A later one may be good again.
    pub resource_version: Option<String>,
    /// What is wrong with it.
    pub error: String,
}

/// What happens to bad objects of a watch: they are logged, counted, told to `tell`, and left out.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Counts them.
    pub metrics: Metrics,
    /// Who is told, so that he can write an event. A full or closed channel loses the item, not the watch.
    pub tell: Option<mpsc::Sender<BadObject>>,
}

/// Objects in one answer to a list, unless the caller wants fewer. A page is in memory as bytes and as parsed JSON, which is
/// ten times as much, before its objects are: with kube's default of 500, lists of 10,000 objects at the start left 10 MB
/// more that the process never used again.
const PAGE: u32 = 100;

/// Watches `api`, with kube's default back-off after errors.
///
/// An object that cannot be decoded is left out, and everybody else's is seen. When it was good before, what is behind this
/// stream keeps the good version until the next list, which may be long.
///
/// `managedFields` are taken off every object: nothing here reads them, and they are often half of it.
pub fn guarded<K>(
    api: Api<DeserializeGuard<K>>,
    config: watcher::Config,
    guard: Guard,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static + use<K>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
{
    let page = config.page_size.unwrap_or(PAGE).min(PAGE);
    let events = watcher::watcher(api, config.page_size(page)).default_backoff();
    events.filter_map(move |event| std::future::ready(guard.admit(event)))
}

impl Guard {
    fn admit<K>(&self, event: watcher::Result<Event<DeserializeGuard<K>>>) -> Option<watcher::Result<Event<K>>>
    where
        K: Resource<DynamicType = ()>,
    {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                self.metrics.watch_error(&K::kind(&()));
                return Some(Err(error));
            }
        };
        Some(Ok(match event {
            Event::Apply(object) => Event::Apply(self.decoded(object)?),
            Event::InitApply(object) => Event::InitApply(self.decoded(object)?),
            Event::Delete(object) => Event::Delete(self.decoded(object)?),
            Event::Init => Event::Init,
            Event::InitDone => Event::InitDone,
        }))
    }

    fn decoded<K: Resource<DynamicType = ()>>(&self, object: DeserializeGuard<K>) -> Option<K> {
        let reference = object.object_ref(&());
        match object.0 {
            Ok(mut object) => {
                object.meta_mut().managed_fields = None;
                Some(object)
            }
            Err(invalid) => {
                self.report(BadObject {
                    reference,
                    resource_version: invalid.metadata.resource_version,
                    error: invalid.error,
                });
                None
            }
        }
    }

    fn report(&self, bad: BadObject) {
        let reference = &bad.reference;
        let kind = reference.kind.as_deref().unwrap_or_default();
        tracing::error!(
            kind,
            namespace = reference.namespace,
            name = reference.name,
            "an object cannot be decoded and is left out: {}",
            bad.error
        );
        self.metrics.undecodable(kind);
        if let Some(tell) = &self.tell
            && tell.try_send(bad).is_err()
        {
            tracing::debug!("too many undecodable objects to tell about each");
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
    async fn one_bad_object_does_not_stop_the_watch_and_is_told_about() {
        let (service, mut calls) = mock::pair::<Request<Body>, Response<Body>>();
        let (tell, mut told) = mpsc::channel(1);
        let guard = Guard {
            metrics: Metrics::default(),
            tell: Some(tell),
        };
        let api = Api::all(Client::new(service, "default"));
        let mut events = Box::pin(guarded::<Service>(api, watcher::Config::default(), guard.clone()));
        let list = json!({"apiVersion": "v1", "kind": "ServiceList", "metadata": {"resourceVersion": "1"}, "items": [
            {"metadata": {"name": "bad", "namespace": "ns", "uid": "u", "resourceVersion": "7"}, "spec": {"ports": "not-a-list"}},
            {"metadata": {"name": "bad-2", "namespace": "ns"}, "spec": 7},
            {"metadata": {"name": "good", "namespace": "ns", "managedFields": [{"manager": "m"}]}},
        ]});
        let answer = async {
            let (_, respond) = calls.next_request().await.unwrap();
            respond.send_response(Response::new(Body::from(serde_json::to_vec(&list).unwrap())));
        };
        let (seen, ()) = tokio::join!(events.by_ref().take(3).collect::<Vec<_>>(), answer);
        let seen: Vec<_> = seen.into_iter().map(Result::unwrap).collect();
        let [Event::Init, Event::InitApply(good), Event::InitDone] = seen.as_slice() else {
            panic!("{seen:?}")
        };
        assert_eq!(
            (good.metadata.name.as_deref(), &good.metadata.managed_fields),
            (Some("good"), &None)
        );
        let bad = told.recv().await.unwrap();
        assert_eq!(
            (bad.reference.kind.as_deref(), bad.reference.name.as_deref()),
            (Some("Service"), Some("bad"))
        );
        assert_eq!(bad.resource_version.as_deref(), Some("7"));
        assert!(bad.error.contains("not-a-list"), "{}", bad.error);
        assert_eq!(guard.metrics.undecodable_count("Service"), 2);
    }
}
