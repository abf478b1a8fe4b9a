//! What else a `VmAccess` depends on, read from the cluster before validation.

use std::sync::Arc;

use novasphere_crd::VmAccess;
use novasphere_foreign::kubevirt::{VirtualMachine, VirtualMachineInstance};

/// The objects that a `VmAccess` refers to, as the watch caches have them.
#[derive(Clone, Debug, Default)]
pub struct References {
    /// What [`virtual_machine_name`](super::virtual_machine_name) says of the object.
    pub virtual_machine_name: String,
    /// The `VirtualMachine` of that name, also one that somebody else created.
    pub virtual_machine: Option<Arc<VirtualMachine>>,
    /// The `VirtualMachineInstance` of the same name, which exists while the machine runs.
    pub virtual_machine_instance: Option<Arc<VirtualMachineInstance>>,
    /// The other `VmAccess` objects about the same `VirtualMachine`.
    pub others: Vec<Arc<VmAccess>>,
    /// The optional APIs that are served now.
    pub apis: Apis,
}

/// Which optional APIs the cluster serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Apis {
    /// `kubevirt.io`.
    pub kubevirt: bool,
    /// `cdi.kubevirt.io`, which fills `dataVolume` disks.
    pub cdi: bool,
}
