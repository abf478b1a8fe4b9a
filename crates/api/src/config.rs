//! The `api` section of the configuration file.

mod desktops;
mod identity;
mod limits;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use novasphere_crd::Cidr;
use novasphere_runtime::config::SOCKET_ADDRESS_PATTERN;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    desktops::DesktopsConfig,
    identity::{IdentityConfig, KubernetesTokenConfig, LocalUsersConfig, OidcConfig, TenantsConfig},
    limits::RequestLimitsConfig,
};
use crate::time::AnswerTimeZone;

/// Settings of the REST API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ApiConfig {
    /// Where it listens, by HTTPS unless `plain` is set. Default `0.0.0.0:8444`.
    #[schemars(with = "String", extend("pattern" = SOCKET_ADDRESS_PATTERN))]
    pub address: SocketAddr,

    /// Serve HTTP without TLS, behind a proxy that has it. Default `false`.
    pub plain: bool,

    /// A certificate from elsewhere. Without it the server has one of novasphere's own authority.
    pub tls: ApiTlsConfig,

    /// The URL of this API as browsers reach it, without `/api/v1`, such as `https://vms.example.org`. Providers of `OpenID` Connect send people back to
    /// it, and its pages may call; cookies are `Secure` when it is `https`. Default: unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub public_url: Option<String>,

    /// The IANA name of the zone of times in answers. Default `UTC`.
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,

    /// Origins of pages that may call this API from browsers, such as `https://portal.example.org`. Default: none but its own. At most 32.
    #[schemars(length(max = 32))]
    pub allowed_origins: Vec<String>,

    /// Let pages of `allowedOrigins` show the user interface in a frame: cookies are then `SameSite=None; Partitioned`. Default `false`.
    pub embedding: bool,

    /// Addresses of proxies, such as a gateway's, whose `X-Forwarded-For` tells where clients are. Default: none. At most 64.
    #[schemars(length(max = 64))]
    pub trusted_proxies: Vec<Cidr>,

    /// Who people are.
    pub identity: IdentityConfig,

    /// Desktops that people make for themselves.
    pub desktops: DesktopsConfig,

    /// How often somebody may ask.
    pub limits: RequestLimitsConfig,
}

/// Certificate and key from files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ApiTlsConfig {
    /// A PEM file with the certificate and its issuers. A changed file is used without a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,

    /// A PEM file with the certificate's key. To be set together with `certificateFile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,

    /// More names of the certificate of novasphere's own authority. Default: none. At most 16.
    #[schemars(length(max = 16))]
    pub names: Vec<String>,
}

impl ApiConfig {
    /// Whether the process can start with it.
    ///
    /// # Errors
    ///
    /// The setting that is wrong, with what to write.
    pub fn check(&self) -> Result<(), String> {
        if self.tls.certificate_file.is_some() != self.tls.key_file.is_some() {
            return Err("api.tls: certificateFile and keyFile belong together; set both or none".to_owned());
        }
        if AnswerTimeZone::named(&self.time_zone).is_none() {
            return Err(format!(
                "api.timeZone: {:?} is no zone of the IANA database; write one such as UTC or Asia/Shanghai",
                self.time_zone
            ));
        }
        if let Some(url) = &self.public_url
            && !url.starts_with("https://")
            && !url.starts_with("http://")
        {
            return Err(format!("api.publicUrl: {url:?} must begin with https:// or http://"));
        }
        for origin in &self.allowed_origins {
            if !is_origin(origin) {
                return Err(format!(
                    "api.allowedOrigins: {origin:?} is no origin; write scheme, host and port alone, such as https://portal.example.org"
                ));
            }
        }
        self.identity.check(self.public_url.as_deref())
    }

    /// Whether cookies are sent over TLS alone.
    #[must_use]
    pub fn has_secure_cookies(&self) -> bool {
        !self.plain
            || self
                .public_url
                .as_deref()
                .is_some_and(|url| url.starts_with("https://"))
    }
}

/// RFC 6454, 6.2: scheme, host and port, without a path.
fn is_origin(origin: &str) -> bool {
    let rest = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"));
    rest.is_some_and(|host| {
        !host.is_empty()
            && host
                .chars()
                .all(|character| character.is_ascii_alphanumeric() || ".-:[]".contains(character))
    })
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8444),
            plain: false,
            tls: ApiTlsConfig::default(),
            public_url: None,
            time_zone: "UTC".to_owned(),
            allowed_origins: Vec::new(),
            embedding: false,
            trusted_proxies: Vec::new(),
            identity: IdentityConfig::default(),
            desktops: DesktopsConfig::default(),
            limits: RequestLimitsConfig::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use novasphere_runtime::config::{open_objects, parse};

    use super::*;

    #[test]
    fn an_empty_section_has_the_defaults() {
        let config: ApiConfig = parse("{}", "test").unwrap();
        assert_eq!(config, ApiConfig::default());
        config.check().unwrap();
        assert!(config.has_secure_cookies());
    }

    #[test]
    fn misspelt_settings_are_refused() {
        assert_eq!(open_objects::<ApiConfig>(), Vec::<String>::new());
    }

    #[test]
    fn wrong_settings_are_named() {
        for (text, word) in [
            ("timeZone: Mars/Base", "api.timeZone"),
            ("allowedOrigins: ['https://a.example/x']", "api.allowedOrigins"),
            ("publicUrl: vms.example.org", "api.publicUrl"),
            ("tls: {keyFile: /k}", "api.tls"),
        ] {
            let config: ApiConfig = parse(text, "test").unwrap();
            let error = config.check().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
