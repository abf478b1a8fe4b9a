//! What is kept of each object: what a list shows, and no more.

use jiff::Timestamp;
use kube::ResourceExt as _;
use novasphere_core::vm_access::virtual_machine_name;
use novasphere_crd::{
    ConsoleInput, ConsoleProtocol, ConsoleSession, ServiceType, SessionPhase, SessionTargetKind, Transport, VmAccess,
    VncWorkspace, WorkspacePhase,
};
use novasphere_foreign::kubevirt::{VirtualMachine, VirtualMachineInstance};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::login::LOGIN_LABEL;

/// The state of a machine, in the words of the documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MachineStatus {
    /// It runs.
    Running,
    /// It is off.
    Stopped,
    /// It is on its way up: it waits for a node, an image or a volume, or boots.
    Pending,
    /// It is on its way down.
    Stopping,
    /// Its processors are stopped.
    Paused,
    /// It cannot start.
    Failed,
    /// Nothing says so.
    Unknown,
}

impl MachineStatus {
    /// From `KubeVirt`'s `printableStatus`.
    #[must_use]
    pub fn of_printable(status: Option<&str>) -> Self {
        match status.unwrap_or_default() {
            "Running" | "Migrating" => Self::Running,
            "Stopped" => Self::Stopped,
            "Paused" => Self::Paused,
            "Starting" | "Provisioning" | "WaitingForVolumeBinding" | "WaitingForReceiver" => Self::Pending,
            "Stopping" | "Terminating" => Self::Stopping,
            "CrashLoopBackOff"
            | "ErrorUnschedulable"
            | "ErrImagePull"
            | "ImagePullBackOff"
            | "ErrorPvcNotFound"
            | "DataVolumeError"
            | "ErrorDataVolumeNotFound" => Self::Failed,
            _ => Self::Unknown,
        }
    }
}

/// What a machine is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
pub enum MachineKind {
    /// A `VmAccess`.
    VmAccess,
    /// A `VirtualMachine` that no `VmAccess` names.
    VirtualMachine,
}

/// The address of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceInfo {
    /// Its name.
    pub name: String,
    /// `ClusterIP`, `NodePort` or `LoadBalancer`.
    pub r#type: &'static str,
    /// `host:port` of its first port.
    pub access_addr: Option<String>,
}

/// A machine, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineRow {
    /// UID of the `VmAccess`, or `<namespace>..<name>` of a machine without one.
    pub id: String,
    /// What it is known by.
    pub kind: MachineKind,
    /// Its namespace.
    pub namespace: String,
    /// The name of the `VmAccess`, or of the machine.
    pub name: String,
    /// The name of the `VirtualMachine`.
    pub machine: String,
    /// Its state.
    pub status: MachineStatus,
    /// Its state in `KubeVirt`'s words.
    pub printable: String,
    /// Virtual processors.
    pub vcpu: Option<u32>,
    /// Memory in MiB.
    pub memory_mb: Option<u64>,
    /// The image of the root disk.
    pub image: Option<String>,
    /// When the object was made.
    pub created: Timestamp,
    /// The node that it runs on.
    pub node: Option<String>,
    /// The first address of the guest.
    pub access_ip: Option<String>,
    /// Its first Service.
    pub service: Option<ServiceInfo>,
    /// Whether novasphere made the machine.
    pub is_owned: bool,
}

/// What of a `VirtualMachine` a list shows when no `VmAccess` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VmPart {
    pub(super) printable: Option<String>,
    created: Timestamp,
}

/// What is kept of the present run of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPart {
    /// The UID of the run: a restart makes another one.
    pub uid: Option<String>,
    node: Option<String>,
    access_ip: Option<String>,
    vcpu: Option<u32>,
    memory_mb: Option<u64>,
}

/// A workspace, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceRow {
    /// Its UID.
    pub id: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whose desktop it is.
    pub user: String,
    /// Its phase; `None` before the controller has seen it.
    pub phase: Option<WorkspacePhase>,
    /// Its image.
    pub image: String,
    /// Its Pod.
    pub pod_name: Option<String>,
    /// The node that it runs on.
    pub node: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// When somebody last typed.
    pub last_input: Option<Timestamp>,
    /// When it goes to sleep if nobody types.
    pub sleeps: Option<Timestamp>,
    /// Where its page is.
    pub web: Option<String>,
    /// Where stock viewers reach it by its Service.
    pub vnc: Option<String>,
    /// Where SSH reaches it by its Service.
    pub ssh: Option<String>,
}

