//! Who people are: the providers of identities.

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
    pub fn check(&self) -> Result<(), String> {
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
        Ok(())
    }
}

impl Default for IdentityConfig {
    fn default() -> Self {
        Self {
            token_lifetime: Duration::from_mins(10),
            login_lifetime: Duration::from_hours(24),
            local: LocalUsersConfig::default(),
            kubernetes: KubernetesTokenConfig::default(),
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
