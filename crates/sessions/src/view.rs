//! What the watches have seen of sessions and of their targets, and which session a token belongs to.

mod places;
mod streams;
mod used_tokens;
mod watch_delay;
mod watches;

use std::{borrow::Cow, collections::HashMap, fmt::Debug, sync::Arc, time::Duration};

use kube::{Resource, ResourceExt, runtime::reflector::ObjectRef};
use novasphere_core::{
    console_session::{
        references::{References, machine_name, target_input},
        session::is_started,
        start::{StartCheck, awaits_entry},
    },
    label,
    vm_access::virtual_machine_name,
};
use novasphere_crd::{Connection, ConsoleSession, SessionTargetKind, VmAccess, VncWorkspace};
use novasphere_dataplane::registry::SessionId;
use novasphere_foreign::kubevirt::{VirtualMachine, VirtualMachineInstance};
use novasphere_runtime::{
    cache::Cache, metrics::Metrics, optimistic::ObjectKey, optional_api::OptionalApis, watch::WatchEvent,
};
use parking_lot::RwLock;
use tokio::{sync::watch, time::timeout};

pub(crate) use self::watches::{ViewChange, Watches};
pub use self::{streams::OpenStream, watches::OPTIONAL_APIS};
use self::{used_tokens::UsedTokens, watch_delay::WatchDelay};

/// The caches that a view reads. [`new`](Self::new) and [`compact`](Self::compact) give them the indexes that it needs; the controller fills them
/// together with its other kinds.
#[derive(Clone)]
pub struct SessionCaches {
    /// By the target that each names.
    pub sessions: Arc<Cache<ConsoleSession>>,
    /// By the machine that each is for.
    pub vm_accesses: Arc<Cache<VmAccess>>,
    /// By namespace and UID.
    pub vnc_workspaces: Arc<Cache<VncWorkspace>>,
    /// Without an index, as the following.
    pub virtual_machines: Arc<Cache<VirtualMachine>>,
    /// The present runs of machines.
    pub virtual_machine_instances: Arc<Cache<VirtualMachineInstance>>,
}

impl SessionCaches {
    /// Caches that keep parsed objects: a gateway looks at them with each event of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self {
            sessions: Arc::new(Cache::new(session_key)),
            vm_accesses: Arc::new(Cache::new(vm_access_key)),
            vnc_workspaces: Arc::new(Cache::new(|workspace: &VncWorkspace| {
                label::own_key(&workspace.metadata)
            })),
            virtual_machines: Arc::new(Cache::new(|_| None)),
            virtual_machine_instances: Arc::new(Cache::new(|_| None)),
        }
    }

    /// The same, where targets and machines are kept as text: they come by the ten thousand, and most are looked at once.
    #[must_use]
    pub fn compact() -> Self {
        Self {
            vm_accesses: Arc::new(Cache::compact(vm_access_key)),
            virtual_machines: Arc::new(Cache::compact(|_| None)),
            virtual_machine_instances: Arc::new(Cache::compact(|_| None)),
            ..Self::new()
        }
    }

    /// The kinds whose first list has not ended.
    pub(crate) fn unfilled(&self) -> Vec<Cow<'static, str>> {
        let Self {
            sessions,
            vm_accesses,
            vnc_workspaces,
            virtual_machines,
            virtual_machine_instances,
        } = self;
        let caches = [
            (sessions.is_filled(), ConsoleSession::kind(&())),
            (vm_accesses.is_filled(), VmAccess::kind(&())),
            (vnc_workspaces.is_filled(), VncWorkspace::kind(&())),
            (virtual_machines.is_filled(), VirtualMachine::kind(&())),
            (virtual_machine_instances.is_filled(), VirtualMachineInstance::kind(&())),
        ];
        let unfilled = caches.into_iter().filter(|(is_filled, _)| !is_filled);
        unfilled.map(|(_, kind)| kind).collect()
    }

    /// Shows in the metrics how many objects each holds.
    pub(crate) fn show(&self, metrics: &Metrics) {
        fn show<K>(cache: &Arc<Cache<K>>, metrics: &Metrics)
        where
            K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
        {
            let cache = Arc::clone(cache);
            metrics.show_cache(&K::kind(&()), move || cache.len());
        }
        let Self {
            sessions,
            vm_accesses,
            vnc_workspaces,
            virtual_machines,
            virtual_machine_instances,
        } = self;
        show(sessions, metrics);
        show(vm_accesses, metrics);
        show(vnc_workspaces, metrics);
        show(virtual_machines, metrics);
        show(virtual_machine_instances, metrics);
    }
}

