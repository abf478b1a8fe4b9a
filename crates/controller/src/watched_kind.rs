//! The watched kinds, each declared once: where its objects come from, where they are cached, which queue they wait in, and what has to
//! be reconciled when one of them changes.

use std::{borrow::Cow, fmt::Debug, sync::Arc, time::Instant};

use futures::{FutureExt, StreamExt, future::BoxFuture};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, NodeStatus, ObjectReference, PersistentVolumeClaim, Pod, Service},
    networking::v1::NetworkPolicy,
    storage::v1::StorageClass,
};
use kube::{
    Api, Resource, ResourceExt,
    core::DeserializeGuard,
    runtime::{reflector::ObjectRef, watcher},
};
use novasphere_core::{
    console_session::gateway, label, routes::claim::ObjectClaims, vm_access::virtual_machine_name,
    vnc_workspace::KEY_WORKSPACE,
};
use novasphere_crd::{ConsoleSession, SessionTargetKind, VmAccess, VncWorkspace};
use novasphere_foreign::{
    kubevirt::{VirtualMachine, VirtualMachineInstance},
    volume_snapshot::VolumeSnapshot,
};
use novasphere_runtime::{
    cache::Cache,
    queue::Queue,
    tasks::Tasks,
    watch::{WatchEvent, guarded},
};
use novasphere_sessions::view::machine_key;
use serde::de::DeserializeOwned;

use crate::{
    caches::{Caches, holder},
    watches::{
        Events, Queues, VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES, VOLUME_SNAPSHOTS, Watches, reference, task_name,
    },
};

/// A kind that the controller watches. [`Caches`] holds no others, so a kind that is not declared here does not compile, nor one that
/// [`Caches::each`] leaves out.
pub(crate) trait WatchedKind:
    Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static
{
    /// Where its objects come from.
    fn events(watches: &Watches) -> Events<Self>;

    /// Where they are.
    fn cache(caches: &Caches) -> &Cache<Self>;

    /// The queue of those that are reconciled themselves; these have conditions.
    fn queue(queues: &Queues) -> Option<&Queue<ObjectRef<Self>>>;

    /// Enqueues what depends on this object after it was created, changed or deleted.
    fn changed(&self, watches: &Watches);

    /// Drops what nobody reads.
    fn trim(&mut self) {}

    /// Sees each event of the watch before its cache does.
    fn observed(_event: &watcher::Result<WatchEvent<Self>>, _watches: &Watches) {}
}

/// One cache of [`Caches`], whatever its kind.
pub(crate) trait AnyCache: Send + Sync {
    /// The kind.
    fn kind(&self) -> Cow<'static, str>;

    /// Whether an object is of this kind.
    fn is_of(&self, object: &ObjectReference) -> bool;

    /// Whether objects of this kind are reconciled, and so have conditions.
    fn is_reconciled(&self) -> bool;

    /// Whether the first list has ended.
    fn is_filled(&self) -> bool;

    /// Returns when it has.
    fn filled(&self) -> BoxFuture<'_, ()>;

    /// How many objects the cache holds.
    fn size(&self) -> usize;

    /// The version of an object that the cache has.
    fn resource_version(&self, namespace: &str, name: &str) -> Option<String>;

    /// Puts all objects into their queue, if they have one.
    fn enqueue_all(&self, queues: &Queues);

    /// Starts the watch that fills the cache.
    fn spawn_watch(&self, watches: &Arc<Watches>, tasks: &mut Tasks);
}

impl<K: WatchedKind> AnyCache for Cache<K> {
    fn kind(&self) -> Cow<'static, str> {
        K::kind(&())
    }

    fn is_of(&self, object: &ObjectReference) -> bool {
        object.kind.as_deref() == Some(&*K::kind(&())) && object.api_version.as_deref() == Some(&*K::api_version(&()))
    }

    fn is_reconciled(&self) -> bool {
        K::queue(&Queues::default()).is_some()
    }

    fn is_filled(&self) -> bool {
        Self::is_filled(self)
    }

    fn filled(&self) -> BoxFuture<'_, ()> {
        async { self.store().wait_until_ready().await }.boxed()
    }

    fn size(&self) -> usize {
        self.len()
    }

    fn resource_version(&self, namespace: &str, name: &str) -> Option<String> {
        self.get(namespace, name)?.resource_version()
    }

    fn enqueue_all(&self, queues: &Queues) {
        if let Some(queue) = K::queue(queues) {
            queue.add(self.references());
        }
    }

    fn spawn_watch(&self, watches: &Arc<Watches>, tasks: &mut Tasks) {
        tasks.spawn(task_name::<K>(), Arc::clone(watches).watch::<K>());
    }
}

