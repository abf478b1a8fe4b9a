//! Ways in.

pub mod rfb_tcp;
pub mod websocket;

use std::{io, time::Duration};

use tokio::net::{TcpListener, TcpStream};

use crate::{leg::prepare, limits::Gate};

/// How long to wait when no connection can be accepted, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until `stop`, and hands each that the gate lets in to `serve`, which must not block.
async fn accept(
    listener: TcpListener,
    gate: &Gate,
    stop: impl Future<Output = ()>,
    mut serve: impl FnMut(TcpStream, std::net::IpAddr, crate::limits::HalfOpen),
) {
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match gate.enter(peer.ip()) {
                Ok(half_open) => match prepare(&stream) {
                    Ok(peer) => serve(stream, peer.ip().to_canonical(), half_open),
                    Err(error) => tracing::debug!(%error, "a connection broke at once"),
                },
                Err(limit) => tracing::debug!(%peer, reason = limit.reason(), "connection dropped"),
            },
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
