//! How a workspace is reached, and what it may reach.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Cidr, PortProtocol, RouteRule, ServiceSettings, ServiceType,
    rule::{dns_label, forbidden, required},
};

/// The Service to a desktop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = forbidden(
    "!has(self.nodePorts) || self.type != 'ClusterIP'",
    "a ClusterIP service has no ports on nodes; remove nodePorts, or set type to NodePort"
)
.field_path(".nodePorts"))]
pub struct WorkspaceService {
    /// How it is reached. Default `ClusterIP`.
    #[serde(default)]
    pub r#type: ServiceType,

    /// The ports on every node. Only with type `NodePort` or `LoadBalancer`. Default: free ones from the controller's ranges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_ports: Option<WorkspaceNodePorts>,

    /// How it treats its clients.
    #[serde(flatten)]
    pub settings: ServiceSettings,
}

/// Ports on every node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = forbidden(
    "!has(self.vnc) || !has(self.ssh) || self.vnc != self.ssh",
    "vnc and ssh need different ports; change one, or leave one out to get a free one"
))]
pub struct WorkspaceNodePorts {
    /// For VNC. Default: a free one, from 30000 to 31000 unless the controller is configured otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub vnc: Option<u16>,

    /// For SSH. Default: a free one, from 31001 to 32000 unless the controller is configured otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub ssh: Option<u16>,
}

/// A route of a gateway to a port of the desktop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = dns_label("name"))]
#[x_kube(validation = forbidden(
    "!has(self.http) || self.port == 'Web'",
    "http leads to the web page alone; use tcp or tls for VNC and SSH, or set port to Web"
)
.field_path(".http"))]
pub struct WorkspaceRoute {
    /// The route's name: lower-case letters, digits and `-`, at most 63 characters.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,

    /// The port it leads to.
    pub port: WorkspacePort,

    /// How the gateway reaches it.
    #[serde(flatten)]
    pub rule: RouteRule,
}

/// A port of a desktop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum WorkspacePort {
    /// The web page with a viewer.
    #[default]
    Web,
    /// VNC.
    Vnc,
    /// SSH.
    Ssh,
}

/// What may reach a desktop's Pod, and what it may reach.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceNetwork {
    /// Who may connect to the Pod. Default `GatewayOnly`.
    #[serde(default)]
    pub ingress: NetworkIngress,

    /// What the Pod may connect to. Default: everything but the metadata addresses of clouds and, where the administrator has
    /// named them, the addresses of the cluster itself. An empty list allows name resolution alone. At most 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub egress: Option<Vec<EgressRule>>,
}

/// Who may connect to a desktop's Pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum NetworkIngress {
    /// novasphere's console gateway alone, and the gateways of `routes`.
    #[default]
    GatewayOnly,
    /// These, and all Pods of the namespace.
    Namespace,
}

/// A destination that a Pod may connect to. Either `cidr` or selectors are given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = required(
    "has(self.cidr) || has(self.namespaceSelector) || has(self.podSelector)",
    "say what may be reached: cidr, or namespaceSelector, podSelector or both"
))]
#[x_kube(validation = forbidden(
    "!has(self.cidr) || !(has(self.namespaceSelector) || has(self.podSelector))",
    "cidr and selectors are different destinations; give each a rule of its own"
))]
pub struct EgressRule {
    /// An address range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<Cidr>,

    /// Namespaces, by their labels. With `podSelector`: these Pods in those namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,

    /// Pods, by their labels; of the same namespace when `namespaceSelector` is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,

    /// The ports. Default: all. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub ports: Vec<EgressPort>,
}

/// A port, or a range of ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = forbidden(
    "!has(self.endPort) || self.endPort >= self.port",
    "endPort must not be below port; exchange the two"
)
.field_path(".endPort"))]
pub struct EgressPort {
    /// The port, or the first of a range; from 1 to 65535.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,

    /// The last port of a range. Default: `port` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub end_port: Option<u16>,

    /// The transport. Default `TCP`.
    #[serde(default)]
    pub protocol: PortProtocol,
}
