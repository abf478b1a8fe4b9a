//! The decisions of novasphere, as functions of values.
//!
//! Nothing here has a client, reads a clock or makes a random number: what a function needs is an argument. The
//! controller reads the cluster, calls these functions, and writes what they return.

pub mod allowed_names;
pub mod balancer;
pub mod child;
pub mod condition;
pub mod console_session;
pub mod failure;
#[cfg(test)]
mod gitops_states;
pub mod label;
pub mod merge;
pub mod name;
pub mod node;
pub mod pause;
pub mod routes;
pub mod service;
pub mod service_ports;
pub mod time;
pub mod transition;
pub mod undecodable;
pub mod vm_access;
pub mod vnc_workspace;
