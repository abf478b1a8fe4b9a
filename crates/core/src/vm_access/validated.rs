//! A `VmAccess` that was checked: names parsed, references resolved, defaults filled in.
//!
//! It is made by [`validate`](super::validate::validate) alone, and [`build`](super::build::build) needs nothing else.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Toleration;
use novasphere_crd::{
    AccessServicePort, CloudInitType, ContainerDisk, Cpu, DataVolume, DeletionPolicy, DiskBus, DiskDevice,
    InstancetypeMatcher, PreferenceMatcher, ServiceSettings, ServiceType,
};
use serde_json::{Map, Value};

use super::{reason::VirtualMachineReason, run_strategy::RunStrategy};
use crate::{
    label::Owner,
    name::{DnsLabel, DnsSubdomain},
    routes::ValidatedRoute,
};

/// A checked `VmAccess`.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedVmAccess {
    /// The object itself, as the owner of what is made for it.
    pub owner: Owner,
    /// The virtual machine, or why nothing can be done about it now. The Services are made all the same: they select by
    /// the machine's name and need no machine.
    pub machine: Result<Machine, MachineUnavailable>,
    /// The name of the virtual machine, also while it is unavailable.
    pub machine_name: DnsSubdomain,
    /// The wanted power state.
    pub power: ValidatedPower,
    /// Why `power` is not carried out here: another `VmAccess` decides the machine's power.
    pub power_conflict: Option<String>,
    /// The Services.
    pub services: Vec<ValidatedService>,
    /// The routes.
    pub routes: Vec<ValidatedRoute>,
}

/// Whose virtual machine it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Machine {
    /// Made from the template.
    Owned(Box<OwnedMachine>),
    /// Adopted; its spec is never changed.
    Adopted,
}

/// A virtual machine that is made here.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedMachine {
    /// What happens to it when the `VmAccess` is deleted.
    pub deletion_policy: DeletionPolicy,
    /// `spec.runStrategy`.
    pub run_strategy: RunStrategy,
    /// The version of the live machine whose run strategy is repeated, when people decide it.
    pub repeated_version: Option<String>,
    /// Everything else.
    pub template: Template,
}

/// Why nothing can be done about the virtual machine now. It ends without a change of the `VmAccess`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineUnavailable {
    /// The reason for the condition.
    pub reason: VirtualMachineReason,
    /// What is missing, and what to do.
    pub message: String,
}

/// The wanted power state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ValidatedPower {
    /// The state to hold.
    pub state: WantedState,
    /// A run that began before this time is restarted, in whole seconds.
    pub restarted_at: Option<Timestamp>,
}

/// The state to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WantedState {
    /// None: users start and stop the machine.
    #[default]
    Any,
    /// It runs.
    Running,
    /// It does not run.
    Stopped,
    /// It runs with its CPUs stopped.
    Paused,
}

/// A checked template, without defaults of ours that are still open.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// Labels of the machine and its Pods.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the machine and its Pods.
    pub annotations: BTreeMap<String, String>,
    /// CPUs and memory.
    pub size: Size,
    /// The preference.
    pub preference: Option<PreferenceMatcher>,
    /// All disks, the root disk first.
    pub disks: Vec<ValidatedDisk>,
    /// All networks, at least one.
    pub networks: Vec<ValidatedNetwork>,
    /// The cloud-init disk.
    pub cloud_init: Option<ValidatedCloudInit>,
    /// The guest's host name.
    pub hostname: Option<DnsLabel>,
    /// How long the guest has to shut down, in seconds.
    pub termination_grace_period_seconds: u64,
    /// Labels that the node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Tolerated taints.
    pub tolerations: Vec<Toleration>,
    /// A `core/v1` `Affinity`.
    pub affinity: Option<Value>,
    /// The priority class.
    pub priority_class_name: Option<String>,
    /// The scheduler.
    pub scheduler_name: Option<String>,
    /// Fields of a `VirtualMachineSpec`, merged last.
    pub overrides: Map<String, Value>,
}

/// CPUs and memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Size {
    /// Told here.
    Explicit {
        /// The CPUs.
        cpu: Cpu,
        /// What the guest sees, a Kubernetes quantity. It may come from the overrides instead.
        memory: Option<String>,
    },
    /// Told by an instance type.
    Instancetype(InstancetypeMatcher),
}

/// A disk.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedDisk {
    /// Its name in the machine.
    pub name: String,
    /// The kind of drive.
    pub device: DiskDevice,
    /// Its bus.
    pub bus: DiskBus,
    /// The boot order; 1 is first.
    pub boot_order: Option<u16>,
    /// The serial number that the guest sees.
    pub serial: Option<String>,
    /// Where the contents come from.
    pub source: ValidatedDiskSource,
}

/// Where a disk's contents come from.
#[derive(Clone, Debug, PartialEq)]
pub enum ValidatedDiskSource {
    /// A container image.
    ContainerDisk(ContainerDisk),
    /// A volume that CDI fills, under this name.
    DataVolume(DnsLabel, Box<DataVolume>),
    /// An existing claim.
    PersistentVolumeClaim(String),
    /// An existing claim, read-only below a scratch layer.
    Ephemeral(String),
    /// Scratch space of this size.
    EmptyDisk(String),
}

/// A network and the interface in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatedNetwork {
    /// Its name in the machine.
    pub name: String,
    /// What it joins.
    pub attachment: Attachment,
    /// The interface's MAC address.
    pub mac_address: Option<String>,
}

/// What an interface joins, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// The Pod network, by address translation.
    PodMasquerade,
    /// The Pod network, by a bridge.
    PodBridge,
    /// A Multus network, by a bridge.
    MultusBridge(String),
    /// A Multus network, by a virtual function.
    MultusSriov(String),
}

/// A cloud-init disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatedCloudInit {
    /// Its format.
    pub format: CloudInitType,
    /// The user data, with the SSH keys in it.
    pub user_data: CloudInitContent,
    /// The network data.
    pub network_data: Option<CloudInitContent>,
}

/// Text, or where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloudInitContent {
    /// The text.
    Inline(String),
    /// The name of a Secret.
    Secret(String),
}

/// A checked Service.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedService {
    /// The name in the spec.
    pub name: String,
    /// The name of the Service object.
    pub object_name: DnsLabel,
    /// How it is reached.
    pub service_type: ServiceType,
    /// The ports, at least one.
    pub ports: Vec<AccessServicePort>,
    /// How it treats its clients.
    pub settings: ServiceSettings,
}
