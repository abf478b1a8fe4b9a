//! Watches that survive bad objects and keep little in memory.

use std::fmt::Debug;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Api, Resource,
    core::{DeserializeGuard, error_boundary::InvalidObject},
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
    /// What is wrong with it.
    pub error: String,
}

/// What happens to bad objects of a watch: logged, counted, told to `tell`, left out.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Counts them.
    pub metrics: Metrics,
    /// Who is told, so that he can write an event and forget what he knew of the object. A full or closed channel loses the item,
    /// not the watch.
    pub tell: Option<mpsc::Sender<BadObject>>,
}

/// Watches `api` with kube's default back-off. An object that cannot be decoded is left out and told to `guard`; `managedFields`
/// are taken off every object, since nothing here reads them and they are often half of it.
pub fn guarded<K>(
    api: Api<DeserializeGuard<K>>,
    config: watcher::Config,
    guard: Guard,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
{
    watcher::watcher(api, config).default_backoff().filter_map(move |event| {
        let event = match event {
            Ok(event) => guard.decoded(event).map(Ok),
            Err(error) => {
                guard.metrics.watch_error(&K::kind(&()));
                Some(Err(error))
            }
        };
        std::future::ready(event)
    })
}

impl Guard {
    fn decoded<K>(&self, event: Event<DeserializeGuard<K>>) -> Option<Event<K>>
    where
        K: Resource<DynamicType = ()>,
    {
        Some(match event {
            Event::Apply(object) => Event::Apply(self.checked(object)?),
            Event::InitApply(object) => Event::InitApply(self.checked(object)?),
            Event::Delete(object) => Event::Delete(self.checked(object)?),
            Event::Init => Event::Init,
            Event::InitDone => Event::InitDone,
        })
    }

    fn checked<K>(&self, object: DeserializeGuard<K>) -> Option<K>
    where
        K: Resource<DynamicType = ()>,
    {
        match object.0 {
            Ok(mut object) => {
                object.meta_mut().managed_fields = None;
                Some(object)
            }
            Err(invalid) => {
                self.report::<K>(invalid);
                None
            }
        }
    }

    fn report<K: Resource<DynamicType = ()>>(&self, invalid: InvalidObject) {
        let kind = K::kind(&());
        let metadata = invalid.metadata;
        tracing::warn!(
            %kind, namespace = metadata.namespace, name = metadata.name, error = %invalid.error,
            "an object cannot be decoded and is left out"
        );
        self.metrics.undecodable(&kind);
        let Some(tell) = &self.tell else { return };
        let bad = BadObject {
            reference: ObjectReference {
                api_version: Some(K::api_version(&()).into_owned()),
                kind: Some(kind.into_owned()),
                namespace: metadata.namespace,
                name: metadata.name,
                uid: metadata.uid,
                ..ObjectReference::default()
            },
            error: invalid.error.to_string(),
        };
        if let Err(error) = tell.try_send(bad) {
            tracing::warn!(%error, "an undecodable object is not reported");
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn guarded_object(json: serde_json::Value) -> DeserializeGuard<ConfigMap> {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_bad_object_is_left_out_counted_and_told() {
        let (tell, mut told) = mpsc::channel(1);
        let guard = Guard { metrics: Metrics::default(), tell: Some(tell) };
        let bad = guarded_object(serde_json::json!({"metadata": {"name": "a", "namespace": "ns"}, "data": {"key": 5}}));
        assert!(guard.decoded(Event::Apply(bad)).is_none());
        assert_eq!(guard.metrics.undecodable_count("ConfigMap"), 1);
        let told = told.try_recv().unwrap();
        assert_eq!(told.reference.name.as_deref(), Some("a"));
        assert!(told.error.contains("integer"), "{}", told.error);
    }

    #[test]
    fn a_good_object_comes_without_managed_fields() {
        let guard = Guard { metrics: Metrics::default(), tell: None };
        let good = guarded_object(serde_json::json!({"metadata": {"name": "a", "managedFields": [{"manager": "x"}]}}));
        let Some(Event::Apply(good)) = guard.decoded(Event::Apply(good)) else { panic!("it was left out") };
        assert_eq!(good.metadata.managed_fields, None);
    }
}
