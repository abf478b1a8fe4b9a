//! The apiserver role from start to end.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use kube::Client;
use novasphere_core::console_session::endpoints::Endpoints;
use novasphere_runtime::{
    ca::{CaError, CaOptions, CertificateAuthority},
    health::{Health, ReadinessGate},
    shutdown::Shutdown,
    tls::{self, TlsError},
};
use novasphere_sessions::SessionGateway;
use rustls::{ServerConfig, crypto::aws_lc_rs, server::ResolvesServerCert};
use tokio::{net::TcpListener, task::JoinSet, time::sleep};

use crate::{
    access::Access,
    api_service::{self, OwnService},
    config::{ApiserverConfig, ConfigError},
    connect::Consoles,
    front_proxy::{AnyCertificate, FrontProxy},
    metrics::ApiMetrics,
    server::{Api, serve},
    token::Tokens,
};

/// From the request to stop until no connection is accepted any more: kube-apiserver learns in that time that the process is
/// not ready.
pub const GRACE: Duration = Duration::from_secs(2);

/// How long requests may take to end after that.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

/// What the role is given from outside.
pub struct Options {
    /// Its section of the configuration file.
    pub config: ApiserverConfig,
    /// Where viewers reach novasphere, for the URLs of tokens.
    pub endpoints: Endpoints,
    /// The sessions and their streams.
    pub gateway: SessionGateway,
    /// Does everything that [`crate::rbac`] lists.
    pub client: Client,
    /// The process's own namespace.
    pub namespace: String,
    /// Where readiness is told.
    pub health: Health,
    /// Counters.
    pub metrics: ApiMetrics,
    /// When to stop.
    pub shutdown: Shutdown,
}

/// Why the role ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The address is taken or not of this machine.
    #[error("apiserver.address: cannot listen on {address}: {source}")]
    Listen {
        /// The setting.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The settings do not go together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The certificate cannot be used.
    #[error("apiserver.tls: {0}")]
    Tls(#[from] TlsError),
    /// There is no certificate of our own.
    #[error(transparent)]
    Authority(#[from] CaError),
    /// A task ended, which it never should.
    #[error("a task ended by itself; the process ends to start over")]
    TaskEnded,
}

/// Serves kube-apiserver until `options.shutdown`, and then for [`GRACE`] more. Streams that are open then go on: see
/// [`SessionGateway::finish`].
///
/// # Errors
///
/// [`RunError`]; the process should end.
pub async fn run(options: Options) -> Result<(), RunError> {
    let Options {
        config,
        endpoints,
        gateway,
        client,
        namespace,
        health,
        metrics,
        shutdown,
    } = options;
    let listening = health.gate(ReadinessGate::ApiListener);
    let front_proxy = FrontProxy::default();
    let mut tasks = JoinSet::new();
    tasks.spawn(
        front_proxy
            .clone()
            .follow(client.clone(), health.gate(ReadinessGate::FrontProxy)),
    );
    let listener = listen(config.address).await?;
    let service = OwnService {
        namespace,
        name: config.service_name.clone(),
    };
    let certificate = match certificate(&config, &service, &client, &shutdown, &mut tasks).await {
        Err(RunError::Authority(CaError::Stopped)) => return Ok(()),
        other => other?,
    };
    let access = Access::new(client.clone());
    let api = Arc::new(Api {
        front_proxy,
        health,
        metrics,
        consoles: Consoles::new(client, access.clone(), gateway.clone()),
        tokens: Tokens::new(gateway, access, endpoints),
    });
    let stop = Shutdown::new(shutdown.grace());
    let mut served = tokio::spawn(serve(
        listener,
        Arc::new(server_config(certificate)?),
        api,
        stop.wait(),
        LAST_REQUESTS,
    ));
    listening.ready();
    let result = tokio::select! {
        () = shutdown.wait() => Ok(()),
        _ = &mut served => Err(RunError::TaskEnded),
        Some(_) = tasks.join_next() => Err(RunError::TaskEnded),
    };
    if result.is_ok() {
        sleep(GRACE).await;
        stop.trigger();
        // A panic in it was logged already.
        let _ = served.await;
    }
    result
}

async fn listen(address: SocketAddr) -> Result<TcpListener, RunError> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| RunError::Listen { address, source })?;
    tracing::info!(address = ?listener.local_addr().ok(), "listening");
    Ok(listener)
}

/// The certificate of the files, or one of our own authority, whose bundle then goes into the `APIService`.
async fn certificate(
    config: &ApiserverConfig,
    service: &OwnService,
    client: &Client,
    shutdown: &Shutdown,
    tasks: &mut JoinSet<()>,
) -> Result<Arc<dyn ResolvesServerCert>, RunError> {
    if let Some((certificate, key)) = config.tls.files()? {
        return Ok(tls::resolver(certificate, key, shutdown.clone())?);
    }
    let authority = CertificateAuthority::start(CaOptions {
        client: client.clone(),
        namespace: service.namespace.clone(),
        names: service.names(),
        shutdown: shutdown.clone(),
    })
    .await?;
    let stopped = shutdown.wait();
    let follow = api_service::follow(client.clone(), service.clone(), authority.bundle());
    tasks.spawn(async move {
        tokio::select! {
            () = follow => {}
            () = stopped => std::future::pending().await,
        }
    });
    Ok(authority.resolver())
}

/// HTTP/1.1 only: a `WebSocket` needs it, and kube-apiserver upgrades over it.
fn server_config(certificate: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unusable)?
        .with_client_cert_verifier(Arc::new(AnyCertificate::default()))
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    tls::without_resumption(&mut config);
    Ok(config)
}
