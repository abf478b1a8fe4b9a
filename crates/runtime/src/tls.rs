//! TLS for servers: certificate and key from files, read again when they change.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::RwLock;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{shutdown::Shutdown, tasks::spawn_until};

/// How often the files are looked at. kubelet writes a changed Secret into a volume within a minute or two.
const POLL: Duration = Duration::from_secs(10);

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds no PEM of the kind that is wanted.
    #[error("cannot read {path}: {message}")]
    Read {
        /// The file.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// They are readable but do not go together or cannot be used.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(#[source] rustls::Error),
}

/// A server configuration (TLS 1.2 and 1.3, no client certificates) whose certificate follows the files, looked at every 10 s
/// in a task until `shutdown`. A pair that cannot be used later is logged, and the last good one stays.
///
/// No session tickets and no resumption: `TigerVNC` 1.12 hangs on the tickets of TLS 1.3, and a resumed session would outlive
/// a certificate that was withdrawn.
///
/// # Errors
///
/// [`TlsError`] when the first pair cannot be used.
pub fn server_config(certificate: &Path, key: &Path, shutdown: Shutdown) -> Result<Arc<ServerConfig>, TlsError> {
    server_config_with(resolver(certificate, key, shutdown)?).map(Arc::new)
}

/// The same for a certificate that comes from elsewhere, such as [`crate::ca`].
///
/// # Errors
///
/// [`TlsError`] when rustls has no usable cryptography.
pub fn server_config_with(certificate: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unusable)?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    without_resumption(&mut config);
    Ok(config)
}

/// Takes session tickets and resumption away from a server configuration: see [`server_config`].
pub fn without_resumption(config: &mut ServerConfig) {
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
}

/// The certificate of the files, followed as [`server_config`] says.
///
/// # Errors
///
/// [`TlsError`] when the first pair cannot be used.
pub fn resolver(certificate: &Path, key: &Path, shutdown: Shutdown) -> Result<Arc<dyn CurrentCertificate>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let files = Files {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
    };
    let content = files.read()?;
    let pair = Arc::new(Pair {
        current: RwLock::new(Arc::new(content.parse(&files, &provider)?)),
    });
    let followed = Arc::clone(&pair);
    spawn_until("certificate files", shutdown, async move {
        follow(&files, content, &followed, &provider).await;
    });
    Ok(pair)
}

/// A certificate that is renewed while it is used.
pub trait CurrentCertificate: ResolvesServerCert {
    /// The one in use.
    fn current(&self) -> Arc<CertifiedKey>;
}

/// When the server's certificate ends.
#[must_use]
pub fn expiry(key: &CertifiedKey) -> Option<Timestamp> {
    let (_, parsed) = X509Certificate::from_der(key.end_entity_cert().ok()?).ok()?;
    Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()
}

/// The certificate in use.
#[derive(Debug)]
struct Pair {
    current: RwLock<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Pair {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl CurrentCertificate for Pair {
    fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.current.read())
    }
}

struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

#[derive(PartialEq)]
struct Content {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn read(&self) -> Result<Content, TlsError> {
        let read = |path: &Path| std::fs::read(path).map_err(|error| unreadable(path, &error));
        Ok(Content {
            certificate: read(&self.certificate)?,
            key: read(&self.key)?,
        })
    }
}

impl Content {
    fn parse(&self, files: &Files, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
        let chain = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| unreadable(&files.certificate, &error))?;
        if chain.is_empty() {
            return Err(unreadable(&files.certificate, &"it holds no certificate"));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| unreadable(&files.key, &error))?;
        // Also proves that the key is the certificate's.
        CertifiedKey::from_der(chain, key, provider).map_err(TlsError::Unusable)
    }
}

fn unreadable(path: &Path, message: &dyn std::fmt::Display) -> TlsError {
    TlsError::Read {
        path: path.display().to_string(),
        message: message.to_string(),
    }
}

