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
        Place, PlaceLimits, Places, accept,
        status::{ResponseBody, StatusError, bytes_response, json_response},
    },
    shares::{NoPlace, Shares},
    telemetry::traces::continue_trace,
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
};

/// kube-apiserver's connections that are not `WebSockets` yet.
const PROXY_LIMIT: usize = 4096;
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
/// Bytes of a request's body.
const BODY_BYTES: usize = 64 * 1024;
/// The time that a request may take until it is answered.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Requests of users that are answered at a time, and those of one user among them: each holds a connection of kube-apiserver's.
const REQUESTS_LIMIT: usize = PROXY_LIMIT;
const REQUESTS_PER_USER_LIMIT: usize = 256;

/// Places for requests of users.
#[must_use]
pub fn request_places() -> Shares {
    Shares::new(REQUESTS_LIMIT, REQUESTS_PER_USER_LIMIT)
}

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
    /// [`request_places`].
    pub requests: Shares,
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
    api: Arc<ApiServer>,
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
    let is_trusted = api.front_proxy.trusts(peer.chain.as_deref());
    let peer = Arc::new(peer);
    let answer = move |request| {
        let (api, peer) = (Arc::clone(&api), Arc::clone(&peer));
        async move { api.answer::<TlsStream<TcpStream>>(&peer, request).await }
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
        let answered = answer(request);
        async move { Ok::<_, Infallible>(answered.await) }
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
        // Until it is answered; a console that is open holds none.
        let _place = self
            .requests
            .take(&user.name)
            .map_err(|why| too_many(why, &user.name))?;
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

fn too_many(why: NoPlace, user: &str) -> StatusError {
    StatusError::TooManyRequests(match why {
        NoPlace::Full(limit) => format!("{limit} requests are being answered already; try again"),
        NoPlace::ShareUsed(share) => format!(
            "{share} requests of user {user:?} are being answered already, and a user may have no more; wait for some of them, and try again"
        ),
    })
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

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use novasphere_wire::front_proxy::{EXTRAS_LIMIT, GROUPS_LIMIT};
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::front_proxy;

    /// The answer to a user with so many groups and extra values, from the server that kube-apiserver connects to.
    async fn answer_to(groups: usize, extras: usize) -> (u16, Value) {
        let (proxy, chain) = front_proxy::tests::known();
        let (near, mut far) = duplex(4096);
        let (_ending, end) = watch::channel(false);
        let served = serve_http(near, PROXY_HEAD_LIMITS, end, move |request| {
            let answer = match proxy.authenticate(Some(&chain), request.headers()) {
                Ok(user) => {
                    let values: usize = user.extra.values().map(Vec::len).sum();
                    json_response(StatusCode::OK, &json!({"groups": user.groups.len(), "extra": values}))
                }
                Err(error) => StatusError::from(error).response(),
            };
            async move { answer }
        });
        let mut head = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-remote-user: jane\r\n".to_owned();
        for number in 0..groups {
            let _ = write!(
                head,
                "X-Remote-Group: /company/department-of-long-names/team-{number}\r\n"
            );
        }
        for number in 0..extras {
            let _ = write!(
                head,
                "X-Remote-Extra-Scopes: https://scopes.example.org/{number}/{}\r\n",
                "x".repeat(200)
            );
        }
        head.push_str("\r\n");
        let asked = async {
            far.write_all(head.as_bytes()).await.unwrap();
            let mut answer = String::new();
            far.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let ((), answer) = tokio::join!(served, asked);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        (
            code,
            serde_json::from_str(body).unwrap_or_else(|_| panic!("{head}: {body:?}")),
        )
    }

    #[test]
    fn a_user_whose_requests_are_not_answered_leaves_room_for_others() {
        let places = request_places();
        let taken: Vec<_> = std::iter::from_fn(|| places.take("jane").ok()).collect();
        assert_eq!(taken.len(), REQUESTS_PER_USER_LIMIT);
        let refused = too_many(places.take("jane").unwrap_err(), "jane");
        assert_eq!(refused.code(), 429);
        assert!(refused.to_string().starts_with("256 requests of user \"jane\""), "{refused}");
        assert!(places.take("joe").is_ok());
    }

    #[tokio::test]
    async fn a_user_in_as_many_groups_as_a_token_can_hold_comes_through() {
        let whole = json!({"groups": GROUPS_LIMIT, "extra": EXTRAS_LIMIT});
        assert_eq!(answer_to(GROUPS_LIMIT, EXTRAS_LIMIT).await, (200, whole));
    }

    #[tokio::test]
    async fn a_user_in_more_groups_is_told_in_a_sentence() {
        for (groups, extras, said) in [
            (GROUPS_LIMIT + 1, 0, "more than 256 groups"),
            (1500, 0, "more than 256 groups"),
            (0, EXTRAS_LIMIT + 1, "more than 256 extra values"),
        ] {
            let (code, status) = answer_to(groups, extras).await;
            assert_eq!((code, &status["kind"]), (403, &json!("Status")));
            assert!(status["message"].as_str().unwrap().contains(said), "{status}");
        }
    }
}
