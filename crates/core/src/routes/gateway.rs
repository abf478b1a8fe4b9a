//! The gateways that carry routes, as the configuration names them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{host::HostPattern, object::RouteKind, plan::http_entry_point};
use crate::name::{DnsLabel, DnsSubdomain};

/// How many gateways a configuration has at most.
const GATEWAYS_LIMIT: usize = 32;

/// How many entry points the pool of a gateway has at most.
const ENTRY_POINTS_LIMIT: usize = 1024;

/// The section `gateways` of the configuration file: what carries the `routes` of objects into the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteGateways(Vec<RouteGateway>);

/// What the configuration says of gateways now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteSettings {
    /// The last gateways that could be used.
    pub gateways: RouteGateways,
    /// Why what the file says since then cannot be used.
    pub rejected: Option<String>,
}

/// A gateway that carries routes. Exactly one of `traefik`, `kong` and `gatewayApi` is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RouteGateway {
    /// Its name, by which `routes[].gateway` asks for it: lower-case letters, digits and `-`.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,

    /// Whether it carries routes that name no gateway. At most one is the default. Default: `true` for one that is the only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<bool>,

    /// It is Traefik.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traefik: Option<TraefikGateway>,

    /// It is Kong, with its ingress controller or its operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kong: Option<KongGateway>,

    /// It is a `Gateway` of Gateway API, of any implementation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_api: Option<GatewayApiGateway>,

    /// The host name or address by which clients reach it. Default: an address in the status of its Service or `Gateway`, of several the lowest,
    /// IPv4 before IPv6 before names.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub host: Option<String>,

    /// The namespace of its Pods, which may then connect to desktops with routes. Default: that of its Service, and there the Pods that this
    /// selects; or that of its `Gateway`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub pod_namespace: Option<String>,

    /// Its plain TCP ports for routes with `tcp`; each carries one route. They must carry nothing else, TLS least of all. Default: none. At
    /// most 1024.
    #[schemars(length(max = 1024))]
    pub entry_points: Vec<EntryPoint>,

    /// How many of `entryPoints` the routes of one namespace are given, from 1 to 1024. More are refused with `EntryPointLimitReached`; a lower
    /// limit takes nothing away that a route has. Default: no limit, so that one namespace can take all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub entry_points_per_namespace: Option<u16>,

    /// Its port for routes with `tls`, which are told apart by their host names. Default: it carries none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<EntryPoint>,

    /// Its port for routes with `http`, without TLS; not used where it has `https`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<EntryPoint>,

    /// Its port for routes with `http`, with TLS. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https: Option<EntryPoint>,

    /// Which host names routes may have: a name, or one with `*.` in front for all below it. `{namespace}` stands for the namespace of the
    /// object, as in `*.{namespace}.vms.example.org`. `*` is any host, and none. Default: none. At most 64.
    #[schemars(length(max = 64))]
    pub allowed_hosts: Vec<String>,

    /// Whether routes may name certificates of their own (`secretName`, `tlsSecretName`). Traefik offers each of them for every host name
    /// that it is for. Default `false`.
    pub allow_secrets: bool,
}

/// A port of a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EntryPoint {
    /// Its name: with Traefik the entry point, with Gateway API the listener.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,

    /// The port that clients use, from 1 to 65535.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,

    /// The port that Kong listens on (`KONG_STREAM_LISTEN`), where that is another one. Default: `port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub listen_port: Option<u16>,
}

/// Where Traefik is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TraefikGateway {
    /// The namespace of its Service.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,

    /// The name of its Service.
    #[schemars(length(min = 1, max = 253))]
    pub service: String,

    /// The class that it watches, where it is set to watch one alone. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub ingress_class: Option<String>,

    /// Where its API answers the controller without a password, such as `http://traefik.kube-system:9000`. Then conditions say whether it
    /// took a route, and what else uses an entry point; its objects alone do not tell. Default: it is not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = "^https?://[^/?#]+$"))]
    pub api_url: Option<String>,
}

