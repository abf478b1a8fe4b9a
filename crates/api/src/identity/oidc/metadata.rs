//! What a provider says of itself: its endpoints and keys, as it has them now.

use jsonwebtoken::jwk::{Jwk, JwkSet};
use serde::Deserialize;
use tokio::{
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::identity::provider_http::{ProviderError, ProviderHttp};

/// The age that the document may have.
const METADATA_TTL: Duration = Duration::from_hours(1);

/// Between two looks for a key that is not known: a token can name any.
const KEYS_INTERVAL: Duration = Duration::from_secs(10);

/// The age that keys may have: a key that a provider has withdrawn must not be good for ever.
const KEYS_TTL: Duration = Duration::from_mins(10);

/// Keys of a provider that are looked at.
const KEYS_LIMIT: usize = 64;

/// `OpenID` Connect Discovery 1.0, section 3.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) issuer: String,
    pub(super) authorization_endpoint: String,
    pub(super) token_endpoint: String,
    pub(super) jwks_uri: String,
    #[serde(default)]
    pub(super) device_authorization_endpoint: Option<String>,
    #[serde(default)]
    pub(super) end_session_endpoint: Option<String>,
}

/// The documents of a provider, asked for when they are needed.
pub(super) struct MetadataCache {
    issuer: String,
    http: ProviderHttp,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    metadata: Option<(Instant, Metadata)>,
    keys: Option<(Instant, JwkSet)>,
    asked_for_keys: Option<Instant>,
}

impl MetadataCache {
    pub(super) fn new(issuer: String, http: ProviderHttp) -> Self {
        Self {
            issuer,
            http,
            known: Mutex::default(),
        }
    }

    /// Its endpoints.
    pub(super) async fn metadata(&self) -> Result<Metadata, ProviderError> {
        let mut known = self.known.lock().await;
        self.look(&mut known).await
    }

    /// The key with an ID, or the only one; `None` when there is none now.
    pub(super) async fn key(&self, kid: Option<&str>) -> Result<Option<Jwk>, ProviderError> {
        let mut known = self.known.lock().await;
        let is_fresh = known.keys.as_ref().is_some_and(|(at, _)| at.elapsed() < KEYS_TTL);
        if is_fresh && let Some(found) = known.keys.as_ref().and_then(|(_, keys)| find(keys, kid)) {
            return Ok(Some(found));
        }
        let may_ask = known.asked_for_keys.is_none_or(|at| at.elapsed() >= KEYS_INTERVAL);
        if may_ask {
            known.asked_for_keys = Some(Instant::now());
            let metadata = self.look(&mut known).await?;
            let mut keys: JwkSet = self.http.get(&metadata.jwks_uri).await?;
            keys.keys.truncate(KEYS_LIMIT);
            known.keys = Some((Instant::now(), keys));
        }
        Ok(known.keys.as_ref().and_then(|(_, keys)| find(keys, kid)))
    }

    async fn look(&self, known: &mut Known) -> Result<Metadata, ProviderError> {
        if let Some((at, metadata)) = &known.metadata
            && at.elapsed() < METADATA_TTL
        {
            return Ok(metadata.clone());
        }
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let metadata: Metadata = self.http.get(&url).await?;
        // Discovery, 4.3: another issuer could speak for this one otherwise.
        if metadata.issuer != self.issuer {
            return Err(ProviderError::Invalid(format!("its issuer is {:?}", metadata.issuer)));
        }
        known.metadata = Some((Instant::now(), metadata.clone()));
        Ok(metadata)
    }
}

fn find(keys: &JwkSet, kid: Option<&str>) -> Option<Jwk> {
    match (kid, keys.keys.as_slice()) {
        (Some(kid), keys) => keys
            .iter()
            .find(|key| key.common.key_id.as_deref() == Some(kid))
            .cloned(),
        (None, [only]) => Some(only.clone()),
        (None, _) => None,
    }
}
