//! The live objects of routes, by kind and group.

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
};

use jiff::Timestamp;
use kube::{ResourceExt, api::ApiResource, core::GroupVersionKind};
use novasphere_core::{
    label,
    routes::{
        KEY_ENTRY_POINT, KEY_ROUTE, KEY_ROUTE_GATEWAY,
        object::{RouteApi, RouteKind, ServedRouteApis},
        pool::LiveEntryPoint,
    },
};
use novasphere_runtime::{
    cache::Cache,
    optional_api::{OptionalApi, OptionalApis},
    untyped::Untyped,
};
use parking_lot::Mutex;

use super::key_of;

/// All kinds that a gateway may read, once for each group that has them, the best group first.
static ROUTE_APIS: LazyLock<Vec<(RouteKind, OptionalApi)>> = LazyLock::new(|| {
    let of_kind = |kind: RouteKind| {
        kind.apis().iter().map(move |(group, versions)| {
            let api = OptionalApi {
                group,
                versions,
                plural: kind.plural(),
                kind: kind.kind(),
            };
            (kind, api)
        })
    };
    RouteKind::all().flat_map(of_kind).collect()
});

/// The APIs of all kinds that a gateway may read.
pub(crate) fn route_apis() -> impl Iterator<Item = OptionalApi> {
    ROUTE_APIS.iter().map(|(_, api)| *api)
}

/// The best API of each kind that the cluster serves.
pub(super) fn served(apis: &OptionalApis) -> ServedRouteApis {
    let mut served = ServedRouteApis::new();
    for (kind, api) in ROUTE_APIS.iter() {
        if let Some(version) = apis.served(api) {
            let group = api.group;
            served.entry(*kind).or_insert(RouteApi { group, version });
        }
    }
    served
}

/// The objects of one kind and group.
pub(crate) struct RouteStore {
    pub(crate) kind: RouteKind,
    pub(crate) api: OptionalApi,
    /// By the owner.
    pub(crate) cache: Cache<Untyped>,
}

impl RouteStore {
    /// The kind, in this version.
    pub(crate) fn resource(&self, version: &str) -> ApiResource {
        let kind = GroupVersionKind::gvk(self.api.group, version, self.api.kind);
        ApiResource::from_gvk_with_plural(&kind, self.api.plural)
    }
}

/// All of them. Only those that a configured gateway reads are watched.
pub(crate) struct RouteStores {
    stores: Vec<RouteStore>,
    wanted: Mutex<BTreeSet<RouteKind>>,
}

impl Default for RouteStores {
    fn default() -> Self {
        let store = |(kind, api): &(RouteKind, OptionalApi)| RouteStore {
            kind: *kind,
            api: *api,
            cache: Cache::new(|object: &Untyped| label::key_of_owner(&object.0.metadata)),
        };
        Self {
            stores: ROUTE_APIS.iter().map(store).collect(),
            wanted: Mutex::default(),
        }
    }
}

impl RouteStores {
    /// Has these kinds watched from now on, too. What a gateway read that is configured no more is watched until the process ends, so that
    /// its objects are seen and deleted.
    pub(super) fn want(&self, kinds: impl Iterator<Item = RouteKind>) {
        self.wanted.lock().extend(kinds);
    }

    /// Those that are watched.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = &RouteStore> {
        let wanted = self.wanted.lock().clone();
        self.stores.iter().filter(move |store| wanted.contains(&store.kind))
    }

    /// The store of an API.
    pub(crate) fn of(&self, kind: RouteKind, group: &str) -> Option<&RouteStore> {
        self.stores
            .iter()
            .find(|store| store.kind == kind && store.api.group == group)
    }

    /// Whether the objects of one of these kinds were not all seen since the cluster serves it.
    pub(super) fn is_unlisted(&self, kinds: &[RouteKind], apis: &OptionalApis) -> bool {
        let mut stores = self.stores.iter().filter(|store| kinds.contains(&store.kind));
        stores.any(|store| apis.served(&store.api).is_some() && !apis.listed(&store.api))
    }

    /// The entry points that live objects use.
    pub(super) fn live_entry_points(&self) -> Vec<LiveEntryPoint> {
        let all = self.live_routes();
        all.filter_map(|object| live_entry_point(&object)).collect()
    }

    /// The keys of the owners whose live objects use an entry point.
    pub(super) fn owners_on(&self, place: &LiveEntryPoint) -> Vec<String> {
        let is_there = |object: &Arc<Untyped>| {
            let label = |key: &str| object.labels().get(key).map(String::as_str);
            label(KEY_ENTRY_POINT) == Some(place.entry_point.as_str())
                && label(KEY_ROUTE_GATEWAY) == Some(place.gateway.as_str())
        };
        let there = self.live_routes().filter(is_there);
        there.filter_map(|object| owner_of(&object)).collect()
    }

    /// The live objects that are routes of a gateway.
    pub(super) fn of_gateway(&self, gateway: &str) -> Vec<LiveRoute> {
        let all = self.live_routes();
        all.filter(|object| object.labels().get(KEY_ROUTE_GATEWAY).map(String::as_str) == Some(gateway))
            .filter_map(|object| {
                Some(LiveRoute {
                    owner: owner_of(&object)?,
                    namespace: object.namespace()?,
                    name: object.name_any(),
                    entry_point: object.labels().get(KEY_ENTRY_POINT).cloned(),
                    made: object.creation_timestamp().map(|time| time.0),
                })
            })
            .collect()
    }

    fn live_routes(&self) -> impl Iterator<Item = Arc<Untyped>> {
        self.wanted()
            .filter(|store| !store.kind.is_helper())
            .flat_map(|store| store.cache.store().state())
    }
}

/// A live object that is a route.
pub(super) struct LiveRoute {
    /// The key of the object whose route it is.
    pub(super) owner: String,
    pub(super) namespace: String,
    pub(super) name: String,
    /// Where this is for it alone.
    pub(super) entry_point: Option<String>,
    pub(super) made: Option<Timestamp>,
}

fn owner_of(object: &Untyped) -> Option<String> {
    let owner = label::controller(&object.0.metadata)?;
    Some(key_of(
        &owner.kind,
        &object.namespace().unwrap_or_default(),
        &owner.name,
    ))
}

/// The entry point that a live object uses.
pub(super) fn live_entry_point(object: &Untyped) -> Option<LiveEntryPoint> {
    let label = |key: &str| object.labels().get(key).cloned();
    let metadata = &object.0.metadata;
    Some(LiveEntryPoint {
        gateway: label(KEY_ROUTE_GATEWAY)?,
        entry_point: label(KEY_ENTRY_POINT)?,
        namespace: metadata.namespace.clone()?,
        route: (label::owner_uid(metadata)?.to_owned(), label(KEY_ROUTE)?),
    })
}
