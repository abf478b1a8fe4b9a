//! `/livez`, `/readyz` and `/metrics` over plain HTTP, for kubelet and Prometheus.

use std::{collections::BTreeMap, fmt::Write as _, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use parking_lot::Mutex;
use prometheus_client::{encoding::text, registry::Registry};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::shutdown::Shutdown;

/// Connections at a time. kubelet and one or two scrapers use a handful; the rest wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// How long a client may take for the head of its request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may live; kubelet and Prometheus open a new one without harm.
const CONNECTION_LIFETIME: Duration = Duration::from_mins(5);

type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What has to be true before a process may serve, and what must stay true for it to live. Clones share it.
#[derive(Clone, Default)]
pub struct Health {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Name to the reason why it is closed, `None` when it is open.
    gates: Mutex<BTreeMap<&'static str, Option<String>>>,
    checks: Mutex<BTreeMap<&'static str, Check>>,
}

impl Health {
    /// Adds a named readiness gate, closed until [`Gate::ready`]. A second gate of the same name is the same gate.
    #[must_use = "a gate that nobody opens stays closed for ever"]
    pub fn gate(&self, name: &'static str) -> Gate {
        self.shared
            .gates
            .lock()
            .entry(name)
            .or_insert_with(|| Some("not ready yet".to_owned()));
        Gate {
            shared: Arc::clone(&self.shared),
            name,
        }
    }

    /// Adds a named liveness check: `/livez` answers 500 while it returns a reason. It must not block.
    pub fn liveness(&self, name: &'static str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.shared.checks.lock().insert(name, Box::new(check));
    }

    /// Whether every gate is open.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.shared.gates.lock().values().all(Option::is_none)
    }

    fn readiness(&self) -> Report {
        Report::of(
            self.shared
                .gates
                .lock()
                .iter()
                .map(|(name, reason)| (*name, reason.clone())),
        )
    }

    fn living(&self) -> Report {
        Report::of(
            self.shared
                .checks
                .lock()
                .iter()
                .map(|(name, check)| (*name, check().err())),
        )
    }
}

/// One readiness gate. Clones share it.
#[derive(Clone)]
pub struct Gate {
    shared: Arc<Shared>,
    name: &'static str,
}

impl Gate {
    /// Opens the gate.
    pub fn ready(&self) {
        self.shared.gates.lock().insert(self.name, None);
    }

    /// Closes the gate; `reason` is shown by `/readyz`.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.shared.gates.lock().insert(self.name, Some(reason.into()));
    }
}

/// The list that kube-apiserver writes for `/readyz?verbose`: one line per check, a plus or a minus before it.
struct Report {
    text: String,
    good: bool,
}

impl Report {
    fn of(items: impl Iterator<Item = (&'static str, Option<String>)>) -> Self {
        let mut report = Self {
            text: String::new(),
            good: true,
        };
        for (name, reason) in items {
            // Writing to a String cannot fail.
            let _ = match reason {
                None => writeln!(report.text, "[+]{name} ok"),
                Some(reason) => {
                    report.good = false;
                    writeln!(report.text, "[-]{name} failed: {reason}")
                }
            };
        }
        report.text.push_str(if report.good {
            "check passed\n"
        } else {
            "check failed\n"
        });
        report
    }

    fn into_response(self, bad: StatusCode) -> Response {
        let status = if self.good { StatusCode::OK } else { bad };
        (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], self.text).into_response()
    }
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
            });
        let mut connections = tokio::task::JoinSet::new();
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            while connections.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, _)) => {
                    let router = router.clone();
                    connections.spawn(async move {
                        serve(stream, router).await;
                        drop(place);
                    });
                }
                // Out of file descriptors, mostly: it passes, but not at once.
                Err(error) => {
                    tracing::warn!("cannot accept a connection for health and metrics: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn serve(stream: TcpStream, router: Router) {
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_LIFETIME, connection).await {
        tracing::debug!("health and metrics: {error}");
    }
}

impl Served {
    fn livez(&self) -> Response {
        self.health.living().into_response(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn readyz(&self) -> Response {
        if self.shutdown.is_triggered() {
            return (
                StatusCode::SERVICE_UNAVAILABLE,
                "[-]shutdown failed: stopping\ncheck failed\n",
            )
                .into_response();
        }
        self.health.readiness().into_response(StatusCode::SERVICE_UNAVAILABLE)
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

    async fn start(health: Health, registry: Registry, shutdown: Shutdown) -> SocketAddr {
        let server = AdminServer::bind("127.0.0.1:0".parse().unwrap(), health, registry)
            .await
            .unwrap();
        let address = server.local_address();
        tokio::spawn(server.run(shutdown));
        address
    }

    async fn fetch(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn readiness_names_every_gate_and_ends_with_shutdown() {
        let (health, shutdown) = (Health::default(), Shutdown::new(Duration::ZERO));
        let (caches, crd) = (health.gate("caches"), health.gate("crd"));
        let address = start(health.clone(), Registry::default(), shutdown.clone()).await;
        caches.ready();
        crd.not_ready("VmAccess is not installed");
        let answer = fetch(address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(
            answer.contains("[+]caches ok\n[-]crd failed: VmAccess is not installed\n"),
            "{answer}"
        );
        assert!(!health.is_ready());
        crd.ready();
        assert!(fetch(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(health.is_ready());
        shutdown.trigger();
        assert!(fetch(address, "/readyz").await.starts_with("HTTP/1.1 503"));
        assert!(fetch(address, "/livez").await.starts_with("HTTP/1.1 200"));
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
    async fn other_paths_are_not_found() {
        let address = start(Health::default(), Registry::default(), Shutdown::new(Duration::ZERO)).await;
        assert!(fetch(address, "/").await.starts_with("HTTP/1.1 404"));
    }
}
