//! The virtual machine that a `VmAccess` makes.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::Toleration, apimachinery::pkg::api::resource::Quantity};
use kube::{KubeSchema, core::Rule};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{Disk, RootDisk};
use crate::{
    Duration, RawObject,
    bounds::{annotations, labels},
    rule::{
        at_most_one, between, dns_label, exactly_one, fits_inline, forbidden, matches, object_name, plausible_size,
        required, ssh_keys,
    },
};

/// A virtual machine. Its size is given by `memory` and `cpu`, or by `instancetype`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = forbidden(
    "!has(self.instancetype) || !(has(self.cpu) || has(self.memory))",
    "instancetype says CPUs and memory; remove cpu and memory, or remove instancetype"
))]
#[x_kube(validation = required(
    "has(self.memory) || has(self.instancetype) || has(self.overrides)",
    "memory is missing; give memory, such as 2Gi, or instancetype"
)
.field_path(".memory"))]
#[x_kube(validation = plausible_size("memory"))]
#[x_kube(validation = forbidden(
    "!has(self.networks) || self.networks.filter(n, has(n.pod)).size() <= 1",
    "a machine has the Pod network once; remove pod from all networks but one"
)
.field_path(".networks"))]
#[x_kube(validation = forbidden(
    "!has(self.disks) || self.disks.all(a, !has(a.bootOrder) || self.disks.exists_one(b, has(b.bootOrder) && b.bootOrder == \
     a.bootOrder))",
    "two disks have the same bootOrder; give each its own"
)
.field_path(".disks"))]
#[x_kube(validation = dns_label("hostname"))]
#[x_kube(validation = between("terminationGracePeriod", "0s", "1h"))]
#[x_kube(validation = forbidden(
    "!has(self.sshAuthorizedKeys) || size(self.sshAuthorizedKeys) == 0 || !has(self.cloudInit) || !has(self.cloudInit.secretRef)",
    "keys cannot be added to user data that is in a Secret; write them there, as ssh_authorized_keys"
)
.field_path(".sshAuthorizedKeys"))]
#[x_kube(validation = forbidden(
    "!has(self.sshAuthorizedKeys) || size(self.sshAuthorizedKeys) == 0 || !has(self.cloudInit) || !has(self.cloudInit.userData) || \
     self.cloudInit.userData.matches(r'(?m)^#cloud-config\\s*$')",
    "keys can only be added to user data that begins with #cloud-config; write them into the user data"
)
.field_path(".sshAuthorizedKeys"))]
#[x_kube(validation = forbidden(
    "!has(self.sshAuthorizedKeys) || size(self.sshAuthorizedKeys) == 0 || !has(self.cloudInit) || !has(self.cloudInit.userData) || \
     !self.cloudInit.userData.matches(r'(?m)^ssh_authorized_keys\\s*:')",
    "the user data has ssh_authorized_keys itself; keep the keys in one of the two places"
)
.field_path(".sshAuthorizedKeys"))]
#[x_kube(validation = fits_user_data())]
pub struct VirtualMachineTemplate {
    /// Labels of the machine and its Pods: those that the administrator allows in `controller.machines.allowedLabels`, unless that is
    /// changed `novasphere.io/x-*` and a few of KubeVirt's. At most 32.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels")]
    pub labels: BTreeMap<String, String>,

    /// Annotations of the machine and its Pods: those that the administrator allows in `controller.machines.allowedAnnotations`, unless
    /// that is changed `novasphere.io/x-*` and a few of KubeVirt's. At most 32.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotations")]
    pub annotations: BTreeMap<String, String>,

    /// The CPUs. Default: one core. Not with `instancetype`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,

    /// The memory that the guest sees, such as `2Gi`. Required, unless `instancetype` or
    /// `overrides` say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,

    /// A `KubeVirt` instance type that says CPUs and memory. Not with `cpu` or `memory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instancetype: Option<InstancetypeMatcher>,

    /// A `KubeVirt` preference: the devices that suit a guest's operating system. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preference: Option<PreferenceMatcher>,

    /// The disk that the machine boots from.
    pub root_disk: RootDisk,

    /// Further disks. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub disks: Vec<Disk>,

    /// The networks that the machine has interfaces in. At most 8. Default: the Pod network, by masquerade.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub networks: Vec<Network>,

