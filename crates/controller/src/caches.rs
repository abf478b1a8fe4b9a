//! What the watches have seen, shared by all reconciles.

use std::{borrow::Cow, sync::Arc};

use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, ObjectReference, PersistentVolumeClaim, Pod, Service},
    networking::v1::NetworkPolicy,
    storage::v1::StorageClass,
};
use kube::{Resource, ResourceExt, runtime::reflector::ObjectRef};
use novasphere_core::{console_session::session::is_active, label, node};
use novasphere_crd::{ConsoleSession, SessionTargetKind, VmAccess, VncWorkspace};
use novasphere_foreign::{
    kubevirt::{VirtualMachine, VirtualMachineInstance},
    volume_snapshot::VolumeSnapshot,
};
use novasphere_runtime::cache::Cache;
use novasphere_runtime::optional_api::OptionalApis;
use novasphere_sessions::view::{SessionCaches, SessionView, target_key};

use crate::{routes::RouteStores, watched_kind::AnyCache};

/// The watch caches of the controller.
pub(crate) struct Caches {
    /// By `namespace/name` of the virtual machine that each is for.
    ///
    /// These, machines and Services come by the ten thousand, so they are kept compactly.
    pub(crate) vm_accesses: Arc<Cache<VmAccess>>,
    pub(crate) virtual_machines: Arc<Cache<VirtualMachine>>,
    pub(crate) virtual_machine_instances: Arc<Cache<VirtualMachineInstance>>,
    /// By the target that each names.
    pub(crate) console_sessions: Arc<Cache<ConsoleSession>>,
    /// By the gateway that holds each.
    pub(crate) gateway_leases: Cache<Lease>,
    /// By the namespace and UID of the owner, as all children: [`label::key_of_owner`].
    pub(crate) services: Cache<Service>,
    pub(crate) nodes: Cache<Node>,
    /// By namespace and UID.
    pub(crate) vnc_workspaces: Arc<Cache<VncWorkspace>>,
    /// Those of workspaces, as the following, by the owner.
    pub(crate) pods: Cache<Pod>,
    pub(crate) claims: Cache<PersistentVolumeClaim>,
    pub(crate) network_policies: Cache<NetworkPolicy>,
    /// All, by the owner where they have one.
    pub(crate) volume_snapshots: Cache<VolumeSnapshot>,
    pub(crate) storage_classes: Cache<StorageClass>,
    /// What gateways read of routes. Which of these are watched follows the configuration.
    pub(crate) routes: RouteStores,
}

impl Caches {
    pub(crate) fn new() -> Arc<Self> {
        let SessionCaches {
            sessions,
            vm_accesses,
            vnc_workspaces,
            virtual_machines,
            virtual_machine_instances,
        } = SessionCaches::compact();
        Arc::new(Self {
            vm_accesses,
            virtual_machines,
            virtual_machine_instances,
            console_sessions: sessions,
            gateway_leases: Cache::new(|lease| holder(lease).map(str::to_owned)),
            services: Cache::compact(owner_key),
            nodes: Cache::new(|_| None),
            vnc_workspaces,
            pods: Cache::new(owner_key),
            claims: Cache::new(owner_key),
            network_policies: Cache::new(owner_key),
            volume_snapshots: Cache::new(owner_key),
            storage_classes: Cache::new(|_| None),
            routes: RouteStores::default(),
        })
    }
}

impl Caches {
    /// All caches of kinds with a type. The pattern has no `..`, so that a new field has to be named here, and is filled, waited for and enqueued with the
    /// others.
    pub(crate) fn each(&self) -> [&dyn AnyCache; 13] {
        let Self {
            vm_accesses,
            virtual_machines,
            virtual_machine_instances,
            console_sessions,
            gateway_leases,
            services,
            nodes,
            vnc_workspaces,
            pods,
            claims,
            network_policies,
            volume_snapshots,
            storage_classes,
            // They have watches of their own.
            routes: _,
        } = self;
        [
            vm_accesses.as_ref(),
            virtual_machines.as_ref(),
            virtual_machine_instances.as_ref(),
            console_sessions.as_ref(),
            gateway_leases,
            services,
            nodes,
            vnc_workspaces.as_ref(),
            pods,
            claims,
            network_policies,
            volume_snapshots,
            storage_classes,
        ]
    }

