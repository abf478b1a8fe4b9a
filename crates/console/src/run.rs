//! The console role from start to end.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use kube::Client;
use novasphere_core::console_session::endpoints::Endpoints;
use novasphere_dataplane::listener::{rfb_tcp, websocket};
use novasphere_runtime::{
    ca::{CaError, CaOptions, CertificateAuthority},
    health::{Health, ReadinessGate},
    shutdown::Shutdown,
    tls::{self, TlsError},
};
use novasphere_sessions::SessionGateway;
use novasphere_wire::websocket::opening::NotAnOrigin;
use rustls::ServerConfig;
use tokio::{net::TcpListener, task::JoinSet, time::sleep};

use super::config::{ConsoleConfig, TlsConfig, host};
use crate::page::Page;

/// From the request to stop until no connection is accepted any more: load balancers learn in that time that the process is
/// not ready.
pub const GRACE: Duration = Duration::from_secs(2);

/// What the role is given from outside.
pub struct Options {
    /// Its section of the configuration file.
    pub config: ConsoleConfig,
    /// Where viewers reach it.
    pub endpoints: Endpoints,
    /// The sessions and their streams.
    pub gateway: SessionGateway,
    /// Reads and makes the Secret of novasphere's own authority.
    pub client: Client,
    /// The process's own namespace.
    pub namespace: String,
    /// Where readiness is told.
    pub health: Health,
    /// When to stop.
    pub shutdown: Shutdown,
}

/// Why the role ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address is taken or not of this machine.
    #[error("console.{setting}: cannot listen on {address}: {source}")]
    Listen {
        /// The setting.
        setting: &'static str,
        /// Its value.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Only one of certificate and key is set.
    #[error("console.tls: set certificateFile and keyFile, or neither")]
    HalfPair,
    /// The certificate cannot be used.
    #[error("console.tls: {0}")]
    Tls(#[from] TlsError),
    /// There is no certificate of our own.
    #[error(transparent)]
    Authority(#[from] CaError),
    /// A configured origin is none.
    #[error("console.http: {0}")]
    Origin(#[from] NotAnOrigin),
    /// A listener ended, which it never should.
    #[error("a listener ended by itself; the process ends to start over")]
    TaskEnded,
}

/// Serves viewers until `options.shutdown`, and then for [`GRACE`] more. Streams that are open then go on: see
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
        shutdown,
    } = options;
    let listening = health.gate(ReadinessGate::ConsoleListeners);
    let origins = config.origins(&endpoints)?;
    let page = Page::new(&config.http.embedders)?;
    let http = listen("http.address", config.http.address).await?;
    let vnc = if config.vnc.enabled {
        Some(listen("vnc.address", config.vnc.address).await?)
    } else {
        None
    };
    let tls = if config.http.plain && vnc.is_none() {
        None
    } else {
        match certificate(&config.tls, &endpoints, client, &namespace, &shutdown).await {
            Err(RunError::Authority(CaError::Stopped)) => return Ok(()),
            other => Some(other?),
        }
    };
    let stop = Shutdown::new(shutdown.grace());
    let mut listeners = JoinSet::new();
    let http_tls = tls.clone().filter(|_| !config.http.plain);
    let streams = gateway.gateway().clone();
    listeners.spawn(websocket::serve_with_page(
        http,
        http_tls,
        origins,
        Some(Arc::new(page)),
        streams.clone(),
        stop.wait(),
    ));
    if let (Some(listener), Some(tls)) = (vnc, tls) {
        let until = stop.wait();
        listeners.spawn(async move { rfb_tcp::serve(listener, &tls, streams, until).await });
    }
    listening.ready();
    let result = tokio::select! {
        () = shutdown.wait() => Ok(()),
        _ = listeners.join_next() => Err(RunError::TaskEnded),
    };
    if result.is_ok() {
        sleep(GRACE).await;
    }
    stop.trigger();
    while listeners.join_next().await.is_some() {}
    result
}

async fn listen(setting: &'static str, address: SocketAddr) -> Result<TcpListener, RunError> {
    let listener = TcpListener::bind(address).await.map_err(|source| RunError::Listen {
        setting,
        address,
        source,
    })?;
    tracing::info!(setting, address = ?listener.local_addr().ok(), "listening");
    Ok(listener)
}

async fn certificate(
    config: &TlsConfig,
    endpoints: &Endpoints,
    client: Client,
    namespace: &str,
    shutdown: &Shutdown,
) -> Result<Arc<ServerConfig>, RunError> {
    match (&config.certificate_file, &config.key_file) {
        (Some(certificate), Some(key)) => Ok(tls::server_config(certificate, key, shutdown.clone())?),
        (None, None) => {
            let authority = CertificateAuthority::start(CaOptions {
                client,
                namespace: namespace.to_owned(),
                names: names(config, endpoints, namespace),
                shutdown: shutdown.clone(),
            })
            .await?;
            Ok(authority.server_config()?)
        }
        _ => Err(RunError::HalfPair),
    }
}

/// Under which names and addresses viewers may know this process.
fn names(config: &TlsConfig, endpoints: &Endpoints, namespace: &str) -> Vec<String> {
    let public = [&endpoints.public_url, &endpoints.vnc_address].into_iter().flatten();
    let service = format!("novasphere-console.{namespace}.svc");
    let mut names: Vec<String> = public.map(|address| host(address)).collect();
    names.extend(config.names.iter().cloned());
    names.extend([service, "localhost".to_owned()]);
    names.sort();
    names.dedup();
    names
}
