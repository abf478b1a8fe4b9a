//! The authorization code flow with PKCE (RFC 6749, 4.1; RFC 7636), and the device flow (RFC 8628).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::{OidcProvider, id_token::Purpose};
use crate::{
    code::Code,
    error::{ApiError, ApiResult},
    identity::provider_http::ProviderError,
};

/// How long somebody may take to sign in at the provider.
const SIGN_IN_TIMEOUT: SignedDuration = SignedDuration::from_mins(10);

/// Characters of a path that people are sent back to.
const RETURN_TO_LENGTH_LIMIT: usize = 2048;

/// What a browser keeps, sealed, while its person is at the provider.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SignInState {
    pub(super) provider: String,
    pub(super) state: String,
    pub(super) nonce: String,
    pub(super) verifier: String,
    pub(super) return_to: String,
    pub(super) tenant: Option<String>,
    pub(super) until: Timestamp,
}

/// What a provider's token endpoint answers.
#[derive(Debug, Deserialize)]
pub(super) struct TokenAnswer {
    pub(super) id_token: String,
}

/// What a provider's device endpoint answers.
#[derive(Debug, Deserialize)]
pub(super) struct DeviceAnswer {
    pub(super) device_code: String,
    pub(super) user_code: String,
    pub(super) verification_uri: String,
    #[serde(default)]
    pub(super) verification_uri_complete: Option<String>,
    pub(super) expires_in: u64,
    #[serde(default)]
    pub(super) interval: Option<u64>,
}

/// How the device flow stands.
pub(super) enum DeviceState {
    /// The person has not signed in yet.
    Pending,
    /// They have, and these are the claims of their token.
    SignedIn(Map<String, Value>),
}

impl SignInState {
    pub(super) fn new(provider: &str, return_to: Option<&str>, tenant: Option<String>) -> ApiResult<Self> {
        let return_to = return_to.unwrap_or("/");
        if !is_own_path(return_to) {
            return Err(ApiError::parameter(
                "returnTo",
                "returnTo is a path of this server, such as /machines",
            ));
        }
        Ok(Self {
            provider: provider.to_owned(),
            state: random_text(),
            nonce: random_text(),
            verifier: random_text(),
            return_to: return_to.to_owned(),
            tenant,
            until: Timestamp::now() + SIGN_IN_TIMEOUT,
        })
    }

    pub(super) fn is_over(&self) -> bool {
        self.until <= Timestamp::now()
    }
}

/// 256 bits as text; long enough for a verifier (RFC 7636, 4.1).
fn random_text() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// RFC 7636, 4.2.
pub(super) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