impl WatchedKind for VmAccess {
    fn events(watches: &Watches) -> Events<Self> {
        watches.namespaced(watcher::Config::default())
    }

    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.vm_accesses
    }

    fn queue(queues: &Queues) -> Option<&Queue<ObjectRef<Self>>> {
        Some(&queues.vm_accesses)
    }

    fn changed(&self, watches: &Watches) {
        watches.vm_access_changed(&reference(self));
        // Of those about one machine, one decides its power.
        let machine = machine_key(&self.namespace().unwrap_or_default(), &virtual_machine_name(self));
        let others = watches.caches.vm_accesses.references_of(&machine);
        watches.queues.vm_accesses.add(others);
    }

    fn observed(event: &watcher::Result<WatchEvent<Self>>, watches: &Watches) {
        if let Ok(event) = event {
            let claims = ObjectClaims::of_vm_access;
            let (caches, queues) = (&watches.caches, &watches.queues);
            watches.routes.observe("VmAccess", event, claims, caches, queues);
        }
    }

    /// What is free may be as large as the apiserver takes it.
    fn trim(&mut self) {
        if let Some(template) = &mut self.spec.virtual_machine.template {
            template.overrides.drop_oversized();
            if let Some(scheduling) = &mut template.scheduling {
                scheduling.affinity.drop_oversized();
            }
        }
    }
}

impl WatchedKind for ConsoleSession {
    fn events(watches: &Watches) -> Events<Self> {
        watches.namespaced(watcher::Config::default())
    }

    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.console_sessions
    }

    fn queue(queues: &Queues) -> Option<&Queue<ObjectRef<Self>>> {
        Some(&queues.console_sessions)
    }

    fn changed(&self, watches: &Watches) {
        watches.session_changed(self);
    }
}

impl WatchedKind for VncWorkspace {
    fn events(watches: &Watches) -> Events<Self> {
        watches.namespaced(watcher::Config::default())
    }

    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.vnc_workspaces
    }

    fn queue(queues: &Queues) -> Option<&Queue<ObjectRef<Self>>> {
        Some(&queues.vnc_workspaces)
    }

    fn changed(&self, watches: &Watches) {
        let workspace = reference(self);
        watches.target_changed(SessionTargetKind::VncWorkspace, &workspace);
        watches.queues.vnc_workspaces.add([workspace]);
    }

    fn observed(event: &watcher::Result<WatchEvent<Self>>, watches: &Watches) {
        if let Ok(event) = event {
            let claims = ObjectClaims::of_workspace;
            let (caches, queues) = (&watches.caches, &watches.queues);
            watches.routes.observe("VncWorkspace", event, claims, caches, queues);
        }
    }

    fn trim(&mut self) {
        self.spec.pod_overrides.drop_oversized();
    }
}

/// Gateways hold their Leases in our own namespace, also when another one alone is watched.
impl WatchedKind for Lease {
    fn events(watches: &Watches) -> Events<Self> {
        let config =
            watcher::Config::default().labels(&format!("{}={}", gateway::KEY_COMPONENT, gateway::GATEWAY_COMPONENT));
        let api = Api::<DeserializeGuard<Self>>::namespaced(watches.client.clone(), &watches.gateway_namespace);
        guarded(api, config, watches.guard.clone()).boxed()
    }

    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.gateway_leases
    }

    fn queue(_: &Queues) -> Option<&Queue<ObjectRef<Self>>> {
        None
    }

    /// A renewal makes no difference; the end of a gateway makes one to the sessions that it served.
    fn changed(&self, watches: &Watches) {
        if let Some(gateway) = holder(self)
            && !watches.caches.has_lease(gateway)
        {
            watches.gateway_ended(gateway);
        }
    }

    fn observed(event: &watcher::Result<WatchEvent<Self>>, watches: &Watches) {
        watches.gateways.observe(event, Instant::now());
    }
}

impl WatchedKind for VirtualMachine {
    fn events(watches: &Watches) -> Events<Self> {
        watches.optional(&VIRTUAL_MACHINES)
    }

    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.virtual_machines
    }

    fn queue(_: &Queues) -> Option<&Queue<ObjectRef<Self>>> {
        None
    }

    fn changed(&self, watches: &Watches) {
        watches.machine_changed(self);
    }
}

impl WatchedKind for VirtualMachineInstance {
    fn events(watches: &Watches) -> Events<Self> {
        watches.optional(&VIRTUAL_MACHINE_INSTANCES)
    }

    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.virtual_machine_instances
    }

    fn queue(_: &Queues) -> Option<&Queue<ObjectRef<Self>>> {
        None
    }

    fn changed(&self, watches: &Watches) {
        watches.machine_changed(self);
    }
}

