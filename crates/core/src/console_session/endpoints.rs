//! Where viewers reach novasphere, from its configuration.

use novasphere_crd::{ConsoleProtocol, SessionEndpoints};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::policy::SessionPolicy;

/// The WebSocket's path below the public URL.
pub const WEBSOCKET_PATH: &str = "/api/v1/console/ws";

/// The page's path below the public URL.
pub const PAGE_PATH: &str = "/console/";

/// What [`is_public_url`] takes, for the chart's schema.
const PUBLIC_URL_PATTERN: &str = r"^https?://[0-9A-Za-z\[][!$%&'()*+,\-./0-9:;=A-Z\[\]_a-z~]*$";

/// What [`is_host_and_port`] takes, for the chart's schema.
const VNC_ADDRESS_PATTERN: &str = r"^(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z]([0-9A-Za-z.-]*[0-9A-Za-z])?):([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$";

/// The `endpoints` section of the configuration file: the addresses under which viewers reach novasphere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Endpoints {
    /// The URL of the console gateway, as browsers reach it: `https://` (or `http://`), a host, and a port and a path if
    /// need be; such as `https://vms.example.org`. Default: unknown; then sessions and tokens carry no URLs.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "public_url")]
    #[schemars(extend("pattern" = PUBLIC_URL_PATTERN))]
    pub public_url: Option<String>,

    /// The `host:port` at which stock VNC viewers reach the console gateway, such as `vms.example.org:5900`. Default:
    /// unknown; then sessions and tokens carry none.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "vnc_address")]
    #[schemars(extend("pattern" = VNC_ADDRESS_PATTERN))]
    pub vnc_address: Option<String>,
}

impl Endpoints {
    /// The page that opens a session. The token stands in the fragment, which browsers keep to themselves.
    #[must_use]
    pub fn browser(
        &self,
        namespace: &str,
        name: &str,
        protocol: ConsoleProtocol,
        token: Option<&str>,
    ) -> Option<String> {
        let base = self.base()?;
        let token = token.map(|token| format!("token={token}&")).unwrap_or_default();
        let protocol = protocol.as_str();
        Some(format!(
            "{base}{PAGE_PATH}#{token}protocol={protocol}&session={namespace}/{name}"
        ))
    }

    /// The WebSocket, without a token.
    #[must_use]
    pub fn websocket(&self) -> Option<String> {
        let base = self.base()?;
        let rest = base.strip_prefix("http")?;
        Some(format!("ws{rest}{WEBSOCKET_PATH}"))
    }

    /// What a session's status says. Stock viewers speak RFB alone.
    #[must_use]
    pub fn session(&self, policy: &SessionPolicy) -> SessionEndpoints {
        let is_for_viewers = policy.native && policy.protocol == ConsoleProtocol::Vnc;
        SessionEndpoints {
            websocket: self.websocket(),
            vnc: self.vnc_address.clone().filter(|_| is_for_viewers),
        }
    }

    fn base(&self) -> Option<&str> {
        Some(self.public_url.as_deref()?.trim_end_matches('/'))
    }
}

fn public_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let url = Option::<String>::deserialize(deserializer)?;
    if url.as_deref().is_some_and(|url| !is_public_url(url)) {
        return Err(de::Error::custom(
            "publicUrl must be https:// or http:// and a host, such as https://vms.example.org, without a query or a fragment",
        ));
    }
    Ok(url)
}

fn is_public_url(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let has_host =
        rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '['));
    has_host
        && url
            .chars()
            .all(|character| character.is_ascii_graphic() && !"?#\"<>\\^`{|}@".contains(character))
}

fn vnc_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let address = Option::<String>::deserialize(deserializer)?;
    if address.as_deref().is_some_and(|address| !is_host_and_port(address)) {
        return Err(de::Error::custom(
            "vncAddress must be a host and a port, such as vms.example.org:5900 or [2001:db8::1]:5900",
        ));
    }
    Ok(address)
}

fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_is_good = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => crate::name::DnsSubdomain::parse(&host.to_ascii_lowercase()).is_ok(),
    };
    host_is_good && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests;
