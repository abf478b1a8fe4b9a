//! Viewers whose target sleeps or starts. They have a stream already, which can be ended like any other; it carries nothing
//! until the target answers.

use std::{
    future::poll_fn,
    io,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use novasphere_wire::close::{EndReason, StreamEnd};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, interval_at, sleep_until, timeout},
};

use super::{EntryFailure, Gateway, Opened, close_with, handshake};
use crate::{
    admission::{Admission, Admitted, ConnectionSlot},
    peer::{PING_INTERVAL, Peer},
    registry::{ClosingGuard, StreamHandle, Transport},
    upstream::{Upstream, wait::AwaitedUpstream},
};

/// What a viewer may say before the target answers: SSH clients do not wait for the server's first word. Their identification
/// and their list of algorithms are about 2 KiB.
const EARLY_BYTES_LIMIT: usize = 16 * 1024;

/// A viewer who waits. What it says meanwhile is kept for the target.
pub(crate) struct BufferedViewer<L> {
    viewer: L,
    early: Vec<u8>,
}

impl<L: Peer> BufferedViewer<L> {
    pub(crate) const fn new(viewer: L) -> Self {
        Self {
            viewer,
            early: Vec::new(),
        }
    }

    /// Returns when the viewer leaves or is lost.
    async fn until_disconnect(&mut self) -> StreamEnd {
        let mut pings = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        loop {
            tokio::select! {
                biased;
                end = poll_fn(|context| self.poll_left(context)) => return end,
                _ = pings.tick() => if !self.viewer.ping() {
                    return StreamEnd {
                        reason: EndReason::ViewerLost,
                        detail: Some("the viewer answers no pings".into()),
                    };
                }
            }
        }
    }

    fn poll_left(&mut self, context: &mut Context<'_>) -> Poll<StreamEnd> {
        let mut room = [0; 512];
        while self.early.len() < EARLY_BYTES_LIMIT {
            let mut buffer = ReadBuf::new(&mut room);
            match Pin::new(&mut self.viewer).poll_read(context, &mut buffer) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Poll::Ready(EndReason::ViewerLeft.into()),
                Poll::Ready(Ok(())) => self.early.extend_from_slice(buffer.filled()),
                Poll::Ready(Err(error)) => return Poll::Ready(EntryFailure::from(error).end),
            }
        }
        match Pin::new(&mut self.viewer).poll_flush(context) {
            Poll::Ready(Err(error)) => Poll::Ready(EntryFailure::from(error).end),
            _ => Poll::Pending,
        }
    }
}

impl<L: Peer> AsyncRead for BufferedViewer<L> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.viewer).poll_read(context, buffer);
        }
        let length = self.early.len().min(buffer.remaining());
        let rest = self.early.split_off(length);
        buffer.put_slice(&self.early);
        self.early = rest;
        Poll::Ready(Ok(()))
    }
}

impl<L: Peer> AsyncWrite for BufferedViewer<L> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.viewer).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.viewer).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.viewer).poll_shutdown(context)
    }
}

impl<L: Peer> Peer for BufferedViewer<L> {
    fn ping(&mut self) -> bool {
        self.viewer.ping()
    }

    fn has_left_for_good(&self) -> bool {
        self.viewer.has_left_for_good()
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>, why: EndReason) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.viewer).poll_close(context, why))?;
        Poll::Ready(Ok(()))
    }
}

/// A stream whose target is waited for.
pub(crate) struct AwaitedStream {
    handle: StreamHandle,
    /// Lives until the end of the stream is told.
    slot: ConnectionSlot,
}

impl<A: Admission> Gateway<A> {
    /// Gives the viewer a stream to wait in.
    pub(crate) fn register(&self, admitted: &Admitted, client: IpAddr, transport: Transport) -> AwaitedStream {
        AwaitedStream {
            handle: self.stream(admitted, client, transport),
            slot: admitted.slot.clone(),
        }
    }

    /// Waits until the target answers. The caller tells the viewer of an end, and [`finish`](Self::finish) everybody else.
    pub(crate) async fn wait<L: Peer>(
        &self,
        waiting: &mut AwaitedStream,
        viewer: &mut BufferedViewer<L>,
        mut admitted: Admitted,
        target: &AwaitedUpstream,
    ) -> Result<Opened, StreamEnd> {
        let began = Instant::now();
        tokio::select! {
            biased;
            why = waiting.handle.ended() => Err(why.into()),
            () = sleep_until(admitted.expires) => Err(EndReason::Expired.into()),
            end = viewer.until_disconnect() => Err(end),
            opened = target.open(admitted.protocol) => match opened {
                Ok((peer, found)) => {
                    // The permit of a viewer who waits is given back with the target.
                    admitted.target = Upstream::Tcp(found);
                    self.observe(|observer| observer.on_woken(began.elapsed()));
                    Ok(Opened { admitted, target: peer, began })
                }
                Err(error) => Err(StreamEnd { reason: error.close(), detail: Some(error.to_string()) }),
            },
        }
    }

