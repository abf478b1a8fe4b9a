//! ID tokens and logout tokens: `OpenID` Connect Core 3.1.3.7, Back-Channel Logout 2.6.

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::Jwk};
use serde_json::{Map, Value};

use crate::{
    code::Code,
    config::OidcConfig,
    error::{ApiError, ApiResult},
};

/// The algorithms that are taken, whatever a token's head says: none with a shared secret, and not `none`.
const ALGORITHMS: [Algorithm; 8] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Seconds that two clocks may differ.
const LEEWAY_SECONDS: u64 = 60;

/// Seconds that a logout token is good when it names no end.
const LOGOUT_TOKEN_SECONDS: i64 = 600;

/// Longer texts are no tokens.
const TOKEN_BYTES: usize = 64 * 1024;

/// The member of `events` of a logout token.
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// What a token is taken for.
pub(super) enum Purpose<'a> {
    /// To sign in, with this nonce.
    SignIn(&'a str),
    /// To sign in by the device flow, which has no nonce.
    Device,
    /// To be sent with each request.
    Bearer,
    /// To end a login.
    Logout,
}

/// The issuer that a token names. It is believed only after [`verify`].
pub(super) fn issuer(token: &str) -> Option<String> {
    if token.len() > TOKEN_BYTES {
        return None;
    }
    let claims: Map<String, Value> = jsonwebtoken::dangerous::insecure_decode_claims(token).ok()?;
    Some(claims.get("iss")?.as_str()?.to_owned())
}

/// The key that a token names, if it names one.
///
/// # Errors
///
/// [`Code::TOKEN_INVALID`] for what is no token.
pub(super) fn key_id(token: &str) -> ApiResult<Option<String>> {
    let header = (token.len() <= TOKEN_BYTES)
        .then(|| jsonwebtoken::decode_header(token).ok())
        .flatten();
    Ok(header.ok_or(ApiError::new(Code::TOKEN_INVALID))?.kid)
}

/// The claims of a good token.
///
/// # Errors
///
/// [`Code::TOKEN_INVALID`], [`Code::TOKEN_EXPIRED`].
pub(super) fn verify(
    token: &str,
    key: &Jwk,
    config: &OidcConfig,
    purpose: &Purpose<'_>,
) -> ApiResult<Map<String, Value>> {
    let invalid = || ApiError::new(Code::TOKEN_INVALID);
    let header = jsonwebtoken::decode_header(token).map_err(|_| invalid())?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(invalid());
    }
    let decoding = DecodingKey::from_jwk(key).map_err(|_| invalid())?;
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[&config.issuer]);
    validation.set_audience(&[&config.client_id]);
    validation.leeway = LEEWAY_SECONDS;
    validation.validate_nbf = true;
    let is_logout = matches!(purpose, Purpose::Logout);
    validation.validate_exp = !is_logout;
    let required: &[&str] = if is_logout {
        &["iss", "aud"]
    } else {
        &["iss", "aud", "exp", "sub"]
    };
    validation.set_required_spec_claims(required);
    let decoded = jsonwebtoken::decode::<Map<String, Value>>(token, &decoding, &validation);
    let claims = decoded
        .map_err(|error| match error.kind() {
            jsonwebtoken::errors::ErrorKind::ExpiredSignature => ApiError::new(Code::TOKEN_EXPIRED),
            _ => invalid(),
        })?
        .claims;
    if fits(&claims, config, purpose) {
        Ok(claims)
    } else {
        Err(invalid())
    }
}

