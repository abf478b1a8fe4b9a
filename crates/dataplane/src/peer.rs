//! One of a stream's two connections, whatever carries it.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use novasphere_wire::close::EndReason;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A connection to a viewer or to a target: bytes both ways, a way to find out whether the peer lives, and an end.
///
/// A read that returns no bytes is the peer's end.
pub trait Peer: AsyncRead + AsyncWrite + Unpin + Send {
    /// Asks the peer for a sign of life; it is sent with the next flush. Returns false when the peer gave none to the last
    /// [`UNANSWERED_PINGS_LIMIT`] pings. Connections whose protocol has no ping leave this to TCP and return true.
    fn ping(&mut self) -> bool {
        true
    }

    /// Whether the peer has said that it leaves for good. One that is silent about it, or whose connection broke, may come back.
    fn has_left_for_good(&self) -> bool {
        false
    }

    /// Says why, where the protocol has a word for it, sends what is left, closes our side and waits for the peer's.
    ///
    /// The caller bounds the time. The wait matters: a socket that is closed with unread bytes is reset, and the reset may
    /// overtake what was said.
    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>, why: EndReason) -> Poll<io::Result<()>>;
}

/// How many pings in a row may stay without an answer.
pub const UNANSWERED_PINGS_LIMIT: u8 = 3;

/// How often peers are asked for a sign of life. Gateways cut connections that are silent for 60 s.
pub const PING_INTERVAL: Duration = Duration::from_secs(20);

/// A connection without frames: RFB over TCP, with or without TLS.
#[derive(Debug)]
pub struct RawPeer<S>(pub S);

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Peer for RawPeer<S> {
    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>, _: EndReason) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.0).poll_shutdown(context))?;
        poll_end(Pin::new(&mut self.0), context)
    }
}

/// Reads and forgets until the peer's end.
pub(crate) fn poll_end<S: AsyncRead>(mut stream: Pin<&mut S>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut forgotten = [0; 512];
    loop {
        let mut buffer = ReadBuf::new(&mut forgotten);
        ready!(stream.as_mut().poll_read(context, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for RawPeer<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for RawPeer<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// How long a TCP peer may take no bytes, or give no sign of life. The same for both: without it, a peer that vanishes while
/// bytes are on their way to it is given up by Linux after about 15 minutes, for keep-alive probes wait until all is
/// acknowledged (tcp(7), `tcp_retries2` and `TCP_USER_TIMEOUT`).
pub const PEER_LOST_TIMEOUT: Duration = PING_INTERVAL.saturating_mul(3);

/// Sets a TCP connection up for a console: no delay for keys, and a peer that vanished is lost after [`PEER_LOST_TIMEOUT`].
///
/// # Errors
///
/// When the connection is already broken.
pub fn prepare(stream: &TcpStream) -> io::Result<SocketAddr> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(PING_INTERVAL)
        .with_interval(PING_INTERVAL / 2)
        .with_retries(4);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(PEER_LOST_TIMEOUT))?;
    stream.peer_addr()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_peer_that_vanishes_is_noticed_whether_bytes_are_on_their_way_or_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        for stream in [&near, &far] {
            prepare(stream).unwrap();
            let socket = SockRef::from(stream);
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_mins(1)));
            assert!(socket.keepalive().unwrap() && stream.nodelay().unwrap());
            let probes = socket.tcp_keepalive_interval().unwrap() * socket.tcp_keepalive_retries().unwrap();
            assert_eq!(socket.tcp_keepalive_time().unwrap() + probes, PEER_LOST_TIMEOUT);
        }
    }
}
