//! Settings of the console role.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use novasphere_core::console_session::endpoints::Endpoints;
use novasphere_crd::{Cidr, Duration};
use novasphere_dataplane::{limits::Limits, registry::Transport};
use novasphere_runtime::config::SOCKET_ADDRESS_PATTERN;
use novasphere_wire::websocket::opening::{NotAnOrigin, Origins};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What [`Origins::new`] takes, for the chart's schema.
const ORIGIN_PATTERN: &str = r"^https?://[0-9A-Za-z.:\[\]-]+$";

/// The `console` section of the configuration file.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ConsoleConfig {
    /// Browsers: the page and the WebSocket.
    pub http: HttpConfig,

    /// Stock VNC viewers.
    pub vnc: VncConfig,

    /// The certificate of both ways in.
    pub tls: TlsConfig,

    /// Limits on those who are not authenticated yet.
    pub limits: LimitsConfig,

    /// Addresses of gateways and load balancers that are believed when they say in `X-Forwarded-For`, or by the PROXY protocol where
    /// `proxyProtocol` is set, where a client connects from, in CIDR notation; they are also not limited as one client. Name no range of Pods
    /// that others may have. Default: none. At most 64.
    #[schemars(length(max = 64))]
    pub trusted_proxies: Vec<Cidr>,

    /// The old name of `gateway.watchNamespace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("deprecated" = true))]
    pub watch_namespace: Option<String>,

    /// The old name of `gateway.wakeTimeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("deprecated" = true))]
    pub wake_timeout: Option<Duration>,

    /// The old name of `gateway.auditLog`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("deprecated" = true))]
    pub audit_log: Option<PathBuf>,

    /// The old name of `gateway.metricsPerSession`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("deprecated" = true))]
    pub metrics_per_session: Option<bool>,

    /// The old name of `gateway.drainGrace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("deprecated" = true))]
    pub drain_grace: Option<Duration>,
}

/// The HTTP listener.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Where to listen. Default `0.0.0.0:8443`.
    #[schemars(with = "String", extend("pattern" = SOCKET_ADDRESS_PATTERN))]
    pub address: SocketAddr,

    /// Whether to serve without TLS, behind a gateway that ends TLS and reaches this port over a network that nobody else
    /// can read. Tokens pass here. Default `false`.
    pub plain: bool,

    /// Whether connections from `console.trustedProxies` begin with a header of the PROXY protocol, version 1 or 2, before TLS. From there it
    /// is required, because a receiver may not guess; from other addresses it is refused. For a gateway or load balancer that passes TCP on;
    /// one that speaks HTTP sends `X-Forwarded-For`. Default `false`.
    pub proxy_protocol: bool,

    /// Origins of the pages that may open consoles, such as `https://portal.example.org`, beside that of
    /// `endpoints.publicUrl`. At most 64.
    #[schemars(length(max = 64), inner(regex(pattern = ORIGIN_PATTERN)))]
    pub allowed_origins: Vec<String>,

    /// Origins of the pages that may show the console page in a frame. Default: none. At most 64.
    #[schemars(length(max = 64), inner(regex(pattern = ORIGIN_PATTERN)))]
    pub embedders: Vec<String>,
}

/// The listener for stock VNC viewers.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct VncConfig {
    /// Whether there is one. Default `true`.
    pub enabled: bool,

    /// Where to listen. Default `0.0.0.0:5900`.
    #[schemars(with = "String", extend("pattern" = SOCKET_ADDRESS_PATTERN))]
    pub address: SocketAddr,

    /// The same as `console.http.proxyProtocol`, for this port. Default `false`.
    pub proxy_protocol: bool,
}

/// A certificate from files, such as those of a Secret that cert-manager keeps. Both or none; without them the process gets
/// its certificate from novasphere's own authority, the Secret `novasphere-ca`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TlsConfig {
    /// The certificate and its chain, in PEM. Read again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,

    /// Its key, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,

    /// Further names and addresses for a certificate of novasphere's own, beside the hosts of `endpoints`. At most 64.
    #[schemars(length(max = 64))]
    pub names: Vec<String>,
}

/// What strangers may cost.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Connections that are not authenticated yet, over all; 1 to 65536. One more takes the place of the oldest from the address that has
    /// most. Default 1024.
    #[schemars(range(min = 1, max = 65_536))]
    pub half_open: u32,

    /// The same from one address (an IPv6 /64 is one) that is no trusted proxy; 1 to 65536. One more takes the place of its oldest.
    /// Default 64.
    #[schemars(range(min = 1, max = 65_536))]
    pub half_open_per_address: u32,

    /// From the accepted connection to the open stream. Default `15s`.
    pub handshake_timeout: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([0, 0, 0, 0], 8443)),
            plain: false,
            proxy_protocol: false,
            allowed_origins: Vec::new(),
            embedders: Vec::new(),
        }
    }
}

impl Default for VncConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            address: SocketAddr::from(([0, 0, 0, 0], 5900)),
            proxy_protocol: false,
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            half_open: 1024,
            half_open_per_address: 64,
            handshake_timeout: Duration::from_secs(15),
        }
    }
}

impl ConsoleConfig {
    /// A trusted range in which one of these addresses is, those of the gateway itself: then Pods of everybody are in it, too.
    #[must_use]
    pub fn range_of_pods(&self, own: &[IpAddr]) -> Option<Cidr> {
        let holds = |range: &&Cidr| own.iter().any(|address| range.get().contains(address));
        self.trusted_proxies.iter().find(holds).copied()
    }

