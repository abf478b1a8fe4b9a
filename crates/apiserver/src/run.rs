//! The apiserver role from start to end.

use std::{sync::Arc, time::Duration};

use novasphere_runtime::{
    health::ReadinessGate,
    serve::{Certificate, CertificateSource, Listeners, ServeError, bind, certificate},
    tasks::{TaskEnded, Tasks},
    tls::{self, TlsError},
};
use novasphere_sessions::ServingOptions;
use rustls::{ServerConfig, crypto::aws_lc_rs, server::ResolvesServerCert};

use crate::{
    FIELD_MANAGER,
    api_service::{self, OwnService},
    config::ApiserverConfig,
    connect::ConsoleHandler,
    front_proxy::{AnyCertificate, FrontProxy},
    listener::serve,
    metrics::ApiMetrics,
    server::{ApiServer, request_places},
    token::TokenHandler,
};

/// The section of the certificate's settings.
const TLS_SETTING: &str = "apiserver.tls";

/// The time that requests have to end once no connection is accepted any more.
const REQUESTS_GRACE: Duration = Duration::from_secs(5);

/// Why the role ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It cannot listen, or has no certificate.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// rustls has no usable cryptography.
    #[error("{TLS_SETTING}: {0}")]
    Tls(#[from] TlsError),
    /// A task ended, which it never should.
    #[error(transparent)]
    TaskEnded(#[from] TaskEnded),
}

/// Serves kube-apiserver until `options.shutdown`, and a little longer: see [`Listeners::drained`]. Streams that are open then go
/// on: see [`SessionGateway::finish`](novasphere_sessions::SessionGateway::finish).
///
/// # Errors
///
/// [`RunError`]; the process should end.
pub async fn run(options: ServingOptions<ApiserverConfig>, metrics: ApiMetrics) -> Result<(), RunError> {
    let ServingOptions {
        config,
        endpoints,
        gateway,
        namespace,
        health,
        metrics: shown,
        shutdown,
    } = options;
    let client = gateway.client().clone();
    let listening = health.gate(ReadinessGate::ApiListener);
    let front_proxy = FrontProxy::default();
    let mut tasks = Tasks::new();
    let follow = front_proxy
        .clone()
        .follow(client.clone(), health.gate(ReadinessGate::FrontProxy));
    tasks.spawn("front proxy watch", follow);
    let listener = bind("apiserver.address", config.address).await?;
    let service = OwnService {
        namespace,
        name: config.service_name.clone(),
    };
    let source = CertificateSource {
        setting: TLS_SETTING,
        certificate_file: config.tls.certificate_file.as_ref(),
        key_file: config.tls.key_file.as_ref(),
        client: client.clone(),
        namespace: service.namespace.clone(),
        names: service.names(),
        metrics: shown.clone(),
        shutdown: shutdown.clone(),
    };
    let Some(certificate) = certificate(source).await? else {
        return Ok(());
    };
    certificate.show(TLS_SETTING, &shown);
    if let Certificate::Authority(authority) = &certificate {
        let applier = gateway.applier().with_field_manager(FIELD_MANAGER);
        let follow = api_service::follow(client, applier, service, authority.bundle());
        tasks.spawn("APIService watch", idle_after(shutdown.wait(), follow));
    }
    let api = Arc::new(ApiServer {
        front_proxy,
        health,
        metrics,
        consoles: ConsoleHandler::new(gateway.clone()),
        tokens: TokenHandler::new(gateway, endpoints),
        requests: request_places(),
    });
    let tls = Arc::new(server_config(certificate.resolver())?);
    let mut listeners = Listeners::new(shutdown);
    let stopped = listeners.stopped();
    listeners.spawn(
        "aggregated API listener",
        serve(listener, tls, api, stopped, REQUESTS_GRACE),
    );
    listening.ready();
    Ok(listeners.drained(&mut tasks).await?)
}

/// Does nothing any more once the process stops: a task never ends.
async fn idle_after(stopped: impl Future<Output = ()>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = stopped => std::future::pending().await,
    }
}

/// HTTP/1.1 only: a `WebSocket` needs it, and kube-apiserver upgrades over it.
pub(crate) fn server_config(certificate: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unusable)?
        .with_client_cert_verifier(Arc::new(AnyCertificate::default()))
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    tls::without_resumption(&mut config);
    Ok(config)
}
