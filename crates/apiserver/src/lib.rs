//! The aggregated API `subresources.novasphere.io`: consoles and their tokens through kube-apiserver.
//!
//! It is thin: kube-apiserver has authenticated the user ([`front_proxy`]) and is asked again what he may do ([`access`]);
//! `novasphere-core` decides what a session may do, and the gateway of `novasphere-sessions` carries the streams. This crate decides
//! neither who may enter nor what a session is, and carries no byte of a console.

pub mod access;
pub mod api_service;
pub mod config;
pub mod connect;
pub mod discovery;
pub mod front_proxy;
pub mod metrics;
pub mod negotiate;
pub mod openapi;
pub mod rbac;
pub mod route;
mod run;
pub mod server;
pub mod status;
mod strangers;
pub mod token;

pub use run::{GRACE, Options, RunError, run};

/// The API group. It differs from that of the custom resources: one group is served by one server.
pub const GROUP: &str = "subresources.novasphere.io";

/// The version.
pub const VERSION: &str = "v1alpha1";

/// The `APIService` of the group and version.
pub const API_SERVICE: &str = "v1alpha1.subresources.novasphere.io";
