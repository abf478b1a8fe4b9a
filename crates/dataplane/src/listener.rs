//! The listeners: RFB over TCP, WebSocket, and the target's state for pages.

pub mod rfb_tcp;
pub mod target;
pub mod websocket;

use std::{io, time::Duration};

use tokio::net::{TcpListener, TcpStream};

use crate::{admission::Admission, gateway::Gateway, peer::prepare, registry::Transport, workers};

/// How long to wait when no connection can be accepted, such as without a free file descriptor.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Accepts connections until `stop`, and serves each that the gateway's gate lets in on one of the [`workers`].
async fn accept<A: Admission, F>(
    listener: TcpListener,
    gateway: &Gateway<A>,
    transport: Transport,
    stop: impl Future<Output = ()>,
    mut serve: impl FnMut(Accepted, std::net::IpAddr, crate::limits::HalfOpen) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match gateway.limiter().enter(peer.ip()) {
                Ok(half_open) => match prepare(&stream).and_then(|peer| Ok((peer, stream.into_std()?))) {
                    Ok((peer, stream)) => {
                        workers::spawn(serve(Accepted(stream), peer.ip().to_canonical(), half_open));
                    }
                    Err(error) => tracing::debug!(%error, "a connection broke at once"),
                },
                Err(limit) => gateway.dropped(peer, transport, limit),
            },
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
            }
        }
    }
}

/// A connection that belongs to no thread yet.
struct Accepted(std::net::TcpStream);

impl Accepted {
    /// Gives it to the thread that this is called on.
    fn here(self) -> io::Result<TcpStream> {
        TcpStream::from_std(self.0)
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
