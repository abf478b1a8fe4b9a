//! The HTTPS server: what a connection may cost, and which answer a request gets.

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use novasphere_crd::SessionTargetKind;
use novasphere_dataplane::peer::prepare;
use novasphere_runtime::health::Health;
use rustls::{ServerConfig, pki_types::CertificateDer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    connect::{Caller, Consoles, client_address},
    discovery,
    front_proxy::FrontProxy,
    metrics::ApiMetrics,
    negotiate::{Form, accept, body_is_json},
    openapi,
    route::{Route, Subresource},
    status::{ApiError, Body, bytes_response, json_response},
    strangers::{Stranger, Strangers},
    token::Tokens,
};

/// Connections in all that are not `WebSockets` yet.
const CONNECTIONS: usize = 4096;
/// Connections that are not, or not yet, kube-apiserver's. One more cuts an older one, so whoever reaches the port cannot shut
/// kube-apiserver out.
const STRANGERS: usize = 256;
/// How long TLS may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a stranger may take for the head of a request, and stay without one.
const STRANGER_HEAD: Duration = Duration::from_secs(10);
/// How long a stranger's connection may live.
const STRANGER_LIFE: Duration = Duration::from_mins(1);
/// The same for kube-apiserver: Go's clients close idle connections after 90 s, and must be the first to do so, or a request
/// meets a connection that is just being closed.
const PROXY_HEAD: Duration = Duration::from_secs(100);
/// Bytes of a request's head. A user in many groups has a large one.
const HEAD: usize = 64 * 1024;
/// Bytes of a body.
const BODY: usize = 64 * 1024;
/// How long a request may take until it is answered.
const REQUEST: Duration = Duration::from_secs(30);
/// Pause when no connection can be accepted, such as for want of file descriptors.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// What answers requests.
pub struct Api {
    /// Whom to believe.
    pub front_proxy: FrontProxy,
    /// Health of the process.
    pub health: Health,
    /// Counters.
    pub metrics: ApiMetrics,
    /// Consoles.
    pub consoles: Consoles,
    /// Tokens.
    pub tokens: Tokens,
}

/// The other end of a connection.
struct Peer {
    address: IpAddr,
    chain: Option<Vec<CertificateDer<'static>>>,
}

/// Serves until `stop`; then connections end with the request that they are in. Returns when all have, at the latest after
/// `grace`. `WebSockets` that are open go on.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    api: Arc<Api>,
    stop: impl Future<Output = ()>,
    grace: Duration,
) {
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let strangers = Strangers::new(STRANGERS);
    let (ending, end) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::debug!("a connection is dropped: there are too many");
            continue;
        };
        let stranger = strangers.enter(address.ip().to_canonical());
        let (acceptor, api, end) = (acceptor.clone(), Arc::clone(&api), end.clone());
        connections.spawn(async move {
            connection(stream, &acceptor, api, stranger, end).await;
            drop(place);
        });
    }
    drop(listener);
    ending.send_replace(true);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(grace, all).await.is_err() {
        tracing::warn!("connections are cut off: their requests did not end in time");
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    api: Arc<Api>,
    mut stranger: Stranger,
    end: watch::Receiver<bool>,
) {
    let Ok(address) = prepare(&stream) else { return };
    let accepted = timeout(HANDSHAKE, acceptor.accept(stream));
    let stream = match stranger.unless_cut(accepted).await {
        Some(Ok(Ok(stream))) => stream,
        Some(Ok(Err(error))) => return tracing::debug!(%address, %error, "a TLS handshake failed"),
        Some(Err(_)) => return tracing::debug!(%address, "a TLS handshake took too long"),
        None => return tracing::debug!(%address, "a connection is cut: there are too many of strangers"),
    };
    let chain = stream.get_ref().1.peer_certificates();
    let peer = Peer {
        address: address.ip(),
        chain: chain.map(|chain| {
            chain
                .iter()
                .map(|certificate| certificate.clone().into_owned())
                .collect()
        }),
    };
    if api.front_proxy.trusts(peer.chain.as_deref()) {
        drop(stranger);
        converse(stream, api, peer, PROXY_HEAD, end).await;
    } else {
        let talk = timeout(STRANGER_LIFE, converse(stream, api, peer, STRANGER_HEAD, end));
        // Out of patience or of room with it: nothing to tell.
        let _ = stranger.unless_cut(talk).await;
    }
}

async fn converse<S>(stream: S, api: Arc<Api>, peer: Peer, head: Duration, mut end: watch::Receiver<bool>)
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
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut served = std::pin::pin!(served);
    let ended = async {
        // An error means that the server is gone, which is an end as well.
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

impl Api {
    async fn answer<S>(&self, peer: &Peer, request: Request<Incoming>) -> Response<Body>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let route = Route::read(&method, &path);
        let known = route.as_ref().ok().cloned();
        let answered = match route {
            Ok(route) => timeout(REQUEST, self.serve::<S>(peer, route, request))
                .await
                .unwrap_or_else(|_| Err(ApiError::Unavailable("the request took too long; try again".to_owned()))),
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

    async fn serve<S>(&self, peer: &Peer, route: Route, request: Request<Incoming>) -> Result<Response<Body>, ApiError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let headers = request.headers();
        Ok(match route {
            Route::Livez => text(StatusCode::OK, "ok"),
            Route::Readyz if self.health.is_ready() => text(StatusCode::OK, "ok"),
            Route::Readyz => return Err(ApiError::Unavailable("the server is not ready".to_owned())),
            Route::Groups => discovery::groups(accept(headers, true)?, headers),
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
                let Form::Json = accept(headers, false)? else {
                    return Err(ApiError::NotAcceptable);
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
        peer: &Peer,
        subresource: Subresource,
        namespace: &str,
        name: &str,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, ApiError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let headers = request.headers();
        let who = self.front_proxy.authenticate(peer.chain.as_deref(), headers)?;
        let caller = Caller {
            who: &who,
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
                accept(headers, false)?;
                body_is_json(headers)?;
                let body = body(request).await?;
                let token = self.tokens.create(&who, namespace, name, &body).await?;
                let token = serde_json::to_value(token).map_err(|error| ApiError::Internal(error.to_string()))?;
                let mut response = json_response(StatusCode::CREATED, &token);
                let headers = response.headers_mut();
                headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
                Ok(response)
            }
        }
    }
}

async fn body(request: Request<Incoming>) -> Result<bytes::Bytes, ApiError> {
    let read = Limited::new(request.into_body(), BODY).collect().await;
    let read = read.map_err(|error| {
        if error.is::<LengthLimitError>() {
            ApiError::TooLarge(BODY)
        } else {
            ApiError::BadRequest(format!("the body broke off: {error}"))
        }
    })?;
    Ok(read.to_bytes())
}

fn text(code: StatusCode, text: &'static str) -> Response<Body> {
    let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
    bytes_response(code, plain, text.into())
}
