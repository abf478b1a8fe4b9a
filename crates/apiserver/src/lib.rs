//! The aggregated API `subresources.novasphere.io`: consoles and their tokens through kube-apiserver.
//!
//! It is thin: kube-apiserver has authenticated the user ([`front_proxy`]) and is asked again what he may do ([`access`]);
//! `novasphere-core` decides what a session may do, and the gateway of `novasphere-console` carries the streams.

pub mod front_proxy;

#[cfg(feature = "io")]
pub mod access;
#[cfg(feature = "io")]
pub mod api_service;
#[cfg(feature = "io")]
pub mod config;
#[cfg(feature = "io")]
pub mod connect;
#[cfg(feature = "io")]
pub mod discovery;
#[cfg(feature = "io")]
pub mod metrics;
#[cfg(feature = "io")]
pub mod negotiate;
#[cfg(feature = "io")]
pub mod openapi;
#[cfg(feature = "io")]
pub mod rbac;
#[cfg(feature = "io")]
pub mod route;
#[cfg(feature = "io")]
mod run;
#[cfg(feature = "io")]
pub mod server;
#[cfg(feature = "io")]
pub mod status;
#[cfg(feature = "io")]
mod strangers;
#[cfg(feature = "io")]
pub mod token;

#[cfg(feature = "io")]
pub use run::{GRACE, Options, RunError, run};

/// The API group. It differs from that of the custom resources: one group is served by one server.
pub const GROUP: &str = "subresources.novasphere.io";

/// The version.
pub const VERSION: &str = "v1alpha1";

/// The `APIService` of the group and version.
pub const API_SERVICE: &str = "v1alpha1.subresources.novasphere.io";
