//! The watches: they fill the caches and say which objects to reconcile.

use std::{fmt::Debug, sync::Arc, time::Instant};

use futures::{Stream, StreamExt};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, NodeStatus, PersistentVolumeClaim, Pod, Service},
    networking::v1::NetworkPolicy,
    storage::v1::StorageClass,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::DeserializeGuard,
    runtime::{
        reflector::ObjectRef,
        watcher::{self, Event},
    },
};
use novasphere_core::{
    console_session::{gateway, session::is_started},
    label,
    vm_access::virtual_machine_name,
    vnc_workspace::KEY_WORKSPACE,
};
use novasphere_crd::{ConsoleSession, SessionTargetKind, VmAccess, VncWorkspace};
use novasphere_foreign::{
    cdi::DataVolume,
    kubevirt::{VirtualMachine, VirtualMachineInstance},
    volume_snapshot::VolumeSnapshot,
};
use novasphere_runtime::{
    cache::Cache,
    namespaced::{Namespaced, api_in},
    optional_api::{OptionalApi, OptionalApis, optional_watch},
    queue::Queue,
    watch::{Guard, guarded},
};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::{
    caches::{Caches, holder, machine_key},
    console_session::Gateways,
};

/// KubeVirt's virtual machines. They come and go with KubeVirt.
pub(crate) const VIRTUAL_MACHINES: OptionalApi = OptionalApi::of::<VirtualMachine>();

/// KubeVirt's running instances.
pub(crate) const VIRTUAL_MACHINE_INSTANCES: OptionalApi = OptionalApi::of::<VirtualMachineInstance>();

/// CDI's data volumes, for disks that are imported or cloned.
pub(crate) const DATA_VOLUMES: OptionalApi = OptionalApi::of::<DataVolume>();

/// Snapshots of volumes, where a storage driver and the snapshot-controller offer them.
pub(crate) const VOLUME_SNAPSHOTS: OptionalApi = OptionalApi::of::<VolumeSnapshot>();

/// All APIs that may be missing.
pub(crate) const OPTIONAL_APIS: &[OptionalApi] = &[
    VIRTUAL_MACHINES,
    VIRTUAL_MACHINE_INSTANCES,
    DATA_VOLUMES,
    VOLUME_SNAPSHOTS,
];

/// Whether the cluster has `KubeVirt` and the caches hold its objects. While they are filled again after it was gone for a moment,
/// a machine that they do not have yet must not pass for one that does not exist.
pub(crate) fn has_kubevirt(apis: &OptionalApis) -> bool {
    apis.listed(&VIRTUAL_MACHINES) && apis.listed(&VIRTUAL_MACHINE_INSTANCES)
}

/// Everything a watch needs.
#[derive(Clone)]
pub(crate) struct Watches {
    pub(crate) client: Client,
    pub(crate) namespace: Option<String>,
    pub(crate) apis: OptionalApis,
    pub(crate) guard: Guard,
    pub(crate) caches: Arc<Caches>,
    pub(crate) queues: Queues,
    /// Where gateways hold their Leases.
    pub(crate) gateway_namespace: String,
    pub(crate) gateways: Arc<Gateways>,
}

/// What has to be reconciled, by kind.
#[derive(Clone, Default)]
pub(crate) struct Queues {
    pub(crate) vm_accesses: Queue<ObjectRef<VmAccess>>,
    pub(crate) console_sessions: Queue<ObjectRef<ConsoleSession>>,
    pub(crate) vnc_workspaces: Queue<ObjectRef<VncWorkspace>>,
}

impl Watches {
    /// Starts all watches as tasks of `tasks`; they end with it.
    pub(crate) fn spawn(&self, tasks: &mut JoinSet<()>) {
        tasks.spawn(self.clone().vm_accesses());
        tasks.spawn(self.clone().console_sessions());
        tasks.spawn(self.clone().gateway_leases());
        tasks.spawn(self.clone().virtual_machines());
        tasks.spawn(self.clone().virtual_machine_instances());
        tasks.spawn(self.clone().services());
        tasks.spawn(self.clone().nodes());
        tasks.spawn(self.clone().vnc_workspaces());
        tasks.spawn(self.clone().part_of_workspaces::<Pod>(|caches| &caches.pods));
        tasks.spawn(
            self.clone()
                .part_of_workspaces::<PersistentVolumeClaim>(|caches| &caches.claims),
        );
        tasks.spawn(
            self.clone()
                .part_of_workspaces::<NetworkPolicy>(|caches| &caches.network_policies),
        );
        tasks.spawn(self.clone().volume_snapshots());
        tasks.spawn(self.clone().storage_classes());
        tasks.spawn(self.clone().optional_apis());
    }

    /// Puts every known object into its queue.
    pub(crate) fn enqueue_all(&self) {
        self.queues.vm_accesses.add(self.caches.vm_accesses.references());
        self.queues
            .console_sessions
            .add(self.caches.console_sessions.references());
        self.enqueue_workspaces();
    }