    /// What the guest's cloud-init is told at its first start. Default: nothing but `sshAuthorizedKeys`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_init: Option<CloudInit>,

    /// SSH public keys that cloud-init gives to the guest's default user, one line each. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "ssh_keys")]
    pub ssh_authorized_keys: Vec<String>,

    /// The guest's host name: a DNS label of at most 63 characters. Default: the machine's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub hostname: Option<String>,

    /// How long the guest has to shut down before it is cut off, from 0s to 1h. Default 3m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination_grace_period: Option<Duration>,

    /// Which nodes the machine may run on. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling: Option<Scheduling>,

    /// Any fields of a `KubeVirt` `VirtualMachineSpec`. They are merged last, over everything that the other fields say:
    /// objects by field, lists of named objects by `name`, other lists as a whole. `running` and `runStrategy` are
    /// refused, because `power` decides them, and so is what would read Secrets, `ConfigMap`s, homes of workspaces or files of
    /// nodes that are not shared with machines. `KubeVirt` checks the rest. At most 16384 characters.
    #[serde(default, skip_serializing_if = "RawObject::is_empty")]
    #[schemars(schema_with = "overrides_schema")]
    pub overrides: RawObject,
}

/// The keys become lines of the user data: `ssh_authorized_keys:`, and `- "..."` for each.
fn fits_user_data() -> Rule {
    let user_data = "(has(self.cloudInit) && has(self.cloudInit.userData) ? size(self.cloudInit.userData) : size('#cloud-config '))";
    let keys = "size('ssh_authorized_keys: ') + self.sshAuthorizedKeys.map(key, size(key) + 5).sum()";
    forbidden(
        &format!("!has(self.sshAuthorizedKeys) || size(self.sshAuthorizedKeys) == 0 || {user_data} + {keys} <= 2048"),
        "keys and user data may have 2048 characters together, which is what KubeVirt takes; put both into a Secret, and name \
         it in cloudInit.secretRef",
    )
    .field_path(".sshAuthorizedKeys")
}

/// A free object, but for the fields that `power` decides; they are in the schema so that a rule can refuse them.
fn overrides_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "running": {"type": "boolean", "description": "Refused: `power` decides it."},
            "runStrategy": {"type": "string", "maxLength": 64, "description": "Refused: `power` decides it."}
        },
        "x-kubernetes-validations": [{
            "rule": "!has(self.running) && !has(self.runStrategy)",
            "message": "running and runStrategy are decided by spec.power; remove them here, and set power.state",
            "reason": "FieldValueForbidden"
        }]
    })
}

/// The CPUs: `sockets` times `cores` times `threads`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cpu {
    /// Cores of each socket, from 1 to 512. Default 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 512))]
    pub cores: u32,

    /// Sockets, from 1 to 64. Default 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 64))]
    pub sockets: u32,

    /// Threads of each core, from 1 to 8. Default 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 8))]
    pub threads: u32,
}

impl Default for Cpu {
    fn default() -> Self {
        Self {
            cores: 1,
            sockets: 1,
            threads: 1,
        }
    }
}

const fn one() -> u32 {
    1
}

/// Names a `KubeVirt` instance type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstancetypeMatcher {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Whether it is one of the cluster or of this namespace. Default `VirtualMachineClusterInstancetype`.
    #[serde(default)]
    pub kind: InstancetypeKind,
}

/// Where an instance type lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum InstancetypeKind {
    /// In the cluster.
    #[default]
    VirtualMachineClusterInstancetype,
    /// In this namespace.
    VirtualMachineInstancetype,
}

/// Names a `KubeVirt` preference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PreferenceMatcher {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Whether it is one of the cluster or of this namespace. Default `VirtualMachineClusterPreference`.
    #[serde(default)]
    pub kind: PreferenceKind,
}

/// Where a preference lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PreferenceKind {
    /// In the cluster.
    #[default]
    VirtualMachineClusterPreference,
    /// In this namespace.
    VirtualMachinePreference,
}

