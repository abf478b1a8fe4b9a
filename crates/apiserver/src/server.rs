//! The HTTPS server: what a connection may cost, and which answer a request gets.

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use novasphere_crd::SessionTargetKind;
use novasphere_dataplane::peer::prepare;
use novasphere_runtime::{
    health::Health,
    serve::{
        ConnectionLimit, accept,
        status::{ResponseBody, StatusError, bytes_response, json_response},
    },
    telemetry::traces::continue_trace,
};
use rustls::{ServerConfig, pki_types::CertificateDer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tracing::Instrument;

use crate::{
    connect::{ApiCaller, ConsoleHandler, client_address},
    discovery,
    front_proxy::FrontProxy,
    metrics::ApiMetrics,
    negotiate::{Form, accepted_form, body_is_json},
    openapi,
    route::{Route, Subresource},
    token::TokenHandler,
    untrusted::{UntrustedConnection, UntrustedConnections},
};

/// Connections in all that are not `WebSockets` yet.
const CONNECTIONS_LIMIT: usize = 4096;
/// Connections that are not, or not yet, known to be kube-apiserver's. At the limit an older one is cut, so no client can shut
/// kube-apiserver out.
const UNTRUSTED_LIMIT: usize = 256;
/// The time that TLS may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The time that an untrusted connection may take for the head of a request, and stay without one.
const UNTRUSTED_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The time that an untrusted connection may live.
const UNTRUSTED_LIFETIME: Duration = Duration::from_mins(1);
/// The time that kube-apiserver's connection may stay without a request. Go's clients close idle connections after 90 s, and must be
/// the first to do so, or a request meets a connection that is just being closed.
const PROXY_HEAD_TIMEOUT: Duration = Duration::from_secs(100);
/// Bytes of a request's head. A user in many groups has a large one.
const HEAD_BYTES: usize = 64 * 1024;
/// Bytes of a request's body.
const BODY_BYTES: usize = 64 * 1024;
/// The time that a request may take until it is answered.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What answers requests.
pub struct ApiServer {
    /// Whose requests are kube-apiserver's.
    pub front_proxy: FrontProxy,
    /// Health of the process.
    pub health: Health,
    /// Counters.
    pub metrics: ApiMetrics,
    /// Consoles.
    pub consoles: ConsoleHandler,
    /// Tokens.
    pub tokens: TokenHandler,
}

/// The other end of a connection.
struct TlsPeer {
    address: IpAddr,
    chain: Option<Vec<CertificateDer<'static>>>,
}

/// Serves until `stop`; then connections end with the request that they are in. Returns when all have, at the latest after
/// `grace`. `WebSockets` that are open go on.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    api: Arc<ApiServer>,
    stop: impl Future<Output = ()>,
    grace: Duration,
) {
    let acceptor = TlsAcceptor::from(tls);
    let untrusted = UntrustedConnections::new(UNTRUSTED_LIMIT);
    let (ending, end) = watch::channel(false);
    let mut connections = JoinSet::new();
    let limit = ConnectionLimit::Drop(CONNECTIONS_LIMIT);
    accept(listener, limit, stop, |stream, address, permit| {
        while connections.try_join_next().is_some() {}
        let entered = untrusted.enter(address.ip().to_canonical());
        let (acceptor, api, end) = (acceptor.clone(), Arc::clone(&api), end.clone());
        connections.spawn(async move {
            connection(stream, &acceptor, api, entered, end).await;
            drop(permit);
        });
    })
    .await;
    ending.send_replace(true);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(grace, all).await.is_err() {
        tracing::warn!("connections are cut off: their requests did not end in time");
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    api: Arc<ApiServer>,
    mut untrusted: UntrustedConnection,
    end: watch::Receiver<bool>,
) {
    let Ok(address) = prepare(&stream) else { return };
    let accepted = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
    let stream = match untrusted.unless_cut(accepted).await {
        Some(Ok(Ok(stream))) => stream,
        Some(Ok(Err(error))) => return tracing::debug!(%address, %error, "a TLS handshake failed"),
        Some(Err(_)) => return tracing::debug!(%address, "a TLS handshake took too long"),
        None => return tracing::debug!(%address, "a connection is cut: there are too many untrusted ones"),
    };
    let chain = stream.get_ref().1.peer_certificates();
    let peer = TlsPeer {
        address: address.ip(),
        chain: chain.map(|chain| {
            chain
                .iter()
                .map(|certificate| certificate.clone().into_owned())
                .collect()
        }),
    };
    if api.front_proxy.trusts(peer.chain.as_deref()) {
        drop(untrusted);
        serve_http(stream, api, peer, PROXY_HEAD_TIMEOUT, end).await;
    } else {
        let served = timeout(
            UNTRUSTED_LIFETIME,
            serve_http(stream, api, peer, UNTRUSTED_HEAD_TIMEOUT, end),
        );
        // Whether it was cut or its time was over, there is nothing to report.
        let _ = untrusted.unless_cut(served).await;
    }
}

async fn serve_http<S>(stream: S, api: Arc<ApiServer>, peer: TlsPeer, head: Duration, mut end: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = Arc::new(peer);
    let service = service_fn(move |request: Request<Incoming>| {
        let (api, peer) = (Arc::clone(&api), Arc::clone(&peer));
        async move { Ok::<_, Infallible>(api.answer::<S>(&peer, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut served = std::pin::pin!(served);
    let ended = async {
        // An error means that the server was dropped, which is an end as well.
        let _ = end.wait_for(|ending| *ending).await;
    };
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = ended => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "an HTTP connection failed");
    }
}

impl ApiServer {
    async fn answer<S>(&self, peer: &TlsPeer, request: Request<Incoming>) -> Response<ResponseBody>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let route = Route::read(&method, &path);
        let known = route.as_ref().ok().cloned();
        let span = tracing::info_span!("request", %method, path);
        continue_trace(&span, request.headers());
        let answered = match route {
            Ok(route) => timeout(REQUEST_TIMEOUT, self.serve::<S>(peer, route, request).instrument(span))
                .await
                .unwrap_or_else(|_| {
                    Err(StatusError::Unavailable(
                        "the request took too long; try again".to_owned(),
                    ))
                }),
            Err(error) => Err(error),
        };
        let response = answered.unwrap_or_else(|error| {
            if matches!(known, Some(Route::Object { .. })) {
                tracing::info!(%method, path, code = error.code().as_u16(), reason = error.reason(), "refused: {error}");
            }
            error.response()
        });
        self.metrics.answered(known.as_ref(), response.status());
        response
    }

    async fn serve<S>(
        &self,
        peer: &TlsPeer,
        route: Route,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, StatusError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let headers = request.headers();
        Ok(match route {
            Route::Livez => text(StatusCode::OK, "ok"),
            Route::Readyz if self.health.is_ready() => text(StatusCode::OK, "ok"),
            Route::Readyz => return Err(StatusError::Unavailable("the server is not ready".to_owned())),
            Route::Groups => discovery::groups(accepted_form(headers, true)?, headers),
            Route::Object {
                subresource,
                namespace,
                name,
            } => {
                return self.object::<S>(peer, subresource, &namespace, &name, request).await;
            }
            Route::Root
            | Route::Group
            | Route::Resources
            | Route::OpenApiV2
            | Route::OpenApiV3Index
            | Route::OpenApiV3 => {
                let Form::Json = accepted_form(headers, false)? else {
                    return Err(StatusError::NotAcceptable);
                };
                match route {
                    Route::Root => discovery::root(),
                    Route::Group => discovery::group(),
                    Route::Resources => discovery::resources(),
                    Route::OpenApiV2 => json_response(StatusCode::OK, openapi::v2()),
                    Route::OpenApiV3Index => json_response(StatusCode::OK, openapi::v3_index()),
                    _ => json_response(StatusCode::OK, openapi::v3()),
                }
            }
        })
    }

    async fn object<S>(
        &self,
        peer: &TlsPeer,
        subresource: Subresource,
        namespace: &str,
        name: &str,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, StatusError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let headers = request.headers();
        let user = self.front_proxy.authenticate(peer.chain.as_deref(), headers)?;
        let caller = ApiCaller {
            user: &user,
            client: client_address(headers, peer.address),
        };
        match subresource {
            Subresource::VmAccessConsole => {
                let kind = SessionTargetKind::VmAccess;
                self.consoles.console::<S>(caller, kind, namespace, name, request).await
            }
            Subresource::VncWorkspaceConsole => {
                let kind = SessionTargetKind::VncWorkspace;
                self.consoles.console::<S>(caller, kind, namespace, name, request).await
            }
            Subresource::SessionConnect => self.consoles.connect::<S>(caller, namespace, name, request).await,
            Subresource::SessionToken => {
                accepted_form(headers, false)?;
                body_is_json(headers)?;
                let body = body(request).await?;
                let token = self.tokens.create(caller, namespace, name, &body).await?;
                let token = serde_json::to_value(token).map_err(|error| StatusError::Internal(error.to_string()))?;
                let mut response = json_response(StatusCode::CREATED, &token);
                let headers = response.headers_mut();
                headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
                Ok(response)
            }
        }
    }
}

async fn body(request: Request<Incoming>) -> Result<bytes::Bytes, StatusError> {
    let read = Limited::new(request.into_body(), BODY_BYTES).collect().await;
    let read = read.map_err(|error| {
        if error.is::<LengthLimitError>() {
            StatusError::TooLarge(BODY_BYTES)
        } else {
            StatusError::BadRequest(format!("the body broke off: {error}"))
        }
    })?;
    Ok(read.to_bytes())
}

fn text(code: StatusCode, text: &'static str) -> Response<ResponseBody> {
    let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
    bytes_response(code, plain, text.into())
}
