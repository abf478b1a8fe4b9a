//! The listeners: RFB over TCP, WebSocket, and the target's state for pages.

mod http;
mod identify;
mod resume_cookie;
pub mod rfb_tcp;
pub mod target;
pub mod websocket;

use std::net::IpAddr;

use novasphere_runtime::serve;
use tokio::net::TcpListener;

use crate::{admission::Admission, gateway::Gateway, limits::HalfOpen, peer::prepare, registry::Transport, workers};

/// Accepts connections until `stop`, and serves each on one of the [`workers`]. A connection that is not admitted yet is dropped when a
/// newcomer gets its place.
async fn accept<A: Admission, F>(
    listener: TcpListener,
    gateway: &Gateway<A>,
    transport: Transport,
    stop: impl Future<Output = ()>,
    mut connection: impl FnMut(Accepted, HalfOpen) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let limiter = gateway.limiter();
    serve::accept(listener, limiter.places(), stop, |stream, _, place| {
        let (peer, stream) = match prepare(&stream).and_then(|peer| Ok((peer, stream.into_std()?))) {
            Ok(accepted) => accepted,
            Err(error) => return tracing::debug!(%error, "a connection broke at once"),
        };
        let (half_open, peer) = (limiter.begin(place), peer.ip().to_canonical());
        let cut = half_open.cut();
        let served = connection(Accepted { stream, peer }, half_open);
        let gateway = gateway.clone();
        workers::spawn(async move {
            tokio::select! {
                biased;
                limit = cut => gateway.dropped(peer, transport, limit),
                () = served => {}
            }
        });
    })
    .await;
}

/// A connection that belongs to no thread yet, and of which it is not known whose it is.
struct Accepted {
    stream: std::net::TcpStream,
    /// The other end, which may be a proxy.
    peer: IpAddr,
}