/// A stream of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionRow {
    /// Who.
    pub user: String,
    /// From where.
    pub client: String,
    /// How.
    pub transport: Transport,
    /// Since when.
    pub connected: Timestamp,
    /// Whether they may type.
    pub input: Option<ConsoleInput>,
}

/// A session, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// Its UID.
    pub id: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The kind of its target.
    pub target_kind: SessionTargetKind,
    /// The name of its target.
    pub target: String,
    /// The console that it opens.
    pub protocol: Option<ConsoleProtocol>,
    /// Its phase.
    pub phase: Option<SessionPhase>,
    /// Who last got a token.
    pub user: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When its streams end.
    pub expires: Option<Timestamp>,
    /// Why it ended.
    pub close_reason: Option<&'static str>,
    /// Its streams.
    pub connections: Vec<ConnectionRow>,
    /// The login that made it.
    pub login_label: Option<String>,
    /// Why it was made.
    pub reason: Option<String>,
}

/// MiB of a quantity such as `4Gi`; the documents' unit.
#[must_use]
pub fn mebibytes(quantity: &str) -> Option<u64> {
    let digits = quantity.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = quantity.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let bytes = match unit {
        "" => number,
        "Ki" => number.checked_mul(1 << 10)?,
        "Mi" => number.checked_mul(1 << 20)?,
        "Gi" => number.checked_mul(1 << 30)?,
        "Ti" => number.checked_mul(1 << 40)?,
        "k" => number.checked_mul(1_000)?,
        "M" => number.checked_mul(1_000_000)?,
        "G" => number.checked_mul(1_000_000_000)?,
        "T" => number.checked_mul(1_000_000_000_000)?,
        _ => return None,
    };
    Some(bytes >> 20)
}

/// The type's name, as Kubernetes writes it.
#[must_use]
pub fn service_type(kind: ServiceType) -> &'static str {
    match kind {
        ServiceType::ClusterIP => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    }
}

