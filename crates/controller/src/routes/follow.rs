//! The watches behind routes: of their objects, and of the gateways. Which there are follows the configuration.

use std::{collections::BTreeSet, fmt::Debug, sync::Arc};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use kube::{
    Api, Resource, ResourceExt,
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
    runtime::{WatchStreamExt, reflector::ObjectRef, watcher},
};
use novasphere_core::{
    label,
    routes::{
        gateway::{AddressSource, RouteGateway},
        object::{GATEWAY_API_GROUP, RouteKind},
        observed::ObservedGateway,
        pool::Released,
    },
};
use novasphere_runtime::{
    optional_api::while_served,
    untyped::{Untyped, guarded_untyped},
    watch::{WatchEvent, denial},
};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use super::{
    RouteStores, Routes, enqueue,
    inspect::inspect,
    key_of,
    stores::{RouteStore, live_entry_point},
};
use crate::{
    caches::Caches,
    watches::{Queues, Watches},
};

/// Follows the configuration, for ever.
pub(crate) async fn follow(watches: Arc<Watches>) {
    let mut settings = watches.routes.settings.clone();
    let mut running = JoinSet::new();
    let (mut apis, mut sources) = (BTreeSet::new(), BTreeSet::new());
    running.spawn(inspect(Arc::clone(&watches)));
    loop {
        let current = Arc::clone(&settings.borrow_and_update());
        watches.routes.want_configured(&watches.caches.routes);
        for store in watches.caches.routes.wanted() {
            if apis.insert(store.api) {
                running.spawn(watch_objects(Arc::clone(&watches), store.kind, store.api.group));
            }
        }
        for source in current.gateways.all().iter().filter_map(RouteGateway::address_source) {
            if sources.insert(source.clone()) {
                running.spawn(watch_gateway(Arc::clone(&watches), source));
            }
        }
        watches.routes.enqueue_all(&watches.queues);
        tokio::select! {
            changed = settings.changed() => {
                if changed.is_err() {
                    // Nobody reads the file again: the configuration stays.
                    let ended = running.join_next().await;
                    tracing::error!(?ended, "a watch of routes ended");
                    return;
                }
                tracing::info!("the gateways of the configuration have changed");
            }
            Some(ended) = running.join_next() => {
                tracing::error!(?ended, "a watch of routes ended");
                return;
            }
        }
    }
}

/// Fills the store of one kind and group, for ever.
async fn watch_objects(watches: Arc<Watches>, kind: RouteKind, group: &'static str) {
    let stores: &RouteStores = &watches.caches.routes;
    let Some(store) = stores.of(kind, group) else { return };
    let begin = {
        let watches = Arc::clone(&watches);
        move |version: &'static str| {
            let config = watcher::Config::default().labels(&format!("{}={}", label::KEY_MANAGED_BY, label::MANAGED_BY));
            let client = watches.client.clone();
            let resource = resource_of(&watches, kind, group, version);
            let api: Api<DynamicObject> = match watches.namespace.as_deref() {
                Some(namespace) => Api::namespaced_with(client, namespace, &resource),
                None => Api::all_with(client, &resource),
            };
            guarded_untyped(api, resource, config, watches.guard.clone()).boxed()
        }
    };
    let mut events = while_served(watches.apis.clone(), store.api, begin).boxed();
    while let Some(event) = events.next().await {
        // An error is logged where the watch begins again.
        let Ok(event) = event else { continue };
        watches
            .routes
            .observe_live(&event, store, &watches.caches, &watches.queues);
        match &event {
            WatchEvent::Apply(object) | WatchEvent::Delete(object) => changed(object, &watches),
            // What was deleted during a gap of the watch has no event of its own.
            WatchEvent::InitDone => watches.routes.enqueue_all(&watches.queues),
            WatchEvent::Init | WatchEvent::InitApply(_) | WatchEvent::Undecodable(_) => {}
        }
    }
}

