//! The watches: they fill the caches and say what may end streams.

use std::fmt::Debug;

use futures::{Stream, StreamExt};
use kube::{Api, Client, Resource, core::DeserializeGuard, runtime::watcher};
use novasphere_crd::{RawObject, VirtualMachineTemplate, VmAccess, VncWorkspace};
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
                || watches.view.watch_broke(),
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
            watches
                .targets(events, |caches| &caches.vm_accesses, trim_vm_access, tell_target)
                .await;
        });
        let (watches, tell_target) = (self.clone(), tell.clone());
        tasks.spawn("VncWorkspace watch", async move {
            let events = guarded(
                watches.api::<VncWorkspace>(),
                watcher::Config::default(),
                watches.guard.clone(),
            );
            watches
                .targets(events, |caches| &caches.vnc_workspaces, trim_workspace, tell_target)
                .await;
        });
        let (watches, tell_target) = (self.clone(), tell.clone());
        tasks.spawn("VirtualMachine watch", async move {
            let events = watches.optional::<VirtualMachine>(&VIRTUAL_MACHINES);
            watches
                .targets(events, |caches| &caches.virtual_machines, |_| {}, tell_target)
                .await;
        });
        let watches = self.clone();
        tasks.spawn("VirtualMachineInstance watch", async move {
            let events = watches.optional::<VirtualMachineInstance>(&VIRTUAL_MACHINE_INSTANCES);
            watches
                .targets(events, |caches| &caches.virtual_machine_instances, |_| {}, tell)
                .await;
        });
    }

    async fn targets<K>(
        &self,
        events: impl Stream<Item = watcher::Result<WatchEvent<K>>>,
        cache: fn(&SessionCaches) -> &Cache<K>,
        trim: fn(&mut K),
        tell: impl Fn(ViewChange),
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + 'static,
    {
        let observe = |event: &WatchEvent<K>| {
            cache(self.view.caches()).observe(event);
            self.view.target_changed();
        };
        let change = |name: ObjectName| ViewChange::Targets(name.namespace.unwrap_or_default());
        let events = events.map(move |event| event.map(|event| event.modify(trim)));
        drive(events, observe, || {}, change, tell).await;
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

/// Drops what a gateway does not look at: every gateway keeps every object, and a template may be large.
fn trim_vm_access(vm_access: &mut VmAccess) {
    if let Some(template) = &mut vm_access.spec.virtual_machine.template {
        *template = VirtualMachineTemplate::default();
    }
    for service in &mut vm_access.spec.services {
        service.settings.annotations.clear();
    }
}

/// The same of a workspace.
fn trim_workspace(workspace: &mut VncWorkspace) {
    workspace.spec.pod_overrides = RawObject::default();
    workspace.spec.env.clear();
    workspace.spec.service.settings.annotations.clear();
}

fn change_of_session(name: ObjectName) -> ViewChange {
    ViewChange::Session(name.namespace.unwrap_or_default(), name.name)
}

#[tracing::instrument(name = "watch", skip_all, fields(kind = %K::kind(&())))]
async fn drive<K: Resource<DynamicType = ()>>(
    events: impl Stream<Item = watcher::Result<WatchEvent<K>>>,
    observe: impl Fn(&WatchEvent<K>),
    broke: impl Fn(),
    change: impl Fn(ObjectName) -> ViewChange,
    tell: impl Fn(ViewChange),
) {
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        let Ok(event) = event else {
            // The error is logged where the watch begins again.
            broke();
            continue;
        };
        observe(&event);
        match &event {
            WatchEvent::Apply(object) | WatchEvent::Delete(object) => tell(change(ObjectName::of(object))),
            WatchEvent::Undecodable(name) => tell(change(name.clone())),
            WatchEvent::InitDone => tell(ViewChange::All),
            WatchEvent::Init | WatchEvent::InitApply(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_gateway_does_not_keep_what_is_laid_over_machines_and_pods() {
        let text = "x".repeat(10_000);
        let mut vm_access: VmAccess = serde_json::from_value(json!({
            "apiVersion": "novasphere.io/v1alpha1", "kind": "VmAccess", "metadata": {"name": "web-1"},
            "spec": {"virtualMachine": {"template": {
                "rootDisk": {"containerDisk": {"image": "a"}}, "overrides": {"a": text}, "cloudInit": {"userData": text},
            }}, "console": {"maxViewers": 3}, "services": [{
                "name": "vnc", "ports": [{"name": "vnc", "port": 5901}], "annotations": {"a": text},
            }]},
        }))
        .unwrap();
        trim_vm_access(&mut vm_access);
        assert!(serde_json::to_string(&vm_access).unwrap().len() < 2000);
        assert!(
            vm_access.spec.virtual_machine.template.is_some(),
            "it is made from a template all the same"
        );
        assert_eq!(vm_access.spec.console.max_viewers, 3);
        assert_eq!(vm_access.spec.services.len(), 1, "the VNC server is reached by it");

        let mut workspace: VncWorkspace = serde_json::from_value(json!({
            "apiVersion": "novasphere.io/v1alpha1", "kind": "VncWorkspace",
            "metadata": {"name": "desk"}, "spec": {"user": "ann", "image": "a", "podOverrides": {"a": text}, "env": [{"name": "A", "value": text}]},
        }))
        .unwrap();
        trim_workspace(&mut workspace);
        assert!(serde_json::to_string(&workspace).unwrap().len() < 2000);
    }
}
