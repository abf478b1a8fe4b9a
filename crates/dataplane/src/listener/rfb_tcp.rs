//! RFB over TCP for stock viewers: `VeNCrypt` with `X509Plain`, the session as user name and a token as password.

use std::{net::IpAddr, sync::Arc};

use novasphere_wire::{
    close::EndReason,
    rfb::{
        security::vencrypt::Credentials,
        server::{HandshakeError, Offer, Progress, ServerHandshake},
    },
    token::TokenHash,
};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{Accepted, identify::Identified};
use crate::{
    admission::{Admission, AdmissionRequest, Admitted},
    gateway::{
        CLOSE_TIMEOUT, EntryFailure, Gateway, Opened, before, close_with, finish, open_target, send, step,
        waiting::BufferedViewer,
    },
    limits::HalfOpen,
    peer::{Peer, RawPeer},
    registry::Transport,
    upstream::{Upstream, wait::AwaitedUpstream},
};

type Viewer = RawPeer<TlsStream<TcpStream>>;

/// Serves viewers until `stop`. Streams that are open then go on: see [`Registry::drain`](crate::registry::Registry::drain).
///
/// `tls` may change its certificate while it is used. Session tickets are switched off: `TigerVNC` 1.12 hangs on them.
pub async fn serve<A: Admission>(
    listener: TcpListener,
    tls: &ServerConfig,
    gateway: Gateway<A>,
    stop: impl Future<Output = ()>,
) {
    let mut tls = tls.clone();
    tls.send_tls13_tickets = 0;
    tls.alpn_protocols.clear();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    super::accept(listener, &gateway, Transport::Rfb, stop, |accepted, half_open| {
        let (gateway, acceptor) = (gateway.clone(), acceptor.clone());
        async move { connection(&gateway, accepted, &acceptor, half_open).await }
    })
    .await;
}

async fn connection<A: Admission>(
    gateway: &Gateway<A>,
    accepted: Accepted,
    acceptor: &TlsAcceptor,
    mut half_open: HalfOpen,
) {
    gateway.began(Transport::Rfb);
    let Some(identified) = accepted.identify(gateway, Transport::Rfb, &mut half_open).await else {
        return;
    };
    let Identified { stream, client, .. } = identified;
    let until = half_open.until();
    // Boxed, so that the stream's task does not keep room for its opening.
    let admitted = Box::pin(open(gateway, stream, acceptor, client, until)).await;
    drop(half_open);
    let Some((login, admitted, until)) = admitted else {
        return;
    };
    let opened = match admitted.target.clone() {
        Upstream::Awaited(target) => return wait(gateway, login, admitted, target, client).await,
        Upstream::Tcp(_) | Upstream::KubeVirt(_) | Upstream::Serial(_) => Box::pin(enter(login, admitted, until)).await,
    };
    match opened {
        Ok((viewer, opened)) => gateway.relay(opened, Box::new(viewer), client, Transport::Rfb).await,
        Err(failure) => gateway.refused(failure, client, Transport::Rfb),
    }
}

/// A viewer who has sent their token and waits for the result.
struct PendingLogin<L> {
    viewer: L,
    handshake: ServerHandshake,
    output: Vec<u8>,
}

impl<L: Peer> PendingLogin<L> {
    /// Sends a viewer the reason why they do not enter, and closes. A viewer who has left misses nothing.
    async fn refuse(mut self, why: EndReason) {
        self.handshake.refuse(why.sentence(), &mut self.output);
        let _ = timeout(CLOSE_TIMEOUT, send(&mut self.viewer, &mut self.output)).await;
        close_with(&mut self.viewer, why).await;
    }
}

/// Up to the admission, and when the stream has to be open. A refusal is told before the connection is closed, for it may be cut
/// meanwhile.
async fn open<A: Admission>(
    gateway: &Gateway<A>,
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    client: IpAddr,
    until: Instant,
) -> Option<(PendingLogin<Viewer>, Admitted, Instant)> {
    let negotiated = async {
        let login = before(until, EntryFailure::late(), negotiate(stream, acceptor)).await?;
        let until = Instant::now() + gateway.limiter().limits().login;
        before(until, EntryFailure::late(), log_in(login, client)).await
    };
    let (login, request) = match negotiated.await {
        Ok(negotiated) => negotiated,
        Err(failure) => {
            gateway.refused(failure, client, Transport::Rfb);
            return None;
        }
    };
    let until = gateway.deadline();
    match gateway.admit(&request, until).await {
        Ok(admitted) => Some((login, admitted, until)),
        Err(failure) => {
            let reason = failure.end.reason;
            gateway.refused(failure, client, Transport::Rfb);
            login.refuse(reason).await;
            None
        }
    }
}