/// Where Kong is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KongGateway {
    /// The namespace of its Service.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,

    /// The name of its Service.
    #[schemars(length(min = 1, max = 253))]
    pub service: String,

    /// The class that it watches. Default `kong`.
    #[serde(default = "kong_class")]
    #[schemars(length(min = 1, max = 253))]
    pub ingress_class: String,

    /// Its `Gateway` in the same namespace, which is needed where the cluster has no `TCPIngress` any more. The names of entry points are
    /// then those of its listeners. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub gateway: Option<String>,
}

fn kong_class() -> String {
    "kong".to_owned()
}

/// Which `Gateway` it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayApiGateway {
    /// Its namespace.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,

    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub gateway: String,
}

/// Which product it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayKind<'a> {
    /// Traefik.
    Traefik(&'a TraefikGateway),
    /// Kong.
    Kong(&'a KongGateway),
    /// Any implementation of Gateway API.
    GatewayApi(&'a GatewayApiGateway),
}

impl GatewayKind<'_> {
    /// The kinds of objects that it reads.
    #[must_use]
    pub fn route_kinds(&self) -> &'static [RouteKind] {
        use RouteKind as Kind;
        match self {
            Self::Traefik(_) => &[
                Kind::MiddlewareTcp,
                Kind::Middleware,
                Kind::IngressRouteTcp,
                Kind::IngressRoute,
            ],
            Self::Kong(KongGateway { gateway: None, .. }) => &[Kind::KongPlugin, Kind::TcpIngress, Kind::Ingress],
            Self::Kong(_) => &[
                Kind::KongPlugin,
                Kind::TcpIngress,
                Kind::Ingress,
                Kind::TcpRoute,
                Kind::TlsRoute,
            ],
            Self::GatewayApi(_) => &[Kind::TcpRoute, Kind::TlsRoute, Kind::HttpRoute],
        }
    }
}

/// The object whose status has a gateway's addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressSource {
    /// A Service, by namespace and name.
    Service(String, String),
    /// A `Gateway`, by namespace and name.
    Gateway(String, String),
}

impl fmt::Display for AddressSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(namespace, name) => write!(formatter, "the Service {namespace}/{name}"),
            Self::Gateway(namespace, name) => write!(formatter, "the Gateway {namespace}/{name}"),
        }
    }
}

impl RouteGateways {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[RouteGateway] {
        &self.0
    }

    /// The gateway of a name, or the default one.
    #[must_use]
    pub fn find(&self, name: Option<&str>) -> Option<&RouteGateway> {
        match (name, self.0.as_slice()) {
            (Some(name), all) => all.iter().find(|gateway| gateway.name == name),
            (None, [only]) => Some(only).filter(|only| only.default != Some(false)),
            (None, all) => all.iter().find(|gateway| gateway.default == Some(true)),
        }
    }

    /// Whether the controller can work with them.
    ///
    /// # Errors
    ///
    /// The first setting that is wrong, with what to write.
    pub fn check(&self) -> Result<(), String> {
        if self.0.len() > GATEWAYS_LIMIT {
            return Err(format!("gateways: at most {GATEWAYS_LIMIT} may be configured"));
        }
        let mut names = BTreeSet::new();
        for (index, gateway) in self.0.iter().enumerate() {
            let place = format!("gateways[{index}]");
            gateway.check(&place)?;
            if !names.insert(&gateway.name) {
                return Err(format!(
                    "{place}.name: {} is the name of another gateway as well; give each its own",
                    gateway.name
                ));
            }
        }
        if self.0.iter().filter(|gateway| gateway.default == Some(true)).count() > 1 {
            return Err("gateways: two have default: true; a route that names none goes to one alone".to_owned());
        }
        self.check_sources()
    }

