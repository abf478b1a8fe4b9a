//! A server's certificate: of files, or of novasphere's own authority.

use std::{path::PathBuf, sync::Arc};

use kube::Client;
use rustls::{ServerConfig, server::ResolvesServerCert};

use super::ServeError;
use crate::{
    ca::{CaError, CaOptions, CertificateAuthority},
    metrics::Metrics,
    shutdown::Shutdown,
    tls::{self, CurrentCertificate},
};

/// Where a certificate comes from.
pub struct CertificateSource<'a> {
    /// The section of the configuration file that the two files are set in.
    pub setting: &'static str,
    /// The certificate and its chain, in PEM.
    pub certificate_file: Option<&'a PathBuf>,
    /// Its key, in PEM.
    pub key_file: Option<&'a PathBuf>,
    /// Reads and makes the Secret of novasphere's own authority, when there are no files.
    pub client: Client,
    /// The process's own namespace.
    pub namespace: String,
    /// Where the writes of that Secret are counted.
    pub metrics: Metrics,
    /// The names and addresses in a certificate of novasphere's own.
    pub names: Vec<String>,
    /// When to stop following a changed certificate.
    pub shutdown: Shutdown,
}

/// A certificate that is renewed while it is used.
pub enum Certificate {
    /// From files.
    Files(Arc<dyn CurrentCertificate>),
    /// From novasphere's own authority.
    Authority(CertificateAuthority),
}

impl Certificate {
    /// What a TLS configuration takes its certificate from.
    #[must_use]
    pub fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        self.current()
    }

    fn current(&self) -> Arc<dyn CurrentCertificate> {
        match self {
            Self::Files(resolver) => Arc::clone(resolver),
            Self::Authority(authority) => authority.resolver(),
        }
    }

    /// Shows in the metrics when it ends, under the name of the setting that it comes from.
    pub fn show(&self, setting: &'static str, metrics: &Metrics) {
        let certificate = self.current();
        metrics.show_certificate(setting, move || tls::expiry(&certificate.current()));
    }

    /// A TLS configuration without client certificates; `setting` names the section in errors.
    ///
    /// # Errors
    ///
    /// [`ServeError::Tls`] when rustls has no usable cryptography.
    pub fn server_config(&self, setting: &'static str) -> Result<Arc<ServerConfig>, ServeError> {
        let config = tls::server_config_with(self.resolver());
        config
            .map(Arc::new)
            .map_err(|source| ServeError::Tls { setting, source })
    }
}

/// The certificate of the files when they are set, or one of novasphere's own authority; `None` when the process was asked to stop
/// before the authority was there.
///
/// # Errors
///
/// [`ServeError`].
pub async fn certificate(source: CertificateSource<'_>) -> Result<Option<Certificate>, ServeError> {
    let setting = source.setting;
    match (source.certificate_file, source.key_file) {
        (Some(certificate), Some(key)) => tls::resolver(certificate, key, source.shutdown)
            .map(|resolver| Some(Certificate::Files(resolver)))
            .map_err(|source| ServeError::Tls { setting, source }),
        (None, None) => {
            let options = CaOptions {
                client: source.client,
                namespace: source.namespace,
                names: source.names,
                metrics: source.metrics,
                shutdown: source.shutdown,
            };
            match CertificateAuthority::start(options).await {
                Ok(authority) => Ok(Some(Certificate::Authority(authority))),
                Err(CaError::Stopped) => Ok(None),
                Err(error) => Err(ServeError::Authority(error)),
            }
        }
        _ => Err(ServeError::HalfPair { setting }),
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use http::{Request, Response};
    use kube::client::Body;

    use super::*;

    async fn refused(certificate_file: Option<&str>, key_file: Option<&str>) -> String {
        let (service, _) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let path = |file: &str| Path::new(file).to_owned();
        let (certificate_file, key_file) = (certificate_file.map(path), key_file.map(path));
        let refused = certificate(CertificateSource {
            setting: "console.tls",
            certificate_file: certificate_file.as_ref(),
            key_file: key_file.as_ref(),
            client: Client::new(service, "ns"),
            namespace: "ns".to_owned(),
            metrics: Metrics::default(),
            names: Vec::new(),
            shutdown: Shutdown::new(Duration::ZERO),
        });
        refused.await.err().unwrap().to_string()
    }

    #[tokio::test]
    async fn half_a_pair_and_a_missing_file_are_refused_with_the_setting() {
        let half = refused(None, Some("/k")).await;
        assert!(
            half.starts_with("console.tls: only one of certificateFile and keyFile"),
            "{half}"
        );
        let missing = refused(Some("no/such.crt"), Some("no/such.key")).await;
        assert!(missing.starts_with("console.tls: cannot read no/such.crt"), "{missing}");
    }
}