    /// What the cluster says of sessions, over these caches.
    pub(crate) fn session_view(&self, apis: OptionalApis) -> SessionView {
        let caches = SessionCaches {
            sessions: Arc::clone(&self.console_sessions),
            vm_accesses: Arc::clone(&self.vm_accesses),
            vnc_workspaces: Arc::clone(&self.vnc_workspaces),
            virtual_machines: Arc::clone(&self.virtual_machines),
            virtual_machine_instances: Arc::clone(&self.virtual_machine_instances),
        };
        SessionView::new(caches, apis)
    }

    /// The cache of the kind that an object is of.
    pub(crate) fn of(&self, object: &ObjectReference) -> Option<&dyn AnyCache> {
        self.each().into_iter().find(|cache| cache.is_of(object))
    }

    /// The kinds whose first list has not ended.
    pub(crate) fn unfilled(&self) -> Vec<Cow<'static, str>> {
        let unfilled = self.each().into_iter().filter(|cache| !cache.is_filled());
        let routes = self.routes.wanted().filter(|store| !store.cache.is_filled());
        let routes = routes.map(|store| Cow::Borrowed(store.kind.kind()));
        unfilled.map(AnyCache::kind).chain(routes).collect()
    }

    /// Returns when all are filled.
    pub(crate) async fn filled(&self) {
        for cache in self.each() {
            cache.filled().await;
        }
        for store in self.routes.wanted() {
            store.cache.store().wait_until_ready().await;
        }
    }

    /// Where a NodePort answers.
    pub(crate) fn node_addresses(&self) -> Vec<String> {
        node::addresses(self.nodes.store().state().iter().map(AsRef::as_ref))
    }

    /// All sessions of a target.
    pub(crate) fn sessions_of(&self, namespace: &str, kind: SessionTargetKind, name: &str) -> Vec<Arc<ConsoleSession>> {
        self.console_sessions.indexed(&target_key(namespace, kind, name))
    }

    /// References to all sessions of a target.
    pub(crate) fn references_of_sessions(
        &self,
        namespace: &str,
        kind: SessionTargetKind,
        name: &str,
    ) -> Vec<ObjectRef<ConsoleSession>> {
        self.console_sessions.references_of(&target_key(namespace, kind, name))
    }

    /// How many sessions of a `VmAccess` are active.
    pub(crate) fn active_sessions(&self, vm_access: &VmAccess) -> u32 {
        let namespace = vm_access.namespace().unwrap_or_default();
        let sessions = self.sessions_of(&namespace, SessionTargetKind::VmAccess, &vm_access.name_any());
        let active = sessions.iter().filter(|session| is_active(session)).count();
        u32::try_from(active).unwrap_or(u32::MAX)
    }

    /// The sessions with connections of a gateway.
    pub(crate) fn sessions_on(&self, gateway: &str) -> Vec<Arc<ConsoleSession>> {
        let mut sessions = self.console_sessions.store().state();
        sessions.retain(|session| {
            let status = session.status.as_ref();
            status.is_some_and(|status| {
                status
                    .connections
                    .iter()
                    .any(|connection| connection.gateway == gateway)
            })
        });
        sessions
    }

    /// Whether a gateway holds a Lease.
    pub(crate) fn has_lease(&self, gateway: &str) -> bool {
        !self.gateway_leases.indexed(gateway).is_empty()
    }
}

/// The gateway that holds a Lease.
pub(crate) fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}

fn owner_key<K: Resource>(object: &K) -> Option<String> {
    label::key_of_owner(object.meta())
}
