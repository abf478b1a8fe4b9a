//! The role `controller`: it makes the cluster what `novasphere.io` objects say.
//!
//! A reconcile is five steps: `dereference` reads from the watch caches, `validate` and `build` are pure and live in
//! `novasphere-core`, `apply` writes what differs, `status` tells what came of it.

mod applying;
mod caches;
pub mod config;
mod console_session;
pub mod rbac;
mod reconciler;
mod run;
mod status_writes;
mod undecodable;
mod vm_access;
mod vnc_workspace;
mod watches;

pub use rbac::LEASE_NAME;
pub use run::{CONSOLE_SESSION_MANAGER, Options, RunError, VM_ACCESS_MANAGER, VNC_WORKSPACE_MANAGER, run};
