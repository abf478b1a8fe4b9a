//! What the tests on a real cluster share: clusters, namespaces, bounded waits,
//! the audit log, consoles of guests, faults and controllers.

pub mod account;
pub mod apiserver;
pub mod audit;
pub mod browser;
pub mod cluster;
pub mod console;
pub mod controller;
pub mod desktop;
pub mod desktop_image;
pub mod fault;
pub mod gateway;
pub mod harness;
pub mod install;
pub mod kubevirt;
pub mod namespace;
pub mod paths;
pub mod pod;
pub mod rfb;
pub mod ssh;
pub mod vnc;
pub mod wait;
