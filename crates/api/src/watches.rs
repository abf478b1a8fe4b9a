//! What the watches have seen, as small rows: lists and events are made of them. What a person is shown of one object in detail, and what is
//! done, comes from kube-apiserver as that person.

mod rows;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, Resource, ResourceExt as _, core::DeserializeGuard, runtime::watcher};
use novasphere_crd::{ConsoleSession, SessionTargetKind, VmAccess, VncWorkspace};
use novasphere_foreign::kubevirt::{VirtualMachine, VirtualMachineInstance};
use novasphere_runtime::{
    namespaced::{Namespaced, api_in},
    optional_api::{OptionalApi, OptionalApis, optional_watch},
    tasks::Tasks,
    watch::{Guard, ObjectName, WatchEvent, guarded},
};
use parking_lot::RwLock;
use tokio::sync::{broadcast, watch};

pub use self::rows::RunPart;
pub use self::rows::{
    ConnectionRow, MachineKind, MachineRow, MachineStatus, ServiceInfo, SessionRow, WorkspaceRow, mebibytes,
    service_type,
};
use self::{
    rows::VmPart,
    table::{RowKey, Table, key, key_of, parts},
};
use crate::caller::TenantId;

/// The label of a namespace that names its tenant.
pub const TENANT_LABEL: &str = "novasphere.io/tenant";

/// Changes that a slow reader may be behind.
const CHANGES_LIMIT: usize = 4096;

/// The watches.
const WATCHES: usize = 6;

const VIRTUAL_MACHINES: OptionalApi = OptionalApi::of::<VirtualMachine>();

const VIRTUAL_MACHINE_INSTANCES: OptionalApi = OptionalApi::of::<VirtualMachineInstance>();

/// The APIs that may be missing.
pub const OPTIONAL_APIS: &[OptionalApi] = &[VIRTUAL_MACHINES, VIRTUAL_MACHINE_INSTANCES];

/// The row of a workspace that was just written.
#[must_use]
pub fn row_of_workspace(workspace: &VncWorkspace) -> WorkspaceRow {
    rows::of_workspace(workspace)
}

/// What a change is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// A machine.
    Machine,
    /// A workspace.
    Workspace,
    /// A session.
    Session,
}

/// Something in a list has changed. What it is now is in [`Watched`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Counts all changes of this process.
    pub number: u64,
    /// What it is of.
    pub kind: ChangeKind,
    /// Its namespace.
    pub namespace: String,
    /// The ID in lists.
    pub id: String,
    /// Whether it is gone.
    pub is_gone: bool,
}

impl Change {
    /// Whether it is of a machine that no `VmAccess` names: its ID is `<namespace>..<name>`, and a UID has no dot.
    #[must_use]
    pub fn is_of_bare_machine(&self) -> bool {
        self.kind == ChangeKind::Machine && self.id.contains('.')
    }
}

/// What the watches have seen. Clones share it.
#[derive(Clone)]
pub struct Watched(Arc<WatchedInner>);

struct WatchedInner {
    tables: RwLock<Tables>,
    changes: broadcast::Sender<Change>,
    /// Watches whose first list has ended.
    filled: watch::Sender<usize>,
}

#[derive(Default)]
struct Tables {
    accesses: Table<MachineRow>,
    machines: Table<VmPart>,
    runs: Table<RunPart>,
    workspaces: Table<WorkspaceRow>,
    sessions: Table<SessionRow>,
    namespaces: Table<Option<TenantId>>,
    /// Machines with the `VmAccess` objects that name them; several may adopt one.
    access_of: BTreeSet<(RowKey, RowKey)>,
    /// All machines, by ID.
    by_id: BTreeMap<String, Arc<MachineRow>>,
    /// Workspaces by ID.
    workspace_ids: BTreeMap<String, RowKey>,
    changes: u64,
}

impl Default for Watched {
    fn default() -> Self {
        Self(Arc::new(WatchedInner {
            tables: RwLock::default(),
            changes: broadcast::Sender::new(CHANGES_LIMIT),
            filled: watch::Sender::new(0),
        }))
    }
}

