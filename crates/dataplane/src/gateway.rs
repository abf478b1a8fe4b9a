//! What all listeners share: admission, the connection to the target, and a stream from its opening to its end.

mod failure;
mod ssh;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod waiting;

use std::{future::poll_fn, io, net::IpAddr, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use novasphere_wire::{
    close::{EndReason, StreamEnd},
    resume::ResumeHash,
    rfb::{
        server::{Offer, Progress, ServerHandshake},
        upstream::CLIENT_INIT_SHARED,
    },
    token::TokenHash,
    websocket::frame::FrameRole,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout, timeout_at},
};

pub(crate) use self::failure::{EntryFailure, PROXY_HEADER_REASON};
use crate::{
    admission::{Admission, AdmissionRequest, Admitted, HttpAnswer, Observer, ResumeRequest, TokenSubject},
    limits::{ConnectionLimiter, HalfOpen, LimitReached},
    peer::Peer,
    registry::{Protocol, Registry, StreamHandle, StreamInfo, Transport},
    relay::{Deadlines, Relay, ViewerFilter},
    upstream::Upstream,
    websocket::WebSocket,
};

/// How long it may take to find out why a target closed the connection.
const EXPLAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a viewer who is turned away has to read why and to close.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The console gateway of a process. Clones share everything.
pub struct Gateway<A> {
    parts: Arc<Parts<A>>,
}

struct Parts<A> {
    admission: A,
    observers: Vec<Box<dyn Observer>>,
    registry: Registry,
    limiter: ConnectionLimiter,
}

impl<A> Clone for Gateway<A> {
    fn clone(&self) -> Self {
        Self {
            parts: Arc::clone(&self.parts),
        }
    }
}

/// A viewer who is admitted, and the connection to their target.
pub(crate) struct Opened {
    pub(crate) admitted: Admitted,
    target: Box<dyn Peer>,
    /// When the connection to the target was begun.
    began: Instant,
}

/// By what a viewer of the page enters a session.
pub(crate) enum PageEntry {
    /// A token.
    Token(AdmissionRequest),
    /// What the browser was given before.
    Resume(ResumeRequest),
    /// Nothing that could open the session, as `namespace/name`.
    Nothing { session: String },
}

impl<A: Admission> Gateway<A> {
    /// A gateway without streams.
    #[must_use]
    pub fn new(admission: A, observers: Vec<Box<dyn Observer>>, limiter: ConnectionLimiter) -> Self {
        Self::with_registry(admission, observers, limiter, Registry::default())
    }

    /// The same with a registry that others know already.
    #[must_use]
    pub fn with_registry(
        admission: A,
        observers: Vec<Box<dyn Observer>>,
        limiter: ConnectionLimiter,
        registry: Registry,
    ) -> Self {
        Self {
            parts: Arc::new(Parts {
                admission,
                observers,
                registry,
                limiter,
            }),
        }
    }

