//! Decisions about a `ConsoleSession`: what it may do, whether it is closed, who may have a token of it, and its status. The
//! controller, the gateways and the aggregated API all decide with these functions.
//!
//! A process that writes a session's status takes the newest one that it knows, works out the *whole* new status with
//! [`status::status`], [`grant::issue`], [`connection::claim`], [`connection::connect`], [`resume::take_back`],
//! [`connection::disconnect`] or [`connection::record_usage`], and replaces the old one at its resource version; after a conflict it reads and decides again.
//! That makes a token good for its number of uses, over any number of replicas, without a lock.

pub mod access;
pub mod close;
pub mod connection;
pub mod desktop;
pub mod endpoints;
pub mod gateway;
pub mod grant;
pub mod pause;
pub mod policy;
pub mod reason;
pub mod references;
pub mod resume;
pub mod session;
pub mod single_use;
pub mod start;
pub mod status;
pub mod target;
pub mod target_state;
pub mod transition;
pub mod validate;

#[cfg(test)]
mod samples;
