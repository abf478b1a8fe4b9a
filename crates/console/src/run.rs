//! The console role from start to end.

use std::{
    net::{IpAddr, UdpSocket},
    sync::Arc,
};

use novasphere_core::console_session::endpoints::Endpoints;
use novasphere_dataplane::listener::{rfb_tcp, websocket};
use novasphere_runtime::{
    health::ReadinessGate,
    serve::{CertificateSource, Listeners, ServeError, bind, certificate},
    tasks::{TaskEnded, Tasks},
};
use novasphere_sessions::ServingOptions;
use novasphere_wire::websocket::opening::NotAnOrigin;

use super::config::{ConsoleConfig, TlsConfig, host};
use crate::page::Page;

/// The section of the certificate's settings.
const TLS_SETTING: &str = "console.tls";

/// Why the role ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It cannot listen, or has no certificate.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A configured origin is none.
    #[error("console.http: {0}")]
    Origin(#[from] NotAnOrigin),
    /// A listener ended, which it never should.
    #[error(transparent)]
    TaskEnded(#[from] TaskEnded),
}

/// Serves viewers until `options.shutdown`, and a little longer: see [`Listeners::drained`]. Streams that are open then go on: see
/// [`SessionGateway::finish`](novasphere_sessions::SessionGateway::finish).
///
/// # Errors
///
/// [`RunError`]; the process should end.
pub async fn run(options: ServingOptions<ConsoleConfig>) -> Result<(), RunError> {
    let ServingOptions {
        config,
        endpoints,
        gateway,
        namespace,
        health,
        metrics,
        shutdown,
    } = options;
    let listening = health.gate(ReadinessGate::ConsoleListeners);
    warn_of_trusted_pods(&config);
    let origins = config.origins(&endpoints)?;
    let page = Arc::new(Page::new(&config.http.embedders)?);
    let http = bind("console.http.address", config.http.address).await?;
    let vnc = if config.vnc.enabled {
        Some(bind("console.vnc.address", config.vnc.address).await?)
    } else {
        None
    };
    let tls = if config.http.plain && vnc.is_none() {
        None
    } else {
        let source = CertificateSource {
            setting: TLS_SETTING,
            certificate_file: config.tls.certificate_file.as_ref(),
            key_file: config.tls.key_file.as_ref(),
            client: gateway.client().clone(),
            names: names(&config.tls, &endpoints, &namespace),
            namespace,
            metrics: metrics.clone(),
            shutdown: shutdown.clone(),
        };
        let Some(certificate) = certificate(source).await? else {
            return Ok(());
        };
        certificate.show(TLS_SETTING, &metrics);
        Some(certificate.server_config(TLS_SETTING)?)
    };
    let mut listeners = Listeners::new(shutdown);
    let http_tls = tls.clone().filter(|_| !config.http.plain);
    let streams = gateway.gateway().clone();
    let stopped = listeners.stopped();
    listeners.spawn(
        "console HTTP listener",
        websocket::serve_with_page(http, http_tls, origins, Some(page), streams.clone(), stopped),
    );
    if let (Some(listener), Some(tls)) = (vnc, tls) {
        let stopped = listeners.stopped();
        listeners.spawn("console VNC listener", async move {
            rfb_tcp::serve(listener, &tls, streams, stopped).await;
        });
    }
    listening.ready();
    Ok(listeners.drained(&mut Tasks::new()).await?)
}

/// Says when other Pods are believed as proxies: the gateway is a Pod like them.
fn warn_of_trusted_pods(config: &ConsoleConfig) {
    if let Some(range) = config.range_of_pods(&own_addresses()) {
        tracing::warn!(
            %range,
            "console.trustedProxies holds the gateway's own address, so it holds other Pods too, and each of them may say where its \
             clients are. Name the addresses of the proxies alone"
        );
    }
}

/// Those from which the process would send: to find them, nothing is sent.
fn own_addresses() -> Vec<IpAddr> {
    // Addresses for documentation (RFC 5737, RFC 3849).
    [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")]
        .into_iter()
        .filter_map(|(from, to)| {
            let socket = UdpSocket::bind(from).ok()?;
            socket.connect(to).ok()?;
            Some(socket.local_addr().ok()?.ip())
        })
        .collect()
}

/// The names and addresses under which viewers may know this process.
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