    fn enqueue_workspaces(&self) {
        self.queues.vnc_workspaces.add(self.caches.vnc_workspaces.references());
    }

    async fn vm_accesses(self) {
        let events = guarded(self.api(), watcher::Config::default(), self.guard.clone());
        self.drive(
            events,
            &self.caches.vm_accesses,
            |_| {},
            |object| {
                self.vm_access_changed(&reference(object));
                // Of those about one machine, one decides its power.
                let machine = machine_key(&object.namespace().unwrap_or_default(), &virtual_machine_name(object));
                self.queues
                    .vm_accesses
                    .add(self.caches.vm_accesses.references_of(&machine));
            },
        )
        .await;
    }

    async fn console_sessions(self) {
        let events = guarded(self.api(), watcher::Config::default(), self.guard.clone());
        self.drive(
            events,
            &self.caches.console_sessions,
            |_| {},
            |session| self.session_changed(session),
        )
        .await;
    }

    /// Gateways hold their Leases in our own namespace, also when another one alone is watched.
    async fn gateway_leases(self) {
        let config = watcher::Config::default().labels(&format!("{}={}", gateway::KEY_COMPONENT, gateway::COMPONENT));
        let api = Api::<DeserializeGuard<Lease>>::namespaced(self.client.clone(), &self.gateway_namespace);
        let gateways = Arc::clone(&self.gateways);
        let events =
            guarded(api, config, self.guard.clone()).inspect(move |event| gateways.observe(event, Instant::now()));
        self.drive(
            events,
            &self.caches.gateway_leases,
            |_| {},
            |lease| self.lease_changed(lease),
        )
        .await;
    }

    async fn virtual_machines(self) {
        let events = self.optional::<VirtualMachine>(&VIRTUAL_MACHINES);
        self.drive(
            events,
            &self.caches.virtual_machines,
            |_| {},
            |object| self.machine_changed(object),
        )
        .await;
    }

    async fn virtual_machine_instances(self) {
        let events = self.optional::<VirtualMachineInstance>(&VIRTUAL_MACHINE_INSTANCES);
        self.drive(
            events,
            &self.caches.virtual_machine_instances,
            |_| {},
            |object| self.machine_changed(object),
        )
        .await;
    }

    async fn services(self) {
        let config = watcher::Config::default().labels(&format!("{}={}", label::KEY_MANAGED_BY, label::MANAGED_BY));
        let events = guarded(self.api::<Service>(), config, self.guard.clone());
        self.drive(
            events,
            &self.caches.services,
            |_| {},
            |service| {
                self.queues.vm_accesses.add(owner(service));
                self.part_changed(service);
            },
        )
        .await;
    }

    /// Nodes are read for their addresses alone: a NodePort answers there. Their heartbeats change nothing.
    async fn nodes(self) {
        let api = Api::<DeserializeGuard<Node>>::all(self.client.clone());
        let events = guarded(api, watcher::Config::default(), self.guard.clone());
        let told = Mutex::new(Vec::new());
        let changed = |_: &Node| {
            let now = self.caches.node_addresses();
            let mut told = told.lock();
            if *told != now {
                *told = now;
                self.queues.vm_accesses.add(self.caches.vm_accesses.references());
                self.enqueue_workspaces();
            }
        };
        self.drive(events, &self.caches.nodes, keep_addresses, changed).await;
    }

    async fn vnc_workspaces(self) {
        let events = guarded(self.api(), watcher::Config::default(), self.guard.clone());
        let changed = |workspace: &VncWorkspace| {
            let workspace = reference(workspace);
            self.target_changed(SessionTargetKind::VncWorkspace, &workspace);
            self.queues.vnc_workspaces.add([workspace]);
        };
        self.drive(events, &self.caches.vnc_workspaces, |_| {}, changed).await;
    }

    async fn part_of_workspaces<K: Namespaced>(self, cache: fn(&Caches) -> &Cache<K>) {
        let config = watcher::Config::default().labels(KEY_WORKSPACE);
        let events = guarded(self.api::<K>(), config, self.guard.clone());
        self.drive(events, cache(&self.caches), |_| {}, |part| self.part_changed(part))
            .await;
    }

    async fn volume_snapshots(self) {
        let events = self.optional::<VolumeSnapshot>(&VOLUME_SNAPSHOTS);
        let changed = |snapshot: &VolumeSnapshot| self.part_changed(snapshot);
        self.drive(events, &self.caches.volume_snapshots, |_| {}, changed).await;
    }

    /// Read to explain why a home is not bound.
    async fn storage_classes(self) {
        let api = Api::<DeserializeGuard<StorageClass>>::all(self.client.clone());
        let events = guarded(api, watcher::Config::default(), self.guard.clone());
        let changed = |_: &StorageClass| self.enqueue_workspaces();
        self.drive(events, &self.caches.storage_classes, |_| {}, changed).await;
    }

