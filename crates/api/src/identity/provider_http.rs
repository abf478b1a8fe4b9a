//! Requests to identity providers: over TLS, bounded in time and size, without redirects.
//!
//! By hyper as kube's client and the exporter of traces do it: reqwest would bring a second TLS configuration into the program.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

/// The time that a provider may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of an answer.
const ANSWER_BYTES: usize = 512 * 1024;

/// Why no request can be made.
#[derive(Debug, thiserror::Error)]
pub enum ProviderSetupError {
    /// The file with authorities.
    #[error("{file}: {message}")]
    Authorities {
        /// The file.
        file: String,
        /// What is wrong with it.
        message: String,
    },
    /// rustls has no usable cryptography, or the system no authorities.
    #[error("TLS cannot be used: {0}")]
    Tls(String),
}

/// Why a provider has not answered as it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// It cannot be reached, or takes too long.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It refuses, with the `error` of RFC 6749, 5.2.
    #[error("it answers {status}: {error}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The error's code, or nothing.
        error: String,
    },
    /// Its answer is not what the standard has.
    #[error("its answer cannot be read: {0}")]
    Invalid(String),
}

/// A client for one provider. Clones share its connections.
#[derive(Clone)]
pub struct ProviderHttp(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

#[derive(serde::Deserialize)]
struct OauthError {
    #[serde(default)]
    error: String,
}

impl ProviderHttp {
    /// A client that trusts the authorities of a file, or those of the system.
    ///
    /// # Errors
    ///
    /// [`ProviderSetupError`].
    pub fn new(authorities: Option<&Path>) -> Result<Self, ProviderSetupError> {
        let builder = HttpsConnectorBuilder::new();
        let connector = match authorities {
            Some(file) => builder.with_tls_config(trusting(file)?),
            None => builder
                .with_provider_and_platform_verifier(aws_lc_rs::default_provider())
                .map_err(|error| ProviderSetupError::Tls(error.to_string()))?,
        };
        // The configuration lets plain HTTP pass to loopback addresses alone.
        let connector = connector.https_or_http().enable_http1().build();
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }

    /// Reads a document.
    ///
    /// # Errors
    ///
    /// [`ProviderError`].
    pub async fn get<T: DeserializeOwned>(&self, url: &str) -> Result<T, ProviderError> {
        let request = Request::get(url)
            .header(header::ACCEPT, "application/json")
            .body(Full::default());
        self.send(request.map_err(|error| ProviderError::Invalid(error.to_string()))?)
            .await
    }

    /// Sends a form.
    ///
    /// # Errors
    ///
    /// [`ProviderError`].
    pub async fn post<T: DeserializeOwned>(&self, url: &str, form: &[(&str, &str)]) -> Result<T, ProviderError> {
        // A serializer cannot wait for an answer in another thread.
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let request = Request::post(url)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(body));
        self.send(request.map_err(|error| ProviderError::Invalid(error.to_string()))?)
            .await
    }

    async fn send<T: DeserializeOwned>(&self, request: Request<Full<Bytes>>) -> Result<T, ProviderError> {
        let exchange = async {
            let answer = self.0.request(request).await;
            let answer = answer.map_err(|error| ProviderError::Unreachable(error.to_string()))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| ProviderError::Unreachable(error.to_string()))?;
            Ok((status, body.to_bytes()))
        };
        let answered = timeout(REQUEST_TIMEOUT, exchange).await;
        let (status, body) = answered.map_err(|_| ProviderError::Unreachable("no answer in time".to_owned()))??;
        if status != StatusCode::OK {
            let error = serde_json::from_slice::<OauthError>(&body)
                .map(|error| error.error)
                .unwrap_or_default();
            return Err(ProviderError::Refused {
                status: status.as_u16(),
                error: error.chars().filter(char::is_ascii_graphic).take(64).collect(),
            });
        }
        serde_json::from_slice(&body).map_err(|error| ProviderError::Invalid(error.to_string()))
    }
}

fn trusting(file: &Path) -> Result<ClientConfig, ProviderSetupError> {
    let wrong = |message: String| ProviderSetupError::Authorities {
        file: file.display().to_string(),
        message,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))? {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("it has no certificate".to_owned()));
    }
    let builder = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into());
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| ProviderSetupError::Tls(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
