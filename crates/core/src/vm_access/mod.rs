//! The pure middle of the `VmAccess` reconcile:
//! [`validate`](validate::validate) → [`build`](build::build) → (apply) → [`power::decide`] → (call) → [`status::status`].

pub mod allowed_references;
pub mod build;
mod failure;
pub mod hardware;
pub mod launcher;
pub mod limits;
pub mod observed;
pub mod power;
pub mod reason;
pub mod references;
pub mod run_strategy;
pub mod status;
pub mod transition;
pub mod validate;
pub mod validated;

use kube::ResourceExt as _;
use novasphere_crd::VmAccess;

/// The name of the virtual machine that a `VmAccess` is about: the one that it adopts, else its own name.
#[must_use]
pub fn virtual_machine_name(vm_access: &VmAccess) -> String {
    vm_access
        .spec
        .virtual_machine
        .name
        .clone()
        .unwrap_or_else(|| vm_access.name_any())
}
