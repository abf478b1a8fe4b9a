//! The `ConfigMap` `kube-system/extension-apiserver-authentication`: whom to believe.

use std::sync::Arc;

use http::HeaderName;
use k8s_openapi::api::core::v1::ConfigMap;
use novasphere_wire::front_proxy::HeaderNames;
use rustls::{
    RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, UnixTime, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use x509_parser::prelude::{FromDer, X509Certificate};

const CA: &str = "requestheader-client-ca-file";
const ALLOWED_NAMES: &str = "requestheader-allowed-names";
const USER: &str = "requestheader-username-headers";
const UID: &str = "requestheader-uid-headers";
const GROUP: &str = "requestheader-group-headers";
const EXTRA: &str = "requestheader-extra-headers-prefix";

/// Why the `ConfigMap` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A key is missing: kube-apiserver runs without aggregation.
    #[error("it has no {0}: kube-apiserver must run with --requestheader-client-ca-file")]
    Missing(&'static str),
    /// A list is not a JSON list of texts.
    #[error("{0} is not a JSON list of texts")]
    NotAList(&'static str),
    /// A header's name is none.
    #[error("{0} has {1:?}, which is not the name of a header")]
    NotAHeader(&'static str, String),
    /// The bundle has no usable certificate.
    #[error("{CA} has no usable certificate")]
    NoCertificate,
}

/// Whom to believe, and in which headers the user is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Names of the headers.
    pub names: HeaderNames,
    verifier: Arc<dyn ClientCertVerifier>,
    allowed: Vec<String>,
}

/// Why a certificate is not the front proxy's.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// There is none.
    #[error("the connection has no client certificate")]
    None,
    /// It was issued by somebody else, is over, or is not for clients.
    #[error("the client certificate is not of the front proxy's authority: {0}")]
    NotTrusted(#[source] rustls::Error),
    /// It cannot be read.
    #[error("the client certificate cannot be read")]
    Malformed,
    /// It has another name.
    #[error("the client certificate is for {0:?}, which is not an allowed name")]
    NameNotAllowed(String),
}

impl Settings {
    /// Reads the `ConfigMap`.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] with the key that is wrong.
    pub fn read(config_map: &ConfigMap) -> Result<Self, SettingsError> {
        let data = config_map.data.as_ref();
        let get = |key: &'static str| data.and_then(|data| data.get(key)).map(String::as_str);
        let list = |key| get(key).map_or_else(|| Ok(Vec::new()), |text| list_of(key, text));
        let bundle = get(CA).ok_or(SettingsError::Missing(CA))?;
        let names = HeaderNames {
            user: header_names(USER, list(USER)?)?,
            uid: header_names(UID, list(UID)?)?,
            group: header_names(GROUP, list(GROUP)?)?,
            extra_prefix: list(EXTRA)?.iter().map(|prefix| prefix.to_ascii_lowercase()).collect(),
        };
        if names.user.is_empty() {
            return Err(SettingsError::Missing(USER));
        }
        Ok(Self {
            names,
            verifier: verifier(bundle)?,
            allowed: list(ALLOWED_NAMES)?,
        })
    }

    /// Whether a chain of certificates, that the client has proved to hold the key of, is the front proxy's.
    ///
    /// # Errors
    ///
    /// [`CertificateError`] says why not.
    pub fn check(&self, chain: Option<&[CertificateDer<'_>]>) -> Result<(), CertificateError> {
        let (own, others) = chain.and_then(<[_]>::split_first).ok_or(CertificateError::None)?;
        self.verifier
            .verify_client_cert(own, others, UnixTime::now())
            .map_err(CertificateError::NotTrusted)?;
        // An empty list means any name (kube-apiserver's flag --requestheader-allowed-names).
        if self.allowed.is_empty() {
            return Ok(());
        }
        let name = common_name(own)?;
        if self.allowed.contains(&name) {
            Ok(())
        } else {
            Err(CertificateError::NameNotAllowed(name))
        }
    }
}

fn list_of(key: &'static str, text: &str) -> Result<Vec<String>, SettingsError> {
    let list: Vec<String> = serde_json::from_str(text).map_err(|_| SettingsError::NotAList(key))?;
    Ok(list.into_iter().filter(|item| !item.is_empty()).collect())
}

fn header_names(key: &'static str, list: Vec<String>) -> Result<Vec<HeaderName>, SettingsError> {
    let parse = |name: String| name.parse().map_err(|_| SettingsError::NotAHeader(key, name));
    list.into_iter().map(parse).collect()
}

fn verifier(bundle: &str) -> Result<Arc<dyn ClientCertVerifier>, SettingsError> {
    let mut roots = RootCertStore::empty();
    // One certificate that cannot be used must not shut out the others in the middle of a rotation.
    let certificates = CertificateDer::pem_slice_iter(bundle.as_bytes()).filter_map(Result::ok);
    let (_, ignored) = roots.add_parsable_certificates(certificates);
    if ignored > 0 {
        tracing::warn!(ignored, "the front proxy's bundle has certificates that cannot be used");
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(aws_lc_rs::default_provider()));
    verifier.build().map_err(|_| SettingsError::NoCertificate)
}

fn common_name(certificate: &CertificateDer<'_>) -> Result<String, CertificateError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::Malformed)?;
    let name = parsed.subject().iter_common_name().next();
    let name = name.and_then(|name| name.as_str().ok()).unwrap_or_default();
    Ok(name.to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
    use serde_json::json;

    use super::*;

    /// An authority and what it issues.
    pub(crate) struct Authority {
        pub(crate) pem: String,
        issuer: Issuer<'static, KeyPair>,
    }

    impl Authority {
        pub(crate) fn new(name: &str) -> Self {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let pem = params.self_signed(&key).unwrap().pem();
            Self {
                pem,
                issuer: Issuer::new(params, key),
            }
        }

        pub(crate) fn client(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> Vec<CertificateDer<'static>> {
            self.client_with_key(name, usage).0
        }

        /// A certificate of a client, and its key.
        pub(crate) fn client_with_key(
            &self,
            name: &str,
            usage: ExtendedKeyUsagePurpose,
        ) -> (Vec<CertificateDer<'static>>, KeyPair) {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![usage];
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &self.issuer).unwrap();
            (vec![certificate.der().clone()], key)
        }
    }

    pub(crate) fn config_map(bundle: &str, allowed: &[&str]) -> ConfigMap {
        serde_json::from_value(json!({"data": {
            CA: bundle,
            ALLOWED_NAMES: json!(allowed).to_string(),
            USER: "[\"X-Remote-User\"]",
            GROUP: "[\"X-Remote-Group\"]",
            EXTRA: "[\"X-Remote-Extra-\"]",
        }}))
        .unwrap()
    }

    #[test]
    fn only_an_allowed_name_of_the_right_authority_is_the_front_proxy() {
        use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        let (right, wrong) = (Authority::new("front-proxy"), Authority::new("cluster"));
        let settings = Settings::read(&config_map(&right.pem, &["front-proxy-client"])).unwrap();
        settings
            .check(Some(&right.client("front-proxy-client", ClientAuth)))
            .unwrap();
        assert!(matches!(settings.check(None), Err(CertificateError::None)));
        assert!(matches!(settings.check(Some(&[])), Err(CertificateError::None)));
        let other = settings.check(Some(&right.client("somebody", ClientAuth))).unwrap_err();
        assert!(other.to_string().contains("somebody"), "{other}");
        for chain in [
            wrong.client("front-proxy-client", ClientAuth),
            right.client("front-proxy-client", ServerAuth),
        ] {
            assert!(matches!(
                settings.check(Some(&chain)),
                Err(CertificateError::NotTrusted(_))
            ));
        }
    }

    #[test]
    fn without_allowed_names_any_name_is_allowed() {
        let authority = Authority::new("front-proxy");
        let settings = Settings::read(&config_map(&authority.pem, &[])).unwrap();
        let chain = authority.client("anything", ExtendedKeyUsagePurpose::ClientAuth);
        settings.check(Some(&chain)).unwrap();
    }

    #[test]
    fn a_bundle_with_several_certificates_trusts_each() {
        let (old, new) = (Authority::new("old"), Authority::new("new"));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let bundle = format!("{}{broken}{}", old.pem, new.pem);
        let settings = Settings::read(&config_map(&bundle, &["a"])).unwrap();
        for authority in [old, new] {
            settings
                .check(Some(&authority.client("a", ExtendedKeyUsagePurpose::ClientAuth)))
                .unwrap();
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let authority = Authority::new("front-proxy");
        let error = |change: &dyn Fn(&mut std::collections::BTreeMap<String, String>)| {
            let mut config_map = config_map(&authority.pem, &[]);
            change(config_map.data.as_mut().unwrap());
            Settings::read(&config_map).unwrap_err().to_string()
        };
        assert!(error(&|data| drop(data.remove(CA))).contains("--requestheader-client-ca-file"));
        assert!(error(&|data| drop(data.insert(CA.into(), "x".into()))).contains(CA));
        assert!(error(&|data| drop(data.insert(GROUP.into(), "x".into()))).contains(GROUP));
        assert!(error(&|data| drop(data.insert(USER.into(), "[\"a b\"]".into()))).contains("a b"));
        assert!(error(&|data| drop(data.insert(USER.into(), "[]".into()))).contains(USER));
    }
}