impl Watched {
    /// Starts the watches in tasks of `tasks`.
    #[must_use]
    pub fn start(
        client: &Client,
        namespace: Option<&str>,
        guard: &Guard,
        apis: &OptionalApis,
        tasks: &mut Tasks,
    ) -> Self {
        let watched = Self::default();
        let plain = Plain {
            client,
            namespace,
            guard,
        };
        let this = watched.clone();
        let events = plain.events::<VmAccess>();
        tasks.spawn("VmAccess watch", drive(events, this.clone(), Tables::vm_access));
        let events = plain.events::<VncWorkspace>();
        tasks.spawn("VncWorkspace watch", drive(events, this.clone(), Tables::workspace));
        let events = plain.events::<ConsoleSession>();
        tasks.spawn("ConsoleSession watch", drive(events, this.clone(), Tables::session));
        let events = plain.optional::<VirtualMachine>(apis, &VIRTUAL_MACHINES);
        tasks.spawn("VirtualMachine watch", drive(events, this.clone(), Tables::machine));
        let events = plain.optional::<VirtualMachineInstance>(apis, &VIRTUAL_MACHINE_INSTANCES);
        tasks.spawn("VirtualMachineInstance watch", drive(events, this.clone(), Tables::run));
        let api: Api<DeserializeGuard<Namespace>> = Api::all(client.clone());
        let events = guarded(api, watcher::Config::default(), guard.clone());
        tasks.spawn("Namespace watch", drive(events, this, Tables::namespace));
        watched
    }

    /// Returns once all kinds were listed.
    pub async fn filled(&self) {
        // An error would mean that this was dropped.
        let _ = self.0.filled.subscribe().wait_for(|filled| *filled >= WATCHES).await;
    }

    /// All machines, by ID.
    #[must_use]
    pub fn machines(&self) -> Vec<Arc<MachineRow>> {
        self.0.tables.read().by_id.values().cloned().collect()
    }

    /// The namespaces of machines of a kind.
    #[must_use]
    pub fn machine_namespaces(&self, kind: MachineKind) -> BTreeSet<String> {
        let tables = self.0.tables.read();
        let rows = tables.by_id.values().filter(|row| row.kind == kind);
        let found: BTreeSet<&str> = rows.map(|row| row.namespace.as_str()).collect();
        found.into_iter().map(str::to_owned).collect()
    }

    /// All workspaces.
    #[must_use]
    pub fn workspaces(&self) -> Vec<Arc<WorkspaceRow>> {
        let tables = self.0.tables.read();
        tables.workspaces.iter().map(|(_, row)| Arc::clone(row)).collect()
    }

    /// All sessions.
    #[must_use]
    pub fn sessions(&self) -> Vec<Arc<SessionRow>> {
        let tables = self.0.tables.read();
        tables.sessions.iter().map(|(_, row)| Arc::clone(row)).collect()
    }

    /// The sessions to which somebody is connected.
    #[must_use]
    pub fn sessions_in_use(&self) -> Vec<Arc<SessionRow>> {
        let tables = self.0.tables.read();
        let rows = tables.sessions.iter().map(|(_, row)| row);
        rows.filter(|row| !row.connections.is_empty()).cloned().collect()
    }

    /// A machine by the UID of its `VmAccess`, by `<namespace>.<name>`, or by the ID of one without a `VmAccess`.
    #[must_use]
    pub fn find_machine(&self, id: &str) -> Option<Arc<MachineRow>> {
        let tables = self.0.tables.read();
        if let Some(row) = tables.by_id.get(id) {
            return Some(Arc::clone(row));
        }
        let (namespace, name) = id.split_once('.')?;
        // A `VmAccess` and a machine that it does not name may have one name; the `VmAccess` is meant.
        let access = tables.accesses.get(&key(namespace, name));
        access.or_else(|| tables.by_id.get(&rows::bare_id(namespace, name)).cloned())
    }

    /// The state of a machine in `KubeVirt`'s words, as its own watch has it.
    #[must_use]
    pub fn printable_of(&self, namespace: &str, machine: &str) -> Option<String> {
        let part = self.0.tables.read().machines.get(&key(namespace, machine))?;
        part.printable.clone()
    }

    /// The present run of a machine.
    #[must_use]
    pub fn run_of(&self, namespace: &str, machine: &str) -> Option<Arc<RunPart>> {
        self.0.tables.read().runs.get(&key(namespace, machine))
    }

