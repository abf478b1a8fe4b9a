//! Routes of the gateways that the cluster already has: Traefik, Kong, Gateway API.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Cidr,
    rule::{dns_label, exactly_one, forbidden, host, invalid, object_name},
};

/// How a gateway reaches one port. Exactly one of `tcp`, `tls` and `http` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one(&["tcp", "tls", "http"]))]
#[x_kube(validation = dns_label("gateway"))]
pub struct RouteRule {
    /// Which gateway carries the route: a name in the controller's configuration. Default: the gateway that is
    /// configured as default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub gateway: Option<String>,

    /// A plain TCP port of the gateway, for this route alone. `{}` takes any free one from the gateway's pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpRoute>,

    /// A host name on the gateway's TLS port, told apart from others by SNI. Only for clients that begin with TLS: VNC
    /// and SSH clients do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsRoute>,

    /// A host name and path on the gateway's HTTP ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpRoute>,

    /// Client addresses that the gateway lets in, in CIDR notation. Default: all. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub allowed_source_ranges: Vec<Cidr>,
}

/// A TCP port of a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = invalid(
    "!has(self.entryPoint) || self.entryPoint.matches('^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$')",
    "entryPoint must have only letters, digits, '-', '_' and '.', as the controller's configuration names it"
)
.field_path(".entryPoint"))]
pub struct TcpRoute {
    /// The entry point or listener to claim, by its name in the gateway's pool. It carries one route; the oldest claim
    /// wins. Default: any free one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub entry_point: Option<String>,
}

/// A host name on a TLS port of a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = host("host"))]
#[x_kube(validation = forbidden(
    "!has(self.secretName) || self.mode == 'Terminate'",
    "secretName is the gateway's certificate; remove it, or set mode to Terminate"
)
.field_path(".secretName"))]
#[x_kube(validation = object_name("secretName"))]
pub struct TlsRoute {
    /// The server name that clients send (SNI): a DNS name, `*.` is allowed as its first label.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,

    /// Who ends TLS. Default `Terminate`.
    #[serde(default)]
    pub mode: TlsMode,

    /// Secret of type `kubernetes.io/tls` in the same namespace with the certificate for `host`. Only with mode
    /// `Terminate`. Default: the gateway's own certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
}

/// Who ends TLS of a TLS route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TlsMode {
    /// The gateway; the target gets plain TCP.
    #[default]
    Terminate,
    /// The target; the gateway passes TLS through.
    Passthrough,
}

/// A host name and path on a gateway's HTTP ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = host("host"))]
#[x_kube(validation = invalid(
    "self.path.matches('^/[-A-Za-z0-9._~!$&()*+,;=:@%/]*$') && !self.path.contains('//') && !self.path.contains('/../')",
    "path must begin with '/' and have no empty or '..' segments, spaces, quotes, '?' or '#'"
)
.field_path(".path"))]
#[x_kube(validation = object_name("tlsSecretName"))]
pub struct HttpRoute {
    /// The host name: a DNS name, `*.` is allowed as its first label. Default: every host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub host: Option<String>,

    /// The path prefix; whole segments are compared. Default `/`.
    #[serde(default = "root_path")]
    #[schemars(length(min = 1, max = 1024))]
    pub path: String,

    /// Secret of type `kubernetes.io/tls` in the same namespace with the certificate for `host`. Default: what the
    /// gateway is set up to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub tls_secret_name: Option<String>,
}

fn root_path() -> String {
    "/".to_owned()
}

/// What became of one route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteStatus {
    /// The route's name in the spec.
    pub name: String,

    /// The gateway that carries it, by its name in the controller's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,

    /// The entry point or listener that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry_point: Option<String>,

    /// The host name that it has, of a route with `tls` or `http`; `*` stands for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,

    /// Where clients connect: `host:port`, or a URL for HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}
