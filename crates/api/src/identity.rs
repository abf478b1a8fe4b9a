//! Who people are: the providers that vouch for them.

pub mod authenticate;
pub mod kubernetes_token;
pub mod local;
pub mod oidc;
pub mod password;
pub mod provider_http;
pub mod throttle;

use novasphere_runtime::access::UserInfo;

pub use self::authenticate::authenticate;
pub(crate) use self::oidc::routes;
use self::{kubernetes_token::KubernetesTokens, local::LocalUsers, oidc::OidcProviders, throttle::LoginThrottle};
use crate::{caller::TenantId, login::LoginRecord};

/// Somebody whose name and password, or whose provider's word, were good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedUser {
    /// The user as Kubernetes knows them.
    pub user: UserInfo,
    /// For people.
    pub display_name: String,
    /// Tenants that the user may choose.
    pub tenants: Vec<TenantId>,
    /// Who vouches.
    pub provider: String,
}

/// The providers.
pub struct IdentityProviders {
    /// Users of a Secret; `None` when they are switched off.
    pub local: Option<LocalUsers>,
    /// Tokens of Kubernetes.
    pub kubernetes: KubernetesTokens,
    /// `OpenID` Connect providers.
    pub oidc: OidcProviders,
    /// Wrong passwords.
    pub throttle: LoginThrottle,
}

impl IdentityProviders {
    /// Whether the provider of a login still knows its user. Only the one of ours can be asked.
    #[must_use]
    pub fn vouches_for(&self, record: &LoginRecord) -> bool {
        record.provider != local::PROVIDER
            || self
                .local
                .as_ref()
                .is_some_and(|users| users.is_active(&record.display_name))
    }
}
