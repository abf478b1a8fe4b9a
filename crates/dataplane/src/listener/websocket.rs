//! `WebSocket`s for browsers and programs, and what else is served at their port.

use std::{convert::Infallible, future::ready, net::IpAddr, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade};
use hyper_util::rt::TokioIo;
use novasphere_runtime::{
    serve::{StrictHead, host_refusal},
    telemetry::traces::continue_trace,
};
use novasphere_wire::{
    close::EndReason,
    resume::ResumeCredential,
    websocket::{
        opening::{Opening, OpeningError, Origins},
        session_opening::{SESSIONS_PATH, SessionOpening, session_of_path},
    },
};
use parking_lot::{Mutex, MutexGuard};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use tracing::Instrument;

use super::{
    http::{CLOSE, client_address, text},
    resume_cookie::ResumeCookie,
    target,
};
use crate::{
    admission::{Admission, AdmissionRequest, Admitted, HttpAnswer, ResumeOffer, ResumeRequest},
    gateway::{CLOSE_TIMEOUT, EntryFailure, Gateway, PageEntry},
    limits::HalfOpen,
    registry::Transport,
};

/// The path of the WebSocket.
pub const PATH: &str = "/api/v1/console/ws";

/// The additional time for a request that fetches the page: a slow line is no attack.
const PAGE_TIMEOUT: Duration = Duration::from_secs(45);

/// Header fields of a request. hyper's own limit is 100, and a proxy that ends TLS may add one for each group of the user; the bytes are
/// bounded by [`Limits::http_head`](crate::limits::Limits::http_head).
const HEAD_FIELDS_LIMIT: usize = 1024;

/// Serves files beside the `WebSocket`: the page that browsers open it with.
pub trait PageSource: Send + Sync + 'static {
    /// Answers a request for the page or one of its files, or `None` when it is for something else.
    fn answer(&self, request: &Request<Incoming>) -> Option<Response<Full<Bytes>>>;

    /// Whether pages of other sites may show it in a frame. Browsers then get their cookies in another way.
    fn is_embedded(&self) -> bool {
        false
    }
}

/// The answer to a request, which may have to be waited for.
type Answer = Pin<Box<dyn Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send>>;

fn now(response: Response<Full<Bytes>>) -> Answer {
    Box::pin(ready(Ok(response)))
}

/// Serves `WebSocket`s until `stop`, to pages of these origins, with TLS when there is a configuration for it. Streams that are open then go on: see
/// [`Registry::drain`](crate::registry::Registry::drain).
pub async fn serve<A: Admission>(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    origins: Origins,
    gateway: Gateway<A>,
    stop: impl Future<Output = ()>,
) {
    serve_with_page(listener, tls, origins, None, gateway, stop).await;
}

/// The same, and the page that browsers open them with.
pub async fn serve_with_page<A: Admission>(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    origins: Origins,
    page: Option<Arc<dyn PageSource>>,
    gateway: Gateway<A>,
    stop: impl Future<Output = ()>,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    let origins = Arc::new(origins);
    super::accept(
        listener,
        &gateway,
        Transport::WebSocket,
        stop,
        |accepted, mut half_open| {
            let (gateway, origins, page) = (gateway.clone(), Arc::clone(&origins), page.clone());
            let acceptor = acceptor.clone();
            async move {
                let identified = accepted.identify(&gateway, Transport::WebSocket, &mut half_open).await;
                let Some(identified) = identified else { return };
                let connection = Connection {
                    gateway,
                    origins,
                    page,
                    peer: identified.client,
                    is_unnamed: identified.is_unnamed,
                    until: half_open.until(),
                    half_open: Some(half_open),
                    extra: Duration::ZERO,
                };
                connection.start(identified.stream, acceptor).await;
            }
        },
    )
    .await;
}

/// What a path stands for, beside the page. Sessions are `namespace/name`.
enum Wanted {
    WebSocket,
    Target,
    WebSocketOf(String),
    TargetOf(String),
    Nothing,
}

