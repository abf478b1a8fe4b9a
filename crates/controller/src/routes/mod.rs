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
        pool::{LiveEntryPoint, Released, RouteGrant, RoutePool, WaitingRoutes},
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
    /// The routes that wait for what others have, by their object. It is locked after the pool.
    waiting: Mutex<BTreeMap<String, WaitingRoutes>>,
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
        let (settings, key) = (self.settings(), key_of(&owner.kind, &owner.namespace, &owner.name));
        if routes.is_empty() {
            self.waiting.lock().remove(&key);
            return Vec::new();
        }
        let grants = self.grants(&key, &settings.gateways, caches);
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

    /// What every route of an object gets. Those that wait are noted under the same lock: what is freed after it finds them.
    fn grants<'a>(
        &self,
        key: &str,
        gateways: &'a RouteGateways,
        caches: &Caches,
    ) -> BTreeMap<String, Result<RouteGrant<'a>, RouteProblem>> {
        let unlisted = self.unlisted(gateways, caches);
        let mut pool = self.pool.lock();
        let live = caches.routes.live_entry_points();
        let grants = pool.grants(key, gateways, &live, &unlisted);
        let refused = grants
            .iter()
            .filter_map(|(route, granted)| Some((route, granted.as_ref().err()?)));
        let waiting: WaitingRoutes = refused
            .filter(|(_, problem)| problem.waits_for_another())
            .map(|(route, problem)| (route.clone(), problem.clone()))
            .collect();
        let mut all = self.waiting.lock();
        if waiting.is_empty() {
            all.remove(key);
        } else {
            all.insert(key.to_owned(), waiting);
        }
        grants
    }

    /// The gateways of which nothing is given out, because it is not known what live objects use: the configuration names them since a moment
    /// ago, or their objects may not be listed.
    fn unlisted(&self, gateways: &RouteGateways, caches: &Caches) -> BTreeSet<String> {
        let is_unlisted = |gateway: &&RouteGateway| {
            let kinds = gateway.kind().map(|kind| kind.route_kinds()).unwrap_or_default();
            caches.routes.is_unlisted(kinds, &self.apis)
        };
        let unlisted = gateways.all().iter().filter(is_unlisted);
        unlisted.map(|gateway| gateway.name.clone()).collect()
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
        caches: &Caches,
        queues: &Queues,
    ) {
        let key = |object: &K| key_of(kind, &object.namespace().unwrap_or_default(), &object.name_any());
        let released = match event {
            WatchEvent::Init => {
                self.listed.lock().insert(kind, BTreeSet::new());
                None
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
                None
            }
            WatchEvent::InitDone => self.end_list(kind),
        };
        if let Some(released) = released {
            self.enqueue_concerned(&released, caches, queues);
        }
    }

    /// Takes in what an object asks for now. Returns what it gave up.
    fn set(&self, key: &str, claims: Option<ObjectClaims>) -> Option<Released> {
        let mut pool = self.pool.lock();
        if claims.is_none() {
            self.waiting.lock().remove(key);
        }
        pool.set(key, claims)
    }

    /// What was deleted during a gap of the watch asks for nothing any more.
    fn end_list(&self, kind: &'static str) -> Option<Released> {
        let listed = self.listed.lock().remove(kind).unwrap_or_default();
        let prefix = format!("{kind}/");
        let pool = self.pool.lock();
        let known = pool
            .keys()
            .filter(|key| key.starts_with(&prefix) && !listed.contains(*key));
        let gone: Vec<_> = known.map(str::to_owned).collect();
        drop(pool);
        let mut all: Option<Released> = None;
        for released in gone.iter().filter_map(|key| self.set(key, None)) {
            match &mut all {
                Some(all) => all.extend(released),
                None => all = Some(released),
            }
        }
        all
    }

    /// Enqueues those of the objects that wait to which something else is to be said since this was released. To wake all of them would cost
    /// a look at all claims for each.
    fn enqueue_concerned(&self, released: &Released, caches: &Caches, queues: &Queues) {
        let settings = self.settings();
        let pool = self.pool.lock();
        let waiting = self.waiting.lock();
        if waiting.is_empty() {
            return;
        }
        let live = caches.routes.live_entry_points();
        for key in pool.concerned(&waiting, released, &settings.gateways, &live) {
            enqueue(key, queues);
        }
    }

    /// Enqueues the objects that have an entry point, by whatever says so: an object of somebody else came to it or went.
    fn enqueue_users(&self, place: &LiveEntryPoint, caches: &Caches, queues: &Queues) {
        for key in self.pool.lock().holders(&place.gateway, &place.entry_point) {
            enqueue(key, queues);
        }
        for key in caches.routes.owners_on(place) {
            enqueue(&key, queues);
        }
    }

    /// Enqueues the owners of routes of a gateway of which its API says something else now than it did before. Time alone can make that
    /// difference: a route that is still not read.
    fn enqueue_inspected(
        &self,
        gateway: &RouteGateway,
        before: Option<&TraefikInspection>,
        caches: &Caches,
        queues: &Queues,
    ) {
        let now = self.inspection(&gateway.name);
        for route in caches.routes.of_gateway(&gateway.name) {
            let entry_point = route.entry_point.as_deref().and_then(|name| gateway.entry_point(name));
            let said = |inspection: Option<&TraefikInspection>| {
                inspection?.says(entry_point, &route.namespace, &route.name, route.made)
            };
            if said(before) != said(now.as_deref()) {
                enqueue(&route.owner, queues);
            }
        }
    }

    /// Enqueues all objects with routes.
    fn enqueue_all(&self, queues: &Queues) {
        for key in self.pool.lock().keys() {
            enqueue(key, queues);
        }
    }

    /// Takes in what the API of a gateway says, `None` when it does not answer: then what it said last holds for a while.
    fn set_inspection(&self, gateway: &str, found: Option<Arc<TraefikInspection>>) {
        let mut inspections = self.inspections.write();
        let Some(found) = found else {
            let is_old = |known: &Arc<TraefikInspection>| Timestamp::now().duration_since(known.at) > INSPECTION_TTL;
            if inspections.get(gateway).is_some_and(is_old) {
                inspections.remove(gateway);
            }
            return;
        };
        self.silent.lock().remove(gateway);
        inspections.insert(gateway.to_owned(), found);
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
