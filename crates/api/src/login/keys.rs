//! The keys that sign session tokens and seal what browsers and clients keep for us.
//!
//! They are in one Secret, and every replica watches it. A signing key is announced ten minutes before it signs, so that every replica, and every gateway that
//! reads the JWKS, knows it before it meets it; the old one stays until the last token of it has expired.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey},
    digest, hmac,
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How long a key signs.
const SIGNING_PERIOD: SignedDuration = SignedDuration::from_hours(24 * 30);

/// From a key's announcement until it signs.
const ANNOUNCEMENT: SignedDuration = SignedDuration::from_mins(10);

/// How long a key is known after its successor has begun to sign: longer than any token lives.
const AFTERLIFE: SignedDuration = SignedDuration::from_mins(30);

/// Bytes of a nonce of AES-GCM, which stands before what is sealed.
const NONCE_BYTES: usize = 12;

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// What is in the Secret is not what was written.
    #[error(
        "the Secret with the keys of logins is spoilt: {0}; empty it, and new keys are made, which ends all logins"
    )]
    Spoilt(String),
    /// The cryptography refuses.
    #[error("no key can be made")]
    Cryptography,
}

/// All keys, as they are stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredKeys {
    /// Seals and authenticates: 32 bytes, base64url.
    seal: String,
    /// By the time from which they sign.
    signing: Vec<StoredKey>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredKey {
    kid: String,
    signs_from: Timestamp,
    /// PKCS#8, base64url.
    private: String,
}

/// The keys in use.
pub struct LoginKeys {
    stored: StoredKeys,
    signing: Vec<SigningKey>,
    seal: RandomizedNonceKey,
    authenticate: hmac::Key,
}

/// A key of tokens.
pub struct SigningKey {
    /// Its ID.
    pub kid: String,
    signs_from: Timestamp,
    public: Vec<u8>,
    /// Signs.
    pub encoding: EncodingKey,
    /// Verifies.
    pub decoding: DecodingKey,
}

impl LoginKeys {
    /// New keys, the first of which signs at once.
    ///
    /// # Errors
    ///
    /// [`KeyError::Cryptography`].
    pub fn generate(now: Timestamp) -> Result<Self, KeyError> {
        let seal: [u8; 32] = rand::random();
        Self::of(StoredKeys {
            seal: URL_SAFE_NO_PAD.encode(seal),
            signing: vec![new_key(now)?],
        })
    }

    /// Reads what [`write`](Self::write) wrote.
    ///
    /// # Errors
    ///
    /// [`KeyError::Spoilt`].
    pub fn read(bytes: &[u8]) -> Result<Self, KeyError> {
        let stored = serde_json::from_slice(bytes).map_err(|error| KeyError::Spoilt(error.to_string()))?;
        Self::of(stored)
    }

