//! The HTTP server: connections with limits, TLS where it is configured, and one request after another on each.

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::{Request, Response, StatusCode};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use novasphere_crd::Cidr;
use novasphere_runtime::serve::{Place, PlaceLimits, Places, StrictHead, accept, host_refusal};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::http::PeerAddress;

/// Connections at a time. At the limit the oldest one of the address that has most is cut. Event streams hold one each.
const CONNECTIONS_LIMIT: usize = 8192;

/// Connections of one address, or of one IPv6 network.
const CONNECTIONS_PER_ADDRESS_LIMIT: usize = 512;

/// The time that a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The time that a client may take for the head of its request, and be idle between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a request's head.
const HEAD_BYTES: usize = 64 * 1024;

/// Header fields of a request.
const HEAD_FIELDS_LIMIT: usize = 128;

/// What a listener serves with.
pub(crate) struct Server {
    pub(crate) router: Router,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) trusted_proxies: Vec<Cidr>,
    /// The time that requests have to end once no connection is accepted any more.
    pub(crate) grace: Duration,
}

/// Serves until `stop`; then connections end with the request that they are in, at the latest after the grace.
pub(crate) async fn serve(listener: TcpListener, server: Server, stop: impl Future<Output = ()>) {
    let limits = PlaceLimits {
        total: CONNECTIONS_LIMIT,
        per_address: CONNECTIONS_PER_ADDRESS_LIMIT,
        shared_addresses: server.trusted_proxies.iter().map(|range| range.get()).collect(),
    };
    let places = Places::new(limits);
    let acceptor = server.tls.map(TlsAcceptor::from);
    let (ending, end) = watch::channel(false);
    let mut connections = JoinSet::new();
    accept(listener, &places, stop, |stream, peer, place| {
        while connections.try_join_next().is_some() {}
        let connection = Connection {
            router: server.router.clone(),
            peer: peer.ip().to_canonical(),
            end: end.clone(),
        };
        connections.spawn(connection.run(stream, acceptor.clone(), place));
    })
    .await;
    ending.send_replace(true);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(server.grace, all).await.is_err() {
        tracing::info!("connections are cut off: their requests did not end in time");
    }
}

struct Connection {
    router: Router,
    peer: IpAddr,
    end: watch::Receiver<bool>,
}

impl Connection {
    async fn run(self, stream: TcpStream, acceptor: Option<TlsAcceptor>, place: Place) {
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let peer = self.peer;
        let served = async {
            match acceptor {
                None => self.serve(stream).await,
                Some(acceptor) => match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => self.serve(stream).await,
                    Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
                    Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
                },
            }
        };
        if place.unless_cut(served).await.is_err() {
            tracing::debug!(%peer, "a connection is cut: there are too many");
        }
    }

    async fn serve<S>(mut self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (router, peer) = (self.router, self.peer);
        let service = service_fn(move |request: Request<Incoming>| {
            let router = router.clone();
            async move { Ok::<_, Infallible>(answer(router, peer, request).await) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_headers(HEAD_FIELDS_LIMIT)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(StrictHead::new(stream)), service);
        let mut served = std::pin::pin!(served);
        let ended = async {
            // An error means that the server was dropped, which is an end as well.
            let _ = self.end.wait_for(|ending| *ending).await;
        };
        let result = tokio::select! {
            result = served.as_mut() => result,
            () = ended => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%peer, %error, "an HTTP connection failed");
        }
    }
}

async fn answer(router: Router, peer: IpAddr, mut request: Request<Incoming>) -> Response<Body> {
    if host_refusal(&request).is_some() {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    }
    request.extensions_mut().insert(PeerAddress(peer));
    let Ok(response) = router.oneshot(request.map(Body::new)).await;
    response
}

/// What a name of the certificate of novasphere's own authority may be.
pub(crate) fn host_of_url(url: &str) -> Option<String> {
    let rest = url.split_once("://")?.1;
    let authority = rest.split('/').next()?;
    let host = match authority.strip_prefix('[') {
        Some(address) => address.split(']').next()?,
        None => authority.split(':').next()?,
    };
    (!host.is_empty()).then(|| host.to_owned())
}