impl Wanted {
    fn of(path: &str) -> Self {
        match (path, session_of_path(path)) {
            (PATH, _) => Self::WebSocket,
            (target::PATH, _) => Self::Target,
            (_, Some((session, "ws"))) => Self::WebSocketOf(session.to_owned()),
            (_, Some((session, "target"))) => Self::TargetOf(session.to_owned()),
            (_, _) => Self::Nothing,
        }
    }

    /// How metrics name it: one of a fixed list.
    const fn route(&self) -> &'static str {
        match self {
            Self::WebSocket => PATH,
            Self::Target => target::PATH,
            Self::WebSocketOf(_) => "/api/v1/console/sessions/{namespace}/{name}/ws",
            Self::TargetOf(_) => "/api/v1/console/sessions/{namespace}/{name}/target",
            Self::Nothing => "unknown",
        }
    }
}

struct Connection<A> {
    gateway: Gateway<A>,
    origins: Arc<Origins>,
    page: Option<Arc<dyn PageSource>>,
    /// The other end as far as it is known before a request, which may be a proxy.
    peer: IpAddr,
    /// Whether that is a proxy that passes bytes on and has not said whose they are.
    is_unnamed: bool,
    /// When its stream has to be open.
    until: Instant,
    half_open: Option<HalfOpen>,
    /// The time beyond that for what was asked for.
    extra: Duration,
}

impl<A: Admission> Connection<A> {
    fn refuse(&self, client: IpAddr, failure: EntryFailure) {
        self.gateway.refused(failure, client, Transport::WebSocket);
    }

    async fn start<S>(self, stream: S, acceptor: Option<TlsAcceptor>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(acceptor) = acceptor else {
            return self.serve(stream).await;
        };
        match timeout_at(self.until, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.serve(stream).await,
            Ok(Err(error)) => self.refuse(
                self.peer,
                EntryFailure::new(EndReason::ProtocolError, error.to_string()),
            ),
            Err(_) => self.refuse(self.peer, EntryFailure::late()),
        }
    }