    /// What is stored.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        serde_json::to_vec(&self.stored).unwrap_or_default()
    }

    fn of(stored: StoredKeys) -> Result<Self, KeyError> {
        let spoilt = |what: &str| KeyError::Spoilt(what.to_owned());
        let seal = URL_SAFE_NO_PAD.decode(&stored.seal).map_err(|_| spoilt("seal"))?;
        let sealing = RandomizedNonceKey::new(&AES_256_GCM, &seal).map_err(|_| spoilt("seal"))?;
        let signing: Vec<SigningKey> = stored.signing.iter().map(SigningKey::of).collect::<Result<_, _>>()?;
        if signing.is_empty() {
            return Err(spoilt("no signing key"));
        }
        // Another key for another purpose, from the same secret.
        let derived = digest::digest(&digest::SHA256, &[b"novasphere csrf", seal.as_slice()].concat());
        Ok(Self {
            stored,
            signing,
            seal: sealing,
            authenticate: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()),
        })
    }

    /// The keys after what is due at `now`; `None` when nothing is.
    ///
    /// # Errors
    ///
    /// [`KeyError::Cryptography`].
    pub fn rotated(&self, now: Timestamp) -> Result<Option<Self>, KeyError> {
        let mut stored = self.stored.clone();
        let newest = stored.signing.iter().map(|key| key.signs_from).max();
        if newest.is_none_or(|newest| now > newest + SIGNING_PERIOD) {
            stored.signing.push(new_key(now + ANNOUNCEMENT)?);
        }
        let Some(current) = self.signer(now).map(|key| key.signs_from) else {
            return Ok(None);
        };
        stored
            .signing
            .retain(|key| key.signs_from >= current || now < current + AFTERLIFE);
        if stored.signing.len() == self.stored.signing.len() {
            return Ok(None);
        }
        Self::of(stored).map(Some)
    }

    /// The key that signs at `now`: the youngest that has begun. Before all of them have, which only a clock that is wrong brings about, the first.
    #[must_use]
    pub fn signer(&self, now: Timestamp) -> Option<&SigningKey> {
        let begun = self.signing.iter().filter(|key| key.signs_from <= now);
        let youngest = begun.max_by_key(|key| key.signs_from);
        youngest.or_else(|| self.signing.first())
    }

    /// The key with this ID.
    #[must_use]
    pub fn find(&self, kid: &str) -> Option<&SigningKey> {
        self.signing.iter().find(|key| key.kid == kid)
    }

    /// The public keys as RFC 7517 and RFC 8037 have them.
    #[must_use]
    pub fn jwks(&self) -> Value {
        let keys: Vec<Value> = self
            .signing
            .iter()
            .map(|key| {
                json!({
                    "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.kid,
                    "x": URL_SAFE_NO_PAD.encode(&key.public),
                })
            })
            .collect();
        json!({ "keys": keys })
    }

    /// Encrypts for ourselves; `purpose` keeps what was sealed for one thing from being taken for another.
    #[must_use]
    pub fn seal(&self, purpose: &str, text: &[u8]) -> Option<String> {
        let mut sealed = text.to_vec();
        let nonce = self
            .seal
            .seal_in_place_append_tag(Aad::from(purpose.as_bytes()), &mut sealed)
            .ok()?;
        let bytes = [nonce.as_ref().as_slice(), &sealed].concat();
        Some(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Decrypts what [`seal`](Self::seal) encrypted for the same purpose.
    #[must_use]
    pub fn open(&self, purpose: &str, sealed: &str) -> Option<Vec<u8>> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, text) = bytes.split_at_checked(NONCE_BYTES)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        let opened = self.seal.open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut text);
        opened.ok().map(|opened| opened.to_vec())
    }

    /// A text that only we can make of `of`: for the token against forged requests.
    #[must_use]
    pub fn authentication_code(&self, of: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.authenticate, of.as_bytes()))
    }
}

impl SigningKey {
    fn of(stored: &StoredKey) -> Result<Self, KeyError> {
        let spoilt = || KeyError::Spoilt(format!("signing key {}", stored.kid));
        let private = URL_SAFE_NO_PAD.decode(&stored.private).map_err(|_| spoilt())?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&private).map_err(|_| spoilt())?;
        let public = pair.public_key().as_ref().to_vec();
        Ok(Self {
            kid: stored.kid.clone(),
            signs_from: stored.signs_from,
            encoding: EncodingKey::from_ed_der(&private),
            decoding: DecodingKey::from_ed_der(&public),
            public,
        })
    }
}

fn new_key(signs_from: Timestamp) -> Result<StoredKey, KeyError> {
    let private = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).map_err(|_| KeyError::Cryptography)?;
    let kid = digest::digest(&digest::SHA256, private.as_ref());
    let kid: String = base16ct::lower::encode_string(kid.as_ref()).chars().take(16).collect();
    Ok(StoredKey {
        kid,
        signs_from,
        private: URL_SAFE_NO_PAD.encode(private.as_ref()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
    }

    #[test]
    fn keys_are_read_as_they_were_written() {
        let keys = LoginKeys::generate(at(0)).unwrap();
        let read = LoginKeys::read(&keys.write()).unwrap();
        let sealed = keys.seal("refresh", b"text").unwrap();
        assert_eq!(read.open("refresh", &sealed).unwrap(), b"text");
        assert_eq!(read.open("state", &sealed), None, "of another purpose");
        assert_eq!(LoginKeys::generate(at(0)).unwrap().open("refresh", &sealed), None);
        assert_eq!(read.jwks(), keys.jwks());
        assert_eq!(read.authentication_code("a"), keys.authentication_code("a"));
        LoginKeys::read(b"{}").map(drop).unwrap_err();
    }

    #[test]
    fn a_successor_is_announced_before_it_signs_and_the_old_one_stays_a_while() {
        let keys = LoginKeys::generate(at(0)).unwrap();
        let first = keys.signer(at(1)).unwrap().kid.clone();
        assert!(keys.rotated(at(24 * 30 - 1)).unwrap().is_none());
        let later = at(24 * 30 + 1);
        let announced = keys.rotated(later).unwrap().unwrap();
        assert_eq!(announced.signer(later).unwrap().kid, first);
        assert!(announced.rotated(later).unwrap().is_none());
        let promoted = later + SignedDuration::from_mins(11);
        assert_ne!(announced.signer(promoted).unwrap().kid, first);
        assert!(announced.find(&first).is_some());
        let cleaned = announced
            .rotated(later + SignedDuration::from_mins(45))
            .unwrap()
            .unwrap();
        assert!(cleaned.find(&first).is_none());
    }
}