    /// The streams.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.parts.registry
    }

    /// The limits before authentication.
    #[must_use]
    pub fn limiter(&self) -> &ConnectionLimiter {
        &self.parts.limiter
    }

    /// Serves a WebSocket after its opening handshake, until the stream ends. `early` is what was read beyond the handshake. Up to the
    /// admission the viewer holds a place among the half-open connections, and is dropped when a newcomer gets it.
    pub async fn serve_websocket<S>(&self, io: S, early: Bytes, request: AdmissionRequest, half_open: Option<HalfOpen>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut viewer = WebSocket::new(io, early, FrameRole::Server);
        let until = half_open.as_ref().map_or_else(|| self.deadline(), HalfOpen::until);
        let (client, transport) = (request.client, request.transport);
        // Boxed, so that the stream's task does not keep room for its opening.
        let entering = Box::pin(async {
            let admitted = self.admit(&request, until).await;
            self.refuse_if_failed(admitted, &mut viewer, client, transport).await
        });
        let entered = match &half_open {
            Some(held) => held.unless_cut(entering).await,
            None => Ok(entering.await),
        };
        drop(half_open);
        match entered {
            Ok(Some(admitted)) => self.serve(viewer, admitted, client, transport, until).await,
            Ok(None) => {}
            Err(limit) => self.dropped(client, transport, limit),
        }
    }

    /// Decides about a viewer of the page before their request is answered: what they can come back with goes with the answer. Of a refusal
    /// all are told but the viewer.
    pub(crate) async fn enter(&self, entry: &PageEntry, client: IpAddr, until: Instant) -> Result<Admitted, EndReason> {
        let entered = match entry {
            PageEntry::Token(request) => self.admit(request, until).await,
            PageEntry::Resume(request) => self.resume(request, until).await,
            PageEntry::Nothing { session } => {
                let refused = EntryFailure::new(EndReason::ResumeRefused, "neither a token nor a credential came");
                Err(refused.of_named(Some(session)))
            }
        };
        entered.map_err(|failure| {
            let why = failure.end.reason;
            self.refused(failure, client, Transport::WebSocket);
            why
        })
    }

    async fn resume(&self, request: &ResumeRequest, until: Instant) -> Result<Admitted, EntryFailure> {
        let failure = match timeout_at(until, self.parts.admission.resume(request)).await {
            Ok(Ok(admitted)) => {
                self.observe(|observer| observer.on_resumed(Transport::WebSocket));
                return checked(admitted, Transport::WebSocket);
            }
            Ok(Err(refusal)) => EntryFailure::from(refusal),
            Err(_) => EntryFailure::late(),
        };
        Err(failure.of_named(Some(&request.session)))
    }

    /// Serves the WebSocket of a viewer about whom was [decided](Self::enter), until the stream ends.
    pub(crate) async fn serve_entered<S>(
        &self,
        io: S,
        early: Bytes,
        entered: Result<Admitted, EndReason>,
        client: IpAddr,
        until: Instant,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut viewer = WebSocket::new(io, early, FrameRole::Server);
        match entered {
            Ok(admitted) => self.serve(viewer, admitted, client, Transport::WebSocket, until).await,
            Err(why) => close_with(&mut viewer, why).await,
        }
    }

    /// The same for a viewer who is admitted already, in another way than by a token.
    pub async fn serve_admitted<S>(&self, io: S, early: Bytes, admitted: Admitted, client: IpAddr, transport: Transport)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.began(transport);
        let mut viewer = WebSocket::new(io, early, FrameRole::Server);
        let admitted = self.refuse_if_failed(checked(admitted, transport), &mut viewer, client, transport);
        if let Some(admitted) = admitted.await {
            self.serve(viewer, admitted, client, transport, self.deadline()).await;
        }
    }

    /// Closes the `WebSocket` of a viewer who was not admitted. The refusal is told first: the connection may be cut meanwhile.
    async fn refuse_if_failed<S>(
        &self,
        admitted: Result<Admitted, EntryFailure>,
        viewer: &mut WebSocket<S>,
        client: IpAddr,
        transport: Transport,
    ) -> Option<Admitted>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        match admitted {
            Ok(admitted) => Some(admitted),
            Err(failure) => {
                let reason = failure.end.reason;
                self.refused(failure, client, transport);
                close_with(viewer, reason).await;
                None
            }
        }
    }

    /// When a viewer who comes now has to have a stream.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.parts.limiter.limits().handshake
    }

    async fn serve<S>(
        &self,
        mut viewer: WebSocket<S>,
        admitted: Admitted,
        client: IpAddr,
        transport: Transport,
        until: Instant,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let opened = match admitted.target.clone() {
            Upstream::Awaited(target) => {
                return self.serve_waiting(viewer, admitted, target, client, transport).await;
            }
            Upstream::Tcp(_) | Upstream::KubeVirt(_) | Upstream::Serial(_) => {
                let late = EntryFailure::late().of(&admitted);
                Box::pin(before(until, late, open_websocket(&mut viewer, admitted))).await
            }
        };
        match opened {
            Ok(opened) => self.relay(opened, Box::new(viewer), client, transport).await,
            Err(failure) => {
                close_with(&mut viewer, failure.end.reason).await;
                self.refused(failure, client, transport);
            }
        }
    }

    /// Asks whether a viewer may enter, and can do anything with what they would get.
    pub(crate) async fn admit(&self, request: &AdmissionRequest, until: Instant) -> Result<Admitted, EntryFailure> {
        let began = Instant::now();
        let failure = match timeout_at(until, self.parts.admission.admit(request)).await {
            Ok(Ok(admitted)) => {
                self.observe(|observer| observer.on_admitted(request.transport, began.elapsed()));
                return checked(admitted, request.transport);
            }
            Ok(Err(refusal)) => EntryFailure::from(refusal),
            Err(_) => EntryFailure::late(),
        };
        Err(match self.parts.admission.subject_of(&request.token) {
            Some(whose) => failure.of_known(whose),
            None => failure.of_named(request.session.as_deref().or(request.session_hint.as_deref())),
        })
    }

    /// How the target of a token is, when it may be told.
    pub(crate) fn target_view(&self, token: &TokenHash, client: IpAddr) -> Option<A::TargetView> {
        self.parts.admission.target_view(token, client)
    }

    /// The same for who can come back to a session, or is there.
    pub(crate) fn resumable_view(
        &self,
        session: &str,
        presented: &ResumeHash,
        client: IpAddr,
    ) -> Option<A::TargetView> {
        self.parts.admission.resumable_view(session, presented, client)
    }

    fn observe(&self, tell: impl Fn(&dyn Observer)) {
        self.parts.observers.iter().for_each(|observer| tell(observer.as_ref()));
    }

    /// Notes an answer of the HTTP port.
    pub(crate) fn answered(&self, answer: &HttpAnswer<'_>) {
        self.observe(|observer| observer.on_answered(answer));
    }

    /// Notes somebody who begins to connect.
    pub(crate) fn began(&self, transport: Transport) {
        self.observe(|observer| observer.on_attempt(transport));
    }

    /// Notes a connection that is dropped because a newcomer got its place.
    pub(crate) fn dropped(&self, client: IpAddr, transport: Transport, limit: LimitReached) {
        tracing::debug!(%client, reason = limit.reason(), "connection dropped");
        self.observe(|observer| observer.on_dropped(transport, limit));
    }

    /// Notes a known user who was refused before there was a connection to carry.
    pub fn reject_known(&self, end: &StreamEnd, subject: TokenSubject, client: IpAddr, transport: Transport) {
        let failure = EntryFailure::from(end.clone()).of_known(subject);
        self.refused(failure, client, transport);
    }

    /// Notes a viewer who got no stream.
    pub(crate) fn refused(&self, failure: EntryFailure, client: IpAddr, transport: Transport) {
        let refused = failure.rejected(client, transport);
        self.observe(|observer| observer.on_rejected(&refused));
    }

    /// Carries a stream whose handshakes are over, until it ends.
    pub(crate) async fn relay(&self, opened: Opened, viewer: Box<dyn Peer>, client: IpAddr, transport: Transport) {
        let (protocol, took) = (opened.admitted.protocol, opened.began.elapsed());
        self.observe(|observer| observer.on_target_opened(protocol, took));
        let handle = self.stream(&opened.admitted, client, transport);
        self.relay_registered(opened, viewer, handle).await;
    }

    /// Enters a stream, and tells of it.
    fn stream(&self, admitted: &Admitted, client: IpAddr, transport: Transport) -> StreamHandle {
        let handle = self.parts.registry.open(StreamInfo {
            session: admitted.session.clone(),
            connection: admitted.slot.id().to_owned(),
            user: admitted.user.clone(),
            target: admitted.target_name.clone(),
            client,
            transport,
            protocol: admitted.protocol,
        });
        self.observe(|observer| observer.on_opened(handle.stream()));
        handle
    }

    /// The one span of a stream; its polls enter it and make none.
    #[tracing::instrument(
        name = "stream",
        skip_all,
        fields(
            session = %handle.stream().info.session,
            connection = handle.stream().info.connection,
            user = handle.stream().info.user,
        )
    )]
    async fn relay_registered(&self, opened: Opened, viewer: Box<dyn Peer>, mut handle: StreamHandle) {
        let Opened { admitted, target, .. } = opened;
        let filter = ViewerFilter::new(admitted.protocol, admitted.rules);
        let deadlines = Deadlines {
            expires: Some(admitted.expires),
            idle: admitted.idle_timeout,
        };
        let stream = handle.stream().clone();
        let relay = Relay::new(viewer, target, filter, deadlines, Arc::clone(&stream.counters));
        let mut ended = relay.run(&mut handle).await;
        // The session is free for others from here on; only the viewer does not know yet.
        let _closing = handle.leave();
        if ended.end.reason == EndReason::TargetDisconnected
            && let Ok(Some(end)) = timeout(EXPLAIN_TIMEOUT, self.parts.admission.explain(&stream.info)).await
        {
            ended.end = end;
        }
        self.observe(|observer| observer.on_closed(&stream, &ended.end));
        drop(admitted.slot);
        ended.close().await;
    }
}

