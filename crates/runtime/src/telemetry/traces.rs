//! Traces by OTLP (HTTP with protobuf), and W3C `traceparent` in and out.
//!
//! Off unless an endpoint is configured: then no span costs more than its place in the log. The queue of finished spans is
//! bounded and drops when the collector is too slow; nothing waits for it. The exporter sends by hyper as the Kubernetes client
//! does, because the client that `opentelemetry-otlp` would bring, reqwest, is a second TLS configuration in the program.

use std::{fmt, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use opentelemetry::{Context, KeyValue, propagation::TextMapPropagator, trace::TracerProvider as _};
use opentelemetry_http::{HeaderExtractor, HeaderInjector, HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider},
};
use tokio::runtime::Handle;
use tracing::{Level, Span, Subscriber, level_filters::LevelFilter};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt};
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

/// Finished spans that wait to be sent; more are dropped.
const QUEUE_LIMIT: usize = 2048;
/// The time between two exports.
const EXPORT_INTERVAL: Duration = Duration::from_secs(5);
/// The time that a collector may take for one export.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// The time that the last export may take when the process ends.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of a collector's answer.
const ANSWER_BYTES: usize = 64 * 1024;

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error("the OTLP endpoint {endpoint:?} cannot be used: {message}. Give a URL such as http://collector:4318")]
pub struct TracesError {
    /// What was configured.
    pub endpoint: String,
    /// What is wrong with it.
    pub message: String,
}

/// The spans of the process on their way to a collector.
#[derive(Clone, Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends to the collector at this base URL, to whose path `/v1/traces` is added as the OTLP specification says. Must be
    /// called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`TracesError`] when the endpoint is not an HTTP URL.
    pub fn to(endpoint: &str, role: &str) -> Result<Self, TracesError> {
        let unusable = |message: String| TracesError {
            endpoint: endpoint.to_owned(),
            message,
        };
        let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        if !(url.starts_with("http://") || url.starts_with("https://")) {
            return Err(unusable("it is not an HTTP URL".to_owned()));
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Sender::new().map_err(|error| unusable(error.to_string()))?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(url)
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE_LIMIT)
            .with_scheduled_delay(EXPORT_INTERVAL)
            .build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        let resource = Resource::builder()
            .with_service_name(format!("novasphere-{role}"))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_resource(resource)
            .build();
        Ok(Self(provider))
    }

    /// What takes novasphere's own spans of level `INFO` and above out of `tracing`. Events are not taken: they are in the log.
    #[must_use]
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + 'static
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let own = filter_fn(|metadata| {
            metadata.is_span() && *metadata.level() <= Level::INFO && metadata.target().starts_with("novasphere")
        })
        .with_max_level_hint(LevelFilter::INFO);
        OpenTelemetryLayer::new(self.0.tracer("novasphere"))
            .with_location(false)
            .with_threads(false)
            // A stream's span is entered with each poll: nothing is to be measured then.
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(own)
    }

    /// Sends what is left, for at most two seconds.
    pub async fn shutdown(self) {
        // It waits for the exporter's thread.
        let last = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(SHUTDOWN_TIMEOUT));
        match tokio::time::timeout(SHUTDOWN_TIMEOUT * 2, last).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!("the last spans were not sent: {error}"),
            Ok(Err(_)) | Err(_) => tracing::warn!("the last spans were not sent in time"),
        }
    }
}

/// Makes `span` a part of the trace that the request's `traceparent` names, when there is one and traces are sent.
pub fn continue_trace(span: &Span, headers: &HeaderMap) {
    if !headers.contains_key("traceparent") {
        return;
    }
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers));
    // It fails where traces are not sent, or the span is switched off in the log's filter.
    let _ = span.set_parent(context);
}

/// Names the present span in the `traceparent` of a request, when traces are sent.
pub fn propagate_trace(headers: &mut HeaderMap) {
    // Without a valid span in it nothing is written.
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut HeaderInjector(headers));
}

/// Sends exports on the process's runtime: the exporter's own thread has none.
struct Sender {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Handle,
}

impl Sender {
    fn new() -> std::io::Result<Self> {
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_platform_verifier(rustls::crypto::aws_lc_rs::default_provider())?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            runtime: Handle::current(),
        })
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sender")
    }
}