impl Routes {
    /// Takes in what the watch says of the objects of one kind, and enqueues whom that concerns beside their owners: who has the same entry
    /// point, and who waits for one.
    pub(super) fn observe_live(
        &self,
        event: &WatchEvent<Untyped>,
        store: &RouteStore,
        caches: &Caches,
        queues: &Queues,
    ) {
        let (object, is_gone) = match event {
            WatchEvent::Apply(object) => (object, false),
            WatchEvent::Delete(object) => (object, true),
            WatchEvent::Init | WatchEvent::InitApply(_) | WatchEvent::InitDone | WatchEvent::Undecodable(_) => {
                store.cache.observe(event);
                return;
            }
        };
        let known = store.cache.store().get(&ObjectRef::from_obj(object));
        let gives_up = is_gone || gives_something_up(object, store);
        store.cache.observe(event);
        let used = known.as_deref().and_then(live_entry_point);
        let now = live_entry_point(object);
        if is_gone || used != now {
            for place in used.iter().chain(&now).filter(|_| !store.kind.is_helper()) {
                self.enqueue_users(place, caches, queues);
            }
        }
        let freed = used.or(now).filter(|_| gives_up);
        if let Some(freed) = freed {
            self.enqueue_concerned(&Released::of_live(&freed.gateway), caches, queues);
        }
    }
}

/// Whether an object was changed in place, so that the entry point or the host name that it had may be free now. Its status says nothing
/// of that.
pub(super) fn gives_something_up(object: &Untyped, store: &RouteStore) -> bool {
    let before = store.cache.store().get(&ObjectRef::from_obj(object));
    before.is_some_and(|before| {
        before.labels() != object.labels() || before.0.data.get("spec") != object.0.data.get("spec")
    })
}

fn resource_of(watches: &Watches, kind: RouteKind, group: &str, version: &str) -> ApiResource {
    let store = watches.caches.routes.of(kind, group);
    let named = || ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind.kind()));
    store.map_or_else(named, |store| store.resource(version))
}

/// Enqueues the owner of an object.
fn changed(object: &Untyped, watches: &Watches) {
    let namespace = object.namespace().unwrap_or_default();
    if let Some(owner) = label::controller(&object.0.metadata) {
        enqueue(&key_of(&owner.kind, &namespace, &owner.name), &watches.queues);
    } else if let Some(name) = object.labels().get(label::KEY_INSTANCE) {
        // Somebody took the reference away: it has to be put back.
        for kind in ["VmAccess", "VncWorkspace"] {
            enqueue(&key_of(kind, &namespace, name), &watches.queues);
        }
    }
}

/// Follows the object whose status has the addresses of a gateway, for ever.
async fn watch_gateway(watches: Arc<Watches>, source: AddressSource) {
    let client = watches.client.clone();
    match &source {
        AddressSource::Service(namespace, name) => {
            let api: Api<Service> = Api::namespaced(client, namespace);
            observe_gateway(&watches, &source, api, name, ObservedGateway::of_service).await;
        }
        AddressSource::Gateway(namespace, name) => {
            let kind = GroupVersionKind::gvk(GATEWAY_API_GROUP, "v1", "Gateway");
            let resource = ApiResource::from_gvk_with_plural(&kind, "gateways");
            let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &resource);
            let read = |gateway: DynamicObject| ObservedGateway::of_gateway(&gateway);
            observe_gateway(&watches, &source, api, name, read).await;
        }
    }
}

async fn observe_gateway<K>(
    watches: &Watches,
    source: &AddressSource,
    api: Api<K>,
    name: &str,
    read: impl Fn(K) -> ObservedGateway,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut told = String::new();
    let mut events = watcher::watch_object(api, name).default_backoff().boxed();
    while let Some(event) = events.next().await {
        let found = match event {
            Ok(Some(object)) => read(object),
            Ok(None) => ObservedGateway::Missing,
            Err(error) => {
                let words = error.to_string();
                if words != told {
                    tracing::warn!(
                        ?source,
                        "cannot read what has the addresses of a gateway, and try again: {words}"
                    );
                    told = words;
                }
                if let Some((_, said)) = denial(&error) {
                    watches.routes.denied(source, said, &watches.queues);
                }
                watches.routes.note_look(source);
                // What is known stays.
                continue;
            }
        };
        let before = watches.routes.observed.write().insert(source.clone(), found.clone());
        watches.routes.note_look(source);
        if before.as_ref() != Some(&found) {
            watches.routes.enqueue_all(&watches.queues);
        }
    }
}
