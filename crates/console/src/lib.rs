//! The role `console`: the gateway of `ConsoleSession` objects with its listeners, its configuration, its rights and the page for browsers.
//!
//! Who may enter is decided by `sessions`, and bytes are carried by `dataplane`; this crate may do neither.

pub mod config;
pub mod page;
pub mod rbac;
mod run;

pub use run::{RunError, run};