impl Default for SessionCaches {
    fn default() -> Self {
        Self::new()
    }
}

/// What the cluster says of sessions and of their targets. Clones share it.
#[derive(Clone)]
pub struct SessionView(Arc<ViewState>);

struct ViewState {
    caches: SessionCaches,
    apis: OptionalApis,
    by_token: RwLock<HashMap<String, ObjectRef<ConsoleSession>>>,
    used_tokens: UsedTokens,
    /// Of the watch of sessions.
    delay: WatchDelay,
    /// Counts the events of sessions.
    events: watch::Sender<u64>,
    /// Counts the events of targets.
    target_events: watch::Sender<u64>,
}

impl SessionView {
    /// A view over these caches. Without events by `observe` it knows no tokens.
    #[must_use]
    pub fn new(caches: SessionCaches, apis: OptionalApis) -> Self {
        Self(Arc::new(ViewState {
            caches,
            apis,
            by_token: RwLock::default(),
            used_tokens: UsedTokens::default(),
            delay: WatchDelay::default(),
            events: watch::Sender::new(0),
            target_events: watch::Sender::new(0),
        }))
    }

    /// The caches.
    #[must_use]
    pub fn caches(&self) -> &SessionCaches {
        &self.0.caches
    }

    /// Which of [`OPTIONAL_APIS`] the cluster serves.
    #[must_use]
    pub fn apis(&self) -> &OptionalApis {
        &self.0.apis
    }

    /// Whether the cluster serves `KubeVirt` and the caches hold its objects. While they are filled again after it was gone for a moment,
    /// a machine that they do not have yet must not pass for one that does not exist.
    #[must_use]
    pub fn has_kubevirt(&self) -> bool {
        OPTIONAL_APIS.iter().all(|api| self.0.apis.listed(api))
    }

