//! What else a `VmAccess` depends on, read from the cluster before validation.

use std::{collections::BTreeSet, sync::Arc};

use novasphere_crd::VmAccess;
use novasphere_foreign::kubevirt::{VirtualMachine, VirtualMachineInstance};

use super::limits::MachineLimits;

/// The objects that a `VmAccess` refers to, as the watch caches have them.
#[derive(Clone, Debug, Default)]
pub struct References {
    /// What [`virtual_machine_name`](super::virtual_machine_name) says of the object.
    pub virtual_machine_name: String,
    /// The `VirtualMachine` of that name, also one that somebody else created.
    pub virtual_machine: Option<Arc<VirtualMachine>>,
    /// The `VirtualMachineInstance` of the same name, which exists while the machine runs.
    pub virtual_machine_instance: Option<Arc<VirtualMachineInstance>>,
    /// Why the launcher Pod of a run that takes long does not start, in the words of the kubelet.
    pub launcher_words: Option<String>,
    /// The other `VmAccess` objects about the same `VirtualMachine`.
    pub others: Vec<Arc<VmAccess>>,
    /// The optional APIs that are served now.
    pub apis: Apis,
    /// What is known of the objects that its machine names.
    pub granted: GrantedObjects,
    /// What machines may have, by the configuration.
    pub limits: Arc<MachineLimits>,
}

/// Of the objects that a machine [names](super::allowed_references::MachineReferences), those that it may read, and those that it may not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantedObjects {
    /// The Secrets that are there and shared with machines.
    pub secrets: BTreeSet<String>,
    /// The `ConfigMaps` that are there and shared with machines.
    pub config_maps: BTreeSet<String>,
    /// The claims that are homes of workspaces.
    pub homes: BTreeSet<String>,
    /// The snapshots that are of homes.
    pub home_snapshots: BTreeSet<String>,
}

/// Which optional APIs the cluster serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Apis {
    /// `kubevirt.io`.
    pub kubevirt: bool,
    /// `cdi.kubevirt.io`, which fills `dataVolume` disks.
    pub cdi: bool,
}