    /// One request and its answer. A client that takes too long is cut, whether it does not ask or does not read.
    async fn serve<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (until, head) = (self.until, self.gateway.limiter().limits().http_head);
        let this = Arc::new(Mutex::new(self));
        let connection = Arc::clone(&this);
        let service = service_fn(move |request: Request<Incoming>| lock(&connection).noted_answer::<S>(request));
        let served = http1::Builder::new()
            .max_headers(HEAD_FIELDS_LIMIT)
            .max_header_size(head)
            .max_buf_size(head)
            .serve_connection(TokioIo::new(StrictHead::new(stream)), service)
            .with_upgrades();
        let mut served = Box::pin(served);
        let mut result = timeout_at(until, &mut served).await;
        if result.is_err() {
            let extra = lock(&this).extra;
            result = timeout_at(until + extra, &mut served).await;
        }
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection failed"),
            // A browser opens connections that it may never use, so this is no refusal.
            Err(_) => tracing::debug!("an HTTP connection took too long"),
        }
    }

    /// Answers, and notes how long that took.
    fn noted_answer<S>(&mut self, request: Request<Incoming>) -> Answer
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (gateway, began, method) = (self.gateway.clone(), Instant::now(), request.method().clone());
        let (route, answer) = self.answer::<S>(request);
        Box::pin(async move {
            let response = answer.await?;
            gateway.answered(&HttpAnswer {
                method: &method,
                route,
                status: response.status(),
                took: began.elapsed(),
            });
            Ok(response)
        })
    }

    /// The answer, and the route that was asked for.
    fn answer<S>(&mut self, request: Request<Incoming>) -> (&'static str, Answer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if let Some(why) = host_refusal(&request) {
            return ("unknown", now(text(StatusCode::BAD_REQUEST, why)));
        }
        if let Some(mut response) = self.page.as_ref().and_then(|page| page.answer(&request)) {
            self.extra = PAGE_TIMEOUT;
            response.headers_mut().insert(header::CONNECTION, CLOSE);
            return ("/console/", now(response));
        }
        let client = self.client(request.headers());
        let wanted = Wanted::of(request.uri().path());
        let route = wanted.route();
        let answer = match wanted {
            Wanted::WebSocketOf(session) => self.enter::<S>(request, session, client),
            Wanted::TargetOf(session) => {
                let (asked, cookie) = (
                    target::Asked {
                        session: &session,
                        client,
                    },
                    self.cookie(),
                );
                now(target::answer_of_session(
                    &self.gateway,
                    &request,
                    &self.origins,
                    asked,
                    cookie,
                ))
            }
            Wanted::WebSocket => now(self.open::<S>(request, client)),
            Wanted::Target => now(target::answer(&self.gateway, &request, &self.origins, client)),
            Wanted::Nothing => now(text(
                StatusCode::NOT_FOUND,
                "there is nothing here; the console's WebSocket is at /api/v1/console/ws",
            )),
        };
        (route, answer)
    }

    /// Where the client connects from.
    fn client(&self, headers: &HeaderMap) -> IpAddr {
        if self.is_unnamed {
            return self.peer;
        }
        client_address(self.peer, headers, self.gateway.limiter().limits())
    }

    fn cookie(&self) -> ResumeCookie {
        ResumeCookie::new(self.page.as_ref().is_some_and(|page| page.is_embedded()))
    }

    fn refuse_opening(&self, error: OpeningError, client: IpAddr) -> Response<Full<Bytes>> {
        let failure = EntryFailure::new(EndReason::TokenRefused, format!("{}: {error}", error.reason()));
        self.refuse(client, failure.counted_as(error.reason()));
        text(error.status(), &error.to_string())
    }

    /// Opens the WebSocket of one session for its page. It is decided before the answer, with which goes what the browser comes back by; a
    /// refusal is a close code all the same, because pages learn nothing of an answer that opens nothing.
    fn enter<S>(&mut self, mut request: Request<Incoming>, session: String, client: IpAddr) -> Answer
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.gateway.began(Transport::WebSocket);
        let cookie = self.cookie();
        let opening = match SessionOpening::read(&request, &self.origins, cookie.name()) {
            Ok(opening) => opening,
            Err(error) => return now(self.refuse_opening(error, client)),
        };
        // Who is refused at the last moment is told.
        self.extra = CLOSE_TIMEOUT;
        let (gateway, half_open, until) = (self.gateway.clone(), self.half_open.take(), self.until);
        let upgraded = upgrade::on(&mut request);
        let span = tracing::info_span!("request", path = SESSIONS_PATH, session, %client);
        continue_trace(&span, request.headers());
        let entering = async move {
            let given = credential_for(&opening);
            let entered = gateway
                .enter(&entry(&opening, session, &given, client), client, until)
                .await;
            let mut response = opening.response();
            if let Some(cookie) = cookie_for(cookie, &entered, &given, opening.resume.is_some()) {
                response.headers_mut().insert(header::SET_COOKIE, cookie);
            }
            // Who is admitted is not cut any more.
            let held = half_open.filter(|_| entered.is_err());
            let served = async move {
                let parts = upgraded
                    .await
                    .map(upgrade::Upgraded::downcast::<TokioIo<StrictHead<S>>>);
                // It is always S: that is what the connection was made of. A viewer who is gone gives their place back here.
                let Ok(Ok(parts)) = parts else { return };
                let (io, early) = (parts.io.into_inner().into_inner(), parts.read_buf);
                gateway.serve_entered(io, early, entered, client, until).await;
                drop(held);
            };
            tokio::spawn(served.in_current_span());
            Ok(response)
        };
        Box::pin(entering.instrument(span))
    }

    /// Opens the WebSocket for whoever has a token.
    fn open<S>(&mut self, mut request: Request<Incoming>, client: IpAddr) -> Response<Full<Bytes>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.gateway.began(Transport::WebSocket);
        let opening = match Opening::read(&request, &self.origins) {
            Ok(opening) => opening,
            Err(error) => return self.refuse_opening(error, client),
        };
        let admission = AdmissionRequest {
            token: opening.token,
            session: None,
            session_hint: opening.session.clone(),
            client,
            transport: Transport::WebSocket,
            // A cookie that is set here would be sent to all sessions.
            resume: None,
        };
        let (gateway, half_open) = (self.gateway.clone(), self.half_open.take());
        let upgraded = upgrade::on(&mut request);
        let span = tracing::info_span!("request", path = PATH, %client);
        continue_trace(&span, request.headers());
        let served = async move {
            let parts = upgraded
                .await
                .map(upgrade::Upgraded::downcast::<TokioIo<StrictHead<S>>>);
            // It is always S: that is what the connection was made of.
            let Ok(Ok(parts)) = parts else { return };
            gateway
                .serve_websocket(parts.io.into_inner().into_inner(), parts.read_buf, admission, half_open)
                .await;
        };
        tokio::spawn(served.instrument(span));
        opening.response()
    }
}