    /// Of one Traefik with two names, both would give out the same entry points and host names.
    fn check_sources(&self) -> Result<(), String> {
        let mut claimed: BTreeMap<(AddressSource, PortOrName<'_>), &str> = BTreeMap::new();
        for (index, gateway) in self.0.iter().enumerate() {
            let Some(source) = gateway.address_source() else {
                continue;
            };
            let own = gateway
                .ports()
                .flat_map(|entry_point| [PortOrName::Port(entry_point.port), PortOrName::Name(&entry_point.name)]);
            for what in own {
                if let Some(other) = claimed.insert((source.clone(), what), &gateway.name) {
                    return Err(format!(
                        "gateways[{index}]: {what} is one of {other} as well, which has the same Service or Gateway, and both would give it \
                         out; name it in one of the two"
                    ));
                }
            }
        }
        self.check_kongs()
    }

    /// An Ingress of Kong names no port, and Kong's controller none for it: it answers on all of one protocol, so a host name would be given
    /// out twice.
    fn check_kongs(&self) -> Result<(), String> {
        let mut claimed: BTreeMap<(AddressSource, &str), &str> = BTreeMap::new();
        for (index, gateway) in self.0.iter().enumerate() {
            let Some((GatewayKind::Kong(_), source)) = gateway.kind().zip(gateway.address_source()) else {
                continue;
            };
            let Some((_, is_secure)) = http_entry_point(gateway) else {
                continue;
            };
            let field = if is_secure { "https" } else { "http" };
            if let Some(other) = claimed.insert((source, field), &gateway.name) {
                return Err(format!(
                    "gateways[{index}].{field}: {other} has another port of the same Kong for it, and what Kong gets for one answers on both; \
                     name one port in one of the two"
                ));
            }
        }
        Ok(())
    }
}

/// What a port of a gateway is told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PortOrName<'a> {
    Port(u16),
    Name(&'a str),
}

impl fmt::Display for PortOrName<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(formatter, "the port {port}"),
            Self::Name(name) => write!(formatter, "the entry point {name}"),
        }
    }
}

impl From<Vec<RouteGateway>> for RouteGateways {
    fn from(gateways: Vec<RouteGateway>) -> Self {
        Self(gateways)
    }
}