    /// A workspace by its UID, or by `<namespace>.<name>`.
    #[must_use]
    pub fn find_workspace(&self, id: &str) -> Option<Arc<WorkspaceRow>> {
        let tables = self.0.tables.read();
        if let Some(found) = tables.workspace_ids.get(id) {
            return tables.workspaces.get(found);
        }
        let (namespace, name) = id.split_once('.')?;
        tables.workspaces.get(&key(namespace, name))
    }

    /// A session.
    #[must_use]
    pub fn session(&self, namespace: &str, name: &str) -> Option<Arc<SessionRow>> {
        self.0.tables.read().sessions.get(&key(namespace, name))
    }

    /// The sessions of a target.
    #[must_use]
    pub fn sessions_of(&self, namespace: &str, kind: SessionTargetKind, target: &str) -> Vec<Arc<SessionRow>> {
        let tables = self.0.tables.read();
        let rows = tables.sessions.iter().map(|(_, row)| row);
        rows.filter(|row| row.namespace == namespace && row.target_kind == kind && row.target == target)
            .cloned()
            .collect()
    }

    /// The tenant of a namespace.
    #[must_use]
    pub fn tenant_of(&self, namespace: &str) -> Option<TenantId> {
        let row = self.0.tables.read().namespaces.get(&key("", namespace))?;
        (*row).clone()
    }

    /// The namespaces of a tenant.
    #[must_use]
    pub fn namespaces_of(&self, tenant: &TenantId) -> Vec<String> {
        let tables = self.0.tables.read();
        let namespaces = tables
            .namespaces
            .iter()
            .filter(|(_, row)| row.as_ref().as_ref() == Some(tenant));
        namespaces.map(|(key, _)| parts(key).1.to_owned()).collect()
    }

    /// Changes from now on. Who reads too slowly is told how many were missed.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.0.changes.subscribe()
    }

    /// The number of the last change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.tables.read().changes
    }
}

struct Plain<'a> {
    client: &'a Client,
    namespace: Option<&'a str>,
    guard: &'a Guard,
}

impl Plain<'_> {
    fn api<K: Namespaced>(&self) -> Api<DeserializeGuard<K>> {
        api_in(self.client.clone(), self.namespace)
    }

    fn events<K: Namespaced>(&self) -> impl Stream<Item = watcher::Result<WatchEvent<K>>> + Send + 'static + use<K> {
        guarded(self.api(), watcher::Config::default(), self.guard.clone())
    }

    fn optional<K: Namespaced>(
        &self,
        apis: &OptionalApis,
        api: &OptionalApi,
    ) -> impl Stream<Item = watcher::Result<WatchEvent<K>>> + Send + 'static + use<K> {
        let client = self.client.clone();
        let namespace = self.namespace.map(str::to_owned);
        optional_watch(apis, api, watcher::Config::default(), self.guard.clone(), move |_| {
            api_in(client.clone(), namespace.as_deref())
        })
    }
}

