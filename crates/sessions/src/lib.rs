//! Consoles of `ConsoleSession` objects, in five topics:
//!
//! - [`view`]: what the cluster says of sessions and their targets; controller, gateways and the aggregated API decide on it alike
//! - [`admit`]: who may enter
//! - [`locate`]: where the console of a target is, and why it went away
//! - [`mod@write`]: what is written about sessions: status, events, usage
//! - [`enforce`]: what ends a stream
//!
//! What they share is in `plane`, and the streams of this process in `active`.
//!
//! Everything is decided on the watch caches with the pure functions of `novasphere-core`; what has to hold over replicas is an optimistic write
//! of the session's status. This crate opens no port and reads no configuration (the roles do), and carries no byte of a console (`dataplane` does).

mod active;
pub mod admit;
pub mod enforce;
mod gateway;
pub mod locate;
mod plane;
mod readiness;
mod role;
pub mod view;
pub mod write;

pub use self::{
    gateway::{REPORTER, SessionGateway, SessionGatewayOptions, StartError},
    role::ServingOptions,
};
