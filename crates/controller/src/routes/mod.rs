//! Routes of gateways, the same for every kind that has some: which gateway carries what, and the objects that it reads.
//!
//! The decisions are pure (`novasphere_core::routes`). Here are what they depend on, and the lock that keeps two reconciles from being given
//! the same entry point before the watch shows the object of either.

mod apply;
pub(crate) mod doctor;
mod follow;
mod inspect;
mod stores;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use novasphere_core::{
    label::Owner,
    routes::{
        ValidatedRoute,
        claim::ObjectClaims,
        doctor::GatewayFinding,
        gateway::{AddressSource, RouteGateway, RouteGateways, RouteSettings},
        inspection::TraefikInspection,
        observed::{ObservedGateway, RoutePeer, peer},
        plan::{PlannedRoute, RouteSurroundings, plan},
        pool::RoutePool,
        problem::RouteProblem,
    },
};
use novasphere_runtime::{optional_api::OptionalApis, watch::ObjectName, watch::WatchEvent};
use parking_lot::{Mutex, RwLock};
use tokio::{sync::watch, time::timeout};

pub(crate) use self::{
    follow::follow,
    stores::{RouteStores, route_apis},
};
use crate::{caches::Caches, watches::Queues};

/// How long the first reconciles wait for a look at the gateways.
const FIRST_LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long what the API of a gateway said holds while it does not answer: a restart of the gateway is no news of its routes.
const INSPECTION_TTL: SignedDuration = SignedDuration::from_mins(1);

/// What all reconciles of routes share.
pub(crate) struct Routes {
    settings: watch::Receiver<Arc<RouteSettings>>,
    apis: OptionalApis,
    pool: Mutex<RoutePool>,
    /// What is known of the gateways.
    observed: RwLock<BTreeMap<AddressSource, ObservedGateway>>,
    /// What has their addresses and was looked at, whatever came of it.
    looked_at: watch::Sender<BTreeSet<AddressSource>>,
    /// What the API of a gateway has said last, by the gateway's name.
    inspections: RwLock<BTreeMap<String, Arc<TraefikInspection>>>,
    /// Why the API of a gateway does not answer, by the gateway's name.
    silent: Mutex<BTreeMap<String, String>>,
    /// What is wrong with gateways, whatever routes they carry.
    findings: RwLock<Arc<Vec<GatewayFinding>>>,
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
            looked_at: watch::Sender::default(),
            inspections: RwLock::default(),
            silent: Mutex::default(),
            findings: RwLock::default(),
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

    /// What becomes of the routes of an object. What it asks for is known from the watch alone, which tells it here before the object is in
    /// the cache: an object in hand may be older, and one that is gone may ask for nothing.
    pub(crate) fn plan(&self, owner: &Owner, routes: &[ValidatedRoute], caches: &Caches) -> Vec<PlannedRoute> {
        if routes.is_empty() {
            return Vec::new();
        }
        let (settings, key) = (self.settings(), key_of(&owner.kind, &owner.namespace, &owner.name));
        let live = caches.routes.live_entry_points();
        let mut pool = self.pool.lock();
        let grants = match self.unlisted(routes, &settings.gateways, caches) {
            None => pool.grants(&key, &settings.gateways, &live),
            Some(problem) => {
                let held = |route: &ValidatedRoute| (route.name.clone(), Err(problem.clone()));
                routes.iter().map(held).collect()
            }
        };
        drop(pool);
        let observed = self.observed.read();
        let of_gateway = settings.gateways.all().iter().filter_map(|gateway| {
            let found = observed.get(&gateway.address_source()?)?;
            Some((gateway.name.clone(), found.clone()))
        });
        let surroundings = RouteSurroundings {
            grants,
            apis: &stores::served(&self.apis),
            gateways: &of_gateway.collect(),
            inspections: &self.inspections.read(),
            findings: &self.findings(),
            node_addresses: &caches.node_addresses(),
        };
        plan(owner, routes, &surroundings)
    }

