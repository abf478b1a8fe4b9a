//! Routes of gateways, the same for every kind that has some: which gateway carries what, and the objects that it reads.
//!
//! The decisions are pure (`novasphere_core::routes`). Here are what they depend on, and the lock that keeps two reconciles from being given
//! the same entry point before the watch shows the object of either.

mod apply;
mod follow;
mod inspect;
mod stores;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use novasphere_core::{
    label::Owner,
    routes::{
        ValidatedRoute,
        claim::ObjectClaims,
        gateway::{AddressSource, RouteGateway, RouteSettings},
        inspection::TraefikInspection,
        observed::{ObservedGateway, RoutePeer, peer},
        plan::{PlannedRoute, RouteSurroundings, plan},
        pool::RoutePool,
    },
};
use novasphere_runtime::{optional_api::OptionalApis, watch::ObjectName, watch::WatchEvent};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

pub(crate) use self::{
    follow::follow,
    stores::{RouteStores, route_apis},
};
use crate::{caches::Caches, watches::Queues};

/// What all reconciles of routes share.
pub(crate) struct Routes {
    settings: watch::Receiver<Arc<RouteSettings>>,
    apis: OptionalApis,
    pool: Mutex<RoutePool>,
    /// What is known of the gateways.
    observed: RwLock<BTreeMap<AddressSource, ObservedGateway>>,
    /// What the API of a gateway has said last, by the gateway's name.
    inspections: RwLock<BTreeMap<String, Arc<TraefikInspection>>>,
    /// The objects with a route that waits for what another one has.
    waiting: Mutex<BTreeSet<String>>,
    /// While a list is under way: the objects that it has shown, by kind.
    listed: Mutex<BTreeMap<&'static str, BTreeSet<String>>>,
}

impl Routes {
    pub(crate) fn new(settings: watch::Receiver<Arc<RouteSettings>>, apis: OptionalApis) -> Self {
        Self {
            settings,
            apis,
            pool: Mutex::default(),
            observed: RwLock::default(),
            inspections: RwLock::default(),
            waiting: Mutex::default(),
            listed: Mutex::default(),
        }
    }

    /// No gateways at all, for tests.
    #[cfg(test)]
    pub(crate) fn none(apis: OptionalApis) -> Self {
        Self::new(watch::channel(Arc::default()).1, apis)
    }

    /// Has the kinds watched that the configured gateways read.
    pub(crate) fn want_configured(&self, stores: &RouteStores) {
        let settings = self.settings();
        let kinds = settings.gateways.all().iter().filter_map(RouteGateway::kind);
        stores.want(kinds.flat_map(|kind| kind.route_kinds()).copied());
    }

    /// What becomes of the routes of an object. `claims` is what it asks for now.
    pub(crate) fn plan(
        &self,
        owner: &Owner,
        routes: &[ValidatedRoute],
        claims: Option<ObjectClaims>,
        caches: &Caches,
    ) -> Vec<PlannedRoute> {
        if routes.is_empty() {
            return Vec::new();
        }
        let (settings, key) = (self.settings(), key_of(&owner.kind, &owner.namespace, &owner.name));
        let live = caches.routes.live_entry_points();
        let mut pool = self.pool.lock();
        // What is reconciled may be newer than what the watch has shown.
        pool.set(&key, claims);
        let grants = pool.grants(&key, &settings.gateways, &live);
        drop(pool);
        let observed = self.observed.read();
        let of_gateway = settings.gateways.all().iter().filter_map(|gateway| {
            let found = observed.get(&gateway.address_source()?)?;
            Some((gateway.name.clone(), found.clone()))
        });
        let surroundings = RouteSurroundings {
            grants,
            apis: &caches.routes.served(&self.apis),
            gateways: &of_gateway.collect(),
            inspections: &self.inspections.read(),
            node_addresses: &caches.node_addresses(),
        };
        plan(owner, routes, &surroundings)
    }

