//! The role `controller`: it makes the cluster what `novasphere.io` objects say.
//!
//! A reconcile is five steps: `dereference` reads from the watch caches, `validate` and `build` are pure and live in
//! `novasphere-core`, `apply` writes what differs, `status` tells what came of it.

mod caches;
pub mod config;
pub mod rbac;
mod run;
mod undecodable;
mod vm_access;
mod watches;

pub use rbac::LEASE_NAME;
pub use run::{Options, RunError, VM_ACCESS_MANAGER, run};
