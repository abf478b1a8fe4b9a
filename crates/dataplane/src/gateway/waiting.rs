//! Viewers whose target sleeps or starts. Such a viewer has a stream already, which can be ended like any other; it carries
//! nothing until the target answers.

use std::{
    future::poll_fn,
    io,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use novasphere_wire::close::Close;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, interval_at, sleep_until, timeout},
};

use super::{Failure, Gateway, Opened, farewell, speak};
use crate::{
    admission::{Admission, Admitted, Place},
    leg::{Leg, PING_INTERVAL},
    registry::{Handle, Lingering, Transport},
    relay::End,
    upstream::{Target, wait::WaitingTarget},
};

/// What a viewer may say before the target answers: SSH clients do not wait for the server's first word. Their identification
/// and their list of algorithms are about 2 KiB.
const MAX_EARLY: usize = 16 * 1024;

/// A viewer who waits. What it says meanwhile is kept for the target.
pub(crate) struct Patient<L> {
    viewer: L,
    early: Vec<u8>,
}

impl<L: Leg> Patient<L> {
    pub(crate) const fn new(viewer: L) -> Self {
        Self {
            viewer,
            early: Vec::new(),
        }
    }

    /// Returns when the viewer leaves or is lost.
    async fn attend(&mut self) -> End {
        let mut pings = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        loop {
            tokio::select! {
                biased;
                end = poll_fn(|context| self.poll_left(context)) => return end,
                _ = pings.tick() => if !self.viewer.ping() {
                    return End {
                        why: Close::ViewerLost,
                        detail: Some("the viewer answers no pings".into()),
                    };
                }
            }
        }
    }

    fn poll_left(&mut self, context: &mut Context<'_>) -> Poll<End> {
        let mut room = [0; 512];
        while self.early.len() < MAX_EARLY {
            let mut buffer = ReadBuf::new(&mut room);
            match Pin::new(&mut self.viewer).poll_read(context, &mut buffer) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Poll::Ready(Close::ViewerLeft.into()),
                Poll::Ready(Ok(())) => self.early.extend_from_slice(buffer.filled()),
                Poll::Ready(Err(error)) => return Poll::Ready(end_of(Failure::from(error))),
            }
        }
        match Pin::new(&mut self.viewer).poll_flush(context) {
            Poll::Ready(Err(error)) => Poll::Ready(end_of(Failure::from(error))),
            _ => Poll::Pending,
        }
    }
}

impl<L: Leg> AsyncRead for Patient<L> {
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

impl<L: Leg> AsyncWrite for Patient<L> {
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

impl<L: Leg> Leg for Patient<L> {
    fn ping(&mut self) -> bool {
        self.viewer.ping()
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>, why: Close) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.viewer).poll_close(context, why))?;
        Poll::Ready(Ok(()))
    }
}

/// A stream whose target is waited for.
pub(crate) struct Waiting {
    handle: Handle,
    /// Lives until the end of the stream is told.
    place: Place,
}

impl<A: Admission> Gateway<A> {
    /// Gives the viewer a stream to wait in.
    pub(crate) fn enter(&self, admitted: &Admitted, client: IpAddr, transport: Transport) -> Waiting {
        Waiting {
            handle: self.stream(admitted, client, transport),
            place: admitted.place.clone(),
        }
    }

    /// Waits until the target answers. The caller tells the viewer of an end, and [`over`](Self::over) everybody else.
    pub(crate) async fn wait<L: Leg>(
        &self,
        waiting: &mut Waiting,
        viewer: &mut Patient<L>,
        mut admitted: Admitted,
        target: &WaitingTarget,
    ) -> Result<Opened, End> {
        tokio::select! {
            biased;
            why = waiting.handle.ended() => Err(why.into()),
            () = sleep_until(admitted.expires) => Err(Close::Expired.into()),
            end = viewer.attend() => Err(end),
            opened = target.open(admitted.protocol) => match opened {
                Ok((leg, found)) => {
                    // Whoever counts those who wait sees this one go.
                    admitted.target = Target::Tcp(found);
                    Ok(Opened { admitted, target: leg })
                }
                Err(error) => Err(End { why: error.close(), detail: Some(error.to_string()) }),
            },
        }
    }

    /// Lets a viewer whose target answers begin. He has as long for it as from a connection to a stream, and it ends as the
    /// stream does.
    pub(crate) async fn begin(
        &self,
        waiting: &mut Waiting,
        expires: Instant,
        opening: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), End> {
        tokio::select! {
            biased;
            why = waiting.handle.ended() => Err(why.into()),
            () = sleep_until(expires) => Err(Close::Expired.into()),
            opened = timeout(self.gate().limits().handshake, opening) => match opened {
                Ok(opened) => opened.map_err(end_of),
                Err(_) => Err(Close::HandshakeTimeout.into()),
            },
        }
    }

