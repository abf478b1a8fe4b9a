//! The Kubernetes client of a role: kube's stack, with room for our layers next to the wire.
//!
//! kube's own builder puts layers *around* retries and credentials. A check of leadership there would be made once and hold for
//! all retries and for the time that an exec plugin takes, so the stack is put together here, with our layers inside.

mod lookup;
pub mod user;

use std::{path::Path, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response, header::USER_AGENT};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{
        Client as HttpClient,
        connect::{HttpConnector, dns::GaiResolver},
    },
    rt::TokioExecutor,
};
use kube::{
    Client,
    client::{Body, ConfigExt, retry::RetryPolicy},
    config::{KubeConfigOptions, Kubeconfig},
};
use tower::{BoxError, Layer, Service, ServiceBuilder, retry::RetryLayer, service_fn, util::BoxCloneSyncService};

use self::lookup::SharedLookup;
use crate::{
    lease::{GatedBody, Leadership, WriteGate, is_write},
    telemetry::traces::propagate_trace,
};

/// Body of a response as it comes from the wire.
pub type WireBody = UnsyncBoxBody<Bytes, BoxError>;

/// The innermost service that a layer of [`Builder::layer`] wraps: one call is one request on the wire (retries come from above).
pub type HttpTransport = BoxCloneSyncService<Request<Body>, Response<WireBody>, BoxError>;

/// How long one try of a write may take until its answer begins, unless [`Builder::write_timeout`] says otherwise.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one try of a read may take until its answer begins. A watch answers at once and then goes on for minutes.
pub const READ_TIMEOUT: Duration = Duration::from_mins(1);

/// How long a connection is silent before the kernel asks whether the apiserver's host is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Between questions without an answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// This number of unanswered questions ends the connection, a minute after its last packet.
const KEEPALIVE_RETRIES: u32 = 3;

/// How long sent bytes may go without acknowledgement: as long as silence.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_mins(1);

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

/// The apiserver did not begin to answer in time. Whether it acted on the request is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no answer from the apiserver within {0:?}")]
pub struct TimedOut(pub Duration);

/// Reads the kubeconfig at `path`, or finds the cluster by the usual search when there is none: the variable KUBECONFIG,
/// `~/.kube/config`, the Pod's service account.
///
/// # Errors
///
/// [`ClientError::Config`] with what failed.
pub async fn kube_config(path: Option<&Path>, context: Option<&str>) -> Result<kube::Config, ClientError> {
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    let unusable = |error: &dyn std::fmt::Display| ClientError::Config(error.to_string());
    match path {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path).map_err(|error| unusable(&error))?;
            kube::Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .map_err(|error| unusable(&error))
        }
        // A context can only be meant of a kubeconfig, so falling back to a service account would go to the wrong cluster.
        None if context.is_some() => kube::Config::from_kubeconfig(&options)
            .await
            .map_err(|error| unusable(&error)),
        None => kube::Config::infer().await.map_err(|error| unusable(&error)),
    }
}

/// The configuration for clients whose requests name the role and version as `User-Agent`, for the audit log and for API priority and
/// fairness.
///
/// # Errors
///
/// [`ClientError::Config`] when the role's name cannot stand in a header.
pub fn identified(mut config: kube::Config, role: &str) -> Result<kube::Config, ClientError> {
    let agent = format!("novasphere-{role}/{}", env!("CARGO_PKG_VERSION"));
    let agent = HeaderValue::from_str(&agent).map_err(|error| ClientError::Config(error.to_string()))?;
    config.headers.push((USER_AGENT, agent));
    Ok(config)
}

/// Makes a client out of layers. The last layer added is the first that a request meets.
#[must_use]
pub struct Builder {
    config: kube::Config,
    service: HttpTransport,
    write_timeout: Duration,
    retries: bool,
}

impl Builder {
    /// A client for `config`. It tries again (3 times, within some seconds) what the apiserver answers with 429, 503 or 504.
    ///
    /// # Errors
    ///
    /// [`ClientError::Build`] when the TLS settings of `config` cannot be used.
    pub fn new(config: kube::Config) -> Result<Self, ClientError> {
        let service = transport(&config).map_err(ClientError::Build)?;
        Ok(Self {
            config,
            service,
            write_timeout: WRITE_TIMEOUT,
            retries: true,
        })
    }

    /// Tries nothing again: for requests that do something each time, even when they fail.
    pub fn without_retries(self) -> Self {
        Self { retries: false, ..self }
    }