/// Whether a browser that is sent there stays on this server: `//host` and `/\host` are other servers for browsers.
fn is_own_path(path: &str) -> bool {
    let mut characters = path.chars();
    path.len() <= RETURN_TO_LENGTH_LIMIT
        && characters.next() == Some('/')
        && !matches!(characters.next(), Some('/' | '\\'))
        && path.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether a redirect goes to the machine that asks (RFC 8252, 7.3).
pub(super) fn is_loopback_redirect(uri: &str) -> bool {
    let Some(rest) = uri.strip_prefix("http://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    ["127.0.0.1", "[::1]"].contains(&host)
}

impl OidcProvider {
    /// Where a browser is sent.
    pub(super) async fn authorization_url(&self, sign_in: &SignInState, redirect: &str) -> ApiResult<String> {
        let metadata = self.metadata.metadata().await.map_err(|error| self.failed(&error))?;
        let challenge = challenge(&sign_in.verifier);
        let scope = self.scope();
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("response_type", "code"),
                ("client_id", self.config.client_id.as_str()),
                ("redirect_uri", redirect),
                ("scope", scope.as_str()),
                ("state", sign_in.state.as_str()),
                ("nonce", sign_in.nonce.as_str()),
                ("code_challenge", challenge.as_str()),
                ("code_challenge_method", "S256"),
            ])
            .finish();
        let endpoint = metadata.authorization_endpoint;
        let separator = if endpoint.contains('?') { '&' } else { '?' };
        Ok(format!("{endpoint}{separator}{query}"))
    }

    /// The claims of the token that a code is exchanged for.
    pub(super) async fn exchange(
        &self,
        code: &str,
        verifier: &str,
        redirect: &str,
        nonce: &str,
    ) -> ApiResult<Map<String, Value>> {
        let metadata = self.metadata.metadata().await.map_err(|error| self.failed(&error))?;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect),
            ("code_verifier", verifier),
        ];
        form.extend(self.client());
        let answer: TokenAnswer = self
            .http
            .post(&metadata.token_endpoint, &form)
            .await
            .map_err(|error| self.refused(&error))?;
        self.verify(&answer.id_token, &Purpose::SignIn(nonce)).await
    }

    /// Begins the device flow. Keycloak and others ask for PKCE in it, too.
    pub(super) async fn device(&self, verifier: &str) -> ApiResult<DeviceAnswer> {
        let metadata = self.metadata.metadata().await.map_err(|error| self.failed(&error))?;
        let endpoint = metadata.device_authorization_endpoint.ok_or(ApiError::with(
            Code::NOT_IMPLEMENTED,
            "this provider has no device flow",
        ))?;
        let (scope, challenge) = (self.scope(), challenge(verifier));
        let mut form = vec![
            ("scope", scope.as_str()),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
        ];
        form.extend(self.client());
        self.http
            .post(&endpoint, &form)
            .await
            .map_err(|error| self.failed(&error))
    }

    /// Asks how the device flow stands.
    pub(super) async fn device_token(&self, device_code: &str, verifier: &str) -> ApiResult<DeviceState> {
        let metadata = self.metadata.metadata().await.map_err(|error| self.failed(&error))?;
        let mut form = vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("device_code", device_code),
            ("code_verifier", verifier),
        ];
        form.extend(self.client());
        match self.http.post::<TokenAnswer>(&metadata.token_endpoint, &form).await {
            Ok(answer) => Ok(DeviceState::SignedIn(
                self.verify(&answer.id_token, &Purpose::Device).await?,
            )),
            Err(ProviderError::Refused { error, .. })
                if ["authorization_pending", "slow_down"].contains(&error.as_str()) =>
            {
                Ok(DeviceState::Pending)
            }
            Err(error) => Err(self.refused(&error)),
        }
    }

    /// Where a browser ends its login at the provider, too.
    pub(crate) async fn end_session_url(&self) -> Option<String> {
        self.metadata.metadata().await.ok()?.end_session_endpoint
    }

    fn scope(&self) -> String {
        let scopes = std::iter::once("openid").chain(self.config.scopes.iter().map(String::as_str));
        scopes.collect::<Vec<_>>().join(" ")
    }

    /// Who we are at the provider, as `client_secret_post` has it.
    fn client(&self) -> Vec<(&str, &str)> {
        let mut client = vec![("client_id", self.config.client_id.as_str())];
        client.extend(self.client_secret.as_deref().map(|secret| ("client_secret", secret)));
        client
    }

    /// A code that the provider does not take is the person's fault, mostly: it was used, or is too old.
    fn refused(&self, error: &ProviderError) -> ApiError {
        match error {
            ProviderError::Refused { error, .. }
                if ["invalid_grant", "access_denied", "expired_token"].contains(&error.as_str()) =>
            {
                ApiError::with(Code::BAD_CREDENTIALS, format!("the provider refuses: {error}"))
            }
            error => self.failed(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_sent_back_to_this_server_alone() {
        for good in ["/", "/machines?status=running"] {
            assert!(is_own_path(good), "{good}");
        }
        for bad in [
            "",
            "https://evil.example.org",
            "//evil.example.org",
            "/\\evil.example.org",
            "/a\r\nb",
        ] {
            assert!(!is_own_path(bad), "{bad}");
        }
        assert!(SignInState::new("corp", Some("//x"), None).is_err());
    }

    #[test]
    fn a_program_is_answered_on_its_own_machine_alone() {
        for good in ["http://127.0.0.1:4242/callback", "http://[::1]:1/"] {
            assert!(is_loopback_redirect(good), "{good}");
        }
        for bad in [
            "https://127.0.0.1/",
            "http://127.0.0.1.evil.example/",
            "http://evil.example/127.0.0.1",
        ] {
            assert!(!is_loopback_redirect(bad), "{bad}");
        }
    }

    #[test]
    fn the_challenge_is_that_of_the_standard() {
        // RFC 7636, appendix B.
        assert_eq!(
            challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }
}
