//! `VmAccess`: a virtual machine, its power state, the ways to its ports, and who may see its console, how.

mod disk;
mod keyboard;
mod service;
mod status;
mod template;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    disk::{
        BlankSource, ContainerDisk, DataVolume, DataVolumeSource, Disk, DiskBus, DiskDevice, DiskSource, EmptyDisk,
        HttpSource, ImagePullPolicy, PersistentVolumeClaimDisk, PvcSource, RegistrySource, RootDisk, SnapshotSource,
        VolumeAccessMode, VolumeMode,
    },
    keyboard::GuestKeyboard,
    service::{AccessService, AccessServicePort, VmRoute, VncServer},
    status::{AccessServicePortStatus, AccessServiceStatus, InterfaceStatus, VmAccessMachineStatus, VmAccessStatus},
    template::{
        CloudInit, CloudInitType, Cpu, InstancetypeKind, InstancetypeMatcher, MultusNetwork, Network, NetworkBinding,
        PodNetwork, PreferenceKind, PreferenceMatcher, Scheduling, VirtualMachineTemplate,
    },
};
use crate::{
    ConsolePolicy,
    bounds::bound_foreign,
    rule::{
        entry_points_differ, exactly_one, forbidden, http_paths_differ, invalid, object_name, required,
        tls_hosts_differ,
    },
    schema::tidy,
};

/// What a `VmAccess` asks for.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "novasphere.io",
    version = "v1alpha1",
    kind = "VmAccess",
    plural = "vmaccesses",
    singular = "vmaccess",
    shortname = "vma",
    category = "novasphere",
    namespaced,
    status = "VmAccessStatus",
    derive = "PartialEq",
    doc = "Access to one virtual machine: the machine itself (made from a template, or one that exists), its power state, the \
           Services and gateway routes to its ports, and what its consoles allow.",
    validation = invalid(
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 63",
        "metadata.name must begin with a letter and have only lower-case letters, digits and '-', at most 63: the machine and \
         its Services are named after it"
    ),
    validation = invalid(
        "!has(self.spec.services) || self.spec.services.all(s, size(self.metadata.name) + size(s.name) < 63)",
        "a Service is called '<metadata.name>-<name>' and may have 63 characters; shorten one of the two names"
    )
    .field_path(".spec.services"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(
        name = "Status",
        type_ = "string",
        description = "What KubeVirt says about the machine",
        json_path = ".status.virtualMachine.printableStatus"
    ),
    printcolumn(
        name = "VM",
        type_ = "string",
        description = "The VirtualMachine",
        json_path = ".status.virtualMachine.name"
    ),
    printcolumn(
        name = "Node",
        type_ = "string",
        description = "The node that the machine runs on",
        json_path = ".status.virtualMachine.nodeName"
    ),
    printcolumn(
        name = "Address",
        type_ = "string",
        description = "Where the first port of the first service is reached",
        json_path = ".status.services[0].endpoint"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Power",
        type_ = "string",
        description = "The wanted power state",
        json_path = ".spec.power.state",
        priority = 1
    ),
    printcolumn(
        name = "Sessions",
        type_ = "integer",
        description = "Open console sessions",
        json_path = ".status.activeSessions",
        priority = 1
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        description = "Why it is ready or not",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = 1
    ),
    selectable = ".spec.virtualMachine.name",
    selectable = ".spec.power.state",
    cel
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = tidy, transform = bound_foreign)]
#[x_kube(validation = forbidden(
    "!has(self.console.protocols) || !('ssh' in self.console.protocols)",
    "a virtual machine has no ssh console; remove ssh from console.protocols"
)
.field_path(".console"))]
#[x_kube(validation = forbidden(
    "!has(self.console.defaultProtocol) || self.console.defaultProtocol != 'ssh'",
    "a virtual machine has no ssh console; remove console.defaultProtocol, or set it to vnc or serial"
)
.field_path(".console"))]
#[x_kube(validation = forbidden(
    "!has(self.routes) || self.routes.all(r, has(self.services) && self.services.exists(s, s.name == r.service))",
    "a route leads to a service that spec.services does not have; add the service, or correct the route's service"
)
.field_path(".routes"))]
#[x_kube(validation = forbidden(
    "!has(self.routes) || !has(self.services) || self.routes.all(r, self.services.all(s, s.name != r.service || \
     s.ports.exists(p, p.port == r.port && p.protocol == 'TCP')))",
    "a route leads to a port that is no TCP port of its service; add the port there, or correct the route's port"
)
.field_path(".routes"))]
#[x_kube(validation = forbidden(
    "!has(self.services) || self.services.all(s, s.ports.all(p, !has(p.nodePort) || self.services.exists_one(t, \
     t.ports.exists(q, has(q.nodePort) && q.nodePort == p.nodePort))))",
    "two services ask for the same nodePort; give each its own, or none to get free ones"
)
.field_path(".services"))]
#[x_kube(validation = forbidden(
    "!has(self.services) || size(self.services) == 0 || !has(self.virtualMachine.template) || \
     has(self.virtualMachine.template.overrides) || !has(self.virtualMachine.template.networks) || \
     size(self.virtualMachine.template.networks) == 0 || self.virtualMachine.template.networks.exists(n, has(n.pod))",
    "services reach a guest by the Pod network, which template.networks leaves out; add a network with pod: {}"
)
.field_path(".services"))]
#[x_kube(validation = entry_points_differ())]
#[x_kube(validation = tls_hosts_differ())]
#[x_kube(validation = http_paths_differ())]
#[x_kube(validation = forbidden(
    "!has(self.vncServer) || (has(self.services) && self.services.exists(s, s.name == self.vncServer.service))",
    "vncServer is reached by a service that spec.services does not have; add the service, or correct vncServer.service"
)
.field_path(".vncServer.service"))]
#[x_kube(validation = forbidden(
    "!has(self.vncServer) || !has(self.services) || self.services.all(s, s.name != self.vncServer.service || \
     s.ports.exists(p, p.port == self.vncServer.port && p.protocol == 'TCP'))",
    "vncServer.port is no TCP port of its service; add the port there, or correct vncServer.port"
)
.field_path(".vncServer.port"))]
pub struct VmAccessSpec {
    /// The virtual machine: made here from `template`, or one that exists, by `name`.
    pub virtual_machine: VirtualMachineSource,

