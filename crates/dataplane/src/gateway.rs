//! What all ways in have in common: admission, the way to the target, and a stream from its opening to its end.

mod failure;
mod ssh;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod waiting;

use std::{
    future::{poll_fn, ready},
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use novasphere_wire::{
    close::Close,
    rfb::{
        server::{Offer, Progress, ServerHandshake},
        upstream::CLIENT_INIT_SHARED,
    },
    token::TokenHash,
    websocket::frame::Role,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout, timeout_at},
};

pub(crate) use self::failure::Failure;
use crate::{
    admission::{Admission, AdmissionRequest, Admitted, Observer, Refusal, Whose},
    leg::Leg,
    limits::{Gate, HalfOpen, LimitReached},
    registry::{Handle, Protocol, Registry, StreamInfo, Transport},
    relay::{Clocks, Relay, ViewerFilter},
    upstream::Target,
    websocket::WebSocket,
};

/// How long it may take to find out why a target closed the connection.
const EXPLAIN: Duration = Duration::from_secs(3);

/// How long a viewer who is turned away has to read why and to close.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);

/// The console gateway of a process. Clones share everything.
pub struct Gateway<A> {
    parts: Arc<Parts<A>>,
}

struct Parts<A> {
    admission: A,
    observers: Vec<Box<dyn Observer>>,
    registry: Registry,
    gate: Gate,
}

impl<A> Clone for Gateway<A> {
    fn clone(&self) -> Self {
        Self {
            parts: Arc::clone(&self.parts),
        }
    }
}

/// A viewer who is admitted, and the connection to his target.
pub(crate) struct Opened {
    pub(crate) admitted: Admitted,
    target: Box<dyn Leg>,
}

impl<A: Admission> Gateway<A> {
    /// A gateway without streams.
    #[must_use]
    pub fn new(admission: A, observers: Vec<Box<dyn Observer>>, gate: Gate) -> Self {
        Self::with_registry(admission, observers, gate, Registry::default())
    }

