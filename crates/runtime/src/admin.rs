//! `/livez`, `/readyz` and `/metrics` over plain HTTP, for kubelet and Prometheus.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use prometheus_client::{encoding::text, registry::Registry};
use tokio::net::{TcpListener, TcpStream};

use crate::{
    health::{Health, HealthReport},
    serve::{PlaceLimits, Places, StrictHead, accept, host_refusal},
    shutdown::Shutdown,
};

/// Connections at a time. kubelet and one or two scrapers use a handful. At the limit the oldest connection of the address that has
/// most is cut, so that a probe never waits for others: a client that reaches this port could have the process restarted otherwise.
const CONNECTIONS_LIMIT: usize = 64;
/// The time that a client may take for the head of its request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// The time that a connection may live. It carries one request: kubelet and Prometheus open another one without harm.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

fn response(report: HealthReport, bad: StatusCode) -> Response {
    let status = if report.good { StatusCode::OK } else { bad };
    (
        status,
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
        report.text,
    )
        .into_response()
}

#[derive(Clone)]
struct Served {
    health: Health,
    registry: Arc<Registry>,
    shutdown: Shutdown,
}

/// The bound, not yet running server.
pub struct AdminServer {
    listener: TcpListener,
    address: SocketAddr,
    health: Health,
    registry: Registry,
}

impl AdminServer {
    /// Takes the address, so that a busy port is an error at start. Port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// When the address cannot be taken.
    pub async fn bind(address: SocketAddr, health: Health, registry: Registry) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self {
            listener,
            address,
            health,
            registry,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until it is dropped. From `shutdown` on `/readyz` answers 503, while `/livez` and `/metrics` go on: the last
    /// scrape tells how the end went. So drop it last.
    pub async fn run(self, shutdown: Shutdown) {
        let Self {
            listener,
            health,
            registry,
            ..
        } = self;
        let router = Router::new()
            .route(
                "/livez",
                get(|State(served): State<Served>| async move { served.livez() }),
            )
            .route(
                "/readyz",
                get(|State(served): State<Served>| async move { served.readyz() }),
            )
            .route(
                "/metrics",
                get(|State(served): State<Served>| async move { served.metrics() }),
            )
            .with_state(Served {
                health,
                registry: Arc::new(registry),
                shutdown,
            })
            .layer(from_fn(with_host));
        let mut connections = tokio::task::JoinSet::new();
        let places = Places::new(PlaceLimits::of(CONNECTIONS_LIMIT));
        accept(listener, &places, std::future::pending(), |stream, peer, place| {
            while connections.try_join_next().is_some() {}
            let router = router.clone();
            connections.spawn(async move {
                if place.unless_cut(serve(stream, router)).await.is_err() {
                    tracing::debug!(%peer, "a connection is cut: there are too many");
                }
            });
        })
        .await;
    }
}

async fn with_host(request: Request, next: Next) -> Response {
    match host_refusal(&request) {
        Some(why) => (StatusCode::BAD_REQUEST, why).into_response(),
        None => next.run(request).await,
    }
}

async fn serve(stream: TcpStream, router: Router) {
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(StrictHead::new(stream)), service);
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        tracing::debug!("health and metrics: {error}");
    }
}

