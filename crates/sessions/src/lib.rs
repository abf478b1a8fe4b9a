//! Consoles of `ConsoleSession` objects: who may enter, where the console is, what ends a stream, and what is written about it.
//!
//! Everything is decided on the watch caches with the pure functions of `novasphere-core`; what has to hold over replicas is an optimistic write
//! of the session's status. This crate opens no port and reads no configuration (the roles do), and carries no byte of a console (`dataplane` does).

pub mod admission;
mod claim;
mod counters;
pub mod desktops;
mod enforcer;
mod gateway;
mod grant;
pub mod lease;
mod live;
mod report;
pub mod sessions;
pub mod status;
pub mod target_view;
pub mod upstream;
mod used_tokens;
mod watches;

pub use self::{
    admission::SessionAdmission,
    gateway::{REPORTER, SessionGateway, SessionGatewayOptions, StartError},
    sessions::Sessions,
    status::WriteError,
};
