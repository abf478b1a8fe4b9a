//! What the Services of all kinds have in common.

use std::collections::BTreeMap;

use kube::{KubeSchema, core::Rule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Cidr, Duration,
    bounds::service_annotations,
    rule::{between, forbidden, invalid, matches},
};

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
    /// SCTP, where the cluster's network has it.
    #[serde(rename = "SCTP")]
    Sctp,
}

impl PortProtocol {
    /// As Kubernetes writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// How a Service treats its clients. The rules are those of the apiserver, which would refuse the Service later.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = forbidden(
    "!has(self.sourceRanges) || size(self.sourceRanges) == 0 || self.type == 'LoadBalancer'",
    "Kubernetes filters client addresses for type LoadBalancer alone; remove sourceRanges, or use a route with \
     allowedSourceRanges"
)
.field_path(".sourceRanges"))]
#[x_kube(validation = forbidden(
    "!has(self.externalTrafficPolicy) || self.type != 'ClusterIP'",
    "a ClusterIP service has no traffic from outside; remove externalTrafficPolicy, or set type to NodePort or LoadBalancer"
)
.field_path(".externalTrafficPolicy"))]
#[x_kube(validation = forbidden(
    "!has(self.loadBalancerClass) || self.type == 'LoadBalancer'",
    "only type LoadBalancer has a load balancer; remove loadBalancerClass, or set type to LoadBalancer"
)
.field_path(".loadBalancerClass"))]
#[x_kube(validation = matches(
    "loadBalancerClass",
    "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
    "loadBalancerClass must be a name as in labels, such as example.org/internal"
))]
#[x_kube(validation = forbidden(
    "self.type != 'LoadBalancer' || oldSelf.type != 'LoadBalancer' || \
     (has(self.loadBalancerClass) == has(oldSelf.loadBalancerClass) && \
     (!has(self.loadBalancerClass) || self.loadBalancerClass == oldSelf.loadBalancerClass))",
    "loadBalancerClass is fixed while type is LoadBalancer; set another type first, and then both"
)
.field_path(".loadBalancerClass"))]
#[x_kube(validation = forbidden(
    "!has(self.sessionAffinityTimeout) || (has(self.sessionAffinity) && self.sessionAffinity == 'ClientIP')",
    "there is no affinity that could end; remove sessionAffinityTimeout, or set sessionAffinity to ClientIP"
)
.field_path(".sessionAffinityTimeout"))]
#[x_kube(validation = between("sessionAffinityTimeout", "1s", "24h"))]
#[x_kube(validation = invalid(
    "!has(self.ipFamilies) || size(self.ipFamilies) < 2 || self.ipFamilies[0] != self.ipFamilies[1]",
    "ipFamilies has one family twice; remove one of them"
)
.field_path(".ipFamilies"))]
#[x_kube(validation = forbidden(
    "!has(self.ipFamilies) || size(self.ipFamilies) < 2 || !has(self.ipFamilyPolicy) || self.ipFamilyPolicy != 'SingleStack'",
    "SingleStack is one family; remove one of ipFamilies, or set ipFamilyPolicy to PreferDualStack"
)
.field_path(".ipFamilies"))]
#[x_kube(validation = forbidden(
    "!has(self.ipFamilies) || size(self.ipFamilies) == 0 || !has(oldSelf.ipFamilies) || size(oldSelf.ipFamilies) == 0 || \
     self.ipFamilies[0] == oldSelf.ipFamilies[0]",
    "the first of ipFamilies is that of the address which the Service has; keep it, or make another service"
)
.field_path(".ipFamilies"))]
#[x_kube(validation = own_annotations())]
pub struct ServiceSettings {
    /// Client addresses that the load balancer lets in, in CIDR notation. Only with type `LoadBalancer`, because
    /// Kubernetes filters no others. Default: all. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub source_ranges: Vec<Cidr>,

    /// Which nodes answer clients from outside. `Local` keeps their addresses, and only the node with the Pod answers. Not with type `ClusterIP`.
    /// Default: Kubernetes' own, `Cluster`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<TrafficPolicy>,

    /// Which Pods clients inside the cluster reach. `Local` is those of the client's own node alone. Default: Kubernetes' own, `Cluster`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal_traffic_policy: Option<TrafficPolicy>,

    /// Which load balancer of the cluster takes the Service, such as `example.org/internal`. Only with type `LoadBalancer`, and fixed while it
    /// has that. Default: the cluster's default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    pub load_balancer_class: Option<String>,

    /// Whether all connections of a client address go to the same Pod. Default: Kubernetes' own, `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_affinity: Option<SessionAffinity>,

    /// How long `ClientIP` lasts after the last connection, from 1s to 24h. Only with that. Default: Kubernetes' own, 3h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_affinity_timeout: Option<Duration>,

    /// Whether the Service has addresses of one IP family or of both. Default: `PreferDualStack`, but `SingleStack` where `ipFamilies` has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_family_policy: Option<IpFamilyPolicy>,

    /// The IP families, that of the main address first, which stays. At most 2. Default: those of the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), extend("x-kubernetes-list-type" = "atomic"))]
    pub ip_families: Vec<IpFamily>,

    /// Annotations of the Service, for load balancers and gateways; those that the administrator allows. At most 32, of 4096 characters each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "service_annotations")]
    pub annotations: BTreeMap<String, String>,
}

/// What begins like novasphere's own annotations is read as such.
fn own_annotations() -> Rule {
    forbidden(
        "!has(self.annotations) || self.annotations.all(key, !key.startsWith('novasphere.io/') || key.startsWith('novasphere.io/x-'))",
        "annotations that begin with novasphere.io/ are novasphere's own; choose other keys, such as novasphere.io/x-team",
    )
    .field_path(".annotations")
}

/// Which Pods or nodes answer a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TrafficPolicy {
    /// All.
    Cluster,
    /// Those of the node at which the client arrives.
    Local,
}

impl TrafficPolicy {
    /// As Kubernetes writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "Cluster",
            Self::Local => "Local",
        }
    }
}

/// Whether a client keeps its Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SessionAffinity {
    /// Each connection goes to any Pod.
    None,
    /// All connections of an address go to the same Pod.
    ClientIP,
}

impl SessionAffinity {
    /// As Kubernetes writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::ClientIP => "ClientIP",
        }
    }
}

/// How many IP families a Service has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum IpFamilyPolicy {
    /// One.
    SingleStack,
    /// Both where the cluster has both.
    PreferDualStack,
    /// Both; a cluster that has one refuses it.
    RequireDualStack,
}

impl IpFamilyPolicy {
    /// As Kubernetes writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SingleStack => "SingleStack",
            Self::PreferDualStack => "PreferDualStack",
            Self::RequireDualStack => "RequireDualStack",
        }
    }
}

/// An IP family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum IpFamily {
    /// IPv4.
    #[serde(rename = "IPv4")]
    V4,
    /// IPv6.
    #[serde(rename = "IPv6")]
    V6,
}

impl IpFamily {
    /// As Kubernetes writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}
