//! What the Services of all kinds have in common.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a Service is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// From inside the cluster, and by routes.
    #[default]
    ClusterIP,
    /// On a port of every node.
    NodePort,
    /// On an address of its own, given by the cluster's load balancer.
    LoadBalancer,
}

/// The transport of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PortProtocol {
    /// TCP.
    #[default]
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
}