    /// Lets the workspace be looked at that something belongs to.
    fn part_changed<K: Resource>(&self, part: &K) {
        if let Some(uid) = label::owner_uid(part.meta()) {
            let workspaces = self.caches.vnc_workspaces.references_of(uid);
            self.queues.vnc_workspaces.add(workspaces);
        }
    }

    async fn optional_apis(self) {
        let mut changed = self.apis.changed();
        while changed.changed().await.is_ok() {
            self.enqueue_all();
        }
    }

    async fn drive<K>(
        &self,
        events: impl Stream<Item = watcher::Result<Event<K>>>,
        cache: &Cache<K>,
        trim: impl Fn(&mut K),
        changed: impl Fn(&K),
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + 'static,
    {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event.modify(&trim),
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), %error, "watch failed and is tried again");
                    continue;
                }
            };
            cache.observe(&event);
            match &event {
                Event::Apply(object) | Event::Delete(object) => changed(object),
                // What was deleted during a gap of the watch has no event of its own.
                Event::InitDone => self.enqueue_all(),
                Event::Init | Event::InitApply(_) => {}
            }
        }
    }

    fn optional<K: Namespaced>(
        &self,
        api: &OptionalApi,
    ) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static + use<K> {
        let watches = self.clone();
        optional_watch(
            &self.apis,
            api,
            watcher::Config::default(),
            self.guard.clone(),
            move |_version| watches.api(),
        )
    }

    fn api<K: Namespaced>(&self) -> Api<DeserializeGuard<K>> {
        api_in(self.client.clone(), self.namespace.as_deref())
    }

    fn vm_access_changed(&self, vm_access: &ObjectRef<VmAccess>) {
        self.target_changed(SessionTargetKind::VmAccess, vm_access);
        self.queues.vm_accesses.add([vm_access.clone()]);
    }

    fn machine_changed<K: Resource<DynamicType = ()>>(&self, machine: &K) {
        let key = machine_key(&machine.namespace().unwrap_or_default(), &machine.name_any());
        for vm_access in self.caches.vm_accesses.references_of(&key) {
            self.vm_access_changed(&vm_access);
        }
        self.target_changed(SessionTargetKind::VirtualMachine, &reference(machine));
    }

    fn target_changed<K: Resource>(&self, kind: SessionTargetKind, target: &ObjectRef<K>) {
        let namespace = target.namespace.as_deref().unwrap_or_default();
        let sessions = self.caches.references_of_sessions(namespace, kind, &target.name);
        self.queues.console_sessions.add(sessions);
    }

    /// Beside itself, a session makes a difference to those of its target that wait for a place, and to the number that the
    /// target tells.
    fn session_changed(&self, session: &ConsoleSession) {
        let namespace = session.namespace().unwrap_or_default();
        let target = &session.spec.target_ref;
        let mut others = self.caches.sessions_of(&namespace, target.kind, &target.name);
        others.retain(|other| !is_started(other));
        self.queues.console_sessions.add(references(&others));
        self.queues.console_sessions.add([reference(session)]);
        if target.kind == SessionTargetKind::VmAccess {
            self.queues
                .vm_accesses
                .add([ObjectRef::new(&target.name).within(&namespace)]);
        }
        if target.kind == SessionTargetKind::VncWorkspace {
            self.queues
                .vnc_workspaces
                .add([ObjectRef::new(&target.name).within(&namespace)]);
        }
    }

    /// A renewal makes no difference; the end of a gateway makes one to the sessions that it served.
    fn lease_changed(&self, lease: &Lease) {
        if let Some(gateway) = holder(lease)
            && !self.caches.has_lease(gateway)
        {
            self.gateway_ended(gateway);
        }
    }

    /// Lets the sessions that a gateway served be looked at.
    pub(crate) fn gateway_ended(&self, gateway: &str) {
        self.queues
            .console_sessions
            .add(references(&self.caches.sessions_on(gateway)));
    }
}

/// Without UID and version, which [`ObjectRef::from_obj`] takes along: thousands of them wait in a queue after each list.
fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectRef<K> {
    let reference = ObjectRef::new(&object.name_any());
    match object.namespace() {
        Some(namespace) => reference.within(&namespace),
        None => reference,
    }
}

fn references<K: Resource<DynamicType = ()>>(objects: &[Arc<K>]) -> Vec<ObjectRef<K>> {
    objects.iter().map(|object| reference(object.as_ref())).collect()
}

/// By reference, or by label when somebody took the reference away: it has to be put back.
fn owner<K: Resource>(object: &K) -> Vec<ObjectRef<VmAccess>> {
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

/// Drops what nobody reads: a Node object is large, mostly by the list of its images.
fn keep_addresses(node: &mut Node) {
    node.spec = None;
    if let Some(status) = &mut node.status {
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