/// Up to where the viewer asks its person for user and token.
async fn negotiate(stream: TcpStream, acceptor: &TlsAcceptor) -> Result<PendingLogin<Viewer>, EntryFailure> {
    let mut output = Vec::new();
    let mut handshake = ServerHandshake::start(Offer::X509Plain, &mut output);
    let mut clear = RawPeer(stream);
    if let Err(failure) = start_tls(&mut clear, &mut handshake, &mut output).await {
        close_with(&mut clear, failure.end.reason).await;
        return Err(failure);
    }
    let stream = acceptor
        .accept(clear.0)
        .await
        .map_err(|error| EntryFailure::new(EndReason::ProtocolError, error.to_string()))?;
    Ok(PendingLogin {
        viewer: RawPeer(stream),
        handshake,
        output,
    })
}

/// Up to what the viewer shows.
async fn log_in(
    mut login: PendingLogin<Viewer>,
    client: IpAddr,
) -> Result<(PendingLogin<Viewer>, AdmissionRequest), EntryFailure> {
    match read_credentials(&mut login, client).await {
        Ok(request) => Ok((login, request)),
        Err(failure) => {
            login.refuse(failure.end.reason).await;
            Err(failure)
        }
    }
}

/// Connects to the target and lets the viewer in.
async fn enter<L: Peer>(
    mut login: PendingLogin<L>,
    admitted: Admitted,
    until: Instant,
) -> Result<(L, Opened), EntryFailure> {
    let late = EntryFailure::late().of(&admitted);
    let opening = async {
        let mut opened = open_target(admitted).await?;
        let finished = finish(&mut login.viewer, &mut login.handshake, &mut login.output, &mut opened).await;
        finished.map_err(|failure| failure.of(&opened.admitted))?;
        Ok(opened)
    };
    match before(until, late, opening).await {
        Ok(opened) => Ok((login.viewer, opened)),
        Err(failure) => {
            login.refuse(failure.end.reason).await;
            Err(failure)
        }
    }
}

/// Lets the viewer in as soon as the target answers. A stock viewer waits for the result of its authentication without a
/// limit of its own.
async fn wait<A: Admission>(
    gateway: &Gateway<A>,
    login: PendingLogin<Viewer>,
    admitted: Admitted,
    target: AwaitedUpstream,
    client: IpAddr,
) {
    let mut login = PendingLogin {
        viewer: BufferedViewer::new(login.viewer),
        handshake: login.handshake,
        output: login.output,
    };
    let mut waiting = gateway.register(&admitted, client, Transport::Rfb);
    // Boxed, so that the stream's task does not keep room for its opening.
    let opening = Box::pin(async {
        let mut opened = gateway.wait(&mut waiting, &mut login.viewer, admitted, &target).await?;
        drop(target);
        let expires = opened.admitted.expires;
        let finished = finish(&mut login.viewer, &mut login.handshake, &mut login.output, &mut opened);
        gateway.handshake_within(&mut waiting, expires, finished).await?;
        Ok(opened)
    });
    match opening.await {
        Ok(opened) => gateway.relay_awaited(opened, Box::new(login.viewer), waiting).await,
        Err(end) => {
            let _closing = gateway.finish(waiting, &end);
            login.refuse(end.reason).await;
        }
    }
}

/// The handshake in clear, up to the start of TLS.
async fn start_tls(
    viewer: &mut RawPeer<TcpStream>,
    handshake: &mut ServerHandshake,
    output: &mut Vec<u8>,
) -> Result<(), EntryFailure> {
    while step(viewer, handshake, output).await? != Progress::StartTls {}
    Ok(())
}

/// The handshake inside TLS, up to the admission.
async fn read_credentials<L: Peer>(
    login: &mut PendingLogin<L>,
    client: IpAddr,
) -> Result<AdmissionRequest, EntryFailure> {
    let credentials = loop {
        match step(&mut login.viewer, &mut login.handshake, &mut login.output).await? {
            Progress::Check(credentials) => break credentials,
            Progress::Continue => {}
            _ => return Err(HandshakeError::Driver.into()),
        }
    };
    request(&credentials, client)
}

fn request(credentials: &Credentials, client: IpAddr) -> Result<AdmissionRequest, EntryFailure> {
    let refused = |detail: String| EntryFailure::new(EndReason::TokenRefused, detail);
    let token = TokenHash::of_token(&credentials.password).map_err(|error| refused(error.to_string()))?;
    let session = str::from_utf8(&credentials.user).map_err(|_| refused("the user name is not UTF-8".to_owned()))?;
    Ok(AdmissionRequest {
        token,
        session: Some(session.to_owned()),
        session_hint: None,
        client,
        transport: Transport::Rfb,
        // A stock viewer keeps nothing that it is given.
        resume: None,
    })
}
