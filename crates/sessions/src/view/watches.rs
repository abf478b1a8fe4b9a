//! The watches: they fill the caches and say what may end streams.

use std::fmt::Debug;

use futures::{Stream, StreamExt};
use kube::{Api, Client, Resource, core::DeserializeGuard, runtime::watcher};
use novasphere_crd::{VmAccess, VncWorkspace};
use novasphere_foreign::kubevirt::{VirtualMachine, VirtualMachineInstance};
use novasphere_runtime::{
    cache::Cache,
    namespaced::{Namespaced, api_in},
    optional_api::{OptionalApi, optional_watch},
    tasks::Tasks,
    watch::{Guard, ObjectName, WatchEvent, guarded},
};

use super::{SessionCaches, SessionView};

const VIRTUAL_MACHINES: OptionalApi = OptionalApi::of::<VirtualMachine>();

const VIRTUAL_MACHINE_INSTANCES: OptionalApi = OptionalApi::of::<VirtualMachineInstance>();

/// The APIs that the sessions' targets come from, and that may be missing.
pub const OPTIONAL_APIS: &[OptionalApi] = &[VIRTUAL_MACHINES, VIRTUAL_MACHINE_INSTANCES];

/// Something that the watches saw and that may end streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ViewChange {
    /// A session, by namespace and name.
    Session(String, String),
    /// A target or its machine in this namespace.
    Targets(String),
    /// A watch has listed again: what was deleted meanwhile has no event of its own.
    All,
}

/// What the watches need.
#[derive(Clone)]
pub(crate) struct Watches {
    pub(crate) client: Client,
    pub(crate) namespace: Option<String>,
    pub(crate) guard: Guard,
    pub(crate) view: SessionView,
}

impl Watches {
    /// Starts the watches as tasks of `tasks`. `tell` is called after each event that is in the caches; it must not block.
    pub(crate) fn spawn(&self, tasks: &mut Tasks, tell: impl Fn(ViewChange) + Clone + Send + 'static) {
        let (watches, tell_session) = (self.clone(), tell.clone());
        tasks.spawn("ConsoleSession watch", async move {
            let events = guarded(watches.api(), watcher::Config::default(), watches.guard.clone());
            drive(
                events,
                |event| watches.view.observe(event),
                change_of_session,
                tell_session,
            )
            .await;
        });
        let (watches, tell_target) = (self.clone(), tell.clone());
        tasks.spawn("VmAccess watch", async move {
            let events = guarded(
                watches.api::<VmAccess>(),
                watcher::Config::default(),
                watches.guard.clone(),
            );
            watches.targets(events, |caches| &caches.vm_accesses, tell_target).await;
        });
        let (watches, tell_target) = (self.clone(), tell.clone());
        tasks.spawn("VncWorkspace watch", async move {
            let events = guarded(
                watches.api::<VncWorkspace>(),
                watcher::Config::default(),
                watches.guard.clone(),
            );
            watches
                .targets(events, |caches| &caches.vnc_workspaces, tell_target)
                .await;
        });
        let (watches, tell_target) = (self.clone(), tell.clone());
        tasks.spawn("VirtualMachine watch", async move {
            let events = watches.optional::<VirtualMachine>(&VIRTUAL_MACHINES);
            watches
                .targets(events, |caches| &caches.virtual_machines, tell_target)
                .await;
        });
        let watches = self.clone();
        tasks.spawn("VirtualMachineInstance watch", async move {
            let events = watches.optional::<VirtualMachineInstance>(&VIRTUAL_MACHINE_INSTANCES);
            watches
                .targets(events, |caches| &caches.virtual_machine_instances, tell)
                .await;
        });
    }

    async fn targets<K>(
        &self,
        events: impl Stream<Item = watcher::Result<WatchEvent<K>>>,
        cache: fn(&SessionCaches) -> &Cache<K>,
        tell: impl Fn(ViewChange),
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + 'static,
    {
        let observe = |event: &WatchEvent<K>| {
            cache(self.view.caches()).observe(event);
            self.view.target_changed();
        };
        let change = |name: ObjectName| ViewChange::Targets(name.namespace.unwrap_or_default());
        drive(events, observe, change, tell).await;
    }

    fn optional<K: Namespaced>(
        &self,
        api: &OptionalApi,
    ) -> impl Stream<Item = watcher::Result<WatchEvent<K>>> + Send + 'static + use<K> {
        let watches = self.clone();
        let (apis, guard) = (self.view.apis(), self.guard.clone());
        optional_watch(apis, api, watcher::Config::default(), guard, move |_version| {
            watches.api()
        })
    }

    fn api<K: Namespaced>(&self) -> Api<DeserializeGuard<K>> {
        api_in(self.client.clone(), self.namespace.as_deref())
    }
}

fn change_of_session(name: ObjectName) -> ViewChange {
    ViewChange::Session(name.namespace.unwrap_or_default(), name.name)
}

#[tracing::instrument(name = "watch", skip_all, fields(kind = %K::kind(&())))]
async fn drive<K: Resource<DynamicType = ()>>(
    events: impl Stream<Item = watcher::Result<WatchEvent<K>>>,
    observe: impl Fn(&WatchEvent<K>),
    change: impl Fn(ObjectName) -> ViewChange,
    tell: impl Fn(ViewChange),
) {
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        // An error is logged where the watch begins again.
        let Ok(event) = event else { continue };
        observe(&event);
        match &event {
            WatchEvent::Apply(object) | WatchEvent::Delete(object) => tell(change(ObjectName::of(object))),
            WatchEvent::Undecodable(name) => tell(change(name.clone())),
            WatchEvent::InitDone => tell(ViewChange::All),
            WatchEvent::Init | WatchEvent::InitApply(_) => {}
        }
    }
}