    /// Adds a layer around everything added before, under retries and credentials: it sees each request as it goes to the
    /// wire. For counters, and for faults in tests.
    pub fn layer<L>(self, layer: &L) -> Self
    where
        L: Layer<HttpTransport>,
        L::Service:
            Service<Request<Body>, Response = Response<WireBody>, Error = BoxError> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request<Body>>>::Future: Send + 'static,
    {
        Self {
            service: BoxCloneSyncService::new(layer.layer(self.service)),
            ..self
        }
    }

    /// Refuses every write with [`crate::lease::NotLeader`] while `leadership` is not current. Add it last.
    pub fn write_gate(self, leadership: Leadership) -> Self {
        self.layer(&WriteGate::new(leadership))
    }

    /// How long one try of a write may take before it fails with [`TimedOut`].
    pub fn write_timeout(self, timeout: Duration) -> Self {
        Self {
            write_timeout: timeout,
            ..self
        }
    }

    /// The client.
    ///
    /// # Errors
    ///
    /// [`ClientError::Build`] when the credentials of the configuration cannot be used.
    pub fn build(self) -> Result<Client, ClientError> {
        let Self {
            config,
            service,
            write_timeout,
            retries,
        } = self;
        let service = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .option_layer(retries.then(|| RetryLayer::new(RetryPolicy::default())))
            .option_layer(config.auth_layer().map_err(ClientError::Build)?)
            .layer(config.extra_headers_layer().map_err(ClientError::Build)?)
            .map_err(BoxError::from)
            .service(bounded(service, write_timeout));
        Ok(Client::new(service, config.default_namespace))
    }
}

fn transport(config: &kube::Config) -> Result<HttpTransport, kube::Error> {
    if let Some(proxy) = &config.proxy_url {
        return Err(kube::Error::ProxyProtocolUnsupported {
            proxy_url: Box::new(proxy.clone()),
        });
    }
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(tcp())?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let client: HttpClient<_, GatedBody> = HttpClient::builder(TokioExecutor::new()).build(connector);
    Ok(BoxCloneSyncService::new(service_fn(move |request: Request<Body>| {
        let answer = client.request(GatedBody::wrap(request));
        async move { Ok(answer.await?.map(|body| body.map_err(BoxError::from).boxed_unsync())) }
    })))
}

/// A host that dies without a word (power, network) sends no end of a connection. Nothing else bounds the wait for the rest of a
/// list or for the next event of a watch.
fn tcp() -> HttpConnector<SharedLookup> {
    let mut connector = HttpConnector::new_with_resolver(SharedLookup::new(GaiResolver::new()));
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    connector.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    // While sent bytes are unacknowledged no keepalive is sent (tcp(7)).
    #[cfg(target_os = "linux")]
    connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    connector
}

/// Bounds the time until an answer begins.
fn bounded(
    service: HttpTransport,
    write_timeout: Duration,
) -> impl Service<
    Request<Body>,
    Response = Response<WireBody>,
    Error = BoxError,
    Future = BoxFuture<'static, Result<Response<WireBody>, BoxError>>,
