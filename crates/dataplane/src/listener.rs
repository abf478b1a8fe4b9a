//! The listeners: RFB over TCP, WebSocket, and the target's state for pages.

mod http;
mod resume_cookie;
pub mod rfb_tcp;
pub mod target;
pub mod websocket;

use std::{io, net::IpAddr};

use novasphere_runtime::serve;
use tokio::net::{TcpListener, TcpStream};

use crate::{admission::Admission, gateway::Gateway, limits::HalfOpen, peer::prepare, registry::Transport, workers};

/// Accepts connections until `stop`, and serves each on one of the [`workers`]. A connection that is not admitted yet is dropped when a
/// newcomer gets its place.
async fn accept<A: Admission, F>(
    listener: TcpListener,
    gateway: &Gateway<A>,
    transport: Transport,
    stop: impl Future<Output = ()>,
    mut connection: impl FnMut(Accepted, IpAddr, HalfOpen) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let limiter = gateway.limiter();
    serve::accept(listener, limiter.places(), stop, |stream, _, place| {
        let (peer, stream) = match prepare(&stream).and_then(|peer| Ok((peer, stream.into_std()?))) {
            Ok(accepted) => accepted,
            Err(error) => return tracing::debug!(%error, "a connection broke at once"),
        };
        let (half_open, client) = (limiter.begin(place), peer.ip().to_canonical());
        let cut = half_open.cut();
        let served = connection(Accepted(stream), client, half_open);
        let gateway = gateway.clone();
        workers::spawn(async move {
            tokio::select! {
                biased;
                limit = cut => gateway.dropped(client, transport, limit),
                () = served => {}
            }
        });
    })
    .await;
}

/// A connection that belongs to no thread yet.
struct Accepted(std::net::TcpStream);

impl Accepted {
    /// Gives it to the thread that this is called on.
    fn here(self) -> io::Result<TcpStream> {
        TcpStream::from_std(self.0)
    }
}