    /// Notes that a stream is over that has never carried anything.
    pub(crate) fn over(&self, waiting: Waiting, end: &End) -> Lingering {
        let Waiting { handle, place } = waiting;
        let stream = handle.stream().clone();
        let lingering = handle.leave();
        self.observe(|observer| observer.closed(&stream, end));
        drop(place);
        lingering
    }

    /// Carries a stream whose target has been waited for.
    pub(crate) async fn carry_on(&self, opened: Opened, viewer: Box<dyn Leg>, waiting: Waiting) {
        let Waiting { handle, place } = waiting;
        drop(place);
        self.carry_stream(opened, viewer, handle).await;
    }

    /// Serves a `WebSocket` whose target may have to be waited for.
    pub(super) async fn serve_waiting<L: Leg + 'static>(
        &self,
        viewer: L,
        admitted: Admitted,
        target: WaitingTarget,
        client: IpAddr,
        transport: Transport,
    ) {
        let mut viewer = Patient::new(viewer);
        let mut waiting = self.enter(&admitted, client, transport);
        // Boxed, so that the stream's task does not keep room for its opening.
        let opening = Box::pin(async {
            let mut opened = self.wait(&mut waiting, &mut viewer, admitted, &target).await?;
            drop(target);
            let expires = opened.admitted.expires;
            let spoken = speak(&mut viewer, &mut opened);
            self.begin(&mut waiting, expires, spoken).await?;
            Ok(opened)
        });
        match opening.await {
            Ok(opened) => self.carry_on(opened, Box::new(viewer), waiting).await,
            Err(end) => {
                let _lingering = self.over(waiting, &end);
                farewell(&mut viewer, end.why).await;
            }
        }
    }
}

/// The end of a stream that came so far.
pub(crate) fn end_of(failure: Failure) -> End {
    End {
        why: failure.refusal.why,
        detail: Some(failure.refusal.detail),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::{
        gateway::tests::{Porter, admitted},
        leg::Raw,
    };

    #[tokio::test(start_paused = true)]
    async fn a_viewer_who_stalls_at_the_beginning_is_ended_as_streams_are() {
        let gateway = Porter::default().gateway();
        let start = Instant::now();
        for why in [Close::Revoked, Close::Expired, Close::HandshakeTimeout] {
            let mut admitted = admitted();
            let mut waiting = gateway.enter(&admitted, [192, 0, 2, 1].into(), Transport::Rfb);
            match why {
                Close::Revoked => drop(gateway.registry().end_where(|_| true, why)),
                Close::Expired => admitted.expires = start,
                _ => {}
            }
            let begun = gateway.begin(&mut waiting, admitted.expires, std::future::pending());
            assert_eq!(begun.await.unwrap_err().why, why);
            let waited = start.elapsed();
            assert_eq!(
                waited.is_zero(),
                why != Close::HandshakeTimeout,
                "{why:?} after {waited:?}"
            );
        }
    }

    #[tokio::test]
    async fn what_a_viewer_says_while_it_waits_is_kept_and_its_leaving_is_noticed() {
        let (near, mut far) = duplex(64);
        let mut patient = Patient::new(Raw(near));
        far.write_all(b"SSH-2.0-x\r\n").await.unwrap();
        assert!(futures::FutureExt::now_or_never(patient.attend()).is_none());
        let mut said = [0; 11];
        patient.read_exact(&mut said[..4]).await.unwrap();
        patient.read_exact(&mut said[4..]).await.unwrap();
        assert_eq!(&said, b"SSH-2.0-x\r\n");
        drop(far);
        assert_eq!(patient.attend().await.why, Close::ViewerLeft);
    }

    #[tokio::test]
    async fn a_viewer_who_says_too_much_is_not_read_any_more() {
        let (near, mut far) = duplex(2 * MAX_EARLY);
        let mut patient = Patient::new(Raw(near));
        far.write_all(&vec![1; 2 * MAX_EARLY]).await.unwrap();
        assert!(futures::FutureExt::now_or_never(patient.attend()).is_none());
        assert!(patient.early.len() < MAX_EARLY + 512);
    }

    #[tokio::test(start_paused = true)]
    async fn a_viewer_who_answers_no_ping_is_lost() {
        let (near, _far) = duplex(64);
        let socket = crate::websocket::WebSocket::new(
            near,
            bytes::Bytes::new(),
            novasphere_wire::websocket::frame::Role::Server,
        );
        let mut patient = Patient::new(socket);
        let start = Instant::now();
        assert_eq!(patient.attend().await.why, Close::ViewerLost);
        assert_eq!(start.elapsed(), PING_INTERVAL * 4);
    }
}