/// Compares contents: the modification times of a Secret's files are those of a symbolic link that kubelet replaces. The two
/// files are replaced one after the other by some tools; until both are new the pair does not go together and the old stays.
async fn follow(files: &Files, mut last: Content, pair: &Pair, provider: &CryptoProvider) {
    let mut told = String::new();
    loop {
        tokio::time::sleep(POLL).await;
        match files.read() {
            Ok(content) if content == last => {}
            Ok(content) => match content.parse(files, provider) {
                Ok(good) => {
                    *pair.current.write() = Arc::new(good);
                    tracing::info!(certificate = %files.certificate.display(), "the certificate has changed and is in use");
                    last = content;
                    told.clear();
                }
                Err(error) => warn_once(&mut told, &error),
            },
            Err(error) => warn_once(&mut told, &error),
        }
    }
}

fn warn_once(told: &mut String, error: &TlsError) {
    let error = error.to_string();
    if *told != error {
        tracing::warn!("the new certificate is not used, the last one stays: {error}");
        *told = error;
    }
}

#[cfg(test)]
mod tests {
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection, pki_types::ServerName};

    use super::*;

    struct Made {
        der: CertificateDer<'static>,
        certificate: String,
        key: String,
    }

    fn make() -> Made {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        Made {
            der: cert.der().clone(),
            certificate: cert.pem(),
            key: signing_key.serialize_pem(),
        }
    }

    struct Dir(tempfile::TempDir);

    impl Dir {
        fn with(made: &Made) -> Self {
            let dir = Self(tempfile::tempdir().unwrap());
            dir.write(&made.certificate, &made.key);
            dir
        }

        fn write(&self, certificate: &str, key: &str) {
            std::fs::write(self.certificate(), certificate).unwrap();
            std::fs::write(self.key(), key).unwrap();
        }

        fn certificate(&self) -> PathBuf {
            self.0.path().join("tls.crt")
        }

        fn key(&self) -> PathBuf {
            self.0.path().join("tls.key")
        }
    }

    /// Whether a client that trusts `made` alone gets through a handshake, and what it was given for resumption.
    fn handshake(config: &Arc<ServerConfig>, made: &Made) -> Result<u32, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(made.der.clone()).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut client = ClientConnection::new(Arc::new(client), ServerName::try_from("localhost").unwrap())?;
        let mut server = ServerConnection::new(Arc::clone(config))?;
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets()?;
            wire.clear();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(client.tls13_tickets_received())
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_pair_is_used_without_a_restart_and_a_bad_one_is_not() {
        let (first, second) = (make(), make());
        let dir = Dir::with(&first);
        let config = server_config(&dir.certificate(), &dir.key(), Shutdown::new(Duration::ZERO)).unwrap();
        assert_eq!(handshake(&config, &first).unwrap(), 0, "no session tickets");
        handshake(&config, &second).unwrap_err();

        // Half of a rotation.
        dir.write(&second.certificate, &first.key);
        tokio::time::sleep(POLL * 2).await;
        handshake(&config, &first).unwrap();

        dir.write(&second.certificate, &second.key);
        tokio::time::sleep(POLL * 2).await;
        handshake(&config, &second).unwrap();
        handshake(&config, &first).unwrap_err();
    }

    #[tokio::test]
    async fn a_pair_that_cannot_be_used_is_refused_at_the_start_with_the_file() {
        let (made, other) = (make(), make());
        let dir = Dir::with(&made);
        let start = || server_config(&dir.certificate(), &dir.key(), Shutdown::new(Duration::ZERO)).map(drop);
        dir.write("", &made.key);
        assert!(
            start()
                .unwrap_err()
                .to_string()
                .contains("tls.crt: it holds no certificate")
        );
        dir.write(&made.certificate, "nothing");
        assert!(start().unwrap_err().to_string().contains("tls.key"));
        dir.write(&made.certificate, &other.key);
        assert!(matches!(start().unwrap_err(), TlsError::Unusable(_)));
        std::fs::remove_file(dir.key()).unwrap();
        assert!(start().unwrap_err().to_string().contains("tls.key"));
    }
}