async fn open_websocket<S>(viewer: &mut WebSocket<S>, admitted: Admitted) -> Result<Opened, EntryFailure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut opened = open_target(admitted).await?;
    if opened.admitted.protocol == Protocol::Serial {
        viewer.accept_text();
    }
    let spoken = handshake(viewer, &mut opened).await;
    spoken.map_err(|failure| failure.of(&opened.admitted))?;
    Ok(opened)
}

/// What viewer and target say to each other before the relay takes over.
async fn handshake<L: Peer>(viewer: &mut L, opened: &mut Opened) -> Result<(), EntryFailure> {
    match opened.admitted.protocol {
        Protocol::Vnc => rfb_handshake(viewer, opened).await,
        Protocol::Ssh => ssh::identify(viewer, &mut opened.target).await,
        Protocol::Serial => Ok(()),
    }
}

/// Fails with `late` when there is no time left.
pub(crate) async fn before<T>(
    until: Instant,
    late: EntryFailure,
    work: impl Future<Output = Result<T, EntryFailure>>,
) -> Result<T, EntryFailure> {
    timeout_at(until, work).await.unwrap_or(Err(late))
}

async fn rfb_handshake<L: AsyncRead + AsyncWrite + Unpin>(
    viewer: &mut L,
    opened: &mut Opened,
) -> Result<(), EntryFailure> {
    let mut output = Vec::new();
    let mut handshake = ServerHandshake::start(Offer::None, &mut output);
    while step(viewer, &mut handshake, &mut output).await? != Progress::Admit {}
    finish(viewer, &mut handshake, &mut output, opened).await
}

