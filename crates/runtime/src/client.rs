//! The Kubernetes client of a role: kube's stack, with room for our layers next to the wire.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use kube::{Client, client::Body};
use tower::{BoxError, Layer, Service, util::BoxCloneSyncService};

use crate::lease::Leadership;

/// Body of a response as it comes from the wire.
pub type WireBody = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// The innermost service that a layer of [`Builder::layer`] wraps: one call is one request on the wire (retries come from above).
pub type Transport = BoxCloneSyncService<Request<Body>, Response<WireBody>, BoxError>;

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No way to the cluster was found or it could not be read.
    #[error("no usable kubeconfig: {0}. Give --kubeconfig, set KUBECONFIG, or run in a Pod with a service account")]
    Config(String),
    /// The client's parts (TLS, credentials) could not be made.
    #[error("cannot make a Kubernetes client: {0}")]
    Build(#[source] kube::Error),
}

/// Reads a kubeconfig (or what is found by the usual search when `path` is `None`).
///
/// # Errors
///
/// [`ClientError::Config`] with the path or context that failed.
pub async fn kube_config(path: Option<&Path>, context: Option<&str>) -> Result<kube::Config, ClientError> {
    let _ = (path, context);
    todo!()
}

/// Makes a client out of layers.
#[must_use]
pub struct Builder {
    _private: (),
}

impl Builder {
    /// A client for `config`, with retries of 429, 503 and 504 as kube does them.
    ///
    /// # Errors
    ///
    /// [`ClientError::Build`] when the TLS settings or credentials of `config` cannot be used.
    pub fn new(config: kube::Config) -> Result<Self, ClientError> {
        let _ = config;
        todo!()
    }

    /// Adds a layer around everything added before, under retries and credentials: it sees each request as it goes to the wire.
    pub fn layer<L>(self, layer: &L) -> Self
    where
        L: Layer<Transport>,
        L::Service: Service<Request<Body>, Response = Response<WireBody>, Error = BoxError> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request<Body>>>::Future: Send + 'static,
    {
        let _ = layer;
        todo!()
    }

    /// Refuses every write while `leadership` is not current, with [`crate::lease::NotLeader`].
    pub fn write_gate(self, leadership: Leadership) -> Self {
        let _ = leadership;
        todo!()
    }

    /// How long one write may take before it fails. Default 10 s.
    pub fn write_timeout(self, timeout: Duration) -> Self {
        let _ = timeout;
        todo!()
    }

    /// The client.
    #[must_use]
    pub fn build(self) -> Client {
        todo!()
    }
}
