//! The role `console`: the gateway of `ConsoleSession` objects with its listeners.

pub mod config;
pub mod rbac;
mod run;

pub use run::{GRACE, Options, RunError, run};
