//! A gateway with both listeners on loopback.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use novasphere_dataplane::{
    gateway::Gateway,
    limits::{ConnectionLimiter, Limits},
    listener::{rfb_tcp, websocket},
};
use novasphere_wire::websocket::opening::Origins;
use rustls::{ClientConfig, RootCertStore, ServerConfig, pki_types::PrivateKeyDer};
use tokio::{net::TcpListener, sync::watch};

use crate::desk::Desk;

pub(crate) const ORIGIN: &str = "https://consoles.example.org";

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Setup {
    pub(crate) desk: Desk,
    pub(crate) gateway: Gateway<Desk>,
    pub(crate) websocket: SocketAddr,
    pub(crate) rfb: SocketAddr,
    /// Trusts the RFB listener's certificate.
    pub(crate) tls: Arc<ClientConfig>,
    /// The same certificate for viewers that read files.
    pub(crate) certificate: String,
    stop: watch::Sender<bool>,
}

impl Setup {
    pub(crate) async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    pub(crate) async fn with(mut limits: Limits) -> Self {
        // Most tests connect from here; strangers come from other addresses.
        limits.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        let desk = Desk::default();
        let gateway = Gateway::new(
            desk.clone(),
            vec![Box::new(desk.clone())],
            ConnectionLimiter::new(limits),
        );
        let (stop, stopped) = watch::channel(false);
        let stopped = || {
            let mut stopped = stopped.clone();
            async move {
                // An error means that the test is over.
                let _ = stopped.wait_for(|stopped| *stopped).await;
            }
        };
        let (server, client, certificate) = certificate();
        let rfb_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let websocket_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (rfb, websocket) = (
            rfb_listener.local_addr().unwrap(),
            websocket_listener.local_addr().unwrap(),
        );
        tokio::spawn({
            let (gateway, stopped) = (gateway.clone(), stopped());
            async move { rfb_tcp::serve(rfb_listener, &server, gateway, stopped).await }
        });
        let origins = Origins::new([ORIGIN]).unwrap();
        tokio::spawn(websocket::serve(
            websocket_listener,
            None,
            origins,
            gateway.clone(),
            stopped(),
        ));
        Self {
            desk,
            gateway,
            websocket,
            rfb,
            tls: client,
            certificate,
            stop,
        }
    }

    /// Stops the listeners, not the streams.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until the observer was told this.
    pub(crate) async fn wait_for_log(&self, line: &str) {
        wait_for(&format!("the observer to be told {line:?}"), || {
            self.desk.log().iter().any(|told| told == line)
        })
        .await;
    }
}

/// A certificate for `localhost` of its own authority, and who trusts it.
pub(crate) fn certificate() -> (ServerConfig, Arc<ClientConfig>, String) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (server, Arc::new(client), made.cert.pem())
}

/// Waits for a condition, and says what was waited for when it does not come true.
pub(crate) async fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for an answer.
pub(crate) async fn within<T>(what: &str, answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, answer)
        .await
        .unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}