/// How an event changes the tables, and what of lists it changes.
type See<K> = fn(&mut Tables, Seen<'_, K>) -> Changes;

/// What an event says of one kind.
enum Seen<'a, K> {
    Began,
    Ended,
    Here(&'a K),
    Gone(&'a str),
}

impl<K> Clone for Seen<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Seen<'_, K> {}

async fn drive<K: Resource<DynamicType = ()>>(
    events: impl Stream<Item = watcher::Result<WatchEvent<K>>>,
    watched: Watched,
    see: See<K>,
) {
    let mut events = std::pin::pin!(events);
    let mut is_filled = false;
    while let Some(event) = events.next().await {
        // The error is logged where the watch begins again.
        let Ok(event) = event else { continue };
        let gone;
        let seen = match &event {
            WatchEvent::Init => Seen::Began,
            WatchEvent::InitDone => Seen::Ended,
            WatchEvent::InitApply(object) | WatchEvent::Apply(object) => Seen::Here(object),
            WatchEvent::Delete(object) => {
                gone = key_of(&ObjectName::of(object));
                Seen::Gone(&gone)
            }
            WatchEvent::Undecodable(name) => {
                gone = key_of(name);
                Seen::Gone(&gone)
            }
        };
        watched.0.tell(see, seen);
        if matches!(event, WatchEvent::InitDone) && !is_filled {
            is_filled = true;
            watched.0.filled.send_modify(|filled| *filled += 1);
        }
    }
}

impl WatchedInner {
    fn tell<K>(&self, see: See<K>, seen: Seen<'_, K>) {
        let mut tables = self.tables.write();
        for (kind, namespace, id, is_gone) in see(&mut tables, seen) {
            tables.changes = tables.changes.wrapping_add(1);
            // An error means that nobody listens.
            let _ = self.changes.send(Change {
                number: tables.changes,
                kind,
                namespace,
                id,
                is_gone,
            });
        }
    }
}

/// Changes of a list: kind, namespace, ID, whether it is gone.
type Changes = Vec<(ChangeKind, String, String, bool)>;

impl Tables {
    fn vm_access(&mut self, seen: Seen<'_, VmAccess>) -> Changes {
        match seen {
            Seen::Began => self.accesses.begin(),
            Seen::Here(object) => return self.access_here(rows::of_vm_access(object)),
            Seen::Gone(at) => {
                let gone = self.accesses.remove(at);
                return gone.iter().flat_map(|row| self.access_gone(at, row)).collect();
            }
            Seen::Ended => {
                let gone = self.accesses.end();
                return gone.iter().flat_map(|(at, row)| self.access_gone(at, row)).collect();
            }
        }
        Vec::new()
    }

    fn access_here(&mut self, row: MachineRow) -> Changes {
        let at = key(&row.namespace, &row.name);
        let row = Arc::new(row);
        let old = self.accesses.get(&at);
        let mut changes: Changes = match old {
            Some(old) if old == row => {
                // The row that the other index has, too.
                self.accesses.insert_shared(at, old);
                return Vec::new();
            }
            // Another object, or another machine.
            Some(old) if old.id != row.id || old.machine != row.machine => self.access_gone(&at, &old),
            _ => Vec::new(),
        };
        self.accesses.insert_shared(at.clone(), Arc::clone(&row));
        let of_machine = key(&row.namespace, &row.machine);
        changes.extend(self.forget_bare(&of_machine));
        self.access_of.insert((of_machine, at));
        changes.push((ChangeKind::Machine, row.namespace.clone(), row.id.clone(), false));
        self.by_id.insert(row.id.clone(), row);
        changes
    }

    /// Takes a `VmAccess` out of the indexes. A machine that outlives it is listed by itself, unless another one names it.
    fn access_gone(&mut self, at: &str, row: &MachineRow) -> Changes {
        let of_machine = key(&row.namespace, &row.machine);
        self.access_of.remove(&(Arc::clone(&of_machine), RowKey::from(at)));
        self.by_id.remove(&row.id);
        let mut changes = vec![(ChangeKind::Machine, row.namespace.clone(), row.id.clone(), true)];
        changes.extend(self.bare(&of_machine));
        changes
    }

    fn machine(&mut self, seen: Seen<'_, VirtualMachine>) -> Changes {
        match seen {
            Seen::Began => self.machines.begin(),
            Seen::Here(object) => {
                let at = key(&object.namespace().unwrap_or_default(), &object.name_any());
                self.machines.insert(at.clone(), rows::of_machine(object));
                return self.bare(&at);
            }
            Seen::Gone(at) => {
                self.machines.remove(at);
                return self.forget_bare(at);
            }
            Seen::Ended => {
                let gone = self.machines.end();
                return gone.iter().flat_map(|(at, _)| self.forget_bare(at)).collect();
            }
        }
        Vec::new()
    }

    fn run(&mut self, seen: Seen<'_, VirtualMachineInstance>) -> Changes {
        match seen {
            Seen::Began => self.runs.begin(),
            Seen::Here(object) => {
                let at = key(&object.namespace().unwrap_or_default(), &object.name_any());
                self.runs.insert(at.clone(), rows::of_run(object));
                return self.bare(&at);
            }
            Seen::Gone(at) => {
                self.runs.remove(at);
                return self.bare(at);
            }
            Seen::Ended => {
                let gone = self.runs.end();
                return gone.iter().flat_map(|(at, _)| self.bare(at)).collect();
            }
        }
        Vec::new()
    }

    /// Lists a machine by itself, unless a `VmAccess` names it.
    fn bare(&mut self, at: &str) -> Changes {
        let first = (RowKey::from(at), RowKey::from(""));
        let mut named = self.access_of.range(first..);
        if named.next().is_some_and(|(machine, _)| **machine == *at) {
            return Vec::new();
        }
        let Some(machine) = self.machines.get(at) else {
            return Vec::new();
        };
        let (namespace, name) = parts(at);
        let row = rows::of_bare_machine(namespace, name, &machine, self.runs.get(at).as_deref());
        if self.by_id.get(&row.id).is_some_and(|old| **old == row) {
            return Vec::new();
        }
        let change = (ChangeKind::Machine, row.namespace.clone(), row.id.clone(), false);
        self.by_id.insert(row.id.clone(), Arc::new(row));
        vec![change]
    }

    fn forget_bare(&mut self, at: &str) -> Changes {
        let (namespace, name) = parts(at);
        let id = rows::bare_id(namespace, name);
        let gone = self.by_id.remove(&id);
        gone.map(|_| (ChangeKind::Machine, namespace.to_owned(), id, true))
            .into_iter()
            .collect()
    }

    fn workspace(&mut self, seen: Seen<'_, VncWorkspace>) -> Changes {
        match seen {
            Seen::Began => self.workspaces.begin(),
            Seen::Here(object) => {
                let row = rows::of_workspace(object);
                let at = key(&row.namespace, &row.name);
                let old = self.workspaces.get(&at);
                let mut changes: Changes = match old {
                    Some(old) if *old == row => {
                        self.workspaces.insert(at, row);
                        return Vec::new();
                    }
                    Some(old) if old.id != row.id => self.workspace_gone(&old),
                    _ => Vec::new(),
                };
                self.workspace_ids.insert(row.id.clone(), at.clone());
                changes.push((ChangeKind::Workspace, row.namespace.clone(), row.id.clone(), false));
                self.workspaces.insert(at, row);
                return changes;
            }
            Seen::Gone(at) => {
                let gone = self.workspaces.remove(at);
                return gone.iter().flat_map(|row| self.workspace_gone(row)).collect();
            }
            Seen::Ended => {
                let gone = self.workspaces.end();
                return gone.iter().flat_map(|(_, row)| self.workspace_gone(row)).collect();
            }
        }
        Vec::new()
    }

    fn workspace_gone(&mut self, row: &WorkspaceRow) -> Changes {
        self.workspace_ids.remove(&row.id);
        vec![(ChangeKind::Workspace, row.namespace.clone(), row.id.clone(), true)]
    }

    fn session(&mut self, seen: Seen<'_, ConsoleSession>) -> Changes {
        let gone = |at: &str| {
            (
                ChangeKind::Session,
                parts(at).0.to_owned(),
                parts(at).1.to_owned(),
                true,
            )
        };
        match seen {
            Seen::Began => self.sessions.begin(),
            Seen::Here(object) => {
                let row = rows::of_session(object);
                let at = key(&row.namespace, &row.name);
                let is_known = self.sessions.get(&at).as_deref() == Some(&row);
                let change = (ChangeKind::Session, row.namespace.clone(), row.name.clone(), false);
                self.sessions.insert(at, row);
                return if is_known { Vec::new() } else { vec![change] };
            }
            Seen::Gone(at) => {
                self.sessions.remove(at);
                return vec![gone(at)];
            }
            Seen::Ended => return self.sessions.end().iter().map(|(at, _)| gone(at)).collect(),
        }
        Vec::new()
    }

    fn namespace(&mut self, seen: Seen<'_, Namespace>) -> Changes {
        match seen {
            Seen::Began => self.namespaces.begin(),
            Seen::Here(object) => {
                let tenant = object.labels().get(TENANT_LABEL).cloned().map(TenantId);
                self.namespaces.insert(key("", &object.name_any()), tenant);
            }
            Seen::Gone(at) => {
                self.namespaces.remove(at);
            }
            Seen::Ended => {
                self.namespaces.end();
            }
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests;