impl WatchedKind for Service {
    fn events(watches: &Watches) -> Events<Self> {
        let ours = format!("{}={}", label::KEY_MANAGED_BY, label::MANAGED_BY);
        watches.namespaced(watcher::Config::default().labels(&ours))
    }

    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.services
    }

    fn queue(_: &Queues) -> Option<&Queue<ObjectRef<Self>>> {
        None
    }

    fn changed(&self, watches: &Watches) {
        watches.queues.vm_accesses.add(owners(self));
        watches.part_of_workspace_changed(self);
    }
}

/// Nodes are read for their addresses alone: a NodePort answers there. Their heartbeats change nothing.
impl WatchedKind for Node {
    fn events(watches: &Watches) -> Events<Self> {
        watches.cluster_wide()
    }

    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.nodes
    }

    fn queue(_: &Queues) -> Option<&Queue<ObjectRef<Self>>> {
        None
    }

    fn changed(&self, watches: &Watches) {
        watches.nodes_changed();
    }

    /// A Node object is large, mostly by the list of its images.
    fn trim(&mut self) {
        self.spec = None;
        if let Some(status) = &mut self.status {
            let mut conditions = std::mem::take(&mut status.conditions);
            if let Some(conditions) = &mut conditions {
                conditions.retain(|condition| condition.type_ == "Ready");
            }
            *status = NodeStatus {
                addresses: std::mem::take(&mut status.addresses),
                conditions,
                ..Default::default()
            };
        }
    }
}

impl WatchedKind for Pod {
    fn events(watches: &Watches) -> Events<Self> {
        watches.namespaced(watcher::Config::default().labels(KEY_WORKSPACE))
    }

    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.pods
    }

    fn queue(_: &Queues) -> Option<&Queue<ObjectRef<Self>>> {
        None
    }

    fn changed(&self, watches: &Watches) {
        watches.part_of_workspace_changed(self);
    }
}

impl WatchedKind for PersistentVolumeClaim {
    fn events(watches: &Watches) -> Events<Self> {
        watches.namespaced(watcher::Config::default().labels(KEY_WORKSPACE))
    }

    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.claims
    }

    fn queue(_: &Queues) -> Option<&Queue<ObjectRef<Self>>> {
        None
    }

    fn changed(&self, watches: &Watches) {
        watches.part_of_workspace_changed(self);
    }
}

impl WatchedKind for NetworkPolicy {
    fn events(watches: &Watches) -> Events<Self> {
        watches.namespaced(watcher::Config::default().labels(KEY_WORKSPACE))
    }

    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.network_policies
    }

    fn queue(_: &Queues) -> Option<&Queue<ObjectRef<Self>>> {
        None
    }

    fn changed(&self, watches: &Watches) {
        watches.part_of_workspace_changed(self);
    }
}

impl WatchedKind for VolumeSnapshot {
    fn events(watches: &Watches) -> Events<Self> {
        watches.optional(&VOLUME_SNAPSHOTS)
    }

    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.volume_snapshots
    }

    fn queue(_: &Queues) -> Option<&Queue<ObjectRef<Self>>> {
        None
    }

    fn changed(&self, watches: &Watches) {
        watches.part_of_workspace_changed(self);
    }
}

/// Read to explain why a home is not bound.
impl WatchedKind for StorageClass {
    fn events(watches: &Watches) -> Events<Self> {
        watches.cluster_wide()
    }

    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.storage_classes
    }

    fn queue(_: &Queues) -> Option<&Queue<ObjectRef<Self>>> {
        None
    }

    fn changed(&self, watches: &Watches) {
        let workspaces = watches.caches.vnc_workspaces.references();
        watches.queues.vnc_workspaces.add(workspaces);
    }
}

/// The owners by reference, or by label when somebody took the reference away: it has to be put back.
fn owners<K: Resource>(object: &K) -> Vec<ObjectRef<VmAccess>> {
    let namespace = object.namespace().unwrap_or_default();
    if object.owner_references().is_empty() {
        // The label holds the whole name: those of VmAccess fit.
        let name = object.labels().get(label::KEY_INSTANCE);
        return name
            .map(|name| ObjectRef::new(name).within(&namespace))
            .into_iter()
            .collect();
    }
    object
        .owner_references()
        .iter()
        .filter_map(|owner| ObjectRef::from_owner_ref(Some(&namespace), owner, ()))
        .collect()
}
