//! A login, as all replicas know it: an entry of a Secret. It counts while the entry is there.

use std::collections::BTreeMap;

use jiff::Timestamp;
use novasphere_runtime::access::UserInfo;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::caller::TenantId;

/// The ID of a login: 32 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LoginId(pub String);

impl LoginId {
    /// A new one.
    #[must_use]
    pub fn generate() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    /// Reads one that a client sent.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 32 && text.bytes().all(is_hex)).then(|| Self(text.to_owned()))
    }

    /// The value of the label that consoles of this login have. Who reads the label learns no ID.
    #[must_use]
    pub fn console_label(&self) -> String {
        let digest = Sha256::digest(format!("novasphere console {}", self.0));
        base16ct::lower::encode_string(&digest).chars().take(32).collect()
    }
}

/// What the provider calls the login, so that it can end it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderSession {
    /// Its issuer.
    pub issuer: String,
    /// Its name of the user.
    pub subject: String,
    /// Its ID of the session, when it gives one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session: Option<String>,
}

/// What is kept of a login. There is no secret in it but a hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoginRecord {
    /// The user as Kubernetes knows them.
    pub user: String,
    /// Their groups there.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub groups: Vec<String>,
    /// Their UID there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uid: Option<String>,
    /// What else the authenticator said of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub extra: BTreeMap<String, Vec<String>>,
    /// For people.
    pub display_name: String,
    /// Who vouched: `local`, `kubernetes`, or the name of a provider.
    pub provider: String,
    /// The login there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub provider_session: Option<ProviderSession>,
    /// The tenant that it is for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tenant: Option<String>,
    /// Whether requests carry a token of the user's own, which is sealed in the session token.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub has_own_token: bool,
    /// The uses of refresh tokens.
    pub generation: u32,
    /// Of the secret in the present refresh token, hex.
    pub refresh_sha256: String,
    /// When it began.
    pub created: Timestamp,
    /// When it ends at the latest.
    pub expires: Timestamp,
    /// Where it was made.
    pub client: String,
}

impl LoginRecord {
    /// The user.
    #[must_use]
    pub fn user_info(&self) -> UserInfo {
        UserInfo {
            name: self.user.clone(),
            uid: self.uid.clone(),
            groups: self.groups.clone(),
            extra: self.extra.clone(),
        }
    }

    /// The tenant.
    #[must_use]
    pub fn tenant_id(&self) -> Option<TenantId> {
        self.tenant.clone().map(TenantId)
    }

    /// Whether a refresh token is the present one.
    #[must_use]
    pub fn takes(&self, generation: u32, secret: &str) -> bool {
        let hash = refresh_hash(secret);
        self.generation == generation && bool::from(hash.as_bytes().ct_eq(self.refresh_sha256.as_bytes()))
    }

    /// As it is stored.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads what was stored; `None` for what is spoilt.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// What is kept of a refresh token's secret.
#[must_use]
pub fn refresh_hash(secret: &str) -> String {
    base16ct::lower::encode_string(&Sha256::digest(secret))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn record(user: &str) -> LoginRecord {
        LoginRecord {
            user: user.to_owned(),
            groups: vec!["novasphere:ops".to_owned()],
            uid: None,
            extra: BTreeMap::new(),
            display_name: user.to_owned(),
            provider: "local".to_owned(),
            provider_session: None,
            tenant: None,
            has_own_token: false,
            generation: 3,
            refresh_sha256: refresh_hash("secret"),
            created: Timestamp::UNIX_EPOCH,
            expires: Timestamp::MAX,
            client: "192.0.2.1".to_owned(),
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_is_small() {
        let record = record("novasphere:ann");
        assert_eq!(LoginRecord::read(&record.write()).unwrap(), record);
        assert!(record.write().len() < 400, "{}", record.write().len());
        assert_eq!(LoginRecord::read(b"{}"), None);
    }

    #[test]
    fn only_the_present_refresh_token_is_taken() {
        let record = record("ann");
        assert!(record.takes(3, "secret"));
        assert!(!record.takes(2, "secret"));
        assert!(!record.takes(3, "other"));
    }

    #[test]
    fn ids_are_hex() {
        let id = LoginId::generate();
        assert_eq!(LoginId::parse(&id.0), Some(id.clone()));
        assert_eq!(LoginId::parse("../x"), None);
        assert_ne!(id.console_label(), id.0);
        assert_eq!(id.console_label().len(), 32);
    }
}
