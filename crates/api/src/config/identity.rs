//! Who people are: the providers of identities.

use std::path::PathBuf;

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

    /// An LDAP directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ldap: Option<LdapConfig>,

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

/// An LDAP directory. A connection is always under TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LdapConfig {
    /// `ldaps://host:port`, or `ldap://host:port` for `StartTLS`.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,

    /// A PEM file with the authorities of its certificate. Default: those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,

    /// Who searches. Default: nobody in particular.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind_dn: Option<String>,

    /// A file with the password of `bindDn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind_password_file: Option<PathBuf>,

    /// Where users are, such as `ou=people,dc=example,dc=org`.
    #[schemars(length(min = 1, max = 1024))]
    pub user_base: String,

    /// Finds a user; `{user}` stands for the escaped name. Default `(uid={user})`.
    #[serde(default = "LdapConfig::default_user_filter")]
    #[schemars(length(min = 1, max = 1024))]
    pub user_filter: String,

    /// The attribute with the user's name. Default `uid`.
    #[serde(default = "LdapConfig::default_user_attribute")]
    #[schemars(length(min = 1, max = 64))]
    pub user_attribute: String,

    /// Where groups are. Default: users have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_base: Option<String>,

    /// Finds the groups of a user; `{dn}` and `{user}` stand for the escaped DN and name. Default `(member={dn})`.
    #[serde(default = "LdapConfig::default_group_filter")]
    #[schemars(length(min = 1, max = 1024))]
    pub group_filter: String,

    /// The attribute with a group's name. Default `cn`.
    #[serde(default = "LdapConfig::default_group_attribute")]
    #[schemars(length(min = 1, max = 64))]
    pub group_attribute: String,

    /// Before the names of users and groups in Kubernetes. Default `ldap:`.
    #[serde(default = "LdapConfig::default_prefix")]
    #[schemars(length(min = 1, max = 64))]
    pub prefix: String,
}

/// Tenants: the namespaces labelled `novasphere.io/tenant=<id>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TenantsConfig {
    /// Whether a login has to name one. Default `false`.
    pub required: bool,

    /// Before the ID of a tenant in the group that its members have, such as `novasphere:tenant:`; the group counts as Kubernetes knows it. Default
    /// `novasphere:tenant:`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub group_prefix: Option<String>,
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
}

impl LdapConfig {
    fn default_user_filter() -> String {
        "(uid={user})".to_owned()
    }

    fn default_user_attribute() -> String {
        "uid".to_owned()
    }

    fn default_group_filter() -> String {
        "(member={dn})".to_owned()
    }

    fn default_group_attribute() -> String {
        "cn".to_owned()
    }

    fn default_prefix() -> String {
        "ldap:".to_owned()
    }
}

impl TenantsConfig {
    /// [`Self::group_prefix`] or its default.
    #[must_use]
    pub fn group_prefix(&self) -> &str {
        self.group_prefix.as_deref().unwrap_or("novasphere:tenant:")
    }
}

impl IdentityConfig {
    /// Whether people can sign in with it.
    ///
    /// # Errors
    ///
    /// The setting that is wrong, with what to write.
    pub fn check(&self, public_url: Option<&str>) -> Result<(), String> {
        let _ = public_url;
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
            oidc: Vec::new(),
            ldap: None,
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
