//! `OpenID` Connect providers: who somebody is, by the word of another server.
//!
//! A thin relying party on `jsonwebtoken`. The crate `openidconnect` would bring rsa 0.9 (RUSTSEC-2023-0071) and a dozen second versions of what the
//! program has; go back to it when it has dropped them.

mod flow;
mod handlers;
mod id_token;
mod metadata;

use std::{collections::HashMap, sync::Arc};

use novasphere_runtime::access::UserInfo;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio::time::{Duration, Instant};

pub(crate) use self::handlers::routes;
use self::{id_token::Purpose, metadata::MetadataCache};
use super::{
    VerifiedUser,
    provider_http::{ProviderError, ProviderHttp, ProviderSetupError},
};
use crate::{
    caller::TenantId,
    code::Code,
    config::OidcConfig,
    error::{ApiError, ApiResult},
    login::ProviderSession,
};

/// Logout tokens that are remembered, so that none counts twice.
const LOGOUT_IDS_LIMIT: usize = 10_000;

/// How long they are remembered: longer than a logout token is good.
const LOGOUT_ID_TTL: Duration = Duration::from_mins(30);

/// Groups of a user that are taken.
const GROUPS_LIMIT: usize = 256;

/// The providers by name. Clones share what is known of them.
#[derive(Clone, Default)]
pub struct OidcProviders(Arc<Vec<OidcProvider>>);

/// A provider.
pub struct OidcProvider {
    config: OidcConfig,
    client_secret: Option<String>,
    http: ProviderHttp,
    metadata: MetadataCache,
    logout_ids: Mutex<HashMap<String, Instant>>,
}

/// Why a provider cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("api.identity.oidc {name}: {message}")]
pub struct OidcSetupError {
    name: String,
    message: String,
}

