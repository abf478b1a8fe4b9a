//! Connections of the HTTPS server: what each may cost, and who has room for how many.

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use novasphere_dataplane::peer::prepare;
use novasphere_runtime::serve::{
    Place, PlaceLimits, Places, accept, host_refusal,
    status::{ResponseBody, StatusError},
};
use rustls::{ServerConfig, pki_types::CertificateDer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// kube-apiserver's connections that are not `WebSockets` yet.
pub(crate) const PROXY_LIMIT: usize = 4096;
/// Connections that are not, or not yet, known to be kube-apiserver's. At the limit an older one is cut, so no client can shut
/// kube-apiserver out, which is untrusted only until its certificate is seen.
const UNTRUSTED_LIMIT: usize = 256;
/// The time that TLS may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// What the head of a request may cost. hyper answers what exceeds it with an empty 431.
#[derive(Clone, Copy, Debug)]
struct HeadLimits {
    /// The time that it may take, and that a connection may stay without a request.
    time: Duration,
    bytes: usize,
    /// Header fields. hyper's own limit is 100; kube-apiserver sends one for each group and each extra value of a user.
    fields: usize,
}

/// On an untrusted connection.
const UNTRUSTED_HEAD_LIMITS: HeadLimits = HeadLimits {
    time: Duration::from_secs(10),
    bytes: 64 * 1024,
    fields: 100,
};
/// On a connection of kube-apiserver. Go's clients close idle connections after 90 s, and must be the first to do so, or a request meets
/// a connection that is just being closed. There is room for more groups and extra values than a user may have here
/// (`novasphere_wire::front_proxy`), so that who has more gets a sentence.
const PROXY_HEAD_LIMITS: HeadLimits = HeadLimits {
    time: Duration::from_secs(100),
    bytes: 256 * 1024,
    fields: 2048,
};
/// The time that an untrusted connection may live.
const UNTRUSTED_LIFETIME: Duration = Duration::from_mins(1);

/// The connection that requests come by; a `WebSocket` takes it over.
pub(crate) type TlsConnection = TlsStream<TcpStream>;

/// The other end of a connection.
pub(crate) struct TlsPeer {
    pub(crate) address: IpAddr,
    pub(crate) chain: Option<Vec<CertificateDer<'static>>>,
}

/// What answers requests.
pub(crate) trait RequestHandler: Send + Sync + 'static {
    /// Whether this is the certificate of kube-apiserver's front proxy.
    fn trusts(&self, chain: Option<&[CertificateDer<'_>]>) -> bool;

    /// The answer to a request on a [`TlsConnection`].
    fn answer(&self, peer: &TlsPeer, request: Request<Incoming>)
    -> impl Future<Output = Response<ResponseBody>> + Send;
}

/// Serves until `stop`; then connections end with the request that they are in. Returns when all have, at the latest after
/// `grace`. `WebSockets` that are open go on.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    api: Arc<impl RequestHandler>,
    stop: impl Future<Output = ()>,
    grace: Duration,
) {
    let acceptor = TlsAcceptor::from(tls);
    let untrusted = Places::new(PlaceLimits::of(UNTRUSTED_LIMIT));
    let trusted = Arc::new(Semaphore::new(PROXY_LIMIT));
    let (ending, end) = watch::channel(false);
    let mut connections = JoinSet::new();
    accept(listener, &untrusted, stop, |stream, _, place| {
        while connections.try_join_next().is_some() {}
        let (acceptor, api, end) = (acceptor.clone(), Arc::clone(&api), end.clone());
        let trusted = Arc::clone(&trusted);
        connections.spawn(async move { connection(stream, &acceptor, api, place, &trusted, end).await });
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
    api: Arc<impl RequestHandler>,
    untrusted: Place,
    trusted: &Semaphore,
    end: watch::Receiver<bool>,
) {
    let Ok(address) = prepare(&stream) else { return };
    let accepted = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
    let stream = match untrusted.unless_cut(accepted).await {
        Ok(Ok(Ok(stream))) => stream,
        Ok(Ok(Err(error))) => return tracing::debug!(%address, %error, "a TLS handshake failed"),
        Ok(Err(_)) => return tracing::debug!(%address, "a TLS handshake took too long"),
        Err(_) => return tracing::debug!(%address, "a connection is cut: there are too many untrusted ones"),
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
    let is_trusted = api.trusts(peer.chain.as_deref());
    let peer = Arc::new(peer);
    let answer = move |request| {
        let (api, peer) = (Arc::clone(&api), Arc::clone(&peer));
        async move { api.answer(&peer, request).await }
    };
    if is_trusted {
        drop(untrusted);
        let Ok(_counted) = trusted.try_acquire() else {
            return tracing::warn!(%address, "a connection of kube-apiserver is dropped: it has {PROXY_LIMIT}");
        };
        serve_http(stream, PROXY_HEAD_LIMITS, end, answer).await;
    } else {
        let served = timeout(
            UNTRUSTED_LIFETIME,
            serve_http(stream, UNTRUSTED_HEAD_LIMITS, end, answer),
        );
        // Whether it was cut or its time was over, there is nothing to report.
        let _ = untrusted.unless_cut(served).await;
    }
}

/// Answers the requests of a connection, until it or `end` says so.
async fn serve_http<S, F>(
    stream: S,
    head: HeadLimits,
    mut end: watch::Receiver<bool>,
    answer: impl Fn(Request<Incoming>) -> F,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Response<ResponseBody>>,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let answered = match host_refusal(&request) {
            Some(why) => Err(StatusError::BadRequest(why.to_owned()).response()),
            None => Ok(answer(request)),
        };
        async move {
            Ok::<_, Infallible>(match answered {
                Ok(answered) => answered.await,
                Err(refusal) => refusal,
            })
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head.time)
        .max_headers(head.fields)
        .max_header_size(head.bytes)
        .max_buf_size(head.bytes)
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

#[cfg(test)]
mod tests;