    /// The Pods of the gateways that carry these routes.
    pub(crate) fn peers(&self, planned: &[PlannedRoute]) -> Vec<RoutePeer> {
        let (settings, observed) = (self.settings(), self.observed.read());
        let unread = ObservedGateway::default();
        let carries = |name: &str| {
            planned
                .iter()
                .any(|route| route.objects.is_ok() && route.gateway.as_deref() == Some(name))
        };
        let gateways = settings.gateways.all().iter().filter(|gateway| carries(&gateway.name));
        let peers = gateways.filter_map(|gateway| {
            let found = observed.get(&gateway.address_source()?).unwrap_or(&unread);
            peer(gateway, found)
        });
        peers.collect()
    }

    /// Takes in what the watch says of objects with routes.
    pub(crate) fn observe<K: kube::ResourceExt>(
        &self,
        kind: &'static str,
        event: &WatchEvent<K>,
        claims: fn(&K) -> Option<ObjectClaims>,
        queues: &Queues,
    ) {
        let key = |object: &K| key_of(kind, &object.namespace().unwrap_or_default(), &object.name_any());
        let changed = match event {
            WatchEvent::Init => {
                self.listed.lock().insert(kind, BTreeSet::new());
                false
            }
            WatchEvent::InitApply(object) => {
                if let Some(listed) = self.listed.lock().get_mut(kind) {
                    listed.insert(key(object));
                }
                self.pool.lock().set(&key(object), claims(object))
            }
            WatchEvent::Apply(object) => self.pool.lock().set(&key(object), claims(object)),
            WatchEvent::Delete(object) => self.pool.lock().set(&key(object), None),
            WatchEvent::Undecodable(ObjectName { namespace, name }) => {
                let namespace = namespace.as_deref().unwrap_or_default();
                self.pool.lock().set(&key_of(kind, namespace, name), None)
            }
            WatchEvent::InitDone => self.end_list(kind),
        };
        if changed {
            self.enqueue_waiting(queues);
        }
    }

    /// What was deleted during a gap of the watch asks for nothing any more.
    fn end_list(&self, kind: &'static str) -> bool {
        let listed = self.listed.lock().remove(kind).unwrap_or_default();
        let mut pool = self.pool.lock();
        let prefix = format!("{kind}/");
        let known = pool
            .keys()
            .filter(|key| key.starts_with(&prefix) && !listed.contains(*key));
        let gone: Vec<_> = known.map(str::to_owned).collect();
        for key in &gone {
            pool.set(key, None);
        }
        !gone.is_empty()
    }

    /// Enqueues the objects that wait for what another one had.
    fn enqueue_waiting(&self, queues: &Queues) {
        for key in self.waiting.lock().iter() {
            enqueue(key, queues);
        }
    }

    /// Enqueues all objects with routes.
    fn enqueue_all(&self, queues: &Queues) {
        for key in self.pool.lock().keys() {
            enqueue(key, queues);
        }
    }

    /// Takes in what the API of a gateway says, `None` when it does not answer. Returns whether that is news, beside the time.
    fn set_inspection(&self, gateway: &str, found: Option<Arc<TraefikInspection>>) -> bool {
        let mut inspections = self.inspections.write();
        let Some(found) = found else {
            return inspections.remove(gateway).is_some();
        };
        let before = inspections.insert(gateway.to_owned(), Arc::clone(&found));
        before.is_none_or(|before| !before.is_like(&found))
    }

    fn has_inspections(&self) -> bool {
        !self.inspections.read().is_empty()
    }

    fn settings(&self) -> Arc<RouteSettings> {
        Arc::clone(&self.settings.borrow())
    }
}

/// The key of an object with routes.
fn key_of(kind: &str, namespace: &str, name: &str) -> String {
    format!("{kind}/{namespace}/{name}")
}

/// Enqueues the object of a key.
fn enqueue(key: &str, queues: &Queues) {
    use kube::runtime::reflector::ObjectRef;
    let mut parts = key.splitn(3, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("VmAccess"), Some(namespace), Some(name)) => {
            queues.vm_accesses.add([ObjectRef::new(name).within(namespace)]);
        }
        (Some("VncWorkspace"), Some(namespace), Some(name)) => {
            queues.vnc_workspaces.add([ObjectRef::new(name).within(namespace)]);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
