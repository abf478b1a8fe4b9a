//! The role `controller`: it makes the cluster what `novasphere.io` objects say.
//!
//! A reconcile is five steps: `dereference` reads from the watch caches, `validate` and `build` are pure and live in
//! `novasphere-core`, `apply` writes what differs, `status` writes the conditions. Between `validate` and `build` a workspace has a
//! sixth, `plan`, pure as well: what to delete, save and give up, and in which order.

mod caches;
mod children;
pub mod config;
mod console_session;
mod pod_events;
pub mod rbac;
mod readiness;
mod reconciler;
mod routes;
mod run;
mod shared_objects;
mod status;
mod status_throttle;
mod undecodable;
mod uninstall;
mod vm_access;
mod vnc_workspace;
mod watched_kind;
mod watches;

pub use console_session::CONSOLE_SESSION_MANAGER;
pub use rbac::LEASE_NAME;
pub use routes::doctor::{DoctorOptions, examine_gateways};
pub use run::{Options, RunError, run};
pub use uninstall::{UninstallError, UninstallOptions, prepare_uninstall};
pub use vm_access::VM_ACCESS_MANAGER;
pub use vnc_workspace::VNC_WORKSPACE_MANAGER;