    /// The wanted power state. Default: none is wanted; the machine is started and stopped by hand (`virtctl start`, or
    /// novasphere's API), and a new one stays stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<Power>,

    /// Services to ports of the guest. At most 16. A Service is called `<metadata.name>-<name>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub services: Vec<AccessService>,

    /// Routes of gateways to ports of `services`. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub routes: Vec<VmRoute>,

    /// A VNC server inside the guest, whose screen sessions show in place of the machine's own. Default: the machine's
    /// own screen, as KubeVirt has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vnc_server: Option<VncServer>,

    /// The layout that the guest's keyboard is set to. The machine's own screen takes keys and no text, so the console page
    /// looks up there which keys give a character. A viewer can choose another one in the page. Default: `us` for text, and
    /// keys are taken by their places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyboard: Option<GuestKeyboard>,

    /// What sessions on the machine's consoles may do. Default: the defaults of its fields.
    #[serde(default)]
    pub console: ConsolePolicy,
}

/// Which virtual machine. Exactly one of `name` and `template` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one(&["name", "template"]))]
#[x_kube(validation = forbidden(
    "has(self.name) == has(oldSelf.name)",
    "a machine that exists (name) and one made here (template) cannot be exchanged; delete this object and make another one"
))]
#[x_kube(validation = forbidden(
    "!has(self.name) || !has(oldSelf.name) || self.name == oldSelf.name",
    "name is immutable; make another VmAccess for another machine"
)
.field_path(".name"))]
#[x_kube(validation = object_name("name"))]
#[x_kube(validation = forbidden(
    "!has(self.deletionPolicy) || has(self.template)",
    "deletionPolicy is for a machine made from template; remove it, a machine given by name is never deleted"
)
.field_path(".deletionPolicy"))]
pub struct VirtualMachineSource {
    /// An existing `KubeVirt` `VirtualMachine` in the same namespace. It is never created or deleted and its spec is never
    /// changed; `power` acts by `KubeVirt`'s start, stop, restart and pause calls. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,

    /// A `VirtualMachine` to make, called like this object. Most changes reach a running machine at its next restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<VirtualMachineTemplate>,

    /// What happens to the machine when this object is deleted. Only with `template`. Default `Delete`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
}

/// What happens to a machine when its `VmAccess` is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// The machine is deleted with it, and so are the disks that were made for it.
    #[default]
    Delete,
    /// The machine stays and belongs to nobody.
    Orphan,
}

/// A wanted power state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = required(
    "has(self.state) || has(self.restartedAt)",
    "give state, restartedAt or both; leave power out to start and stop the machine by hand"
))]
#[x_kube(validation = forbidden(
    "!has(self.restartedAt) || !has(self.state) || self.state == 'Running'",
    "only a machine that is to run can be restarted; remove restartedAt, or set state to Running"
)
.field_path(".restartedAt"))]
pub struct Power {
    /// The state that is held. Default: none, start and stop by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<PowerState>,

    /// Restarts the machine once when it was started before this time (RFC 3339). Only with state `Running` or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted_at: Option<Time>,
}

/// A power state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PowerState {
    /// Runs, and is started again when the guest shuts down.
    Running,
    /// Does not run.
    Stopped,
    /// Is started when it does not run, and its CPUs are stopped while memory and devices stay.
    Paused,
}
