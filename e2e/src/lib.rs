//! What the tests on a real cluster share: clusters, namespaces, bounded waits,
//! the audit log, consoles of guests, faults and controllers.

pub mod account;
pub mod audit;
pub mod cluster;
pub mod console;
pub mod controller;
pub mod fault;
pub mod harness;
pub mod install;
pub mod kubevirt;
pub mod namespace;
pub mod paths;
pub mod pod;
pub mod wait;