> + Clone {
    service_fn(move |mut request: Request<Body>| {
        propagate_trace(request.headers_mut());
        let bound = if is_write(request.method()) {
            write_timeout
        } else {
            READ_TIMEOUT
        };
        let service = service.clone();
        let answer: BoxFuture<'static, _> = Box::pin(async move {
            let answer = tower::ServiceExt::oneshot(service, request);
            tokio::time::timeout(bound, answer)
                .await
                .unwrap_or_else(|_| Err(TimedOut(bound).into()))
        });
        answer
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{
        Api,
        api::{Patch, PatchParams, PostParams},
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::lease::{BootInstant, is_not_leader};

    /// A listener on loopback and a client of it.
    async fn loopback(configure: impl FnOnce(Builder) -> Builder) -> (TcpListener, Api<ConfigMap>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let client = configure(Builder::new(kube::Config::new(uri)).unwrap())
            .build()
            .unwrap();
        (listener, Api::namespaced(client, "ns"))
    }

    async fn answer(listener: &TcpListener, status: &str, body: &str) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let read = stream.read(&mut request).await.unwrap();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        String::from_utf8_lossy(request.get(..read).unwrap()).into_owned()
    }

    fn config_map() -> ConfigMap {
        serde_json::from_value(serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}))
            .unwrap()
    }

    #[tokio::test]
    async fn a_write_goes_through_and_is_counted_by_a_layer() {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        let (listener, api) = loopback(|builder| {
            builder.layer(&tower::util::MapRequestLayer::new(move |request: Request<Body>| {
                counter.fetch_add(usize::from(is_write(request.method())), Ordering::Relaxed);
                request
            }))
        })
        .await;
        let (request, written) = tokio::join!(
            answer(
                &listener,
                "200 OK",
                r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#
            ),
            async {
                api.patch("a", &PatchParams::apply("m").force(), &Patch::Apply(&config_map()))
                    .await
            },
        );
        assert_eq!(written.unwrap().metadata.name.as_deref(), Some("a"));
        assert!(
            request.starts_with("PATCH /api/v1/namespaces/ns/configmaps/a?") && request.contains("force=true"),
            "{request}"
        );
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn each_try_of_a_write_passes_the_gate() {
        let leadership = Leadership::none();
        leadership.set(Some(BootInstant::NEVER));
        let gate = leadership.clone();
        let (listener, api) = loopback(|builder| builder.write_gate(gate)).await;
        let written = tokio::spawn(async move { api.create(&PostParams::default(), &config_map()).await });
        answer(&listener, "503 Service Unavailable", "{}").await;
        leadership.set(None);
        let error = written.await.unwrap().unwrap_err();
        assert!(is_not_leader(&error), "{error:?}");
    }

    #[tokio::test]
    async fn the_body_is_refused_before_the_head_is_written() {
        let leadership = Leadership::none();
        let (listener, _) = loopback(|builder| builder).await;
        let client: HttpClient<_, GatedBody> = HttpClient::builder(TokioExecutor::new()).build(HttpConnector::new());
        let mut request = Request::post(format!("http://{}/x", listener.local_addr().unwrap()))
            .body(Body::from(b"{}".to_vec()))
            .unwrap();
        crate::lease::mark(&mut request, &leadership);
        let received = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            all
        });
        client.request(GatedBody::wrap(request)).await.unwrap_err();
        drop(client);
        assert_eq!(String::from_utf8_lossy(&received.await.unwrap()), "");
    }

    #[tokio::test]
    async fn a_write_without_an_answer_fails_in_time() {
        let (listener, api) = loopback(|builder| builder.write_timeout(Duration::from_millis(50))).await;
        let error = api.create(&PostParams::default(), &config_map()).await.unwrap_err();
        assert!(error.to_string().contains("50ms"), "{error}");
        drop(listener);
    }

    /// The kernel's timer of each connection to `port`: `00` none, `01` retransmission, `02` keepalive (proc(5), `/proc/net/tcp`).
    #[cfg(target_os = "linux")]
    fn timers_towards(port: u16) -> Vec<String> {
        let remote = format!("0100007F:{port:04X}");
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
        rows.filter(|fields| fields.get(2) == Some(&remote.as_str()))
            .filter_map(|fields| Some(fields.get(5)?.split_once(':')?.0.to_owned()))
            .collect()
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_silent_connection_is_asked_for_life() {
        let (listener, api) = loopback(|builder| builder).await;
        let port = listener.local_addr().unwrap().port();
        let request = tokio::spawn(async move { api.get("a").await });
        let (mut stream, _) = listener.accept().await.unwrap();
        let read = stream.read(&mut [0; 4096]).await.unwrap();
        assert!(read > 0);
        // The kernel arms the timer again when the request has been acknowledged.
        let armed = async {
            while timers_towards(port) != ["02"] {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let armed = tokio::time::timeout(Duration::from_secs(5), armed).await;
        armed.unwrap_or_else(|_| panic!("no keepalive timer: {:?}", timers_towards(port)));
        request.abort();
    }

    #[tokio::test]
    async fn requests_name_the_role_and_its_version() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let config = identified(kube::Config::new(uri), "console").unwrap();
        let api: Api<ConfigMap> = Api::namespaced(Builder::new(config).unwrap().build().unwrap(), "ns");
        let (request, _) = tokio::join!(answer(&listener, "404 Not Found", "{}"), api.get_opt("a"));
        let agent = format!("user-agent: novasphere-console/{}\r\n", env!("CARGO_PKG_VERSION"));
        assert!(request.to_lowercase().contains(&agent), "{request}");
    }

    #[tokio::test]
    async fn a_kubeconfig_that_is_missing_is_named() {
        let error = kube_config(Some(Path::new("no/such/kubeconfig")), None)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("no/such/kubeconfig"), "{error}");
    }
}
