//! What the watches have seen of sessions and of their targets, and which session a token belongs to.

use std::{collections::HashMap, sync::Arc, time::Duration};

use kube::{ResourceExt, runtime::reflector::ObjectRef};
use novasphere_core::console_session::{
    references::{References, is_queued_ahead_of, machine_name},
    session::is_started,
    target::Console,
    validate::validate,
};
use novasphere_crd::{
    Connection, ConsoleProtocol, ConsoleSession, SessionTargetKind, SessionTargetRef, VmAccess, VncWorkspace,
};
use novasphere_dataplane::registry::SessionId;
use novasphere_foreign::kubevirt::{VirtualMachine, VirtualMachineInstance};
use novasphere_runtime::{cache::Cache, optional_api::OptionalApis, watch::WatchEvent};
use novasphere_wire::token::TokenHash;
use parking_lot::RwLock;
use tokio::{sync::watch, time::timeout};

use super::{desktops::WorkspaceId, report::id_of, used_tokens::UsedTokens, watches::OPTIONAL_APIS};

/// How long an unknown token waits for the watch: its grant may just have been written. Less than the 2 s after which our page asks how
/// the target is: a browser logs that answer as an error.
pub const UNKNOWN_TOKEN: Duration = Duration::from_secs(1);

/// The watch caches. Clones share them.
#[derive(Clone)]
pub struct Sessions(pub(super) Arc<Caches>);

pub(super) struct Caches {
    /// By namespace, kind and name of the target.
    sessions: Cache<ConsoleSession>,
    pub(super) vm_accesses: Cache<VmAccess>,
    pub(super) vnc_workspaces: Cache<VncWorkspace>,
    pub(super) virtual_machines: Cache<VirtualMachine>,
    pub(super) virtual_machine_instances: Cache<VirtualMachineInstance>,
    pub(super) apis: OptionalApis,
    by_token: RwLock<HashMap<String, ObjectRef<ConsoleSession>>>,
    used_tokens: UsedTokens,
    /// Counts the events of sessions.
    events: watch::Sender<u64>,
    /// Counts the events of targets.
    pub(super) target_events: watch::Sender<u64>,
}

impl Sessions {
    /// Caches that nothing fills yet.
    #[must_use]
    pub fn new(apis: OptionalApis) -> Self {
        Self(Arc::new(Caches {
            sessions: Cache::new(|session| Some(target_key(&session.namespace()?, &session.spec.target_ref))),
            vm_accesses: Cache::new(|_| None),
            vnc_workspaces: Cache::new(|_| None),
            virtual_machines: Cache::new(|_| None),
            virtual_machine_instances: Cache::new(|_| None),
            apis,
            by_token: RwLock::default(),
            used_tokens: UsedTokens::default(),
            events: watch::Sender::new(0),
            target_events: watch::Sender::new(0),
        }))
    }