impl Served {
    fn livez(&self) -> Response {
        response(self.health.liveness_report(), StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn readyz(&self) -> Response {
        if self.shutdown.is_triggered() {
            return (
                StatusCode::SERVICE_UNAVAILABLE,
                "[-]shutdown failed: stopping\ncheck failed\n",
            )
                .into_response();
        }
        response(self.health.readiness(), StatusCode::SERVICE_UNAVAILABLE)
    }

    fn metrics(&self) -> Response {
        let mut body = String::new();
        match text::encode(&mut body, &self.registry) {
            Ok(()) => (
                [(
                    header::CONTENT_TYPE,
                    "application/openmetrics-text; version=1.0.0; charset=utf-8",
                )],
                body,
            )
                .into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::health::ReadinessGate;

    async fn start(health: Health, registry: Registry, shutdown: Shutdown) -> SocketAddr {
        let server = AdminServer::bind("127.0.0.1:0".parse().unwrap(), health, registry)
            .await
            .unwrap();
        let address = server.local_address();
        tokio::spawn(server.run(shutdown));
        address
    }

    async fn fetch(address: SocketAddr, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        say(address, &request).await
    }

    /// The answer to this.
    async fn say(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn readiness_names_every_gate_and_ends_with_shutdown() {
        let (health, shutdown) = (Health::default(), Shutdown::new(Duration::ZERO));
        let (caches, proxy) = (
            health.gate(ReadinessGate::ControllerCaches),
            health.gate(ReadinessGate::FrontProxy),
        );
        let address = start(health.clone(), Registry::default(), shutdown.clone()).await;
        caches.ready();
        proxy.not_ready("its ConfigMap was not read");
        let answer = fetch(address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(
            answer.contains("[+]controller-caches ok\n[-]front-proxy failed: its ConfigMap was not read\n"),
            "{answer}"
        );
        assert!(!health.is_ready());
        proxy.ready();
        assert!(fetch(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(health.is_ready());
        shutdown.trigger();
        assert!(fetch(address, "/readyz").await.starts_with("HTTP/1.1 503"));
        assert!(fetch(address, "/livez").await.starts_with("HTTP/1.1 200"));
    }

    /// What a stranger in the cluster can do with a loop in a shell.
    #[tokio::test]
    async fn connections_that_are_held_keep_no_probe_waiting() {
        const HELD: usize = 70;
        let address = start(Health::default(), Registry::default(), Shutdown::new(Duration::ZERO)).await;
        let request = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";
        let mut held = Vec::new();
        for number in 0..2 * HELD {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // Half of them ask and want to be kept alive, half say nothing.
            if number < HELD {
                stream.write_all(request).await.unwrap();
            }
            held.push(stream);
        }
        for stream in &mut held {
            // Cut, or answered and closed: an error is that as well.
            let _ = stream.write_all(request).await;
        }
        let probed = tokio::time::timeout(Duration::from_secs(1), fetch(address, "/livez")).await;
        let answer = probed.expect("a probe is answered within kubelet's second");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    #[tokio::test]
    async fn a_connection_carries_one_request() {
        let address = start(Health::default(), Registry::default(), Shutdown::new(Duration::ZERO)).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        let closed = tokio::time::timeout(HEADER_TIMEOUT / 2, stream.read_to_string(&mut answer)).await;
        closed.expect("the connection is closed after its answer").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    #[tokio::test]
    async fn a_failing_check_ends_liveness() {
        let health = Health::default();
        health.liveness("leader lease", || Err("the task has ended".to_owned()));
        let address = start(health, Registry::default(), Shutdown::new(Duration::ZERO)).await;
        let answer = fetch(address, "/livez").await;
        assert!(
            answer.starts_with("HTTP/1.1 500") && answer.contains("[-]leader lease failed: the task has ended"),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn metrics_are_open_metrics() {
        let mut registry = Registry::default();
        let counter = Counter::<u64>::default();
        registry.register("things", "Things", counter.clone());
        counter.inc();
        let address = start(Health::default(), registry, Shutdown::new(Duration::ZERO)).await;
        let answer = fetch(address, "/metrics").await;
        assert!(
            answer.contains("application/openmetrics-text") && answer.contains("things_total 1\n# EOF"),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn a_request_that_is_not_written_as_the_standard_has_it_is_refused() {
        let address = start(Health::default(), Registry::default(), Shutdown::new(Duration::ZERO)).await;
        for request in [
            "GET /livez HTTP/1.1\r\n\r\n",
            "GET /nowhere HTTP/1.1\r\n\r\n",
            "GET /livez HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
            "GET /livez HTTP/1.1\nhost: a\n\n",
            "GET /livez HTTP/1.1\r\nhost: a\nx: y\r\n\r\n",
            "GET /livez HTTP/1.1\r\nhost: a\r\n\n",
        ] {
            let answer = say(address, request).await;
            assert!(answer.starts_with("HTTP/1.1 400"), "{request:?}: {answer}");
        }
        let old = say(address, "GET /livez HTTP/1.0\r\n\r\n").await;
        assert!(
            old.starts_with("HTTP/1.0 200"),
            "the older version has no such header: {old}"
        );
    }

    #[tokio::test]
    async fn other_paths_are_not_found() {
        let address = start(Health::default(), Registry::default(), Shutdown::new(Duration::ZERO)).await;
        assert!(fetch(address, "/").await.starts_with("HTTP/1.1 404"));
    }
}