fn checked(admitted: Admitted, transport: Transport) -> Result<Admitted, EntryFailure> {
    match check(&admitted, transport) {
        Ok(()) => Ok(admitted),
        Err(failure) => Err(failure.of(&admitted)),
    }
}

/// Whether the viewer can do anything with what they would get.
fn check(admitted: &Admitted, transport: Transport) -> Result<(), EntryFailure> {
    if admitted.protocol != Protocol::Vnc && transport == Transport::Rfb {
        return Err(EntryFailure::new(
            EndReason::TransportNotAllowed,
            "the console is not a screen, so it does not handshake RFB",
        ));
    }
    if admitted.protocol == Protocol::Ssh && !admitted.rules.input {
        return Err(EntryFailure::new(
            EndReason::InputNotAllowed,
            "nobody can only look at SSH, and this viewer may not do more",
        ));
    }
    Ok(())
}

/// Connects to the target of an admitted viewer.
pub(crate) async fn open_target(admitted: Admitted) -> Result<Opened, EntryFailure> {
    let began = Instant::now();
    match admitted.target.open(admitted.protocol).await {
        Ok(target) => Ok(Opened {
            admitted,
            target,
            began,
        }),
        Err(error) => Err(EntryFailure::new(error.close(), error.to_string()).of(&admitted)),
    }
}

/// Lets an admitted viewer in and starts the target, up to where the relay takes over.
pub(crate) async fn finish<L>(
    viewer: &mut L,
    handshake: &mut ServerHandshake,
    output: &mut Vec<u8>,
    opened: &mut Opened,
) -> Result<(), EntryFailure>
where
    L: AsyncRead + AsyncWrite + Unpin,
{
    handshake.accept(output);
    step(viewer, handshake, output).await?;
    let target = &mut opened.target;
    let started = async {
        target.write_all(&CLIENT_INIT_SHARED).await?;
        target.flush().await
    };
    started
        .await
        .map_err(|error: io::Error| EntryFailure::new(EndReason::TargetDisconnected, error.to_string()))
}

/// Sends what the handshake has to say, reads what it wants, and hands that in. What it says last is sent as well.
pub(crate) async fn step<L>(
    viewer: &mut L,
    handshake: &mut ServerHandshake,
    output: &mut Vec<u8>,
) -> Result<Progress, EntryFailure>
where
    L: AsyncRead + AsyncWrite + Unpin,
{
    send(viewer, output).await?;
    let mut input = vec![0; handshake.want()];
    viewer.read_exact(&mut input).await?;
    let progress = handshake.receive(&input, output);
    if matches!(progress, Err(_) | Ok(Progress::StartTls)) {
        send(viewer, output).await?;
    }
    Ok(progress?)
}

/// Sends what the handshake has to say.
pub(crate) async fn send<L: AsyncWrite + Unpin>(viewer: &mut L, output: &mut Vec<u8>) -> io::Result<()> {
    viewer.write_all(output).await?;
    output.clear();
    viewer.flush().await
}

/// Closes in a way that what was said before arrives.
pub(crate) async fn close_with<L: Peer>(viewer: &mut L, why: EndReason) {
    let _ = timeout(
        CLOSE_TIMEOUT,
        poll_fn(|context| Pin::new(&mut *viewer).poll_close(context, why)),
    )
    .await;
}
