//! Objects of kinds that are known at run time alone, because the cluster decides their group or version.

use std::borrow::Cow;

use futures::{Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Resource,
    api::{ApiResource, DynamicObject, ObjectMeta},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};

use crate::watch::{Guard, WatchEvent};

/// An object without a type, for a [`Cache`](crate::cache::Cache) that holds one kind: which, only its owner knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Untyped(pub DynamicObject);

/// What it says of its kind is never sent anywhere: requests are made with an [`ApiResource`].
impl Resource for Untyped {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Untyped".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "untyped".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.0.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.0.metadata
    }
}

/// Watches objects of `resource` as [`guarded`](crate::watch::guarded) does. None of them is undecodable.
pub fn guarded_untyped(
    api: Api<DynamicObject>,
    resource: ApiResource,
    config: watcher::Config,
    guard: Guard,
) -> impl Stream<Item = watcher::Result<WatchEvent<Untyped>>> + Send + 'static {
    let events = watcher::watcher(api, config).default_backoff();
    events.map(move |event| {
        let event = guard.passed(&resource.kind, &resource.plural, event)?;
        let untyped = |mut object: DynamicObject| {
            object.metadata.managed_fields = None;
            Untyped(object)
        };
        Ok(match event {
            Event::Init => WatchEvent::Init,
            Event::InitDone => WatchEvent::InitDone,
            Event::InitApply(object) => WatchEvent::InitApply(untyped(object)),
            Event::Apply(object) => WatchEvent::Apply(untyped(object)),
            Event::Delete(object) => WatchEvent::Delete(untyped(object)),
        })
    })
}
