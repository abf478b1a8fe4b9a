//! The aggregated API `subresources.novasphere.io`: consoles and their tokens through kube-apiserver.
//!
//! It is thin: kube-apiserver has authenticated the user ([`front_proxy`]) and is asked again what they may do;
//! `novasphere-core` decides what a session may do, and the gateway of `novasphere-sessions` carries the streams. This crate decides
//! neither who may enter nor what a session is, and carries no byte of a console.

pub mod api_service;
pub mod config;
pub mod connect;
pub mod discovery;
pub mod front_proxy;
mod listener;
pub mod metrics;
pub mod negotiate;
pub mod openapi;
pub mod rbac;
pub mod route;
mod run;
pub mod server;
#[cfg(test)]
mod testing;
pub mod token;

pub use run::{RunError, run};

/// The API group. It differs from that of the custom resources: one group is served by one server.
pub const GROUP: &str = novasphere_core::console_session::access::SUBRESOURCES_GROUP;

/// The field manager of what this role writes.
pub(crate) const FIELD_MANAGER: &str = "novasphere/apiserver";

/// The age of answers about rights at this API's door: kube-apiserver has asked the same for the request, and a client that reaches
/// this port with its certificate need not have come that way.
pub(crate) const REVIEW_MAX_AGE: std::time::Duration = std::time::Duration::ZERO;

/// The version.
pub const VERSION: &str = "v1alpha1";

/// The `APIService` of the group and version.
pub const API_SERVICE: &str = "v1alpha1.subresources.novasphere.io";
