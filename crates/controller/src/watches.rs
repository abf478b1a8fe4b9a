//! The watches: they fill the caches and enqueue what has to be reconciled.

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock},
};

use futures::{StreamExt, stream::BoxStream};
use kube::{
    Client, Resource, ResourceExt,
    core::DeserializeGuard,
    runtime::{reflector::ObjectRef, watcher},
};
use novasphere_core::{console_session::session::is_started, label};
use novasphere_crd::{ConsoleSession, SessionTargetKind, VmAccess, VncWorkspace};
use novasphere_foreign::{
    cdi::DataVolume,
    kubevirt::{VirtualMachine, VirtualMachineInstance},
    volume_snapshot::VolumeSnapshot,
};
use novasphere_runtime::{
    namespaced::{Namespaced, api_in},
    optional_api::{OptionalApi, OptionalApis, optional_watch},
    queue::Queue,
    tasks::Tasks,
    watch::{Guard, WatchEvent, guarded},
};
use novasphere_sessions::view::machine_key;
use parking_lot::Mutex;
use tracing::Instrument;

use crate::{
    caches::Caches,
    console_session::GatewayLiveness,
    routes::{self, Routes, route_apis},
    watched_kind::WatchedKind,
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
pub(crate) static OPTIONAL_APIS: LazyLock<Vec<OptionalApi>> = LazyLock::new(|| {
    let ours = [
        VIRTUAL_MACHINES,
        VIRTUAL_MACHINE_INSTANCES,
        DATA_VOLUMES,
        VOLUME_SNAPSHOTS,
    ];
    ours.into_iter().chain(route_apis()).collect()
});

/// Whether the cluster has `KubeVirt` and the caches hold its objects. While they are filled again after it was gone for a moment,
/// a machine that they do not have yet must not pass for one that does not exist.
pub(crate) fn has_kubevirt(apis: &OptionalApis) -> bool {
    apis.listed(&VIRTUAL_MACHINES) && apis.listed(&VIRTUAL_MACHINE_INSTANCES)
}

/// Everything a watch needs.
pub(crate) struct Watches {
    pub(crate) client: Client,
    pub(crate) namespace: Option<String>,
    pub(crate) apis: OptionalApis,
    pub(crate) guard: Guard,
    pub(crate) caches: Arc<Caches>,
    pub(crate) queues: Queues,
    /// Where gateways hold their Leases.
    pub(crate) gateway_namespace: String,
    pub(crate) gateways: Arc<GatewayLiveness>,
    pub(crate) routes: Arc<Routes>,
    /// The addresses with which objects were reconciled last.
    pub(crate) node_addresses: Mutex<Vec<String>>,
}

/// What has to be reconciled, by kind.
#[derive(Clone, Default)]
pub(crate) struct Queues {
    pub(crate) vm_accesses: Queue<ObjectRef<VmAccess>>,
    pub(crate) console_sessions: Queue<ObjectRef<ConsoleSession>>,
    pub(crate) vnc_workspaces: Queue<ObjectRef<VncWorkspace>>,
}

/// The events of a watch.
pub(crate) type Events<K> = BoxStream<'static, watcher::Result<WatchEvent<K>>>;

impl Watches {
    /// Starts the watch of every cache as a task of `tasks`; they end with it.
    pub(crate) fn spawn(self: &Arc<Self>, tasks: &mut Tasks) {
        for (index, cache) in self.caches.each().into_iter().enumerate() {
            cache.spawn_watch(self, tasks);
            let caches = Arc::clone(&self.caches);
            let size = move || caches.each().get(index).map_or(0, |cache| cache.size());
            self.guard.metrics.show_cache(&cache.kind(), size);
        }
        // Before anybody asks whether the caches are filled.
        self.routes.want_configured(&self.caches.routes);
        tasks.spawn("routes", routes::follow(Arc::clone(self)));
        tasks.spawn("follow optional APIs", Arc::clone(self).follow_optional_apis());
    }

    /// Fills the cache of one kind, for ever.
    pub(crate) fn watch<K: WatchedKind>(self: Arc<Self>) -> impl Future<Output = ()> + Send + 'static {
        let span = tracing::info_span!("watch", kind = %K::kind(&()));
        async move { self.observe_all::<K>().await }.instrument(span)
    }

    async fn observe_all<K: WatchedKind>(&self) {
        let mut events = K::events(self);
        while let Some(event) = events.next().await {
            K::observed(&event, self);
            // An error is logged where the watch begins again.
            let Ok(event) = event else { continue };
            let event = event.modify(K::trim);
            let before = K::cache(&self.caches).observe(&event);
            match &event {
                WatchEvent::Apply(object) | WatchEvent::Delete(object) => object.changed(self),
                WatchEvent::Undecodable(_) => {
                    if let Some(before) = before {
                        before.changed(self);
                    }
                }
                // What was deleted during a gap of the watch has no event of its own.
                WatchEvent::InitDone => self.enqueue_all(),
                WatchEvent::Init | WatchEvent::InitApply(_) => {}
            }
        }
    }

    /// Puts every object that is reconciled into its queue.
    pub(crate) fn enqueue_all(&self) {
        for cache in self.caches.each() {
            cache.enqueue_all(&self.queues);
        }
    }

    async fn follow_optional_apis(self: Arc<Self>) {
        let mut changed = self.apis.changed();
        while changed.changed().await.is_ok() {
            self.enqueue_all();
        }
    }

    /// Objects in the watched namespaces.
    pub(crate) fn namespaced<K: Namespaced>(&self, config: watcher::Config) -> Events<K> {
        let api = api_in(self.client.clone(), self.namespace.as_deref());
        guarded(api, config, self.guard.clone()).boxed()
    }

    /// Objects of an API that comes and goes.
    pub(crate) fn optional<K: Namespaced>(&self, api: &OptionalApi) -> Events<K> {
        let (client, namespace) = (self.client.clone(), self.namespace.clone());
        let api_of = move |_version: &str| api_in::<DeserializeGuard<K>>(client.clone(), namespace.as_deref());
        optional_watch(&self.apis, api, watcher::Config::default(), self.guard.clone(), api_of).boxed()
    }

    /// Objects that belong to no namespace.
    pub(crate) fn cluster_wide<K: WatchedKind>(&self) -> Events<K> {
        let api = kube::Api::all(self.client.clone());
        guarded(api, watcher::Config::default(), self.guard.clone()).boxed()
    }

    pub(crate) fn vm_access_changed(&self, vm_access: &ObjectRef<VmAccess>) {
        self.target_changed(SessionTargetKind::VmAccess, vm_access);
        self.queues.vm_accesses.add([vm_access.clone()]);
    }

    pub(crate) fn machine_changed<K: Resource<DynamicType = ()>>(&self, machine: &K) {
        let key = machine_key(&machine.namespace().unwrap_or_default(), &machine.name_any());
        for vm_access in self.caches.vm_accesses.references_of(&key) {
            self.vm_access_changed(&vm_access);
        }
        let machine = reference(machine);
        self.target_changed(SessionTargetKind::VirtualMachine, &machine);
        self.target_changed(SessionTargetKind::VirtualMachineInstance, &machine);
    }

    pub(crate) fn target_changed<K: Resource>(&self, kind: SessionTargetKind, target: &ObjectRef<K>) {
        let namespace = target.namespace.as_deref().unwrap_or_default();
        let sessions = self.caches.references_of_sessions(namespace, kind, &target.name);
        self.queues.console_sessions.add(sessions);
    }

    /// Enqueues the workspace that something belongs to.
    pub(crate) fn part_of_workspace_changed<K: Resource>(&self, part: &K) {
        if let Some(owner) = label::key_of_owner(part.meta()) {
            let workspaces = self.caches.vnc_workspaces.references_of(&owner);
            self.queues.vnc_workspaces.add(workspaces);
        }
    }

    /// Enqueues what depends on where a NodePort answers.
    pub(crate) fn nodes_changed(&self) {
        let now = self.caches.node_addresses();
        let mut before = self.node_addresses.lock();
        if *before != now {
            *before = now;
            self.queues.vm_accesses.add(self.caches.vm_accesses.references());
            self.queues.vnc_workspaces.add(self.caches.vnc_workspaces.references());
        }
    }

    /// Beside itself, a session makes a difference to those of its target that wait for a place, and to the number of sessions in the
    /// target's status.
    pub(crate) fn session_changed(&self, session: &ConsoleSession) {
        let namespace = session.namespace().unwrap_or_default();
        let target = &session.spec.target_ref;
        let mut others = self.caches.sessions_of(&namespace, target.kind, &target.name);
        others.retain(|other| !is_started(other));
        self.queues.console_sessions.add(references(&others));
        self.queues.console_sessions.add([reference(session)]);
        match target.kind {
            SessionTargetKind::VmAccess => {
                let vm_access = ObjectRef::new(&target.name).within(&namespace);
                self.queues.vm_accesses.add([vm_access]);
            }
            SessionTargetKind::VncWorkspace => {
                let workspace = ObjectRef::new(&target.name).within(&namespace);
                self.queues.vnc_workspaces.add([workspace]);
            }
            SessionTargetKind::VirtualMachine | SessionTargetKind::VirtualMachineInstance => {}
        }
    }

    /// Enqueues the sessions that a gateway served.
    pub(crate) fn gateway_ended(&self, gateway: &str) {
        let sessions = self.caches.sessions_on(gateway);
        self.queues.console_sessions.add(references(&sessions));
    }
}

/// The name of the task that watches a kind.
pub(crate) fn task_name<K: Resource<DynamicType = ()>>() -> &'static str {
    match K::kind(&()) {
        Cow::Borrowed(kind) => kind,
        // No kind with a type of its own makes up its name.
        Cow::Owned(_) => "watch",
    }
}

/// Without UID and version, which [`ObjectRef::from_obj`] takes along: thousands of them wait in a queue after each list.
pub(crate) fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectRef<K> {
    let reference = ObjectRef::new(&object.name_any());
    match object.namespace() {
        Some(namespace) => reference.within(&namespace),
        None => reference,
    }
}

fn references<K: Resource<DynamicType = ()>>(objects: &[Arc<K>]) -> Vec<ObjectRef<K>> {
    objects.iter().map(|object| reference(object.as_ref())).collect()
}
