//! Who people are: the providers of identities.

use std::{collections::BTreeSet, net::IpAddr, path::PathBuf};

use novasphere_crd::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where identities come from, and how long a login is good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct IdentityConfig {
    /// Life of the token that each request carries. At most 15 minutes. Default `10m`.
    pub token_lifetime: Duration,

    /// Life of a login: as long as its refresh token is renewed, but no longer than this. At most 30 days. Default `24h`.
    pub login_lifetime: Duration,

    /// Users of a Secret.
    pub local: LocalUsersConfig,

    /// Tokens of Kubernetes itself.
    pub kubernetes: KubernetesTokenConfig,

    /// `OpenID` Connect providers. At most 8.
    #[schemars(length(max = 8))]
    pub oidc: Vec<OidcConfig>,

    /// Tenants.
    pub tenants: TenantsConfig,
}

/// Users in the Secret `novasphere-users`, made by `novasphere user add`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LocalUsersConfig {
    /// Whether they may sign in. Default `true`.
    pub enabled: bool,

    /// Before the names of users and groups in Kubernetes. Default `novasphere:`.
    #[schemars(length(min = 1, max = 64))]
    pub prefix: String,
}

/// Bearer tokens that kube-apiserver itself accepts: of service accounts, or of an issuer that it trusts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KubernetesTokenConfig {
    /// Whether they are taken. Default `true`.
    pub enabled: bool,
}

/// An `OpenID` Connect provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OidcConfig {
    /// Its name here, in paths and in the UI: letters, digits and `-`. At most 32 characters.
    #[schemars(length(min = 1, max = 32))]
    pub name: String,

    /// What people read on the button. Default: the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub display_name: Option<String>,

    /// The issuer, as it stands in `iss`. Its discovery document is below it. `https`, but on a loopback address.
    #[schemars(length(min = 1, max = 2048))]
    pub issuer: String,

    /// The client at the provider.
    #[schemars(length(min = 1, max = 256))]
    pub client_id: String,

    /// A file with the client's secret; absent for a public client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_file: Option<PathBuf>,

    /// A PEM file with the authorities of the provider's certificate. Default: those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,

    /// Scopes beside `openid`. Default `profile`, `groups`. At most 16.
    #[serde(default = "OidcConfig::default_scopes")]
    #[schemars(length(max = 16))]
    pub scopes: Vec<String>,

    /// The claim with the user's name. Default `preferred_username`; `sub` is the one that a provider never gives to somebody else.
    #[serde(default = "OidcConfig::default_user_claim")]
    #[schemars(length(min = 1, max = 64))]
    pub user_claim: String,

    /// The claim with the groups. Default `groups`.
    #[serde(default = "OidcConfig::default_groups_claim")]
    #[schemars(length(min = 1, max = 64))]
    pub groups_claim: String,

    /// The claim with the tenants that the user belongs to. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub tenants_claim: Option<String>,

    /// Before the names of users and groups in Kubernetes, such as `oidc:`. Not empty, unless `passThrough` is set.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub prefix: String,

    /// kube-apiserver trusts this issuer too, and its ID tokens are handed on. Default `false`: users are impersonated.
    #[serde(default)]
    pub pass_through: bool,
}

/// Tenants: the namespaces labelled `novasphere.io/tenant=<id>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TenantsConfig {
    /// Whether a login has to name one. Default `false`.
    pub required: bool,
}

/// The longest life of a token: a right that was withdrawn is noticed with each request, but a login's end by its record, so this is for clients that
/// lose their token.
const TOKEN_LIFETIME_LIMIT: Duration = Duration::from_mins(15);

/// The longest life of a login.
const LOGIN_LIFETIME_LIMIT: Duration = Duration::from_hours(24 * 30);

impl IdentityConfig {
    /// Whether people can sign in with it.
    ///
    /// # Errors
    ///
    /// The setting that is wrong, with what to write.
    pub fn check(&self, public_url: Option<&str>) -> Result<(), String> {
        let within = |setting: &str, value: Duration, limit: Duration| {
            if value >= Duration::from_mins(1) && value <= limit {
                Ok(())
            } else {
                Err(format!("api.identity.{setting}: {value} must be from 1m to {limit}"))
            }
        };
        within("tokenLifetime", self.token_lifetime, TOKEN_LIFETIME_LIMIT)?;
        within("loginLifetime", self.login_lifetime, LOGIN_LIFETIME_LIMIT)?;
        if self.local.prefix.is_empty() || self.local.prefix.starts_with("system:") {
            return Err(
                "api.identity.local.prefix: it must not be empty or begin with system:, or local users would be users of others".to_owned(),
            );
        }
        if !self.oidc.is_empty() && public_url.is_none() {
            return Err("api.identity.oidc: providers send people back to api.publicUrl; set it".to_owned());
        }
        let mut names = BTreeSet::new();
        for provider in &self.oidc {
            provider.check()?;
            if !names.insert(&provider.name) {
                return Err(format!(
                    "api.identity.oidc: two providers have the name {:?}",
                    provider.name
                ));
            }
        }
        Ok(())
    }
}

impl OidcConfig {
    fn default_scopes() -> Vec<String> {
        vec!["profile".to_owned(), "groups".to_owned()]
    }

    fn default_user_claim() -> String {
        "preferred_username".to_owned()
    }

    fn default_groups_claim() -> String {
        "groups".to_owned()
    }

    fn check(&self) -> Result<(), String> {
        let wrong = |setting: &str, why: &str| Err(format!("api.identity.oidc {}: {setting}: {why}", self.name));
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !self.name.bytes().all(is_name) {
            return wrong("name", "it stands in paths; write lower-case letters, digits and '-'");
        }
        if ["local", "kubernetes"].contains(&self.name.as_str()) {
            return wrong("name", "logins without a provider have this name; choose another one");
        }
        if !is_safe_url(&self.issuer) {
            return wrong("issuer", "it must begin with https://, or be on a loopback address");
        }
        if self.prefix.is_empty() && !self.pass_through {
            return wrong(
                "prefix",
                "without one its users would be users of others; write one such as corp:",
            );
        }
        if self.prefix.starts_with("system:") {
            return wrong("prefix", "names that begin with system: are Kubernetes' own");
        }
        Ok(())
    }
}

/// Whether what is sent to a URL can be read by nobody else on the way.
fn is_safe_url(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else {
        return url.starts_with("https://");
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

impl Default for IdentityConfig {
    fn default() -> Self {
        Self {
            token_lifetime: Duration::from_mins(10),
            login_lifetime: Duration::from_hours(24),
            local: LocalUsersConfig::default(),
            kubernetes: KubernetesTokenConfig::default(),
            oidc: Vec::new(),
            tenants: TenantsConfig::default(),
        }
    }
}

impl Default for LocalUsersConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            prefix: "novasphere:".to_owned(),
        }
    }
}

impl Default for KubernetesTokenConfig {
    fn default() -> Self {
        Self { enabled: true }
    }
}