    /// Bounds the handshake of a viewer whose target answers: the same time as from a connection to a stream, and it ends as
    /// the stream does.
    pub(crate) async fn handshake_within(
        &self,
        waiting: &mut AwaitedStream,
        expires: Instant,
        opening: impl Future<Output = Result<(), EntryFailure>>,
    ) -> Result<(), StreamEnd> {
        tokio::select! {
            biased;
            why = waiting.handle.ended() => Err(why.into()),
            () = sleep_until(expires) => Err(EndReason::Expired.into()),
            opened = timeout(self.limiter().limits().handshake, opening) => match opened {
                Ok(opened) => opened.map_err(|failure| failure.end),
                Err(_) => Err(EndReason::HandshakeTimeout.into()),
            },
        }
    }

    /// Notes that a stream is over that has never carried anything.
    pub(crate) fn finish(&self, waiting: AwaitedStream, end: &StreamEnd) -> ClosingGuard {
        let AwaitedStream { handle, slot } = waiting;
        let stream = handle.stream().clone();
        let closing = handle.leave();
        self.observe(|observer| observer.on_closed(&stream, end));
        drop(slot);
        closing
    }

    /// Carries a stream whose target has been waited for.
    pub(crate) async fn relay_awaited(&self, opened: Opened, viewer: Box<dyn Peer>, waiting: AwaitedStream) {
        let AwaitedStream { handle, slot } = waiting;
        drop(slot);
        self.relay_registered(opened, viewer, handle).await;
    }

    /// Serves a `WebSocket` whose target may have to be waited for.
    pub(super) async fn serve_waiting<L: Peer + 'static>(
        &self,
        viewer: L,
        admitted: Admitted,
        target: AwaitedUpstream,
        client: IpAddr,
        transport: Transport,
    ) {
        let mut viewer = BufferedViewer::new(viewer);
        let mut waiting = self.register(&admitted, client, transport);
        // Boxed, so that the stream's task does not keep room for its opening.
        let opening = Box::pin(async {
            let mut opened = self.wait(&mut waiting, &mut viewer, admitted, &target).await?;
            drop(target);
            let expires = opened.admitted.expires;
            let spoken = handshake(&mut viewer, &mut opened);
            self.handshake_within(&mut waiting, expires, spoken).await?;
            Ok(opened)
        });
        match opening.await {
            Ok(opened) => self.relay_awaited(opened, Box::new(viewer), waiting).await,
            Err(end) => {
                if viewer.has_left_for_good() {
                    waiting.handle.stream().counters.leaves_for_good();
                }
                let _closing = self.finish(waiting, &end);
                close_with(&mut viewer, end.reason).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::{
        gateway::tests::{Porter, admitted},
        peer::RawPeer,
    };

    #[tokio::test(start_paused = true)]
    async fn a_viewer_who_stalls_at_the_beginning_is_ended_as_streams_are() {
        let gateway = Porter::default().gateway();
        let start = Instant::now();
        for why in [EndReason::Revoked, EndReason::Expired, EndReason::HandshakeTimeout] {
            let mut admitted = admitted();
            let mut waiting = gateway.register(&admitted, [192, 0, 2, 1].into(), Transport::Rfb);
            match why {
                EndReason::Revoked => drop(gateway.registry().end_where(|_| true, why)),
                EndReason::Expired => admitted.expires = start,
                _ => {}
            }
            let begun = gateway.handshake_within(&mut waiting, admitted.expires, std::future::pending());
            assert_eq!(begun.await.unwrap_err().reason, why);
            let waited = start.elapsed();
            assert_eq!(
                waited.is_zero(),
                why != EndReason::HandshakeTimeout,
                "{why:?} after {waited:?}"
            );
        }
    }

    #[tokio::test]
    async fn what_a_viewer_says_while_it_waits_is_kept_and_its_leaving_is_noticed() {
        let (near, mut far) = duplex(64);
        let mut patient = BufferedViewer::new(RawPeer(near));
        far.write_all(b"SSH-2.0-x\r\n").await.unwrap();
        assert!(futures::FutureExt::now_or_never(patient.until_disconnect()).is_none());
        let mut said = [0; 11];
        patient.read_exact(&mut said[..4]).await.unwrap();
        patient.read_exact(&mut said[4..]).await.unwrap();
        assert_eq!(&said, b"SSH-2.0-x\r\n");
        drop(far);
        assert_eq!(patient.until_disconnect().await.reason, EndReason::ViewerLeft);
    }

    #[tokio::test]
    async fn a_viewer_who_says_too_much_is_not_read_any_more() {
        let (near, mut far) = duplex(2 * EARLY_BYTES_LIMIT);
        let mut patient = BufferedViewer::new(RawPeer(near));
        far.write_all(&vec![1; 2 * EARLY_BYTES_LIMIT]).await.unwrap();
        assert!(futures::FutureExt::now_or_never(patient.until_disconnect()).is_none());
        assert!(patient.early.len() < EARLY_BYTES_LIMIT + 512);
    }

    #[tokio::test(start_paused = true)]
    async fn a_viewer_who_answers_no_ping_is_lost() {
        let (near, _far) = duplex(64);
        let socket = crate::websocket::WebSocket::new(
            near,
            bytes::Bytes::new(),
            novasphere_wire::websocket::frame::FrameRole::Server,
        );
        let mut patient = BufferedViewer::new(socket);
        let start = Instant::now();
        assert_eq!(patient.until_disconnect().await.reason, EndReason::ViewerLost);
        assert_eq!(start.elapsed(), PING_INTERVAL * 4);
    }
}