impl HttpClient for Sender {
    // Written out: the trait is one of async-trait.
    fn send_bytes<'this, 'sent>(
        &'this self,
        request: Request<Bytes>,
    ) -> BoxFuture<'sent, Result<Response<Bytes>, HttpError>>
    where
        'this: 'sent,
        Self: 'sent,
    {
        let answer = self.client.request(request.map(Full::new));
        let sent = self.runtime.spawn(async move {
            let (head, body) = tokio::time::timeout(EXPORT_TIMEOUT, answer).await??.into_parts();
            let body = Limited::new(body, ANSWER_BYTES).collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(head, body))
        });
        Box::pin(async move { sent.await? })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use opentelemetry_proto::tonic::{collector::trace::v1::ExportTraceServiceRequest, trace::v1::Span as SentSpan};
    use parking_lot::Mutex;
    use prost::Message;
    use tokio::net::TcpListener;
    use tracing::{Instrument, info_span};
    use tracing_subscriber::{Registry, layer::SubscriberExt};

    use super::*;

    /// An OTLP receiver on loopback: its address, and the spans that it has got.
    async fn collector() -> (String, Arc<Mutex<Vec<SentSpan>>>) {
        let spans: Arc<Mutex<Vec<SentSpan>>> = Arc::default();
        let got = Arc::clone(&spans);
        let receive = move |headers: HeaderMap, body: Bytes| {
            let got = Arc::clone(&got);
            async move {
                assert_eq!(headers["content-type"], "application/x-protobuf");
                let request = ExportTraceServiceRequest::decode(body).unwrap();
                let scopes = request.resource_spans.into_iter().flat_map(|spans| spans.scope_spans);
                got.lock().extend(scopes.flat_map(|scope| scope.spans));
            }
        };
        let router = axum::Router::new().route("/v1/traces", axum::routing::post(receive));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = hyper_util::service::TowerToHyperService::new(router.clone());
                let io = hyper_util::rt::TokioIo::new(stream);
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
            }
        });
        (address, spans)
    }

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    fn hex(bytes: &[u8]) -> String {
        base16ct::lower::encode_string(bytes)
    }

    #[tokio::test]
    async fn a_request_is_one_trace_from_its_caller_to_the_collector_and_onwards() {
        let (endpoint, spans) = collector().await;
        let traces = Traces::to(&endpoint, "test").unwrap();
        let subscriber = Registry::default().with(traces.layer());
        let guard = tracing::subscriber::set_default(subscriber);

        let mut incoming = HeaderMap::new();
        incoming.insert("traceparent", format!("00-{TRACE}-{PARENT}-01").parse().unwrap());
        let span = info_span!("request", path = "/apis");
        continue_trace(&span, &incoming);
        let work = async {
            let inner = info_span!("reconcile", kind = "VmAccess", namespace = "team", object_name = "web");
            async {
                let mut outgoing = HeaderMap::new();
                propagate_trace(&mut outgoing);
                outgoing["traceparent"].to_str().unwrap().to_owned()
            }
            .instrument(inner)
            .await
        };
        let onwards = work.instrument(span).await;
        drop(guard);
        traces.shutdown().await;

        let spans = spans.lock();
        let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
        let (request, reconcile) = (named("request"), named("reconcile"));
        assert_eq!(hex(&request.trace_id), TRACE);
        assert_eq!(hex(&request.parent_span_id), PARENT);
        assert_eq!(hex(&reconcile.trace_id), TRACE);
        assert_eq!(reconcile.parent_span_id, request.span_id);
        let attributes: Vec<&str> = reconcile.attributes.iter().map(|pair| pair.key.as_str()).collect();
        for attribute in ["kind", "namespace", "object_name"] {
            assert!(attributes.contains(&attribute), "{attributes:?}");
        }
        assert_eq!(onwards, format!("00-{TRACE}-{}-01", hex(&reconcile.span_id)));
    }

    #[tokio::test]
    async fn without_a_collector_nothing_waits_and_nothing_is_handed_on() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = format!("http://{}", listener.local_addr().unwrap());
        let traces = Traces::to(&silent, "test").unwrap();
        let guard = tracing::subscriber::set_default(Registry::default().with(traces.layer()));
        let began = std::time::Instant::now();
        for _ in 0..QUEUE_LIMIT * 4 {
            let _span = info_span!("reconcile");
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        drop(guard);
        let began = std::time::Instant::now();
        traces.shutdown().await;
        assert!(began.elapsed() < SHUTDOWN_TIMEOUT * 3, "{:?}", began.elapsed());

        let mut headers = HeaderMap::new();
        propagate_trace(&mut headers);
        assert!(headers.is_empty());
    }

    #[tokio::test]
    async fn an_endpoint_that_is_no_url_is_named() {
        let error = Traces::to("collector:4317", "test").unwrap_err().to_string();
        assert!(
            error.contains("collector:4317") && error.contains("http://collector:4318"),
            "{error}"
        );
    }
}