impl OidcProviders {
    /// The providers of the configuration. None is asked before somebody comes.
    ///
    /// # Errors
    ///
    /// [`OidcSetupError`] when a file of one cannot be used.
    pub fn new(configs: &[OidcConfig]) -> Result<Self, OidcSetupError> {
        let providers = configs.iter().map(|config| {
            OidcProvider::new(config).map_err(|message| OidcSetupError {
                name: config.name.clone(),
                message,
            })
        });
        Ok(Self(Arc::new(providers.collect::<Result<_, _>>()?)))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &OidcProvider> {
        self.0.iter()
    }

    /// The provider with a name.
    ///
    /// # Errors
    ///
    /// [`Code::NOT_FOUND`].
    pub fn find(&self, name: &str) -> ApiResult<&OidcProvider> {
        let found = self.0.iter().find(|provider| provider.config.name == name);
        found.ok_or(ApiError::new(Code::NOT_FOUND))
    }

    /// Whose ID token this is, and whether it is handed on; `None` for a token of another issuer.
    ///
    /// # Errors
    ///
    /// [`Code::TOKEN_INVALID`], [`Code::TOKEN_EXPIRED`], [`Code::PROVIDER_FAILED`].
    pub async fn bearer(&self, token: &str) -> ApiResult<Option<(VerifiedUser, bool)>> {
        let Some(issuer) = id_token::issuer(token) else {
            return Ok(None);
        };
        let Some(provider) = self.0.iter().find(|provider| provider.config.issuer == issuer) else {
            return Ok(None);
        };
        let claims = provider.verify(token, &Purpose::Bearer).await?;
        Ok(Some((provider.user(&claims)?, provider.config.pass_through)))
    }
}

impl OidcProvider {
    fn new(config: &OidcConfig) -> Result<Self, String> {
        let secret = match &config.client_secret_file {
            Some(file) => {
                let text = std::fs::read_to_string(file);
                let text = text.map_err(|error| format!("clientSecretFile {}: {error}", file.display()))?;
                Some(text.trim_end().to_owned())
            }
            None => None,
        };
        let http = ProviderHttp::new(config.ca_file.as_deref());
        let http = http.map_err(|error: ProviderSetupError| error.to_string())?;
        Ok(Self {
            metadata: MetadataCache::new(config.issuer.clone(), http.clone()),
            http,
            client_secret: secret,
            config: config.clone(),
            logout_ids: Mutex::default(),
        })
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &OidcConfig {
        &self.config
    }

    /// The claims of a token of this provider, with a key that it shows now.
    async fn verify(&self, token: &str, purpose: &Purpose<'_>) -> ApiResult<Map<String, Value>> {
        let kid = id_token::key_id(token)?;
        let key = self
            .metadata
            .key(kid.as_deref())
            .await
            .map_err(|error| self.failed(&error))?;
        let key = key.ok_or(ApiError::new(Code::TOKEN_INVALID))?;
        id_token::verify(token, &key, &self.config, purpose)
    }

    /// The user of a token's claims.
    fn user(&self, claims: &Map<String, Value>) -> ApiResult<VerifiedUser> {
        let config = &self.config;
        let name = claims
            .get(&config.user_claim)
            .and_then(Value::as_str)
            .unwrap_or_default();
        // An address that nobody has proven is anybody's.
        let is_unproven = config.user_claim == "email" && claims.get("email_verified") == Some(&Value::Bool(false));
        if name.is_empty() || is_unproven {
            return Err(ApiError::with(
                Code::FORBIDDEN,
                format!(
                    "the provider's token has no {:?}, or one that is not verified",
                    config.user_claim
                ),
            ));
        }
        let prefixed = |name: &str| format!("{}{name}", config.prefix);
        let groups = texts(claims.get(&config.groups_claim));
        let tenants = config
            .tenants_claim
            .as_ref()
            .map(|claim| texts(claims.get(claim)))
            .unwrap_or_default();
        let user = UserInfo {
            name: prefixed(name),
            groups: groups.iter().take(GROUPS_LIMIT).map(|group| prefixed(group)).collect(),
            ..UserInfo::default()
        };
        let is_reserved = |name: &String| name.starts_with("system:");
        if !config.pass_through && (is_reserved(&user.name) || user.groups.iter().any(is_reserved)) {
            return Err(ApiError::new(Code::FORBIDDEN));
        }
        Ok(VerifiedUser {
            user,
            display_name: name.to_owned(),
            tenants: tenants.into_iter().map(TenantId).collect(),
            provider: config.name.clone(),
        })
    }

    /// The login there.
    fn session(&self, claims: &Map<String, Value>) -> Option<ProviderSession> {
        Some(ProviderSession {
            issuer: self.config.issuer.clone(),
            subject: claims.get("sub")?.as_str()?.to_owned(),
            session: claims.get("sid").and_then(Value::as_str).map(str::to_owned),
        })
    }

    /// Whether a logout token comes for the first time.
    fn is_first(&self, id: &str) -> bool {
        let mut ids = self.logout_ids.lock();
        ids.retain(|_, seen| seen.elapsed() < LOGOUT_ID_TTL);
        ids.len() < LOGOUT_IDS_LIMIT && ids.insert(id.to_owned(), Instant::now()).is_none()
    }

    fn failed(&self, error: &ProviderError) -> ApiError {
        tracing::warn!(provider = self.config.name, %error, "an identity provider does not answer as it should");
        ApiError::with(
            Code::PROVIDER_FAILED,
            format!("the provider {}: {error}", self.config.name),
        )
    }
}

/// A claim that is a text or a list of texts: providers have both.
fn texts(claim: Option<&Value>) -> Vec<String> {
    match claim {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => many.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    pub(crate) fn config(issuer: &str) -> OidcConfig {
        serde_json::from_value(json!({"name": "corp", "issuer": issuer, "clientId": "novasphere", "prefix": "corp:"}))
            .unwrap()
    }

    fn user(claims: &Value) -> ApiResult<VerifiedUser> {
        // The platform's authorities are asked for when a client is made.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let provider = OidcProvider::new(&config("https://idp.example.org")).unwrap();
        provider.user(claims.as_object().unwrap())
    }

    #[test]
    fn names_have_the_prefix_of_the_provider() {
        let found = user(&json!({"preferred_username": "张伟", "groups": ["ops", 1]})).unwrap();
        assert_eq!(found.user.name, "corp:张伟");
        assert_eq!(found.user.groups, ["corp:ops"]);
        assert_eq!(found.provider, "corp");
        let one = user(&json!({"preferred_username": "ann", "groups": "ops"})).unwrap();
        assert_eq!(one.user.groups, ["corp:ops"]);
        assert_eq!(user(&json!({"sub": "1"})).unwrap_err().code, Code::FORBIDDEN);
    }

    #[test]
    fn a_logout_token_counts_once() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let provider = OidcProvider::new(&config("https://idp.example.org")).unwrap();
        assert!(provider.is_first("a"));
        assert!(!provider.is_first("a"));
        assert!(provider.is_first("b"));
    }
}
