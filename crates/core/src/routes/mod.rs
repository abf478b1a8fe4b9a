//! Routes of gateways that the cluster already has: Traefik, Kong, Gateway API. The same for every kind that has `routes`.
//!
//! [`plan`](plan::plan) says which objects a route needs, or what stands in its way; [`status`] says what became of them. Which route has
//! which entry point is decided in [`pool`], from objects alone.

pub mod build;
pub mod claim;
pub mod doctor;
pub mod gateway;
pub mod host;
pub mod inspection;
pub mod object;
pub mod observed;
pub mod plan;
pub mod pool;
pub mod problem;
pub mod reason;
pub mod status;

use novasphere_crd::RouteRule;

#[cfg(test)]
mod samples;

/// The label key with the name of the route that an object carries.
pub const KEY_ROUTE: &str = "novasphere.io/route";

/// The label key with the name of its gateway in the controller's configuration.
pub const KEY_ROUTE_GATEWAY: &str = "novasphere.io/route-gateway";

/// The label key with the entry point that it has alone.
pub const KEY_ENTRY_POINT: &str = "novasphere.io/entry-point";

/// A route of a spec whose target is known.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedRoute {
    /// Its name.
    pub name: String,
    /// Where it leads; `None` where no Service of the object's own namespace has that.
    pub backend: Option<Backend>,
    /// How the gateway reaches it.
    pub rule: RouteRule,
}

/// A port of a Service in the object's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The Service's name.
    pub service: String,
    /// The number of its port.
    pub port: u16,
}