/// What a browser is given: for the place that it had, or for a new one.
fn credential_for(opening: &SessionOpening) -> ResumeCredential {
    match (&opening.token, &opening.resume) {
        (None, Some(before)) => before.successor(rand::random()),
        (Some(_), _) | (None, None) => ResumeCredential::new(rand::random(), rand::random()),
    }
}

/// By what the page enters; a token comes first, because a person has just brought it.
fn entry(opening: &SessionOpening, session: String, given: &ResumeCredential, client: IpAddr) -> PageEntry {
    let credential = given.hash();
    match (opening.token, opening.resume.as_ref().map(ResumeCredential::hash)) {
        (Some(token), superseded) => PageEntry::Token(AdmissionRequest {
            token,
            session: None,
            session_hint: Some(session),
            client,
            transport: Transport::WebSocket,
            resume: opening.is_page.then_some(ResumeOffer { credential, superseded }),
        }),
        (None, Some(presented)) => PageEntry::Resume(ResumeRequest {
            session,
            presented,
            successor: credential,
            client,
        }),
        (None, None) => PageEntry::Nothing { session },
    }
}

/// The cookie that goes with the answer.
fn cookie_for(
    cookie: ResumeCookie,
    entered: &Result<Admitted, EndReason>,
    given: &ResumeCredential,
    had_one: bool,
) -> Option<HeaderValue> {
    match entered {
        Ok(admitted) if admitted.is_resumable => {
            cookie.set(given, admitted.expires.saturating_duration_since(Instant::now()))
        }
        Err(EndReason::ResumeRefused | EndReason::CredentialReused) if had_one => cookie.removed(),
        Ok(_) | Err(_) => None,
    }
}

