//! The ways to a guest's ports: Services, and routes of gateways to them.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{
    PortProtocol, RouteRule, ServiceSettings, ServiceType,
    rule::{dns_label, forbidden, object_name},
};

/// A Service to ports of the guest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = dns_label("name"))]
#[x_kube(validation = forbidden(
    "self.type != 'ClusterIP' || self.ports.all(p, !has(p.nodePort))",
    "a ClusterIP service has no ports on nodes; remove nodePort, or set type to NodePort"
)
.field_path(".ports"))]
#[x_kube(validation = forbidden(
    "self.ports.all(a, self.ports.exists_one(b, b.port == a.port && b.protocol == a.protocol))",
    "two ports have the same port and protocol; give each its own port"
)
.field_path(".ports"))]
#[x_kube(validation = forbidden(
    "self.ports.all(a, !has(a.nodePort) || self.ports.exists_one(b, has(b.nodePort) && b.nodePort == a.nodePort && \
     b.protocol == a.protocol))",
    "two ports have the same nodePort and protocol; give each its own, or none to get free ones"
)
.field_path(".ports"))]
pub struct AccessService {
    /// The last part of the Service's name, `<metadata.name>-<name>`: lower-case letters, digits and `-`. Together at
    /// most 63 characters.
    #[schemars(length(min = 1, max = 61))]
    pub name: String,

    /// How it is reached. Default `ClusterIP`.
    #[serde(default)]
    pub r#type: ServiceType,

    /// The ports, from 1 to 32.
    #[schemars(
        length(min = 1, max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub ports: Vec<AccessServicePort>,

    /// How it treats its clients.
    #[serde(flatten)]
    pub settings: ServiceSettings,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = dns_label("name"))]
pub struct AccessServicePort {
    /// The port's name, such as `ssh`: lower-case letters, digits and `-`, at most 15 characters.
    #[schemars(length(min = 1, max = 15))]
    pub name: String,

    /// The port that clients use, from 1 to 65535.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,

    /// The port in the guest, from 1 to 65535. Default: the same as `port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub target_port: Option<u16>,

    /// The port on every node, in the cluster's node port range. Not with type `ClusterIP`. Default: a free one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub node_port: Option<u16>,

    /// The transport. Default `TCP`.
    #[serde(default)]
    pub protocol: PortProtocol,
}

/// A route of a gateway to a port of one of `services`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = dns_label("name"))]
pub struct VmRoute {
    /// The route's name: lower-case letters, digits and `-`, at most 63 characters.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,

    /// The service it leads to, by its name in `services`.
    #[schemars(length(min = 1, max = 61))]
    pub service: String,

    /// The port it leads to: the `port` of one of that service's TCP ports.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,

    /// How the gateway reaches it.
    #[serde(flatten)]
    pub rule: RouteRule,
}

/// A VNC server inside the guest that speaks RFB with no password or with a VNC password. novasphere connects to the ready
/// endpoints of the Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = object_name("passwordSecretName"))]
pub struct VncServer {
    /// The service it is reached by, by its name in `services`.
    #[schemars(length(min = 1, max = 61))]
    pub service: String,

    /// The port it is reached at: the `port` of one of that service's TCP ports.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,

    /// A Secret in the same namespace with the label `novasphere.io/vnc-password: "true"` and the server's VNC password under
    /// the key `password`. One without the label is not used: who may write this need not have the right to read Secrets.
    /// Default: the server asks for no password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub password_secret_name: Option<String>,
}
