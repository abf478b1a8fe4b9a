//! The `apiserver` section of the configuration file.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use novasphere_runtime::config::SOCKET_ADDRESS_PATTERN;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the aggregated API. What is common to all that carries streams is in the section `gateway`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ApiserverConfig {
    /// Where kube-apiserver reaches this server, by HTTPS. Default `0.0.0.0:9443`.
    #[schemars(with = "String", extend("pattern" = SOCKET_ADDRESS_PATTERN))]
    pub address: SocketAddr,

    /// Name of the Service that the `APIService` names; the server's certificate is for it. Default `novasphere-apiserver`.
    #[schemars(length(min = 1, max = 63))]
    pub service_name: String,

    /// A certificate from elsewhere, such as cert-manager's. Without it the server has one of novasphere's own authority, whose
    /// bundle it writes into the `APIService`.
    pub tls: TlsConfig,
}

/// Certificate and key from files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TlsConfig {
    /// A PEM file with the certificate and its issuers, for `<serviceName>.<namespace>.svc`. A changed file is used without a
    /// restart. The `APIService`'s `caBundle` is then yours to set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,

    /// A PEM file with the certificate's key. To be set together with `certificateFile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

impl ApiserverConfig {
    /// Whether the process can start with it.
    ///
    /// # Errors
    ///
    /// The setting that is wrong, with what to write.
    pub fn check(&self) -> Result<(), String> {
        if self.tls.certificate_file.is_some() != self.tls.key_file.is_some() {
            return Err("apiserver.tls: certificateFile and keyFile belong together; set both or none".to_owned());
        }
        Ok(())
    }
}

impl Default for ApiserverConfig {
    fn default() -> Self {
        Self {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9443),
            service_name: "novasphere-apiserver".to_owned(),
            tls: TlsConfig::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use novasphere_runtime::config::{open_objects, parse};

    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_chart() {
        let config: ApiserverConfig = parse("{}", "test").unwrap();
        assert_eq!(config, ApiserverConfig::default());
        assert_eq!(config.address.to_string(), "0.0.0.0:9443");
        assert_eq!(config.tls, TlsConfig::default());
    }

    #[test]
    fn misspelt_settings_are_refused() {
        assert_eq!(open_objects::<ApiserverConfig>(), Vec::<String>::new());
    }
}
