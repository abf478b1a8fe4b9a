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

use novasphere_wire::close::Close;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep},
};

use super::kubevirt::KubeVirtTarget;
use crate::{leg::Leg, registry::Protocol};

/// For how long a lost console is tried again.
pub const TRY_FOR: Duration = Duration::from_mins(1);

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(2);

/// A single try may take so long.
const ONE_TRY: Duration = Duration::from_secs(10);

const LOST: &str =
    "\r\n*** The console's connection broke. Trying again for up to 60 s; what you type is lost. ***\r\n";
const BACK: &str = "\r\n*** The console is back. ***\r\n";

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Knows why a console was lost.
pub trait Recovery: Send + Sync + 'static {
    /// Whether the console may be opened again: whoever opens a serial console throws the present viewer out, so this must
    /// be false when somebody else has taken it. Takes at most some seconds.
    fn may_reconnect(&self) -> Answer<bool>;
    /// Whether it is worth a further try.
    fn is_running(&self) -> bool;
}

/// A serial console, and who knows why it was lost.
#[derive(Clone)]
pub struct RecoveringTarget {
    /// The console.
    pub target: KubeVirtTarget,
    /// Decides about each loss.
    pub recovery: Arc<dyn Recovery>,
}

impl std::fmt::Debug for RecoveringTarget {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Recovering({:?})", self.target)
    }
}

impl RecoveringTarget {
    pub(super) async fn connect(&self) -> Result<Box<dyn Leg>, super::UpstreamError> {
        let leg = self.target.connect(Protocol::Serial).await?;
        Ok(Box::new(Recovering {
            connect: connector(self.clone()),
            recovery: Arc::clone(&self.recovery),
            state: State::Connected(leg),
            text: &[],
        }))
    }
}

type Connect = Box<dyn Fn() -> Answer<Option<Box<dyn Leg>>> + Send>;

fn connector(target: RecoveringTarget) -> Connect {
    Box::new(move || {
        let target = target.clone();
        Box::pin(async move { again(&target).await })
    })
}

/// Tries until it works, the machine no longer runs or the time is over.
async fn again(target: &RecoveringTarget) -> Option<Box<dyn Leg>> {
    let until = Instant::now() + TRY_FOR;
    while Instant::now() < until && target.recovery.is_running() {
        sleep(PAUSE).await;
        match tokio::time::timeout(ONE_TRY, target.target.connect(Protocol::Serial)).await {
            Ok(Ok(leg)) => return Some(leg),
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
    Connected(Box<dyn Leg>),
    Asking(Answer<bool>),
    Connecting(Answer<Option<Box<dyn Leg>>>),
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
                State::Connected(leg) => {
                    let before = buffer.filled().len();
                    match ready!(Pin::new(leg).poll_read(context, buffer)) {
                        Ok(()) if buffer.filled().len() > before => return Poll::Ready(Ok(())),
                        Ok(()) | Err(_) => this.lost(),
                    }
                }
                State::Asking(answer) => {
                    if ready!(answer.as_mut().poll(context)) {
                        this.text = LOST.as_bytes();
                        this.state = State::Connecting((this.connect)());
                    } else {
                        this.state = State::Over;
                    }
                }
                State::Connecting(answer) => match ready!(answer.as_mut().poll(context)) {
                    Some(leg) => {
                        this.text = BACK.as_bytes();
                        this.state = State::Connected(leg);
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
            State::Connected(leg) => match Pin::new(leg).poll_write(context, bytes) {
                // The reading side notices as well, and asks.
                Poll::Ready(Err(_)) => Poll::Ready(Ok(bytes.len())),
                other => other,
            },
            _ => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Connected(leg) => match Pin::new(leg).poll_flush(context) {
                Poll::Ready(Err(_)) => Poll::Ready(Ok(())),
                other => other,
            },
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Connected(leg) => Pin::new(leg).poll_shutdown(context),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl Leg for Recovering {
    fn ping(&mut self) -> bool {
        let State::Connected(leg) = &mut self.state else {
            return true;
        };
        if !leg.ping() {
            self.lost();
        }
        true
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>, why: Close) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Connected(leg) => Pin::new(&mut **leg).poll_close(context, why),
            _ => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::leg::Raw;

    struct Allowed(AtomicBool);

    impl Recovery for Allowed {
        fn may_reconnect(&self) -> Answer<bool> {
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
            let leg = second.lock().take();
            Box::pin(async move { leg.map(|leg| Box::new(Raw(leg)) as Box<dyn Leg>) })
        });
        let leg = Recovering {
            connect,
            recovery: Arc::new(Allowed(AtomicBool::new(allowed))),
            state: State::Connected(Box::new(Raw(first))),
            text: &[],
        };
        (leg, far_first, far_second)
    }

    #[tokio::test]
    async fn a_lost_console_comes_back_and_says_so() {
        let (mut leg, mut first, mut second) = recovering(true);
        first.write_all(b"login:").await.unwrap();
        drop(first);
        second.write_all(b"$ ").await.unwrap();
        let mut seen = vec![0; 6 + LOST.len() + BACK.len() + 2];
        leg.read_exact(&mut seen).await.unwrap();
        assert_eq!(String::from_utf8(seen).unwrap(), format!("login:{LOST}{BACK}$ "));
        leg.write_all(b"ls\r").await.unwrap();
        let mut typed = [0; 3];
        second.read_exact(&mut typed).await.unwrap();
        assert_eq!(&typed, b"ls\r");
    }

    #[tokio::test]
    async fn a_console_that_somebody_took_stays_his() {
        let (mut leg, first, mut second) = recovering(false);
        drop(first);
        let mut seen = Vec::new();
        leg.read_to_end(&mut seen).await.unwrap();
        assert!(seen.is_empty());
        drop(leg);
        assert_eq!(second.read(&mut [0; 1]).await.unwrap(), 0, "it was never opened again");
    }
}
