//! `VmAccess`: a virtual machine, its power state, the ways to its ports, and who may see its console, how.

mod disk;
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
    service::{AccessService, AccessServicePort, VmRoute},
    status::{AccessServicePortStatus, AccessServiceStatus, InterfaceStatus, VirtualMachineStatus, VmAccessStatus},
    template::{
        CloudInit, CloudInitType, Cpu, InstancetypeKind, InstancetypeMatcher, MultusNetwork, Network, NetworkBinding,
        PodNetwork, PreferenceKind, PreferenceMatcher, Scheduling, VirtualMachineTemplate,
    },
};
use crate::ConsolePolicy;

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
    cel
)]
#[serde(rename_all = "camelCase")]
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

    /// What sessions on the machine's consoles may do.
    #[serde(default)]
    pub console: ConsolePolicy,
}

/// Which virtual machine. Exactly one of `name` and `template` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
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