    /// The limits before authentication.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let count = |limit: u32| usize::try_from(limit.max(1)).unwrap_or(usize::MAX);
        Limits {
            half_open: count(self.limits.half_open),
            half_open_per_address: count(self.limits.half_open_per_address),
            handshake: self.limits.handshake_timeout.get(),
            trusted_proxies: self.trusted_proxies.iter().map(|range| range.get()).collect(),
            proxy_protocol: self.proxy_protocol().map(|(_, transport)| transport).collect(),
            ..Limits::default()
        }
    }

    /// The ways in on which proxies send a header of the PROXY protocol, each with its setting.
    fn proxy_protocol(&self) -> impl Iterator<Item = (&'static str, Transport)> {
        [
            (
                self.http.proxy_protocol,
                "console.http.proxyProtocol",
                Transport::WebSocket,
            ),
            (self.vnc.proxy_protocol, "console.vnc.proxyProtocol", Transport::Rfb),
        ]
        .into_iter()
        .filter_map(|(is_set, setting, transport)| is_set.then_some((setting, transport)))
    }

    /// Whether the process can start with it.
    ///
    /// # Errors
    ///
    /// The setting that is wrong, with what to write.
    pub fn check(&self, endpoints: &Endpoints) -> Result<(), String> {
        let origins = self.origins(endpoints).map(drop);
        origins.map_err(|error| format!("console.http.allowedOrigins: {error}"))?;
        let embedders = Origins::new(&self.http.embedders).map(drop);
        embedders.map_err(|error| format!("console.http.embedders: {error}"))?;
        if self.tls.certificate_file.is_some() != self.tls.key_file.is_some() {
            return Err("console.tls: certificateFile and keyFile belong together; set both or none".to_owned());
        }
        if let Some((setting, _)) = self.proxy_protocol().next()
            && self.trusted_proxies.is_empty()
        {
            return Err(format!(
                "{setting}: no proxy is named that sends the header; name those that do in console.trustedProxies"
            ));
        }
        Ok(())
    }

    /// The origins of the pages that may open consoles.
    ///
    /// # Errors
    ///
    /// [`NotAnOrigin`] for the first that no browser sends.
    pub fn origins(&self, endpoints: &Endpoints) -> Result<Origins, NotAnOrigin> {
        let own = endpoints.public_url.as_deref().map(origin);
        Origins::new(self.http.allowed_origins.iter().cloned().chain(own))
    }
}

/// What a browser sends as `Origin` for a page at this URL.
fn origin(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let authority = rest.split('/').next().unwrap_or_default();
    let own_port = if scheme == "http" { ":80" } else { ":443" };
    let authority = authority.strip_suffix(own_port).unwrap_or(authority);
    format!("{scheme}://{authority}")
}

/// The host of a URL or of `host:port`, without brackets.
pub(crate) fn host(address: &str) -> String {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => host,
        _ => authority,
    };
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_limits_are_those_of_the_library() {
        assert_eq!(ConsoleConfig::default().limits(), Limits::default());
    }

    #[test]
    fn headers_of_proxies_are_read_where_it_is_set_and_proxies_are_named() {
        let mut config = ConsoleConfig::default();
        assert!(config.limits().proxy_protocol.is_empty());
        config.vnc.proxy_protocol = true;
        let error = config.check(&Endpoints::default()).unwrap_err();
        assert!(
            error.starts_with("console.vnc.proxyProtocol: no proxy is named"),
            "{error}"
        );
        config.trusted_proxies.push("192.0.2.10/32".parse().unwrap());
        assert_eq!(config.check(&Endpoints::default()), Ok(()));
        assert_eq!(config.limits().proxy_protocol, [Transport::Rfb]);
        config.http.proxy_protocol = true;
        assert_eq!(config.limits().proxy_protocol, [Transport::WebSocket, Transport::Rfb]);
    }

    #[test]
    fn a_trusted_range_with_the_own_address_is_found() {
        let config = ConsoleConfig {
            trusted_proxies: ["192.0.2.10/32", "10.42.0.0/16"]
                .map(|range| range.parse().unwrap())
                .to_vec(),
            ..ConsoleConfig::default()
        };
        let found = |own: &str| {
            config
                .range_of_pods(&[own.parse().unwrap()])
                .map(|range| range.to_string())
        };
        assert_eq!(found("10.42.7.9").as_deref(), Some("10.42.0.0/16"));
        assert_eq!(found("10.43.7.9"), None);
        assert_eq!(found("2001:db8::1"), None);
    }

    #[test]
    fn the_public_url_is_an_origin_as_browsers_send_it() {
        for (url, sent) in [
            ("https://vms.example.org", "https://vms.example.org"),
            ("https://vms.example.org:443/x/", "https://vms.example.org"),
            ("https://vms.example.org:8443/", "https://vms.example.org:8443"),
            ("http://localhost:80", "http://localhost"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(origin(url), sent);
        }
        let mut config = ConsoleConfig::default();
        let endpoints = Endpoints {
            public_url: Some("https://vms.example.org/".into()),
            ..Endpoints::default()
        };
        config.http.allowed_origins.push("https://portal.example.org".into());
        let origins = config.origins(&endpoints).unwrap();
        assert_eq!(
            origins.iter().collect::<Vec<_>>(),
            ["https://portal.example.org", "https://vms.example.org"]
        );
    }

    #[test]
    fn hosts_are_found() {
        for (address, name) in [
            ("https://vms.example.org:8443/x", "vms.example.org"),
            ("vms.example.org:5900", "vms.example.org"),
            ("[2001:db8::1]:5900", "2001:db8::1"),
            ("http://[::1]", "::1"),
        ] {
            assert_eq!(host(address), name);
        }
    }
}
