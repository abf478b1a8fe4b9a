//! RFB over TCP for stock viewers: `VeNCrypt` with `X509Plain`, the session as user name and a token as password.

use std::{net::IpAddr, sync::Arc};

use novasphere_wire::{
    close::Close,
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

use crate::{
    admission::{Admission, AdmissionRequest, Admitted},
    gateway::{
        FAREWELL, Failure, Gateway, Opened, farewell, finish, in_time, open_target, send, step, waiting::Patient,
    },
    leg::{Leg, Raw},
    limits::HalfOpen,
    registry::Transport,
    upstream::{Target, wait::WaitingTarget},
};

type Viewer = Raw<TlsStream<TcpStream>>;

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
    super::accept(listener, &gateway, Transport::Rfb, stop, |stream, client, half_open| {
        let (gateway, acceptor) = (gateway.clone(), acceptor.clone());
        async move {
            match stream.here() {
                Ok(stream) => connection(&gateway, stream, &acceptor, client, half_open).await,
                Err(error) => gateway.refused(
                    Failure::new(Close::Unavailable, error.to_string()),
                    client,
                    Transport::Rfb,
                ),
            }
        }
    })
    .await;
}

async fn connection<A: Admission>(
    gateway: &Gateway<A>,
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    client: IpAddr,
    half_open: HalfOpen,
) {
    gateway.began(Transport::Rfb);
    let until = half_open.until();
    // Boxed, so that the stream's task does not keep room for its opening.
    let admitted = Box::pin(open(gateway, stream, acceptor, client, until)).await;
    let opened = match admitted {
        Ok((door, admitted)) => match admitted.target.clone() {
            Target::Waiting(target) => {
                drop(half_open);
                return wait(gateway, door, admitted, target, client).await;
            }
            Target::Tcp(_) | Target::KubeVirt(_) | Target::Recovering(_) => {
                Box::pin(enter(door, admitted, until)).await
            }
        },
        Err(failure) => Err(failure),
    };
    drop(half_open);
    match opened {
        Ok((viewer, opened)) => gateway.carry(opened, Box::new(viewer), client, Transport::Rfb).await,
        Err(failure) => gateway.refused(failure, client, Transport::Rfb),
    }
}

/// A viewer who has shown his token and waits for the result.
struct Door<L> {
    viewer: L,
    handshake: ServerHandshake,
    output: Vec<u8>,
}

impl<L: Leg> Door<L> {
    /// Tells a viewer why he does not come in. One who is gone need not be told.
    async fn refuse(mut self, why: Close) {
        self.handshake.refuse(why.sentence(), &mut self.output);
        let _ = timeout(FAREWELL, send(&mut self.viewer, &mut self.output)).await;
        farewell(&mut self.viewer, why).await;
    }
}

/// Up to the admission.
async fn open<A: Admission>(
    gateway: &Gateway<A>,
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    client: IpAddr,
    until: Instant,
) -> Result<(Door<Viewer>, Admitted), Failure> {
    let (door, request) = in_time(until, Failure::late(), knock(stream, acceptor, client)).await?;
    match gateway.admit(&request, until).await {
        Ok(admitted) => Ok((door, admitted)),
        Err(failure) => {
            door.refuse(failure.refusal.why).await;
            Err(failure)
        }
    }
}

/// Up to what the viewer shows.
async fn knock(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    client: IpAddr,
) -> Result<(Door<Viewer>, AdmissionRequest), Failure> {
    let mut output = Vec::new();
    let mut handshake = ServerHandshake::start(Offer::X509Plain, &mut output);
    let mut clear = Raw(stream);
    if let Err(failure) = negotiate(&mut clear, &mut handshake, &mut output).await {
        farewell(&mut clear, failure.refusal.why).await;
        return Err(failure);
    }
    let stream = acceptor
        .accept(clear.0)
        .await
        .map_err(|error| Failure::new(Close::ProtocolError, error.to_string()))?;
    let mut door = Door {
        viewer: Raw(stream),
        handshake,
        output,
    };
    match ask(&mut door, client).await {
        Ok(request) => Ok((door, request)),
        Err(failure) => {
            door.refuse(failure.refusal.why).await;
            Err(failure)
        }
    }
}

/// Connects to the target and lets the viewer in.
async fn enter<L: Leg>(mut door: Door<L>, admitted: Admitted, until: Instant) -> Result<(L, Opened), Failure> {
    let late = Failure::late().of(&admitted);
    let opening = async {
        let mut opened = open_target(admitted).await?;
        let finished = finish(&mut door.viewer, &mut door.handshake, &mut door.output, &mut opened).await;
        finished.map_err(|failure| failure.of(&opened.admitted))?;
        Ok(opened)
    };
    match in_time(until, late, opening).await {
        Ok(opened) => Ok((door.viewer, opened)),
        Err(failure) => {
            door.refuse(failure.refusal.why).await;
            Err(failure)
        }
    }
}

/// Lets the viewer in as soon as the target answers. A stock viewer waits for the result of its authentication without a
/// limit of its own.
async fn wait<A: Admission>(
    gateway: &Gateway<A>,
    door: Door<Viewer>,
    admitted: Admitted,
    target: WaitingTarget,
    client: IpAddr,
) {
    let mut door = Door {
        viewer: Patient::new(door.viewer),
        handshake: door.handshake,
        output: door.output,
    };
    let mut waiting = gateway.enter(&admitted, client, Transport::Rfb);
    // Boxed, so that the stream's task does not keep room for its opening.
    let opening = Box::pin(async {
        let mut opened = gateway.wait(&mut waiting, &mut door.viewer, admitted, &target).await?;
        drop(target);
        let expires = opened.admitted.expires;
        let finished = finish(&mut door.viewer, &mut door.handshake, &mut door.output, &mut opened);
        gateway.begin(&mut waiting, expires, finished).await?;
        Ok(opened)
    });
    match opening.await {
        Ok(opened) => gateway.carry_on(opened, Box::new(door.viewer), waiting).await,
        Err(end) => {
            let _lingering = gateway.over(waiting, &end);
            door.refuse(end.why).await;
        }
    }
}

/// The handshake in clear, up to the start of TLS.
async fn negotiate(
    viewer: &mut Raw<TcpStream>,
    handshake: &mut ServerHandshake,
    output: &mut Vec<u8>,
) -> Result<(), Failure> {
    while step(viewer, handshake, output).await? != Progress::StartTls {}
    Ok(())
}

/// The handshake inside TLS, up to the admission.
async fn ask<L: Leg>(door: &mut Door<L>, client: IpAddr) -> Result<AdmissionRequest, Failure> {
    let credentials = loop {
        match step(&mut door.viewer, &mut door.handshake, &mut door.output).await? {
            Progress::Check(credentials) => break credentials,
            Progress::Continue => {}
            _ => return Err(HandshakeError::Driver.into()),
        }
    };
    request(&credentials, client)
}

fn request(credentials: &Credentials, client: IpAddr) -> Result<AdmissionRequest, Failure> {
    let refused = |detail: String| Failure::new(Close::TokenRefused, detail);
    let token = TokenHash::of_token(&credentials.password).map_err(|error| refused(error.to_string()))?;
    let session = str::from_utf8(&credentials.user).map_err(|_| refused("the user name is not UTF-8".to_owned()))?;
    Ok(AdmissionRequest {
        token,
        session: Some(session.to_owned()),
        client,
        transport: Transport::Rfb,
    })
}