impl RouteGateway {
    /// Which product it is; `None` for one that [`RouteGateways::check`] refuses.
    #[must_use]
    pub fn kind(&self) -> Option<GatewayKind<'_>> {
        match (&self.traefik, &self.kong, &self.gateway_api) {
            (Some(traefik), None, None) => Some(GatewayKind::Traefik(traefik)),
            (None, Some(kong), None) => Some(GatewayKind::Kong(kong)),
            (None, None, Some(gateway)) => Some(GatewayKind::GatewayApi(gateway)),
            _ => None,
        }
    }

    /// The object whose status has its addresses.
    #[must_use]
    pub fn address_source(&self) -> Option<AddressSource> {
        Some(match self.kind()? {
            GatewayKind::Traefik(traefik) => AddressSource::Service(traefik.namespace.clone(), traefik.service.clone()),
            GatewayKind::Kong(kong) => AddressSource::Service(kong.namespace.clone(), kong.service.clone()),
            GatewayKind::GatewayApi(api) => AddressSource::Gateway(api.namespace.clone(), api.gateway.clone()),
        })
    }

    /// The entry point of a name in its pool.
    #[must_use]
    pub fn entry_point(&self, name: &str) -> Option<&EntryPoint> {
        self.entry_points.iter().find(|entry_point| entry_point.name == name)
    }

    /// All its ports: those of the pool, and those that routes share.
    pub fn ports(&self) -> impl Iterator<Item = &EntryPoint> {
        self.entry_points.iter().chain(self.shared_ports())
    }

    /// The ports that routes share, told apart by host names.
    pub fn shared_ports(&self) -> impl Iterator<Item = &EntryPoint> {
        [&self.tls, &self.http, &self.https].into_iter().flatten()
    }

    /// Whether an object of a namespace may have routes for a host, `None` for all hosts.
    #[must_use]
    pub fn allows_host(&self, namespace: &str, host: Option<&str>) -> bool {
        self.allowed_hosts
            .iter()
            .any(|pattern| HostPattern::of(pattern, namespace).allows(host))
    }

    fn check(&self, place: &str) -> Result<(), String> {
        let label = |field: &str, text: &str| {
            DnsLabel::parse(text)
                .map(drop)
                .map_err(|error| format!("{place}.{field}: {error}"))
        };
        let name = |field: &str, text: &str| {
            DnsSubdomain::parse(text)
                .map(drop)
                .map_err(|error| format!("{place}.{field}: {error}"))
        };
        label("name", &self.name)?;
        match self.kind() {
            None => return Err(format!("{place}: give exactly one of traefik, kong and gatewayApi")),
            Some(GatewayKind::Traefik(traefik)) => {
                label("traefik.namespace", &traefik.namespace)?;
                name("traefik.service", &traefik.service)?;
                if let Some(url) = &traefik.api_url
                    && !is_origin(url)
                {
                    // It may have a password in it, and the message becomes part of the conditions of routes.
                    return Err(format!(
                        "{place}.traefik.apiUrl is not used; write scheme, host and port alone, such as http://traefik.kube-system:9000"
                    ));
                }
            }
            Some(GatewayKind::Kong(kong)) => {
                label("kong.namespace", &kong.namespace)?;
                name("kong.service", &kong.service)?;
            }
            Some(GatewayKind::GatewayApi(api)) => {
                label("gatewayApi.namespace", &api.namespace)?;
                name("gatewayApi.gateway", &api.gateway)?;
            }
        }
        if let Some(namespace) = &self.pod_namespace {
            label("podNamespace", namespace)?;
        }
        self.check_entry_points(place)?;
        for (index, pattern) in self.allowed_hosts.iter().enumerate() {
            if !HostPattern::is_valid(pattern) {
                return Err(format!(
                    "{place}.allowedHosts[{index}]: {pattern:?} is no host name; write one such as vm.example.org, *.example.org or *"
                ));
            }
        }
        Ok(())
    }

    fn check_entry_points(&self, place: &str) -> Result<(), String> {
        if self.entry_points.len() > ENTRY_POINTS_LIMIT {
            return Err(format!(
                "{place}.entryPoints: at most {ENTRY_POINTS_LIMIT} may be configured"
            ));
        }
        let limit = self.entry_points_per_namespace.map(usize::from);
        if limit.is_some_and(|limit| limit == 0 || limit > ENTRY_POINTS_LIMIT) {
            return Err(format!(
                "{place}.entryPointsPerNamespace: write a number from 1 to {ENTRY_POINTS_LIMIT}, or leave it out for no limit"
            ));
        }
        let shared = [("tls", &self.tls), ("http", &self.http), ("https", &self.https)];
        let shared = shared
            .into_iter()
            .filter_map(|(field, entry_point)| Some((field.to_owned(), entry_point.as_ref()?)));
        let pool = self.entry_points.iter().enumerate();
        let pool = pool.map(|(index, entry_point)| (format!("entryPoints[{index}]"), entry_point));
        let (mut names, mut ports) = (BTreeSet::new(), BTreeSet::new());
        for (field, EntryPoint { name, port, .. }) in pool.chain(shared) {
            if !is_entry_point_name(name) {
                return Err(format!(
                    "{place}.{field}.name: {name:?} is no name of an entry point; use letters, digits, '-', '_' and '.', at most 63"
                ));
            }
            if *port == 0 {
                return Err(format!("{place}.{field}.port is 0; write a number from 1 to 65535"));
            }
            // A plain TCP route takes all that comes to its port.
            if !names.insert(name.as_str()) || !ports.insert(*port) {
                return Err(format!(
                    "{place}.{field}: another port of this gateway has the name {name} or the number {port}; give each its own"
                ));
            }
        }
        Ok(())
    }
}

impl EntryPoint {
    /// The port that the gateway itself listens on.
    #[must_use]
    pub fn listen_port(&self) -> u16 {
        self.listen_port.unwrap_or(self.port)
    }
}

fn is_origin(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    rest.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']))
}

/// It becomes the value of a label.
fn is_entry_point_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let is_inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    bytes.len() <= crate::name::LABEL_LENGTH_LIMIT
        && is_end(bytes.first())
        && is_end(bytes.last())
        && bytes.iter().all(is_inner)
}

#[cfg(test)]
mod tests;
