//! Session tokens, which requests carry, and refresh tokens, which renew them.

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::{Deserialize, Serialize};

use super::{keys::LoginKeys, record::LoginId};

/// `iss` of session tokens.
const ISSUER: &str = "novasphere";

/// `typ` of session tokens: a token that was signed for something else is none (RFC 8725, 3.11).
const TYPE: &str = "novasphere+jwt";

/// What refresh tokens are sealed for.
const REFRESH_PURPOSE: &str = "refresh";

/// What a user's own token is sealed for.
const CREDENTIAL_PURPOSE: &str = "credential";

/// Longer texts are no tokens of ours.
const TOKEN_BYTES: usize = 16 * 1024;

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    sid: String,
    iat: i64,
    exp: i64,
    /// The user's own token, sealed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    cred: Option<String>,
}

/// What a good session token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionToken {
    /// The login.
    pub login: LoginId,
    /// The user's own token, when requests are sent with it.
    pub own_token: Option<String>,
    /// When it expires.
    pub expires: Timestamp,
}

/// Why a text is no good session token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRefusal {
    /// It is of somebody else's making.
    Foreign,
    /// It is ours by its words, but not by its signature, or for another installation.
    Invalid,
    /// Its time is over.
    Expired,
}

/// What is sealed in a refresh token.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshToken {
    /// The login.
    pub sid: String,
    /// How often the login was renewed before.
    pub generation: u32,
    /// The secret.
    pub secret: String,
    /// The user's own token.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub own_token: Option<String>,
}

/// A session token.
#[must_use]
pub fn sign(keys: &LoginKeys, audience: &str, user: &str, token: &SessionToken, now: Timestamp) -> Option<String> {
    let key = keys.signer(now)?;
    let header = Header {
        kid: Some(key.kid.clone()),
        typ: Some(TYPE.to_owned()),
        ..Header::new(Algorithm::EdDSA)
    };
    let cred = match &token.own_token {
        Some(own) => Some(keys.seal(CREDENTIAL_PURPOSE, own.as_bytes())?),
        None => None,
    };
    let claims = Claims {
        iss: ISSUER.to_owned(),
        aud: audience.to_owned(),
        sub: user.to_owned(),
        sid: token.login.0.clone(),
        iat: now.as_second(),
        exp: token.expires.as_second(),
        cred,
    };
    jsonwebtoken::encode(&header, &claims, &key.encoding).ok()
}

/// Reads a session token. Algorithm and keys are ours, whatever its head says (RFC 8725, 3.1).
///
/// # Errors
///
/// [`TokenRefusal`].
pub fn verify(keys: &LoginKeys, audience: &str, token: &str) -> Result<SessionToken, TokenRefusal> {
    if token.len() > TOKEN_BYTES {
        return Err(TokenRefusal::Foreign);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| TokenRefusal::Foreign)?;
    if header.typ.as_deref() != Some(TYPE) {
        return Err(TokenRefusal::Foreign);
    }
    let key = header.kid.as_deref().and_then(|kid| keys.find(kid));
    let key = key.ok_or(TokenRefusal::Invalid)?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    // Replicas and clients share the clock of whoever signed it: no leeway.
    validation.leeway = 0;
    let decoded = jsonwebtoken::decode::<Claims>(token, &key.decoding, &validation);
    let claims = decoded
        .map_err(|error| match error.kind() {
            jsonwebtoken::errors::ErrorKind::ExpiredSignature => TokenRefusal::Expired,
            _ => TokenRefusal::Invalid,
        })?
        .claims;
    let own_token = match claims.cred {
        Some(sealed) => {
            let opened = keys.open(CREDENTIAL_PURPOSE, &sealed);
            let text = opened.and_then(|bytes| String::from_utf8(bytes).ok());
            Some(text.ok_or(TokenRefusal::Invalid)?)
        }
        None => None,
    };
    Ok(SessionToken {
        login: LoginId::parse(&claims.sid).ok_or(TokenRefusal::Invalid)?,
        own_token,
        expires: Timestamp::from_second(claims.exp).map_err(|_| TokenRefusal::Invalid)?,
    })
}

