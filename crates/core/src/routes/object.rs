//! The objects that gateways read: their kinds and APIs.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

/// A kind of object that a gateway reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, strum::EnumIter)]
pub enum RouteKind {
    /// Traefik: a limit for TCP routes.
    MiddlewareTcp,
    /// Traefik: a limit for HTTP routes.
    Middleware,
    /// Traefik: a TCP or TLS route.
    IngressRouteTcp,
    /// Traefik: an HTTP route.
    IngressRoute,
    /// Kong: a limit for routes.
    KongPlugin,
    /// Kong's ingress controller: a TCP or TLS route.
    TcpIngress,
    /// Kubernetes: an HTTP route, as Kong reads it.
    Ingress,
    /// Gateway API: a TCP route.
    TcpRoute,
    /// Gateway API: a TLS route.
    TlsRoute,
    /// Gateway API: an HTTP route.
    HttpRoute,
}

/// A group and version in which a kind is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteApi {
    /// The API group.
    pub group: &'static str,
    /// The version.
    pub version: &'static str,
}

/// The group of Traefik since 2.10.
pub const TRAEFIK_GROUP: &str = "traefik.io";

/// The group of Traefik before 3.0.
pub const OLD_TRAEFIK_GROUP: &str = "traefik.containo.us";

/// The group of Gateway API.
pub const GATEWAY_API_GROUP: &str = "gateway.networking.k8s.io";

const TRAEFIK: &[(&str, &[&str])] = &[(TRAEFIK_GROUP, &["v1alpha1"]), (OLD_TRAEFIK_GROUP, &["v1alpha1"])];

impl RouteKind {
    /// Its name in objects.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::MiddlewareTcp => "MiddlewareTCP",
            Self::Middleware => "Middleware",
            Self::IngressRouteTcp => "IngressRouteTCP",
            Self::IngressRoute => "IngressRoute",
            Self::KongPlugin => "KongPlugin",
            Self::TcpIngress => "TCPIngress",
            Self::Ingress => "Ingress",
            Self::TcpRoute => "TCPRoute",
            Self::TlsRoute => "TLSRoute",
            Self::HttpRoute => "HTTPRoute",
        }
    }

    /// Its name in paths.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::MiddlewareTcp => "middlewaretcps",
            Self::Middleware => "middlewares",
            Self::IngressRouteTcp => "ingressroutetcps",
            Self::IngressRoute => "ingressroutes",
            Self::KongPlugin => "kongplugins",
            Self::TcpIngress => "tcpingresses",
            Self::Ingress => "ingresses",
            Self::TcpRoute => "tcproutes",
            Self::TlsRoute => "tlsroutes",
            Self::HttpRoute => "httproutes",
        }
    }

    /// The groups and versions that we can speak, best first.
    #[must_use]
    pub const fn apis(self) -> &'static [(&'static str, &'static [&'static str])] {
        match self {
            Self::MiddlewareTcp | Self::Middleware | Self::IngressRouteTcp | Self::IngressRoute => TRAEFIK,
            Self::KongPlugin => &[("configuration.konghq.com", &["v1"])],
            Self::TcpIngress => &[("configuration.konghq.com", &["v1beta1"])],
            Self::Ingress => &[("networking.k8s.io", &["v1"])],
            Self::TcpRoute => &[(GATEWAY_API_GROUP, &["v1", "v1alpha2"])],
            Self::TlsRoute => &[(GATEWAY_API_GROUP, &["v1", "v1alpha3", "v1alpha2"])],
            Self::HttpRoute => &[(GATEWAY_API_GROUP, &["v1"])],
        }
    }

    /// All kinds.
    pub fn all() -> impl Iterator<Item = Self> {
        <Self as strum::IntoEnumIterator>::iter()
    }

    /// Whether such an object only limits the route that names it.
    #[must_use]
    pub const fn is_helper(self) -> bool {
        matches!(self, Self::MiddlewareTcp | Self::Middleware | Self::KongPlugin)
    }
}

/// The APIs that the cluster serves now, of the kinds that it serves.
pub type ServedRouteApis = BTreeMap<RouteKind, RouteApi>;

/// An object to apply.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteObject {
    /// Its kind.
    pub kind: RouteKind,
    /// The API by which it is written.
    pub api: RouteApi,
    /// Name, namespace, labels, annotations and owner.
    pub metadata: ObjectMeta,
    /// Everything beside type and metadata: `spec`, or what a kind without one has.
    pub data: Value,
}

impl RouteObject {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }
}
