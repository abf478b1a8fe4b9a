//! RFB over TCP for stock viewers: `VeNCrypt` with `X509Plain`, the session as user name and a token as password.

use std::{net::IpAddr, sync::Arc};

use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    admission::{Admission, AdmissionRequest},
    close::Close,
    gateway::{Failure, Gateway, Opened, farewell, finish, open_target, send, step},
    leg::{Leg, Raw},
    limits::HalfOpen,
    registry::Transport,
    rfb::{
        security::vencrypt::Credentials,
        server::{HandshakeError, Offer, Progress, ServerHandshake},
    },
    token::TokenHash,
};

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
    super::accept(listener, gateway.gate(), stop, |stream, client, half_open| {
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
    // Boxed, so that the stream's task does not keep room for its opening.
    let opening = Box::pin(timeout(
        gateway.gate().limits().handshake,
        open(gateway, stream, acceptor, client),
    ));
    let opened = opening
        .await
        .unwrap_or_else(|_| Err(Failure::new(Close::HandshakeTimeout, "no time left")));
    drop(half_open);
    match opened {
        Ok((viewer, opened)) => gateway.carry(opened, viewer, client, Transport::Rfb).await,
        Err(failure) => gateway.refused(failure, client, Transport::Rfb),
    }
}

async fn open<A: Admission>(
    gateway: &Gateway<A>,
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    client: IpAddr,
) -> Result<(Box<dyn Leg>, Opened), Failure> {
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
    let mut viewer = Raw(stream);
    match enter(gateway, &mut viewer, &mut handshake, &mut output, client).await {
        Ok(opened) => Ok((Box::new(viewer), opened)),
        Err(failure) => {
            handshake.refuse(failure.refusal.why.sentence(), &mut output);
            // A viewer that is gone need not be told.
            let _ = send(&mut viewer, &mut output).await;
            farewell(&mut viewer, failure.refusal.why).await;
            Err(failure)
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

/// The handshake inside TLS.
async fn enter<A: Admission, L: Leg>(
    gateway: &Gateway<A>,
    viewer: &mut L,
    handshake: &mut ServerHandshake,
    output: &mut Vec<u8>,
    client: IpAddr,
) -> Result<Opened, Failure> {
    let credentials = loop {
        match step(viewer, handshake, output).await? {
            Progress::Check(credentials) => break credentials,
            Progress::Continue => {}
            _ => return Err(HandshakeError::Driver.into()),
        }
    };
    let admitted = gateway.admit(&request(&credentials, client)?).await?;
    let mut opened = open_target(admitted, Transport::Rfb).await?;
    let finished = finish(viewer, handshake, output, &mut opened).await;
    finished.map_err(|failure| failure.of(&opened.admitted))?;
    Ok(opened)
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