impl RefreshToken {
    /// As a client keeps it.
    #[must_use]
    pub fn seal(&self, keys: &LoginKeys) -> Option<String> {
        keys.seal(REFRESH_PURPOSE, &serde_json::to_vec(self).ok()?)
    }

    /// Reads what a client sent.
    #[must_use]
    pub fn open(keys: &LoginKeys, sealed: &str) -> Option<Self> {
        if sealed.len() > TOKEN_BYTES {
            return None;
        }
        serde_json::from_slice(&keys.open(REFRESH_PURPOSE, sealed)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use jiff::SignedDuration;
    use serde_json::{Value, json};

    use super::*;

    fn keys() -> LoginKeys {
        LoginKeys::generate(Timestamp::now() - SignedDuration::from_hours(1)).unwrap()
    }

    fn token(minutes: i64) -> SessionToken {
        let expires = Timestamp::now() + SignedDuration::from_mins(minutes);
        SessionToken {
            login: LoginId("0123456789abcdef0123456789abcdef".to_owned()),
            own_token: Some("own".to_owned()),
            expires: Timestamp::from_second(expires.as_second()).unwrap(),
        }
    }

    /// The parts of a token with a changed head.
    fn with_header(signed: &str, change: impl Fn(&mut Value)) -> String {
        let mut parts = signed.split('.');
        let head = URL_SAFE_NO_PAD.decode(parts.next().unwrap()).unwrap();
        let mut head: Value = serde_json::from_slice(&head).unwrap();
        change(&mut head);
        let head = URL_SAFE_NO_PAD.encode(head.to_string());
        format!("{head}.{}", parts.collect::<Vec<_>>().join("."))
    }

    #[test]
    fn a_token_says_whose_login_it_is_of() {
        let keys = keys();
        let signed = sign(&keys, "uid", "ann", &token(10), Timestamp::now()).unwrap();
        assert_eq!(verify(&keys, "uid", &signed).unwrap(), token(10));
        assert!(!signed.contains("own"), "it is sealed");
    }

    #[test]
    fn what_is_not_ours_or_not_good_is_told_apart() {
        let keys = keys();
        let signed = sign(&keys, "uid", "ann", &token(10), Timestamp::now()).unwrap();
        let refused = |audience: &str, token: &str| verify(&keys, audience, token).unwrap_err();
        assert_eq!(refused("of another cluster", &signed), TokenRefusal::Invalid);
        let old = sign(&keys, "uid", "ann", &token(-1), Timestamp::now()).unwrap();
        assert_eq!(refused("uid", &old), TokenRefusal::Expired);
        let other = sign(&self::keys(), "uid", "ann", &token(10), Timestamp::now()).unwrap();
        assert_eq!(refused("uid", &other), TokenRefusal::Invalid);
        let none = with_header(&signed, |head| head["alg"] = json!("none"));
        assert!(verify(&keys, "uid", &none).is_err());
        let hmac = with_header(&signed, |head| head["alg"] = json!("HS256"));
        assert_eq!(refused("uid", &hmac), TokenRefusal::Invalid);
        let kid = with_header(&signed, |head| head["kid"] = json!("other"));
        assert_eq!(refused("uid", &kid), TokenRefusal::Invalid);
        let foreign = with_header(&signed, |head| head["typ"] = json!("JWT"));
        assert_eq!(refused("uid", &foreign), TokenRefusal::Foreign);
        let (head, _) = signed.rsplit_once('.').unwrap();
        assert_eq!(
            refused("uid", &format!("{head}.{}", "A".repeat(86))),
            TokenRefusal::Invalid
        );
        for text in ["", "a.b.c", "opaque", &"x".repeat(20_000)] {
            assert_eq!(refused("uid", text), TokenRefusal::Foreign);
        }
    }

    #[test]
    fn a_refresh_token_is_opaque() {
        let keys = keys();
        let token = RefreshToken {
            sid: "a".to_owned(),
            generation: 1,
            secret: "hush".to_owned(),
            own_token: None,
        };
        let sealed = token.seal(&keys).unwrap();
        assert_eq!(RefreshToken::open(&keys, &sealed).unwrap(), token);
        assert_eq!(RefreshToken::open(&self::keys(), &sealed), None);
        assert_eq!(RefreshToken::open(&keys, "nonsense"), None);
    }
}
