//! A serial console that comes back by itself after a restart of KubeVirt's components.
//!
//! A screen cannot: what a viewer has decoded so far would no longer fit what comes. Text can be cut anywhere.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use novasphere_wire::close::EndReason;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep},
};

use super::kubevirt::KubeVirtUpstream;
use crate::{peer::Peer, registry::Protocol};

/// For how long a lost console is tried again.
pub const RECONNECT_TIMEOUT: Duration = Duration::from_mins(1);

/// Between two tries.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// A single try may take so long.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

const LOST_NOTICE: &str =
    "\r\n*** The console's connection broke. Trying again for up to 60 s; what you type is lost. ***\r\n";
const BACK_NOTICE: &str = "\r\n*** The console is back. ***\r\n";

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Knows why a console was lost.
pub trait Recovery: Send + Sync + 'static {
    /// Whether the console may be opened again: opening a serial console disconnects the present viewer, so this must
    /// be false when somebody else has taken it. Takes at most some seconds.
    fn may_reconnect(&self) -> BoxFuture<bool>;
    /// Whether it is worth a further try.
    fn is_running(&self) -> bool;
}

/// A serial console, and who knows why it was lost.
#[derive(Clone)]
pub struct SerialUpstream {
    /// The console.
    pub target: KubeVirtUpstream,
    /// Decides about each loss.
    pub recovery: Arc<dyn Recovery>,
}

impl std::fmt::Debug for SerialUpstream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Recovering({:?})", self.target)
    }
}

impl SerialUpstream {
    pub(super) async fn connect(&self) -> Result<Box<dyn Peer>, super::UpstreamError> {
        let peer = self.target.connect(Protocol::Serial).await?;
        Ok(Box::new(Recovering {
            connect: connector(self.clone()),
            recovery: Arc::clone(&self.recovery),
            state: State::Connected(peer),
            text: &[],
        }))
    }
}

type Connect = Box<dyn Fn() -> BoxFuture<Option<Box<dyn Peer>>> + Send>;

fn connector(target: SerialUpstream) -> Connect {
    Box::new(move || {
        let target = target.clone();
        Box::pin(async move { again(&target).await })
    })
}

/// Tries until it works, the machine no longer runs or the time is over.
async fn again(target: &SerialUpstream) -> Option<Box<dyn Peer>> {
    let until = Instant::now() + RECONNECT_TIMEOUT;
    while Instant::now() < until && target.recovery.is_running() {
        sleep(RETRY_INTERVAL).await;
        match tokio::time::timeout(ATTEMPT_TIMEOUT, target.target.connect(Protocol::Serial)).await {
            Ok(Ok(peer)) => return Some(peer),
            Ok(Err(error)) => tracing::debug!("a lost console is not back: {error}"),
            Err(_) => tracing::debug!("a lost console is not back: no answer"),
        }
    }
    None
}

struct Recovering {
    connect: Connect,
    recovery: Arc<dyn Recovery>,
    state: State,
    /// What the viewer is to be told.
    text: &'static [u8],
}

enum State {
    Connected(Box<dyn Peer>),
    Asking(BoxFuture<bool>),
    Connecting(BoxFuture<Option<Box<dyn Peer>>>),
    Over,
}

impl Recovering {
    fn lost(&mut self) {
        self.state = State::Asking(self.recovery.may_reconnect());
    }
}

impl AsyncRead for Recovering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.text.is_empty() {
                let (now, later) = this.text.split_at(this.text.len().min(buffer.remaining()));
                buffer.put_slice(now);
                this.text = later;
                return Poll::Ready(Ok(()));
            }
            match &mut this.state {
                State::Connected(peer) => {
                    let before = buffer.filled().len();
                    match ready!(Pin::new(peer).poll_read(context, buffer)) {
                        Ok(()) if buffer.filled().len() > before => return Poll::Ready(Ok(())),
                        Ok(()) | Err(_) => this.lost(),
                    }
                }
                State::Asking(answer) => {
                    if ready!(answer.as_mut().poll(context)) {
                        this.text = LOST_NOTICE.as_bytes();
                        this.state = State::Connecting((this.connect)());
                    } else {
                        this.state = State::Over;
                    }
                }
                State::Connecting(answer) => match ready!(answer.as_mut().poll(context)) {
                    Some(peer) => {
                        this.text = BACK_NOTICE.as_bytes();
                        this.state = State::Connected(peer);
                    }
                    None => this.state = State::Over,
                },
                State::Over => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl AsyncWrite for Recovering {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.state {
            State::Connected(peer) => match Pin::new(peer).poll_write(context, bytes) {
                // The reading side notices as well, and asks.
                Poll::Ready(Err(_)) => Poll::Ready(Ok(bytes.len())),
                other => other,
            },
            _ => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Connected(peer) => match Pin::new(peer).poll_flush(context) {
                Poll::Ready(Err(_)) => Poll::Ready(Ok(())),
                other => other,
            },
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Connected(peer) => Pin::new(peer).poll_shutdown(context),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl Peer for Recovering {
    fn ping(&mut self) -> bool {
        let State::Connected(peer) = &mut self.state else {
            return true;
        };
        if !peer.ping() {
            self.lost();
        }
        true
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>, why: EndReason) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Connected(peer) => Pin::new(&mut **peer).poll_close(context, why),
            _ => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::peer::RawPeer;

    struct Allowed(AtomicBool);

    impl Recovery for Allowed {
        fn may_reconnect(&self) -> BoxFuture<bool> {
            let allowed = self.0.load(SeqCst);
            Box::pin(async move { allowed })
        }

        fn is_running(&self) -> bool {
            true
        }
    }

    fn recovering(allowed: bool) -> (Recovering, DuplexStream, DuplexStream) {
        let ((first, far_first), (second, far_second)) = (duplex(64), duplex(64));
        let second = Arc::new(parking_lot::Mutex::new(Some(second)));
        let connect: Connect = Box::new(move || {
            let peer = second.lock().take();
            Box::pin(async move { peer.map(|peer| Box::new(RawPeer(peer)) as Box<dyn Peer>) })
        });
        let peer = Recovering {
            connect,
            recovery: Arc::new(Allowed(AtomicBool::new(allowed))),
            state: State::Connected(Box::new(RawPeer(first))),
            text: &[],
        };
        (peer, far_first, far_second)
    }

    #[tokio::test]
    async fn a_lost_console_comes_back_and_says_so() {
        let (mut peer, mut first, mut second) = recovering(true);
        first.write_all(b"login:").await.unwrap();
        drop(first);
        second.write_all(b"$ ").await.unwrap();
        let mut seen = vec![0; 6 + LOST_NOTICE.len() + BACK_NOTICE.len() + 2];
        peer.read_exact(&mut seen).await.unwrap();
        assert_eq!(
            String::from_utf8(seen).unwrap(),
            format!("login:{LOST_NOTICE}{BACK_NOTICE}$ ")
        );
        peer.write_all(b"ls\r").await.unwrap();
        let mut typed = [0; 3];
        second.read_exact(&mut typed).await.unwrap();
        assert_eq!(&typed, b"ls\r");
    }

    #[tokio::test]
    async fn a_console_that_somebody_took_stays_his() {
        let (mut peer, first, mut second) = recovering(false);
        drop(first);
        let mut seen = Vec::new();
        peer.read_to_end(&mut seen).await.unwrap();
        assert!(seen.is_empty());
        drop(peer);
        assert_eq!(second.read(&mut [0; 1]).await.unwrap(), 0, "it was never opened again");
    }
}