fn lock<A>(connection: &Mutex<Connection<A>>) -> MutexGuard<'_, Connection<A>> {
    connection.lock()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::{gateway::tests::Porter, limits::Limits};

    /// Answers for everything below `/console/`, with more than fits between the two ends.
    struct LargePage;

    impl PageSource for LargePage {
        fn answer(&self, request: &Request<Incoming>) -> Option<Response<Full<Bytes>>> {
            let text = format!("<html>{}</html>\n", " ".repeat(8 * 1024));
            let is_below = request.uri().path().starts_with("/console/");
            is_below.then(|| Response::new(Full::from(text)))
        }
    }

    /// A connection that has just been accepted, and its other end. Little fits in between.
    fn accepted(gateway: &Gateway<Porter>) -> (Connection<Porter>, DuplexStream, DuplexStream) {
        let peer = [10, 0, 0, 1].into();
        let limiter = gateway.limiter();
        let half_open = limiter.begin(limiter.places().enter(peer));
        let connection = Connection {
            gateway: gateway.clone(),
            origins: Arc::default(),
            page: Some(Arc::new(LargePage)),
            peer,
            is_unnamed: false,
            until: half_open.until(),
            half_open: Some(half_open),
            extra: Duration::ZERO,
        };
        let (near, far) = duplex(64);
        (connection, near, far)
    }

    /// Says this and then reads nothing, and tells how long that lasts.
    async fn dawdle(said: &str) -> Duration {
        let gateway = Porter::default().gateway();
        let (connection, near, mut far) = accepted(&gateway);
        let start = Instant::now();
        let dawdler = async {
            // It is cut while it speaks, or the answer waits for it.
            let _ = far.write_all(said.as_bytes()).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = connection.start(near, None) => {}
            () = dawdler => {}
        }
        assert_eq!(gateway.limiter().half_open(), 0);
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_neither_asks_nor_reads_is_cut_in_time() {
        let time = Limits::default().handshake;
        assert_eq!(dawdle("").await, time);
        assert_eq!(dawdle("GET / HTTP/1.1\r\n").await, time);
        assert_eq!(dawdle("GET /elsewhere HTTP/1.1\r\nhost: x\r\n\r\n").await, time);
        let pages = "GET /console/ HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50);
        assert_eq!(dawdle(&pages).await, time + PAGE_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_line_gets_the_page_and_one_page_is_all() {
        let gateway = Porter::default().gateway();
        let (connection, near, mut far) = accepted(&gateway);
        let time = Limits::default().handshake;
        let slowly = async {
            let pages = "GET /console/ HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2);
            far.write_all(pages.as_bytes()).await.unwrap();
            tokio::time::sleep(time * 2).await;
            let mut answer = String::new();
            far.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let ((), answer) = tokio::join!(connection.start(near, None), slowly);
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
        assert!(
            answer.contains("connection: close\r\n") && answer.ends_with("</html>\n"),
            "{answer}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_not_written_as_the_standard_has_it_is_refused() {
        let gateway = Porter::default().gateway();
        for request in [
            "GET /console/ HTTP/1.1\r\n\r\n",
            "GET /api/v1/console/ws HTTP/1.1\r\nupgrade: websocket\r\n\r\n",
            "GET /console/ HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n",
            "GET /console/ HTTP/1.1\nhost: x\n\n",
            "GET /console/ HTTP/1.1\r\nhost: x\nx: y\r\n\r\n",
        ] {
            let (connection, near, mut far) = accepted(&gateway);
            let ask = async {
                far.write_all(request.as_bytes()).await.unwrap();
                let mut answer = String::new();
                far.read_to_string(&mut answer).await.unwrap();
                answer
            };
            let ((), answer) = tokio::join!(connection.start(near, None), ask);
            assert!(answer.starts_with("HTTP/1.1 400"), "{request:?}: {answer}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tls_and_what_follows_share_their_time() {
        let gateway = Porter::default().gateway();
        let (mut connection, near, _far) = accepted(&gateway);
        // As if TLS had taken the most of it.
        connection.until = Instant::now() + Duration::from_secs(1);
        let start = Instant::now();
        connection.start(near, None).await;
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test]
    async fn a_refused_opening_is_of_the_client_and_not_of_its_proxy() {
        let porter = Porter::default();
        let limits = Limits {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            ..Limits::default()
        };
        let observers: Vec<Box<dyn crate::admission::Observer>> = vec![Box::new(porter.clone())];
        let gateway = Gateway::new(porter.clone(), observers, crate::limits::ConnectionLimiter::new(limits));
        let (connection, near, mut far) = accepted(&gateway);
        let ask = async {
            let request = "GET /api/v1/console/ws HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 198.51.100.7\r\n\r\n";
            far.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            far.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let ((), answer) = tokio::join!(connection.start(near, None), ask);
        assert!(answer.starts_with("HTTP/1.1 426"), "{answer}");
        let refused = porter.refused.lock().pop().unwrap();
        assert_eq!(
            (
                refused.client.to_string().as_str(),
                refused.counted_as,
                refused.end.reason
            ),
            ("198.51.100.7", "NotWebSocket", EndReason::TokenRefused)
        );
    }
}