/// A network and the interface in it. Exactly one of `pod` and `multus` is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one(&["pod", "multus"]))]
#[x_kube(validation = dns_label("name"))]
#[x_kube(validation = forbidden(
    "!has(self.binding) || (has(self.pod) ? self.binding in ['Masquerade', 'Bridge'] : self.binding in ['Bridge', 'Sriov'])",
    "a pod network is bound by Masquerade or Bridge, a multus network by Bridge or Sriov; correct or remove binding"
)
.field_path(".binding"))]
#[x_kube(validation = matches(
    "macAddress",
    "^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$",
    "macAddress must be six pairs of hexadecimal digits with ':' between, such as 02:00:00:00:00:01"
))]
pub struct Network {
    /// The network's name in this machine: a DNS label of at most 63 characters.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,

    /// The Pod network, by which Services reach the guest. At most one network has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodNetwork>,

    /// A further network by Multus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multus: Option<MultusNetwork>,

    /// How the interface is joined to the network. Default `Masquerade` for `pod`, `Bridge` for `multus`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<NetworkBinding>,

    /// The interface's MAC address, such as `02:00:00:00:00:01`. Default: a new one at each start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 17))]
    pub mac_address: Option<String>,
}

/// The Pod network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PodNetwork {}

/// A network by Multus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = matches(
    "networkName",
    "^([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z0-9]([-.a-z0-9]*[a-z0-9])?$",
    "networkName must be the name of a NetworkAttachmentDefinition, or its namespace and name with '/' between"
))]
pub struct MultusNetwork {
    /// The `NetworkAttachmentDefinition`: `<name>`, or `<namespace>/<name>` for a namespace that the administrator allows in
    /// `controller.machines.allowedNetworkNamespaces`.
    #[schemars(length(min = 1, max = 317))]
    pub network_name: String,
}

/// How an interface is joined to a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum NetworkBinding {
    /// Behind the Pod's address, by network address translation. Only for `pod`.
    Masquerade,
    /// By a bridge; on the Pod network the guest takes the Pod's address over.
    Bridge,
    /// A virtual function of a network card, passed through. Only for `multus`.
    Sriov,
}

/// What cloud-init is told. Exactly one of `userData` and `secretRef` is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one(&["userData", "secretRef"]))]
#[x_kube(validation = at_most_one(&["networkData", "networkDataSecretRef"]))]
#[x_kube(validation = fits_inline("userData", "secretRef"))]
#[x_kube(validation = fits_inline("networkData", "networkDataSecretRef"))]
#[x_kube(validation = object_name("secretRef"))]
#[x_kube(validation = object_name("networkDataSecretRef"))]
pub struct CloudInit {
    /// The format of the disk that the guest reads it from. Default `NoCloud`.
    #[serde(default)]
    pub r#type: CloudInitType,

    /// The user data, as text. At most 2048 characters together with `sshAuthorizedKeys`, which is what `KubeVirt` takes;
    /// longer ones by `secretRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16384))]
    pub user_data: Option<String>,

    /// Name of a Secret in the same namespace with the user data under its key `userdata`, and with the label
    /// `novasphere.io/shared-with-machines: "true"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_ref: Option<String>,

    /// The network data, as text. At most 2048 characters; longer ones by `networkDataSecretRef`. Default: what the network offers by DHCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16384))]
    pub network_data: Option<String>,

    /// Name of a Secret in the same namespace with the network data under its key `networkdata`, and with the label
    /// `novasphere.io/shared-with-machines: "true"`. Not with `networkData`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub network_data_secret_ref: Option<String>,
}

/// The format of a cloud-init disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum CloudInitType {
    /// A disk labelled `cidata`; read by nearly every image.
    #[default]
    NoCloud,
    /// A disk labelled `config-2`, as `OpenStack` makes it; read by cloudbase-init on Windows too.
    ConfigDrive,
}

/// Which nodes a machine may run on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scheduling {
    /// Labels that the node must have. At most 32.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels")]
    pub node_selector: BTreeMap<String, String>,

    /// Taints of nodes that do not keep the machine away, with keys that the administrator allows in
    /// `controller.machines.allowedTolerations`. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<Toleration>,

    /// A `core/v1` `Affinity`. Kubernetes checks it.
    #[serde(default, skip_serializing_if = "RawObject::is_empty")]
    pub affinity: RawObject,

    /// The priority class of the machine's Pods, one that the administrator allows in `controller.machines.allowedPriorityClasses`.
    /// Default: the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,

    /// The scheduler that places the machine, one that the administrator allows in `controller.machines.allowedSchedulers`. Default: the
    /// cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub scheduler_name: Option<String>,
}