fn created<K: kube::Resource>(object: &K) -> Timestamp {
    let time = object.meta().creation_timestamp.as_ref();
    time.map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

pub(super) fn of_vm_access(vm_access: &VmAccess) -> MachineRow {
    let status = vm_access.status.clone().unwrap_or_default();
    let machine = status.virtual_machine.unwrap_or_default();
    let service = status.services.first().map(|service| ServiceInfo {
        name: service.service_name.clone().unwrap_or_else(|| service.name.clone()),
        r#type: service_type(service.r#type),
        access_addr: service.endpoint.clone(),
    });
    let address = machine
        .interfaces
        .iter()
        .flat_map(|interface| &interface.ip_addresses)
        .next();
    MachineRow {
        id: vm_access.uid().unwrap_or_default(),
        kind: MachineKind::VmAccess,
        namespace: vm_access.namespace().unwrap_or_default(),
        name: vm_access.name_any(),
        machine: virtual_machine_name(vm_access),
        status: MachineStatus::of_printable(machine.printable_status.as_deref()),
        printable: machine.printable_status.clone().unwrap_or_default(),
        vcpu: machine.cpu,
        memory_mb: machine.memory.as_deref().and_then(mebibytes),
        image: machine.image.clone(),
        created: created(vm_access),
        node: machine.node_name.clone(),
        access_ip: address.cloned(),
        service,
        is_owned: vm_access.spec.virtual_machine.template.is_some(),
    }
}

pub(super) fn of_machine(machine: &VirtualMachine) -> VmPart {
    let status = machine.status.as_ref();
    VmPart {
        printable: status.and_then(|status| status.printable_status.clone()),
        created: created(machine),
    }
}

pub(super) fn of_run(instance: &VirtualMachineInstance) -> RunPart {
    let status = instance.status.clone().unwrap_or_default();
    let domain = instance
        .spec
        .as_ref()
        .map(|spec| spec.domain.clone())
        .unwrap_or_default();
    let memory = status.memory.and_then(|memory| memory.guest_current);
    let memory = memory.or_else(|| domain.memory.and_then(|memory| memory.guest));
    let mut addresses = status.interfaces.iter().flat_map(|interface| &interface.ip_addresses);
    let topology = status.current_cpu_topology.or(domain.cpu);
    RunPart {
        uid: instance.uid(),
        access_ip: addresses.next().cloned(),
        vcpu: topology.map(|topology| topology.vcpus()),
        memory_mb: memory.as_deref().and_then(mebibytes),
        node: status.node_name,
    }
}

/// The ID of a machine that no `VmAccess` names. No object's name begins with a dot, so it is no `<namespace>.<name>` of a `VmAccess`.
pub(super) fn bare_id(namespace: &str, name: &str) -> String {
    format!("{namespace}..{name}")
}

/// The row of a machine that no `VmAccess` names.
pub(super) fn of_bare_machine(namespace: &str, name: &str, machine: &VmPart, run: Option<&RunPart>) -> MachineRow {
    MachineRow {
        id: bare_id(namespace, name),
        kind: MachineKind::VirtualMachine,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        machine: name.to_owned(),
        status: MachineStatus::of_printable(machine.printable.as_deref()),
        printable: machine.printable.clone().unwrap_or_default(),
        vcpu: run.and_then(|run| run.vcpu),
        memory_mb: run.and_then(|run| run.memory_mb),
        image: None,
        created: machine.created,
        node: run.and_then(|run| run.node.clone()),
        access_ip: run.and_then(|run| run.access_ip.clone()),
        service: None,
        is_owned: false,
    }
}

pub(super) fn of_workspace(workspace: &VncWorkspace) -> WorkspaceRow {
    let status = workspace.status.clone().unwrap_or_default();
    let endpoints = status.endpoints.unwrap_or_default();
    WorkspaceRow {
        id: workspace.uid().unwrap_or_default(),
        namespace: workspace.namespace().unwrap_or_default(),
        name: workspace.name_any(),
        user: workspace.spec.user.clone(),
        phase: status.phase,
        image: workspace.spec.image.clone(),
        pod_name: status.pod_name,
        node: status.node_name,
        created: created(workspace),
        expires: status.expires_at.map(|time| time.0),
        last_input: status.last_input_at.map(|time| time.0),
        sleeps: status.sleeps_at.map(|time| time.0),
        web: endpoints.web,
        vnc: endpoints.vnc,
        ssh: endpoints.ssh,
    }
}

pub(super) fn of_session(session: &ConsoleSession) -> SessionRow {
    let status = session.status.clone().unwrap_or_default();
    let connections = status.connections.iter().map(|connection| ConnectionRow {
        user: connection.user.clone(),
        client: connection.client_address.clone(),
        transport: connection.transport,
        connected: connection.connected_at.0,
        input: connection.input,
    });
    SessionRow {
        id: session.uid().unwrap_or_default(),
        namespace: session.namespace().unwrap_or_default(),
        name: session.name_any(),
        target_kind: session.spec.target_ref.kind,
        target: session.spec.target_ref.name.clone(),
        protocol: status.protocol.or(session.spec.protocol),
        phase: status.phase,
        user: status.user.clone(),
        created: created(session),
        expires: status.expires_at.as_ref().map(|time| time.0),
        close_reason: status.close_reason.map(novasphere_crd::CloseReason::as_str),
        connections: connections.collect(),
        login_label: session.labels().get(LOGIN_LABEL).cloned(),
        reason: session.spec.reason.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_has_what_the_status_says() {
        let vm_access: VmAccess = serde_json::from_value(json!({
            "apiVersion": "novasphere.io/v1alpha1", "kind": "VmAccess",
            "metadata": {"name": "web", "namespace": "team", "uid": "u1", "creationTimestamp": "2025-08-01T10:30:00Z"},
            "spec": {"virtualMachine": {"name": "web-1"}},
            "status": {
                "virtualMachine": {"name": "web-1", "printableStatus": "Running", "cpu": 2, "memory": "4Gi", "image": "centos:7",
                    "nodeName": "node-01", "interfaces": [{"name": "default", "ipAddresses": ["10.42.0.10"]}]},
                "services": [{"name": "http", "serviceName": "web-http", "type": "NodePort", "endpoint": "192.0.2.1:30080"}],
            },
        }))
        .unwrap();
        let row = of_vm_access(&vm_access);
        assert_eq!((row.id.as_str(), row.machine.as_str()), ("u1", "web-1"));
        assert_eq!(
            (row.status, row.vcpu, row.memory_mb),
            (MachineStatus::Running, Some(2), Some(4096))
        );
        assert_eq!(row.access_ip.as_deref(), Some("10.42.0.10"));
        let service = row.service.unwrap();
        assert_eq!((service.name.as_str(), service.r#type), ("web-http", "NodePort"));
        assert!(!row.is_owned);
    }

    #[test]
    fn sizes_are_told_in_mebibytes() {
        for (text, wanted) in [
            ("4Gi", Some(4096)),
            ("512Mi", Some(512)),
            ("1G", Some(953)),
            ("x", None),
            ("1.5Gi", None),
        ] {
            assert_eq!(mebibytes(text), wanted, "{text}");
        }
    }
}