    /// The same with a registry that others know already.
    #[must_use]
    pub fn with_registry(admission: A, observers: Vec<Box<dyn Observer>>, gate: Gate, registry: Registry) -> Self {
        Self {
            parts: Arc::new(Parts {
                admission,
                observers,
                registry,
                gate,
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
    pub fn gate(&self) -> &Gate {
        &self.parts.gate
    }

    /// Serves a WebSocket after its opening handshake, until the stream ends. `early` is what was read beyond the handshake.
    pub async fn serve_websocket<S>(&self, io: S, early: Bytes, request: AdmissionRequest, half_open: Option<HalfOpen>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let viewer = WebSocket::new(io, early, Role::Server);
        let until = half_open.as_ref().map_or_else(|| self.deadline(), HalfOpen::until);
        let admission = self.admit(&request, until);
        self.serve(viewer, admission, request.client, request.transport, until, half_open)
            .await;
    }

    /// The same for a viewer who is admitted already, in another way than by a token.
    pub async fn serve_admitted<S>(&self, io: S, early: Bytes, admitted: Admitted, client: IpAddr, transport: Transport)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.began(transport);
        let viewer = WebSocket::new(io, early, Role::Server);
        let admission = ready(checked(admitted, transport));
        self.serve(viewer, admission, client, transport, self.deadline(), None)
            .await;
    }

    /// When a viewer who comes now has to have a stream.
    fn deadline(&self) -> Instant {
        Instant::now() + self.parts.gate.limits().handshake
    }

    async fn serve<S>(
        &self,
        mut viewer: WebSocket<S>,
        admission: impl Future<Output = Result<Admitted, Failure>>,
        client: IpAddr,
        transport: Transport,
        until: Instant,
        half_open: Option<HalfOpen>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // Boxed, so that the stream's task does not keep room for its opening.
        let opened = match Box::pin(admission).await {
            Ok(admitted) => match admitted.target.clone() {
                Target::Waiting(target) => {
                    drop(half_open);
                    return self.serve_waiting(viewer, admitted, target, client, transport).await;
                }
                Target::Tcp(_) | Target::KubeVirt(_) | Target::Recovering(_) => {
                    let late = Failure::late().of(&admitted);
                    Box::pin(in_time(until, late, open_websocket(&mut viewer, admitted))).await
                }
            },
            Err(failure) => Err(failure),
        };
        match opened {
            Ok(opened) => {
                drop(half_open);
                self.carry(opened, Box::new(viewer), client, transport).await;
            }
            Err(failure) => {
                farewell(&mut viewer, failure.refusal.why).await;
                self.refused(failure, client, transport);
            }
        }
    }

    /// Asks whether a viewer may enter, and can do anything with what he would get.
    pub(crate) async fn admit(&self, request: &AdmissionRequest, until: Instant) -> Result<Admitted, Failure> {
        let failure = match timeout_at(until, self.parts.admission.admit(request)).await {
            Ok(Ok(admitted)) => return checked(admitted, request.transport),
            Ok(Err(refusal)) => Failure::new(refusal.why, refusal.detail),
            Err(_) => Failure::late(),
        };
        Err(match self.parts.admission.whose(&request.token) {
            Some(whose) => failure.of_known(whose),
            None => failure.of_named(request.session.as_deref()),
        })
    }

    /// How the target of a token is, when it may be told.
    pub(crate) fn target_view(&self, token: &TokenHash, client: IpAddr) -> Option<A::TargetView> {
        self.parts.admission.target_view(token, client)
    }

    fn observe(&self, tell: impl Fn(&dyn Observer)) {
        self.parts.observers.iter().for_each(|observer| tell(observer.as_ref()));
    }

    /// Notes somebody who begins to connect.
    pub(crate) fn began(&self, transport: Transport) {
        self.observe(|observer| observer.began(transport));
    }

    /// Notes a connection that is dropped at once.
    pub(crate) fn dropped(&self, peer: SocketAddr, transport: Transport, limit: LimitReached) {
        tracing::debug!(%peer, reason = limit.reason(), "connection dropped");
        self.observe(|observer| observer.dropped(transport, limit));
    }

    /// Notes a known user who was refused before there was a connection to carry.
    pub fn refused_before(&self, refusal: &Refusal, whose: Whose, client: IpAddr, transport: Transport) {
        let failure = Failure::new(refusal.why, refusal.detail.clone()).of_known(whose);
        self.refused(failure, client, transport);
    }

    /// Notes a viewer who got no stream.
    pub(crate) fn refused(&self, failure: Failure, client: IpAddr, transport: Transport) {
        let refused = failure.told(client, transport);
        self.observe(|observer| observer.refused(&refused));
    }

    /// Carries a stream whose handshakes are over, until it ends.
    pub(crate) async fn carry(&self, opened: Opened, viewer: Box<dyn Leg>, client: IpAddr, transport: Transport) {
        let handle = self.stream(&opened.admitted, client, transport);
        self.carry_stream(opened, viewer, handle).await;
    }

    /// Enters a stream, and tells of it.
    fn stream(&self, admitted: &Admitted, client: IpAddr, transport: Transport) -> Handle {
        let handle = self.parts.registry.open(StreamInfo {
            session: admitted.session.clone(),
            connection: admitted.place.id().to_owned(),
            user: admitted.user.clone(),
            target: admitted.target_name.clone(),
            client,
            transport,
            protocol: admitted.protocol,
        });
        self.observe(|observer| observer.opened(handle.stream()));
        handle
    }

    async fn carry_stream(&self, opened: Opened, viewer: Box<dyn Leg>, mut handle: Handle) {
        let Opened { admitted, target } = opened;
        let filter = ViewerFilter::new(admitted.protocol, admitted.rules);
        let clocks = Clocks {
            expires: Some(admitted.expires),
            idle: admitted.idle_timeout,
        };
        let stream = handle.stream().clone();
        let relay = Relay::new(viewer, target, filter, clocks, Arc::clone(&stream.counters));
        let mut ended = relay.run(&mut handle).await;
        // The session is free for others from here on; only the viewer does not know yet.
        let _lingering = handle.leave();
        if ended.end.why == Close::TargetDisconnected
            && let Ok(Some(end)) = timeout(EXPLAIN, self.parts.admission.explain(&stream.info)).await
        {
            ended.end = end;
        }
        self.observe(|observer| observer.closed(&stream, &ended.end));
        drop(admitted.place);
        ended.tell().await;
    }
}

async fn open_websocket<S>(viewer: &mut WebSocket<S>, admitted: Admitted) -> Result<Opened, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut opened = open_target(admitted).await?;
    if opened.admitted.protocol == Protocol::Serial {
        viewer.accept_text();
    }
    let spoken = speak(viewer, &mut opened).await;
    spoken.map_err(|failure| failure.of(&opened.admitted))?;
    Ok(opened)
}

/// What viewer and target say to each other before the relay takes over.
async fn speak<L: Leg>(viewer: &mut L, opened: &mut Opened) -> Result<(), Failure> {
    match opened.admitted.protocol {
        Protocol::Vnc => greet(viewer, opened).await,
        Protocol::Ssh => ssh::identify(viewer, &mut opened.target).await,
        Protocol::Serial => Ok(()),
    }
}

/// Fails with `late` when there is no time left.
pub(crate) async fn in_time<T>(
    until: Instant,
    late: Failure,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout_at(until, work).await.unwrap_or(Err(late))
}

async fn greet<L: AsyncRead + AsyncWrite + Unpin>(viewer: &mut L, opened: &mut Opened) -> Result<(), Failure> {
    let mut output = Vec::new();
    let mut handshake = ServerHandshake::start(Offer::None, &mut output);
    while step(viewer, &mut handshake, &mut output).await? != Progress::Admit {}
    finish(viewer, &mut handshake, &mut output, opened).await
}

fn checked(admitted: Admitted, transport: Transport) -> Result<Admitted, Failure> {
    match check(&admitted, transport) {
        Ok(()) => Ok(admitted),
        Err(failure) => Err(failure.of(&admitted)),
    }
}

/// Whether the viewer can do anything with what he would get.
fn check(admitted: &Admitted, transport: Transport) -> Result<(), Failure> {
    if admitted.protocol != Protocol::Vnc && transport == Transport::Rfb {
        return Err(Failure::new(
            Close::TransportNotAllowed,
            "the console is not a screen, so it does not speak RFB",
        ));
    }
    if admitted.protocol == Protocol::Ssh && !admitted.rules.input {
        return Err(Failure::new(
            Close::InputNotAllowed,
            "nobody can only look at SSH, and this viewer may not do more",
        ));
    }
    Ok(())
}

/// Connects to the target of an admitted viewer.
pub(crate) async fn open_target(admitted: Admitted) -> Result<Opened, Failure> {
    match admitted.target.open(admitted.protocol).await {
        Ok(target) => Ok(Opened { admitted, target }),
        Err(error) => Err(Failure::new(error.close(), error.to_string()).of(&admitted)),
    }
}

/// Lets an admitted viewer in and starts the target, up to where the relay takes over.
pub(crate) async fn finish<L>(
    viewer: &mut L,
    handshake: &mut ServerHandshake,
    output: &mut Vec<u8>,
    opened: &mut Opened,
) -> Result<(), Failure>
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
        .map_err(|error: io::Error| Failure::new(Close::TargetDisconnected, error.to_string()))
}

/// Sends what the handshake has to say, reads what it wants, and hands that in. What it says last is sent as well.
pub(crate) async fn step<L>(
    viewer: &mut L,
    handshake: &mut ServerHandshake,
    output: &mut Vec<u8>,
) -> Result<Progress, Failure>
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
pub(crate) async fn farewell<L: Leg>(viewer: &mut L, why: Close) {
    let _ = timeout(
        FAREWELL,
        poll_fn(|context| Pin::new(&mut *viewer).poll_close(context, why)),
    )
    .await;
}