    /// Nothing is given out while it is not known what live objects use: of a gateway that the configuration names since a moment ago.
    fn unlisted(&self, routes: &[ValidatedRoute], gateways: &RouteGateways, caches: &Caches) -> Option<RouteProblem> {
        let mut named = routes
            .iter()
            .filter_map(|route| gateways.find(route.rule.gateway.as_deref()));
        let unlisted = named.find(|gateway| {
            let kinds = gateway.kind().map(|kind| kind.route_kinds()).unwrap_or_default();
            caches.routes.is_unlisted(kinds, &self.apis)
        })?;
        Some(RouteProblem::NotListed {
            gateway: unlisted.name.clone(),
        })
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
        let gives_up = match event {
            WatchEvent::Init => {
                self.listed.lock().insert(kind, BTreeSet::new());
                false
            }
            WatchEvent::InitApply(object) => {
                if let Some(listed) = self.listed.lock().get_mut(kind) {
                    listed.insert(key(object));
                }
                self.set(&key(object), claims(object))
            }
            WatchEvent::Apply(object) => self.set(&key(object), claims(object)),
            WatchEvent::Delete(object) => self.set(&key(object), None),
            // Nobody deletes its routes while it cannot be read, so what it has stays its own.
            WatchEvent::Undecodable(ObjectName { namespace, name }) => {
                if let Some(listed) = self.listed.lock().get_mut(kind) {
                    listed.insert(key_of(kind, namespace.as_deref().unwrap_or_default(), name));
                }
                false
            }
            WatchEvent::InitDone => self.end_list(kind),
        };
        if gives_up {
            self.enqueue_waiting(queues);
        }
    }

    /// Takes in what an object asks for now. Returns whether it gave something up.
    fn set(&self, key: &str, claims: Option<ObjectClaims>) -> bool {
        if claims.is_none() {
            self.waiting.lock().remove(key);
        }
        self.pool.lock().set(key, claims)
    }

    /// What was deleted during a gap of the watch asks for nothing any more.
    fn end_list(&self, kind: &'static str) -> bool {
        let listed = self.listed.lock().remove(kind).unwrap_or_default();
        let prefix = format!("{kind}/");
        let pool = self.pool.lock();
        let known = pool
            .keys()
            .filter(|key| key.starts_with(&prefix) && !listed.contains(*key));
        let gone: Vec<_> = known.map(str::to_owned).collect();
        drop(pool);
        for key in &gone {
            self.set(key, None);
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

    /// Takes in what the API of a gateway says, `None` when it does not answer: then what it said last holds for a while. Returns whether
    /// that is news, beside the time.
    fn set_inspection(&self, gateway: &str, found: Option<Arc<TraefikInspection>>) -> bool {
        let mut inspections = self.inspections.write();
        let Some(found) = found else {
            let is_old = |known: &Arc<TraefikInspection>| Timestamp::now().duration_since(known.at) > INSPECTION_TTL;
            return inspections.get(gateway).is_some_and(is_old) && inspections.remove(gateway).is_some();
        };
        self.silent.lock().remove(gateway);
        let before = inspections.insert(gateway.to_owned(), Arc::clone(&found));
        before.is_none_or(|before| !before.is_like(&found))
    }

    /// Notes that what has the addresses of a gateway was looked at.
    fn note_look(&self, source: &AddressSource) {
        self.looked_at
            .send_if_modified(|looked_at| looked_at.insert(source.clone()));
    }

    /// Returns when all gateways were looked at, or a while has passed: addresses and network policies of what exists follow from that, so that
    /// each start would else change all of them and back.
    pub(crate) async fn wait_for_gateways(&self) {
        let settings = self.settings();
        let sources = settings.gateways.all().iter().filter_map(RouteGateway::address_source);
        let sources: Vec<_> = sources.collect();
        let mut looked_at = self.looked_at.subscribe();
        let all = looked_at.wait_for(|looked_at| sources.iter().all(|source| looked_at.contains(source)));
        if timeout(FIRST_LOOK_TIMEOUT, all).await.is_err() {
            tracing::warn!(
                "a gateway of the configuration could not be looked at yet; its routes are told their addresses later"
            );
        }
    }

    /// Notes that what has the addresses of a gateway may not be read, where nothing is known of it.
    fn denied(&self, source: &AddressSource, said: &str, queues: &Queues) {
        let mut observed = self.observed.write();
        if observed.contains_key(source) {
            return;
        }
        observed.insert(source.clone(), ObservedGateway::Denied(said.to_owned()));
        drop(observed);
        self.enqueue_all(queues);
    }

    /// Notes that the API of a gateway does not answer. Returns whether that is news.
    fn is_new_silence(&self, gateway: &str, error: &str) -> bool {
        let before = self.silent.lock().insert(gateway.to_owned(), error.to_owned());
        before.as_deref() != Some(error)
    }

    /// What the API of a gateway has said last.
    fn inspection(&self, gateway: &str) -> Option<Arc<TraefikInspection>> {
        self.inspections.read().get(gateway).cloned()
    }

    fn findings(&self) -> Arc<Vec<GatewayFinding>> {
        Arc::clone(&self.findings.read())
    }

    /// Takes in what is wrong with gateways. Returns whether that makes a difference to a route.
    fn set_findings(&self, findings: Vec<GatewayFinding>) -> bool {
        let concerns = |finding: &&GatewayFinding| finding.concerns_routes();
        let before = std::mem::replace(&mut *self.findings.write(), Arc::new(findings));
        let now = self.findings();
        !before.iter().filter(concerns).eq(now.iter().filter(concerns))
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
