//! Who a request is from: kube-apiserver authenticates the user and tells us in headers, which count only on a connection with
//! its front-proxy certificate.
//!
//! Any client that reaches our port could send such headers, so the certificate is checked with each request, against the `ConfigMap`
//! as it is then: a connection that was opened before an authority was replaced is not believed any more.

mod settings;

use std::sync::Arc;

use futures::TryStreamExt;
use http::HeaderMap;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use novasphere_runtime::{access::UserInfo, health::GateHandle, serve::status::StatusError};
use novasphere_wire::front_proxy::{Identity, IdentityError};
use parking_lot::RwLock;
use rustls::{
    DigitallySignedStruct, DistinguishedName, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

pub use self::settings::{CertificateError, Settings, SettingsError};

/// The namespace of [`CONFIG_MAP`].
pub const NAMESPACE: &str = "kube-system";
/// The `ConfigMap` in which kube-apiserver says whom to believe.
pub const CONFIG_MAP: &str = "extension-apiserver-authentication";

/// Why a request is not authenticated.
#[derive(Debug, thiserror::Error)]
pub enum NotAuthenticated {
    /// The `ConfigMap` was not read yet.
    #[error("the server does not know yet whom to believe")]
    NotReady,
    /// The connection is not the front proxy's.
    #[error("{0}; ask through kube-apiserver")]
    Certificate(#[from] CertificateError),
    /// The headers name nobody.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl From<NotAuthenticated> for StatusError {
    fn from(error: NotAuthenticated) -> Self {
        use IdentityError::{TooLong, TooManyExtras, TooManyGroups};
        match error {
            // Clients answer a 401 by asking for their credentials again, which would not help.
            NotAuthenticated::Identity(TooLong(..) | TooManyGroups | TooManyExtras) => {
                Self::Forbidden(error.to_string())
            }
            NotAuthenticated::NotReady | NotAuthenticated::Certificate(_) | NotAuthenticated::Identity(_) => {
                Self::Unauthorized(error.to_string())
            }
        }
    }
}

/// The front proxy's certificates and headers as they are now. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct FrontProxy(Arc<RwLock<Option<Arc<Settings>>>>);

impl FrontProxy {
    /// Who a request is from.
    ///
    /// # Errors
    ///
    /// [`NotAuthenticated`].
    pub fn authenticate(
        &self,
        chain: Option<&[CertificateDer<'_>]>,
        headers: &HeaderMap,
    ) -> Result<UserInfo, NotAuthenticated> {
        let settings = self.settings().ok_or(NotAuthenticated::NotReady)?;
        settings.check(chain)?;
        let Identity {
            user,
            uid,
            groups,
            extra,
        } = settings.names.identity(headers)?;
        Ok(UserInfo {
            name: user,
            uid,
            groups,
            extra,
        })
    }

    /// Whether a connection is the front proxy's.
    #[must_use]
    pub fn trusts(&self, chain: Option<&[CertificateDer<'_>]>) -> bool {
        self.settings().is_some_and(|settings| settings.check(chain).is_ok())
    }

    fn settings(&self) -> Option<Arc<Settings>> {
        self.0.read().clone()
    }

    /// Takes the `ConfigMap` into use; one that cannot be used is logged, and the last good one stays.
    pub fn observe(&self, config_map: &ConfigMap) -> bool {
        match Settings::read(config_map) {
            Ok(settings) => {
                *self.0.write() = Some(Arc::new(settings));
                tracing::info!("took over {NAMESPACE}/{CONFIG_MAP}");
                true
            }
            Err(error) => {
                tracing::error!("{NAMESPACE}/{CONFIG_MAP} is not used, the last one stays: {error}");
                false
            }
        }
    }

    /// Follows the `ConfigMap` and opens `gate` when it was read once. Never returns by itself.
    pub async fn follow(self, client: Client, gate: GateHandle) {
        gate.not_ready(format!("{NAMESPACE}/{CONFIG_MAP} was not read yet"));
        let config_maps: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
        let config = watcher::Config::default().fields(&format!("metadata.name={CONFIG_MAP}"));
        let mut events = std::pin::pin!(watcher::watcher(config_maps, config).default_backoff());
        loop {
            match events.try_next().await {
                Ok(Some(Event::Apply(config_map) | Event::InitApply(config_map))) => {
                    if self.observe(&config_map) {
                        gate.ready();
                    }
                }
                // kube-apiserver writes it again at once; until then what it said last holds.
                Ok(Some(Event::Delete(_) | Event::Init | Event::InitDone)) => {}
                Ok(None) => return,
                Err(error) => tracing::warn!("cannot watch {NAMESPACE}/{CONFIG_MAP}: {error}"),
            }
        }
    }
}

/// Asks clients for a certificate and lets any through, also none: a handshake proves only that the client holds the key.
/// Whose certificate it is, [`FrontProxy::authenticate`] says with each request; so a client that is not believed gets an answer
/// that says why, and a changed authority counts at once.
#[derive(Debug)]
pub struct AnyCertificate(WebPkiSupportedAlgorithms);

impl Default for AnyCertificate {
    fn default() -> Self {
        Self(aws_lc_rs::default_provider().signature_verification_algorithms)
    }
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use http::HeaderValue;
    use rcgen::{ExtendedKeyUsagePurpose::ClientAuth, KeyPair};

    use super::{
        settings::tests::{Authority, config_map},
        *,
    };

    /// A front proxy that is known, its certificate and key.
    pub(crate) fn known() -> (FrontProxy, Vec<CertificateDer<'static>>, KeyPair) {
        let (authority, proxy) = (Authority::new("front-proxy"), FrontProxy::default());
        assert!(proxy.observe(&config_map(&authority.pem, &["a"])));
        let (chain, key) = authority.client_with_key("a", ClientAuth);
        (proxy, chain, key)
    }

    #[test]
    fn a_replaced_authority_is_not_believed_any_more() {
        let (old, new) = (Authority::new("old"), Authority::new("new"));
        let (old_chain, new_chain) = (old.client("a", ClientAuth), new.client("a", ClientAuth));
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-user", HeaderValue::from_static("jane"));
        let proxy = FrontProxy::default();
        assert!(matches!(
            proxy.authenticate(Some(&old_chain), &headers),
            Err(NotAuthenticated::NotReady)
        ));
        assert!(proxy.observe(&config_map(&old.pem, &["a"])));
        assert_eq!(proxy.authenticate(Some(&old_chain), &headers).unwrap().name, "jane");
        assert!(!proxy.trusts(Some(&new_chain)));

        let both = format!("{}{}", old.pem, new.pem);
        assert!(proxy.observe(&config_map(&both, &["a"])));
        assert!(proxy.trusts(Some(&old_chain)) && proxy.trusts(Some(&new_chain)));

        assert!(proxy.observe(&config_map(&new.pem, &["a"])));
        assert!(!proxy.trusts(Some(&old_chain)) && proxy.trusts(Some(&new_chain)));
        assert!(!proxy.observe(&ConfigMap::default()), "a spoilt one changes nothing");
        assert!(proxy.trusts(Some(&new_chain)));
    }
}