    /// The newest state known of a session: the watch's, or what this process wrote.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<ConsoleSession>> {
        self.0.caches.sessions.get(namespace, name)
    }

    /// The same, when it is still the same object.
    #[must_use]
    pub fn of(&self, id: &SessionId) -> Option<Arc<ConsoleSession>> {
        self.get(&id.namespace, &id.name)
            .filter(|session| session.uid().as_deref() == Some(&id.uid))
    }

    /// Whether the watch has it, as this very object: what this process wrote does not count.
    pub(crate) fn is_watched(&self, id: &SessionId) -> bool {
        let key = ObjectRef::new(&id.name).within(&id.namespace);
        let seen = self.0.caches.sessions.store().get(&key);
        seen.is_some_and(|session| session.uid().as_deref() == Some(&id.uid))
    }

    /// Takes in what the API server answered: it counts before the watch shows it.
    pub fn insert_own_write(&self, session: ConsoleSession) {
        self.0.caches.sessions.written(session);
        self.session_changed();
    }

    /// Takes in what a read has shown and the watch had not, so the watch is late.
    pub(crate) fn insert_read(&self, session: ConsoleSession) {
        self.0.delay.is_late();
        self.insert_own_write(session);
    }

    /// The watch of sessions broke; it is behind until it is back.
    pub(crate) fn watch_broke(&self) {
        self.0.delay.broke();
    }

    /// Whether the watch of sessions is known to be behind: what it does not show may be there.
    pub(crate) fn is_behind(&self) -> bool {
        self.0.delay.is_behind()
    }

    /// Wakes those who wait for a change of a session.
    pub(crate) fn session_changed(&self) {
        self.0.events.send_modify(|count| *count += 1);
    }

    /// Wakes those who wait for a change of a target.
    pub(crate) fn target_changed(&self) {
        self.0.target_events.send_modify(|count| *count += 1);
    }

    /// What a session refers to.
    #[must_use]
    pub fn references(&self, session: &ConsoleSession) -> References {
        let namespace = session.namespace().unwrap_or_default();
        let target = &session.spec.target_ref;
        let vm_access = match target.kind {
            SessionTargetKind::VmAccess => self.0.caches.vm_accesses.get(&namespace, &target.name),
            SessionTargetKind::VirtualMachine
            | SessionTargetKind::VirtualMachineInstance
            | SessionTargetKind::VncWorkspace => None,
        };
        let vnc_workspace = match target.kind {
            SessionTargetKind::VncWorkspace => self.0.caches.vnc_workspaces.get(&namespace, &target.name),
            SessionTargetKind::VmAccess
            | SessionTargetKind::VirtualMachine
            | SessionTargetKind::VirtualMachineInstance => None,
        };
        let machine = machine_name(session, vm_access.as_deref());
        let of_machine = |name: &String| {
            (
                self.0.caches.virtual_machines.get(&namespace, name),
                self.0.caches.virtual_machine_instances.get(&namespace, name),
            )
        };
        let (virtual_machine, virtual_machine_instance) = machine.as_ref().map(of_machine).unwrap_or_default();
        let input = target_input(vm_access.as_deref(), vnc_workspace.as_deref());
        References {
            vm_access,
            vnc_workspace,
            virtual_machine,
            virtual_machine_instance,
            kubevirt: self.has_kubevirt(),
            sessions_ahead: if is_started(session) {
                0
            } else {
                self.sessions_before(session, input)
            },
            start: if awaits_entry(session) {
                self.start_check(session, input)
            } else {
                StartCheck::Unseen
            },
        }
    }

    /// All sessions of a target.
    #[must_use]
    pub fn sessions_of(&self, namespace: &str, kind: SessionTargetKind, name: &str) -> Vec<Arc<ConsoleSession>> {
        self.0.caches.sessions.indexed(&target_key(namespace, kind, name))
    }

    /// References to all sessions of a target.
    #[must_use]
    pub fn references_to_sessions_of(
        &self,
        namespace: &str,
        kind: SessionTargetKind,
        name: &str,
    ) -> Vec<ObjectRef<ConsoleSession>> {
        self.0.caches.sessions.references_of(&target_key(namespace, kind, name))
    }

    /// The newest state known of a workspace, when it is still the same object.
    pub(crate) fn workspace(&self, id: &ObjectKey) -> Option<Arc<VncWorkspace>> {
        let workspace = self.0.caches.vnc_workspaces.get(&id.namespace, &id.name);
        workspace.filter(|workspace| workspace.uid().as_deref() == Some(&id.uid))
    }

    /// The present run of a machine.
    #[must_use]
    pub fn instance(&self, namespace: &str, name: &str) -> Option<Arc<VirtualMachineInstance>> {
        self.0.caches.virtual_machine_instances.get(namespace, name)
    }

    /// Whether there is a machine of this name.
    #[must_use]
    pub fn has_machine(&self, namespace: &str, name: &str) -> bool {
        self.0.caches.virtual_machines.get(namespace, name).is_some()
    }

    /// The session that has given out the token with this hash; waits for the watch for at most `bound`.
    pub(crate) async fn of_token(&self, hash: &str, bound: Duration) -> Option<Arc<ConsoleSession>> {
        self.wait_for(bound, || self.known_token(hash)).await
    }

    /// Looks for a session after each event of the watch, for at most `bound`.
    pub(crate) async fn wait_for(
        &self,
        bound: Duration,
        find: impl Fn() -> Option<Arc<ConsoleSession>>,
    ) -> Option<Arc<ConsoleSession>> {
        let mut events = self.0.events.subscribe();
        let search = async move {
            loop {
                if let Some(session) = find() {
                    return Some(session);
                }
                events.changed().await.ok()?;
            }
        };
        timeout(bound, search).await.ok().flatten()
    }

    /// The same without waiting.
    pub(crate) fn known_token(&self, hash: &str) -> Option<Arc<ConsoleSession>> {
        let tokens = self.0.by_token.read();
        let key = tokens.get(hash).cloned();
        drop(tokens);
        let session = self.0.caches.sessions.newest(&key?)?;
        // The index is written just before the cache, so it may know a token whose session is not there yet.
        let is_there = hashes(&session).any(|known| known == hash);
        is_there.then_some(session)
    }

    /// The session of a token that opens nothing any more and whose stream is open, on whichever gateway.
    pub(crate) fn used_token(&self, hash: &str) -> Option<Arc<ConsoleSession>> {
        self.0.caches.sessions.newest(&self.0.used_tokens.session(hash)?)
    }

    /// The connections that stand in the sessions under the name of one gateway.
    pub(crate) fn connections_of(&self, gateway: &str) -> Vec<(SessionId, Connection)> {
        let sessions = self.0.caches.sessions.store().state();
        let newest = sessions
            .iter()
            .filter_map(|session| self.0.caches.sessions.newest(&ObjectRef::from_obj(session.as_ref())));
        newest
            .flat_map(|session| {
                let id = session_id(&session);
                let connections = session.status.iter().flat_map(|status| &status.connections);
                let ours = connections.filter(|connection| connection.gateway == gateway);
                ours.map(|connection| (id.clone(), connection.clone()))
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// Changes with each event of a session or a target.
    #[must_use]
    pub fn changes(&self) -> (watch::Receiver<u64>, watch::Receiver<u64>) {
        (self.0.events.subscribe(), self.0.target_events.subscribe())
    }

    /// Changes with each event of a target.
    #[must_use]
    pub fn target_changes(&self) -> watch::Receiver<u64> {
        self.0.target_events.subscribe()
    }

    /// Returns when the caches are filled.
    pub async fn filled(&self) {
        let caches = &self.0.caches;
        caches.sessions.store().wait_until_ready().await;
        caches.vm_accesses.store().wait_until_ready().await;
        caches.vnc_workspaces.store().wait_until_ready().await;
        caches.virtual_machines.store().wait_until_ready().await;
        caches.virtual_machine_instances.store().wait_until_ready().await;
    }

    /// Takes in one event of the watch of sessions.
    pub(crate) fn observe(&self, event: &WatchEvent<ConsoleSession>) {
        match event {
            WatchEvent::Apply(session) => self.0.index_tokens(session, true),
            WatchEvent::Delete(session) => self.0.index_tokens(session, false),
            WatchEvent::Undecodable(name) => {
                if let Some(before) = self.0.caches.sessions.store().get(&name.reference()) {
                    self.0.index_tokens(&before, false);
                }
            }
            WatchEvent::Init | WatchEvent::InitApply(_) | WatchEvent::InitDone => {}
        }
        self.0.caches.sessions.observe(event);
        if matches!(event, WatchEvent::InitDone) {
            self.0.rebuild_tokens();
            self.0.delay.caught_up();
        }
        self.session_changed();
    }
}

#[cfg(test)]
impl SessionView {
    /// Puts a target and its machine into the caches.
    pub(crate) fn fill(&self, vm_access: VmAccess, instance: VirtualMachineInstance) {
        self.0.caches.vm_accesses.observe(&WatchEvent::Apply(vm_access));
        self.0
            .caches
            .virtual_machine_instances
            .observe(&WatchEvent::Apply(instance));
    }

    /// The watch sees a workspace, or that it is gone.
    pub(crate) fn see(&self, event: &WatchEvent<VncWorkspace>) {
        self.0.caches.vnc_workspaces.observe(event);
        self.0.target_events.send_modify(|count| *count += 1);
    }

    /// Pretends that the cluster serves KubeVirt and nothing else.
    pub(crate) fn with_kubevirt() -> Self {
        Self::new(
            SessionCaches::new(),
            OptionalApis::fixed(OPTIONAL_APIS.iter().map(|api| (*api, "v1")).collect()),
        )
    }
}

/// The key of a session.
#[must_use]
pub fn session_id(session: &ConsoleSession) -> SessionId {
    SessionId {
        namespace: session.namespace().unwrap_or_default(),
        name: session.name_any(),
        uid: session.uid().unwrap_or_default(),
    }
}

fn session_key(session: &ConsoleSession) -> Option<String> {
    let target = &session.spec.target_ref;
    Some(target_key(&session.namespace()?, target.kind, &target.name))
}

/// The index key of a target, `namespace/kind/name`.
#[must_use]
pub fn target_key(namespace: &str, kind: SessionTargetKind, name: &str) -> String {
    format!("{namespace}/{}/{name}", kind.as_str())
}

fn vm_access_key(vm_access: &VmAccess) -> Option<String> {
    Some(machine_key(&vm_access.namespace()?, &virtual_machine_name(vm_access)))
}

/// The index key of a virtual machine, `namespace/name`.
#[must_use]
pub fn machine_key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

impl ViewState {
    fn index_tokens(&self, session: &ConsoleSession, present: bool) {
        let key = ObjectRef::from_obj(session);
        let before = self.caches.sessions.store().get(&key);
        self.used_tokens
            .changed(&key, before.as_deref(), present.then_some(session));
        let mut tokens = self.by_token.write();
        for hash in before.iter().flat_map(|session| hashes(session)) {
            tokens.remove(hash);
        }
        if present {
            tokens.extend(hashes(session).map(|hash| (hash.clone(), key.clone())));
        }
    }

    fn rebuild_tokens(&self) {
        let mut rebuilt = HashMap::new();
        for session in self.caches.sessions.store().state() {
            let key = ObjectRef::from_obj(session.as_ref());
            rebuilt.extend(hashes(&session).map(|hash| (hash.clone(), key.clone())));
        }
        *self.by_token.write() = rebuilt;
        self.used_tokens.listed(|key| self.caches.sessions.store().get(key));
    }
}

fn hashes(session: &ConsoleSession) -> impl Iterator<Item = &String> {
    let grants = session.status.iter().flat_map(|status| &status.grants);
    grants.map(|grant| &grant.sha256)
}

#[cfg(test)]
mod tests;
