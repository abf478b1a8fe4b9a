//! The watches: they fill the caches and say which objects to reconcile.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Node, NodeStatus, Service};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::DeserializeGuard,
    runtime::{
        reflector::ObjectRef,
        watcher::{self, Event},
    },
};
use novasphere_core::label;
use novasphere_crd::VmAccess;
use novasphere_foreign::kubevirt::{VirtualMachine, VirtualMachineInstance};
use novasphere_runtime::{
    cache::Cache,
    optional_api::{OptionalApi, OptionalApis, optional_watch},
    queue::Queue,
    watch::{Guard, guarded},
};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use crate::caches::{Caches, machine_key};

/// KubeVirt's virtual machines. They come and go with KubeVirt.
pub(crate) const VIRTUAL_MACHINES: OptionalApi = OptionalApi {
    group: "kubevirt.io",
    versions: &["v1"],
    plural: "virtualmachines",
    kind: "VirtualMachine",
};

/// KubeVirt's running instances.
pub(crate) const VIRTUAL_MACHINE_INSTANCES: OptionalApi = OptionalApi {
    group: "kubevirt.io",
    versions: &["v1"],
    plural: "virtualmachineinstances",
    kind: "VirtualMachineInstance",
};

/// CDI's data volumes, for disks that are imported or cloned.
pub(crate) const DATA_VOLUMES: OptionalApi = OptionalApi {
    group: "cdi.kubevirt.io",
    versions: &["v1beta1"],
    plural: "datavolumes",
    kind: "DataVolume",
};

/// All APIs that may be missing.
pub(crate) const OPTIONAL_APIS: &[OptionalApi] = &[VIRTUAL_MACHINES, VIRTUAL_MACHINE_INSTANCES, DATA_VOLUMES];

/// Everything a watch needs.
#[derive(Clone)]
pub(crate) struct Watches {
    pub(crate) client: Client,
    pub(crate) namespace: Option<String>,
    pub(crate) apis: OptionalApis,
    pub(crate) guard: Guard,
    pub(crate) caches: Arc<Caches>,
    pub(crate) queue: Queue<ObjectRef<VmAccess>>,
}

impl Watches {
    /// Starts all watches as tasks of `tasks`; they end with it.
    pub(crate) fn spawn(&self, tasks: &mut JoinSet<()>) {
        tasks.spawn(self.clone().vm_accesses());
        tasks.spawn(self.clone().virtual_machines());
        tasks.spawn(self.clone().virtual_machine_instances());
        tasks.spawn(self.clone().services());
        tasks.spawn(self.clone().nodes());
        tasks.spawn(self.clone().optional_apis());
    }

    /// Puts every known object into the queue.
    pub(crate) fn enqueue_all(&self) {
        self.queue.add(
            self.caches
                .vm_accesses
                .store()
                .state()
                .iter()
                .map(|object| ObjectRef::from_obj(object.as_ref())),
        );
    }

    async fn vm_accesses(self) {
        let events = guarded(self.api(), watcher::Config::default(), self.guard.clone());
        self.drive(
            events,
            &self.caches.vm_accesses,
            |_| {},
            |object| vec![ObjectRef::from_obj(object)],
        )
        .await;
    }

    async fn virtual_machines(self) {
        let watches = self.clone();
        let events = self.optional::<VirtualMachine>(&VIRTUAL_MACHINES);
        self.drive(
            events,
            &self.caches.virtual_machines,
            |_| {},
            |object| watches.users_of_machine(object),
        )
        .await;
    }

    async fn virtual_machine_instances(self) {
        let watches = self.clone();
        let events = self.optional::<VirtualMachineInstance>(&VIRTUAL_MACHINE_INSTANCES);
        self.drive(
            events,
            &self.caches.virtual_machine_instances,
            |_| {},
            |object| watches.users_of_machine(object),
        )
        .await;
    }

    async fn services(self) {
        let config = watcher::Config::default().labels(&format!("{}={}", label::KEY_MANAGED_BY, label::MANAGED_BY));
        let events = guarded(self.api::<Service>(), config, self.guard.clone());
        self.drive(events, &self.caches.services, |_| {}, owner).await;
    }

    /// Nodes are read for their addresses alone: a NodePort answers there. Their heartbeats change nothing.
    async fn nodes(self) {
        let watches = self.clone();
        let api = Api::<DeserializeGuard<Node>>::all(self.client.clone());
        let events = guarded(api, watcher::Config::default(), self.guard.clone());
        let told = Mutex::new(Vec::new());
        let users = |_: &Node| {
            let now = watches.caches.node_addresses();
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if *told != now {
                *told = now;
                watches.enqueue_all();
            }
            Vec::new()
        };
        self.drive(events, &self.caches.nodes, keep_addresses, users).await;
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
        users: impl Fn(&K) -> Vec<ObjectRef<VmAccess>>,
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
                Event::Apply(object) | Event::Delete(object) => self.queue.add(users(object)),
                // What was deleted during a gap of the watch has no event of its own.
                Event::InitDone => self.enqueue_all(),
                Event::Init | Event::InitApply(_) => {}
            }
        }
    }

    fn optional<K>(&self, api: &OptionalApi) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static + use<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + DeserializeOwned
            + Clone
            + Debug
            + Send
            + Sync
            + 'static,
    {
        let watches = self.clone();
        optional_watch(
            &self.apis,
            api,
            watcher::Config::default(),
            self.guard.clone(),
            move |_version| watches.api(),
        )
    }

    fn api<K>(&self) -> Api<DeserializeGuard<K>>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    fn users_of_machine<K: Resource>(&self, machine: &K) -> Vec<ObjectRef<VmAccess>> {
        let key = machine_key(&machine.namespace().unwrap_or_default(), &machine.name_any());
        self.caches
            .vm_accesses
            .indexed(&key)
            .iter()
            .map(|object| ObjectRef::from_obj(object.as_ref()))
            .collect()
    }
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