    /// The newest state known of a session: the watch's, or what this process wrote.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<ConsoleSession>> {
        self.0.sessions.get(namespace, name)
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
        let seen = self.0.sessions.store().get(&key);
        seen.is_some_and(|session| session.uid().as_deref() == Some(&id.uid))
    }

    /// Remembers the API server's answer to a write of this process.
    pub fn written(&self, session: ConsoleSession) {
        self.0.sessions.written(session);
        self.0.events.send_modify(|count| *count += 1);
    }

    /// What a session refers to.
    #[must_use]
    pub fn references(&self, session: &ConsoleSession) -> References {
        let namespace = session.namespace().unwrap_or_default();
        let target = &session.spec.target_ref;
        let vm_access = match target.kind {
            SessionTargetKind::VmAccess => self.0.vm_accesses.get(&namespace, &target.name),
            SessionTargetKind::VirtualMachine | SessionTargetKind::VncWorkspace => None,
        };
        let vnc_workspace = match target.kind {
            SessionTargetKind::VncWorkspace => self.0.vnc_workspaces.get(&namespace, &target.name),
            SessionTargetKind::VmAccess | SessionTargetKind::VirtualMachine => None,
        };
        let machine = machine_name(session, vm_access.as_deref());
        let of_machine = |name: &String| {
            (
                self.0.virtual_machines.get(&namespace, name),
                self.0.virtual_machine_instances.get(&namespace, name),
            )
        };
        let (virtual_machine, virtual_machine_instance) = machine.as_ref().map(of_machine).unwrap_or_default();
        References {
            vm_access,
            vnc_workspace,
            virtual_machine,
            virtual_machine_instance,
            kubevirt: OPTIONAL_APIS.iter().all(|api| self.0.apis.listed(api)),
            sessions_ahead: if is_started(session) {
                0
            } else {
                self.sessions_before(session, &namespace)
            },
        }
    }

    fn sessions_before(&self, session: &ConsoleSession, namespace: &str) -> usize {
        let of_target = self
            .0
            .sessions
            .indexed(&target_key(namespace, &session.spec.target_ref));
        of_target
            .iter()
            .filter(|other| is_queued_ahead_of(other, session))
            .count()
    }

    /// The newest state known of a workspace, when it is still the same object.
    pub(crate) fn workspace(&self, id: &WorkspaceId) -> Option<Arc<VncWorkspace>> {
        let workspace = self.0.vnc_workspaces.get(&id.namespace, &id.name);
        workspace.filter(|workspace| workspace.uid().as_deref() == Some(&id.uid))
    }

    /// Remembers the API server's answer to a write of this process.
    pub(crate) fn written_workspace(&self, workspace: VncWorkspace) {
        self.0.vnc_workspaces.written(workspace);
        self.0.target_events.send_modify(|count| *count += 1);
    }

    /// The present run of a machine.
    #[must_use]
    pub fn instance(&self, namespace: &str, name: &str) -> Option<Arc<VirtualMachineInstance>> {
        self.0.virtual_machine_instances.get(namespace, name)
    }

    /// Whether there is a machine of this name.
    #[must_use]
    pub fn has_machine(&self, namespace: &str, name: &str) -> bool {
        self.0.virtual_machines.get(namespace, name).is_some()
    }

    /// The session that has given out this token; waits for the watch for at most [`UNKNOWN_TOKEN`].
    pub async fn of_token(&self, token: &TokenHash) -> Option<Arc<ConsoleSession>> {
        let hash = token.to_hex();
        let mut events = self.0.events.subscribe();
        let search = async {
            loop {
                if let Some(session) = self.known_token(&hash) {
                    return Some(session);
                }
                events.changed().await.ok()?;
            }
        };
        timeout(UNKNOWN_TOKEN, search).await.ok().flatten()
    }

    /// The same without waiting.
    pub(crate) fn known_token(&self, hash: &str) -> Option<Arc<ConsoleSession>> {
        let tokens = self.0.by_token.read();
        let key = tokens.get(hash).cloned();
        drop(tokens);
        self.0.sessions.newest(&key?)
    }

    /// The session of a token that opens nothing any more and whose stream is open, on whichever gateway.
    pub(crate) fn used_token(&self, hash: &str) -> Option<Arc<ConsoleSession>> {
        self.0.sessions.newest(&self.0.used_tokens.session(hash)?)
    }

    /// The open streams of one console, over all sessions and gateways: KubeVirt carries one stream of each kind per machine.
    /// The newest comes first.
    #[must_use]
    pub fn streams_of(&self, console: &Console, protocol: ConsoleProtocol) -> Vec<OpenStream> {
        let Console::KubeVirt { namespace, .. } = console else {
            return Vec::new();
        };
        let mut streams: Vec<_> = self
            .0
            .sessions
            .store()
            .state()
            .iter()
            .filter(|session| session.namespace().as_deref() == Some(namespace))
            .filter_map(|session| self.0.sessions.newest(&ObjectRef::from_obj(session.as_ref())))
            .filter(|session| self.is_of(session, console, protocol))
            .flat_map(|session| open_streams(&session))
            .collect();
        streams.sort_by_key(|stream| std::cmp::Reverse(stream.connected_at));
        streams
    }

    fn is_of(&self, session: &ConsoleSession, console: &Console, protocol: ConsoleProtocol) -> bool {
        let status = session.status.as_ref();
        // Most sessions have no stream; to look their target up costs more.
        status.is_some_and(|status| !status.connections.is_empty() && status.protocol == Some(protocol))
            && validate(session, &self.references(session)).is_ok_and(|valid| valid.target.console == *console)
    }

    /// The connections that stand in the sessions under the name of one gateway.
    pub(crate) fn connections_of(&self, gateway: &str) -> Vec<(SessionId, Connection)> {
        let sessions = self.0.sessions.store().state();
        let newest = sessions
            .iter()
            .filter_map(|session| self.0.sessions.newest(&ObjectRef::from_obj(session.as_ref())));
        newest
            .flat_map(|session| {
                let id = id_of(&session);
                let connections = session.status.iter().flat_map(|status| &status.connections);
                let ours = connections.filter(|connection| connection.gateway == gateway);
                ours.map(|connection| (id.clone(), connection.clone()))
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// Changes with each event of a session or a target.
    pub(crate) fn changes(&self) -> (watch::Receiver<u64>, watch::Receiver<u64>) {
        (self.0.events.subscribe(), self.0.target_events.subscribe())
    }

    /// Changes with each event of a target.
    #[must_use]
    pub fn target_changes(&self) -> watch::Receiver<u64> {
        self.0.target_events.subscribe()
    }

    /// Returns when the caches are filled.
    pub async fn filled(&self) {
        self.0.sessions.store().wait_until_ready().await;
        self.0.vm_accesses.store().wait_until_ready().await;
        self.0.vnc_workspaces.store().wait_until_ready().await;
        self.0.virtual_machines.store().wait_until_ready().await;
        self.0.virtual_machine_instances.store().wait_until_ready().await;
    }

    /// Takes in one event of the watch of sessions.
    pub(crate) fn observe(&self, event: &WatchEvent<ConsoleSession>) {
        let caches = &self.0;
        match event {
            WatchEvent::Apply(session) => caches.index_tokens(session, true),
            WatchEvent::Delete(session) => caches.index_tokens(session, false),
            WatchEvent::Undecodable(name) => {
                if let Some(before) = caches.sessions.store().get(&name.reference()) {
                    caches.index_tokens(&before, false);
                }
            }
            WatchEvent::Init | WatchEvent::InitApply(_) | WatchEvent::InitDone => {}
        }
        caches.sessions.observe(event);
        if matches!(event, WatchEvent::InitDone) {
            caches.rebuild_tokens();
        }
        caches.events.send_modify(|count| *count += 1);
    }
}

#[cfg(test)]
impl Sessions {
    /// Puts a target and its machine into the caches.
    pub(crate) fn fill(&self, vm_access: VmAccess, instance: VirtualMachineInstance) {
        self.0.vm_accesses.observe(&WatchEvent::Apply(vm_access));
        self.0.virtual_machine_instances.observe(&WatchEvent::Apply(instance));
    }

    /// The watch sees a workspace, or that it is gone.
    pub(crate) fn see(&self, event: &WatchEvent<VncWorkspace>) {
        self.0.vnc_workspaces.observe(event);
        self.0.target_events.send_modify(|count| *count += 1);
    }

    /// Pretends that the cluster serves KubeVirt and nothing else.
    pub(crate) fn with_kubevirt() -> Self {
        Self::new(OptionalApis::fixed(
            OPTIONAL_APIS.iter().map(|api| (*api, "v1")).collect(),
        ))
    }
}

/// A stream as its session's status has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenStream {
    /// Its name.
    pub connection: String,
    /// Its session.
    pub session: String,
    /// Who is connected.
    pub user: String,
    /// Since when.
    pub connected_at: jiff::Timestamp,
}

fn open_streams(session: &ConsoleSession) -> Vec<OpenStream> {
    let connections = session.status.iter().flat_map(|status| &status.connections);
    connections
        .map(|connection| OpenStream {
            connection: connection.id.clone(),
            session: session.name_any(),
            user: connection.user.clone(),
            connected_at: connection.connected_at.0,
        })
        .collect()
}

fn target_key(namespace: &str, target: &SessionTargetRef) -> String {
    format!("{namespace}/{}/{}", target.kind.as_str(), target.name)
}

impl Caches {
    fn index_tokens(&self, session: &ConsoleSession, present: bool) {
        let key = ObjectRef::from_obj(session);
        let before = self.sessions.store().get(&key);
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
        for session in self.sessions.store().state() {
            let key = ObjectRef::from_obj(session.as_ref());
            rebuilt.extend(hashes(&session).map(|hash| (hash.clone(), key.clone())));
        }
        *self.by_token.write() = rebuilt;
        self.used_tokens.listed(|key| self.sessions.store().get(key));
    }
}

fn hashes(session: &ConsoleSession) -> impl Iterator<Item = &String> {
    let grants = session.status.iter().flat_map(|status| &status.grants);
    grants.map(|grant| &grant.sha256)
}