/// What the library does not look at.
fn fits(claims: &Map<String, Value>, config: &OidcConfig, purpose: &Purpose<'_>) -> bool {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    // Core 3.1.3.7, 4 and 5: a token for several was made for the one that `azp` names.
    let audiences = claims.get("aud").and_then(Value::as_array).map_or(1, Vec::len);
    let authorized = text("azp");
    let is_for_us = authorized.map_or(audiences == 1, |party| party == config.client_id);
    let is_logout_token = claims
        .get("events")
        .is_some_and(|events| events.get(LOGOUT_EVENT).is_some());
    match purpose {
        Purpose::SignIn(nonce) => is_for_us && text("nonce") == Some(*nonce) && !is_logout_token,
        Purpose::Device | Purpose::Bearer => is_for_us && !is_logout_token,
        Purpose::Logout => {
            let issued = claims.get("iat").and_then(Value::as_i64).unwrap_or(0);
            let age = Timestamp::now().as_second().saturating_sub(issued);
            is_logout_token
                && claims.get("nonce").is_none()
                && (text("sub").is_some() || text("sid").is_some())
                && text("jti").is_some()
                && (-60..=LOGOUT_TOKEN_SECONDS).contains(&age)
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        rand::SystemRandom,
        signature::{Ed25519KeyPair, KeyPair as _},
    };
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::json;

    use super::{super::tests::config, *};

    struct Signer {
        key: EncodingKey,
        public: Jwk,
    }

    impl Signer {
        fn new() -> Self {
            let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(document.as_ref()).unwrap();
            let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
            Self {
                key: EncodingKey::from_ed_der(document.as_ref()),
                public: serde_json::from_value(
                    json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "k", "x": x}),
                )
                .unwrap(),
            }
        }

        fn sign(&self, change: &Value) -> String {
            let now = Timestamp::now().as_second();
            let mut claims = json!({
                "iss": "https://idp.example.org", "aud": "novasphere", "sub": "1", "exp": now + 300, "iat": now, "nonce": "n",
            });
            for (name, value) in change.as_object().unwrap() {
                claims[name] = value.clone();
            }
            jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &self.key).unwrap()
        }
    }

    fn verified(signer: &Signer, change: &Value, purpose: &Purpose<'_>) -> ApiResult<Map<String, Value>> {
        verify(
            &signer.sign(change),
            &signer.public,
            &config("https://idp.example.org"),
            purpose,
        )
    }

    #[test]
    fn a_token_is_for_us_now_and_for_this_sign_in() {
        let signer = Signer::new();
        let sign_in = Purpose::SignIn("n");
        verified(&signer, &json!({}), &sign_in).unwrap();
        verified(
            &signer,
            &json!({"aud": ["novasphere", "x"], "azp": "novasphere"}),
            &sign_in,
        )
        .unwrap();
        let now = Timestamp::now().as_second();
        for (change, code) in [
            (json!({"aud": "other"}), Code::TOKEN_INVALID),
            (json!({"iss": "https://evil.example.org"}), Code::TOKEN_INVALID),
            (json!({"aud": ["novasphere", "x"]}), Code::TOKEN_INVALID),
            (json!({"aud": ["novasphere", "x"], "azp": "x"}), Code::TOKEN_INVALID),
            (json!({"nonce": "other"}), Code::TOKEN_INVALID),
            (json!({"nbf": now + 600}), Code::TOKEN_INVALID),
            (json!({"exp": now - 120}), Code::TOKEN_EXPIRED),
        ] {
            assert_eq!(verified(&signer, &change, &sign_in).unwrap_err().code, code, "{change}");
        }
    }

    #[test]
    fn another_key_and_no_signature_are_refused() {
        let (signer, other) = (Signer::new(), Signer::new());
        let config = config("https://idp.example.org");
        let token = signer.sign(&json!({}));
        assert!(verify(&token, &other.public, &config, &Purpose::Bearer).is_err());
        let (_, rest) = token.split_once('.').unwrap();
        let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        assert!(verify(&format!("{head}.{rest}"), &signer.public, &config, &Purpose::Bearer).is_err());
        assert_eq!(issuer(&token).as_deref(), Some("https://idp.example.org"));
        assert_eq!(issuer("nonsense"), None);
    }

    #[test]
    fn a_logout_token_is_no_id_token() {
        let signer = Signer::new();
        let events = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
        let logout = json!({"events": events, "jti": "1", "sid": "s", "nonce": null});
        let mut without_nonce = logout.clone();
        without_nonce.as_object_mut().unwrap().remove("nonce");
        assert!(verified(&signer, &logout, &Purpose::Logout).is_err(), "it has a nonce");
        let now = Timestamp::now().as_second();
        let sign = |extra: &Value| {
            let mut claims = json!({"iss": "https://idp.example.org", "aud": "novasphere", "iat": now, "jti": "1", "sid": "s", "events": events});
            for (name, value) in extra.as_object().unwrap() {
                claims[name] = value.clone();
            }
            let token = jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &signer.key).unwrap();
            verify(
                &token,
                &signer.public,
                &config("https://idp.example.org"),
                &Purpose::Logout,
            )
        };
        sign(&json!({})).unwrap();
        assert!(sign(&json!({"iat": now - 3600})).is_err());
        assert!(sign(&json!({"events": {}})).is_err());
        assert!(verified(&signer, &json!({"events": events}), &Purpose::Bearer).is_err());
    }
}
