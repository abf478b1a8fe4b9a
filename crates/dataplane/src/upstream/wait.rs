//! Targets that a viewer may have to wait for: a desktop sleeps until somebody connects.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use novasphere_wire::close::{EndReason, StreamEnd};
use tokio::time::{Instant, sleep, timeout_at};

use super::{UpstreamError, tcp::TcpUpstream};
use crate::{peer::Peer, registry::Protocol};

/// Between two tries to connect to a target that says that it is ready: at first, and at most.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
const RETRY_INTERVAL_LIMIT: Duration = Duration::from_secs(2);

/// An answer that takes its time.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Knows how a target stands.
pub trait Wake: Send + Sync + 'static {
    /// Returns when the target is ready to be connected to, and where it is then; asks it to wake when it sleeps. Asked again
    /// when it was not to be connected to there.
    ///
    /// # Errors
    ///
    /// A target that does not become ready for any viewer.
    fn ready(&self) -> BoxFuture<Result<TcpUpstream, StreamEnd>>;

    /// What is being waited for, in words for logs; empty when that is not known.
    fn waits_for(&self) -> String {
        String::new()
    }
}

/// A target that a viewer may have to wait for.
#[derive(Clone)]
pub struct AwaitedUpstream {
    /// Knows how it stands.
    pub wake: Arc<dyn Wake>,
    /// How long a viewer waits at most.
    pub timeout: Duration,
}

impl std::fmt::Debug for AwaitedUpstream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Waiting({:?})", self.timeout)
    }
}

impl AwaitedUpstream {
    /// Waits and connects; see [`Upstream::open`](super::Upstream::open). Also says where it has connected to.
    ///
    /// # Errors
    ///
    /// [`UpstreamError`]; within [`timeout`](Self::timeout).
    pub async fn open(&self, protocol: Protocol) -> Result<(Box<dyn Peer>, TcpUpstream), UpstreamError> {
        let until = Instant::now() + self.timeout;
        let mut pause = RETRY_INTERVAL;
        loop {
            let ready = timeout_at(until, self.wake.ready()).await;
            let found = ready.map_err(|_| self.late(None))?.map_err(UpstreamError::NotReady)?;
            match timeout_at(until, found.open(protocol)).await {
                Ok(Ok(peer)) => return Ok((peer, found)),
                // It has stopped meanwhile, or what is told of it is ahead of the network.
                Ok(Err(
                    error @ (UpstreamError::Connect { .. } | UpstreamError::Timeout | UpstreamError::BrokenOff(_)),
                )) => {
                    if Instant::now() + pause >= until {
                        return Err(self.late(Some(&error)));
                    }
                    tracing::debug!("a target that is ready cannot be connected to and is tried again: {error}");
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(self.late(None)),
            }
            sleep(pause).await;
            pause = (pause * 2).min(RETRY_INTERVAL_LIMIT);
        }
    }

    fn late(&self, last: Option<&UpstreamError>) -> UpstreamError {
        let last = last.map_or_else(|| self.wake.waits_for(), ToString::to_string);
        UpstreamError::NotReady(StreamEnd {
            reason: EndReason::WakeTimeout,
            detail: Some(format!(
                "the target was not ready within {} s (console.wakeTimeout): {last}",
                self.timeout.as_secs()
            )),
        })
    }
}

#[cfg(test)]
mod tests {

    use std::net::SocketAddr;

    use novasphere_wire::rfb::upstream::Authentication;
    use parking_lot::Mutex;
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    /// Answers these, the last one first, and then nothing any more.
    struct Script(Mutex<Vec<Result<SocketAddr, EndReason>>>);

    impl Wake for Script {
        fn ready(&self) -> BoxFuture<Result<TcpUpstream, StreamEnd>> {
            let next = self.0.lock().pop();
            Box::pin(async move {
                match next {
                    Some(Ok(address)) => Ok(TcpUpstream {
                        address,
                        authentication: Authentication::None,
                    }),
                    Some(Err(why)) => Err(StreamEnd {
                        reason: why,
                        detail: Some("because".into()),
                    }),
                    None => std::future::pending().await,
                }
            })
        }
    }

    fn waiting(script: Vec<Result<SocketAddr, EndReason>>) -> AwaitedUpstream {
        AwaitedUpstream {
            wake: Arc::new(Script(Mutex::new(script))),
            timeout: Duration::from_mins(5),
        }
    }

    #[tokio::test]
    async fn a_target_that_is_ahead_of_its_network_is_tried_again() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let there = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = there.local_addr().unwrap();
        let target = waiting(vec![Ok(address), Ok(gone), Ok(gone)]);
        let server = tokio::spawn(async move { there.accept().await.unwrap().0.write_all(b"SSH-").await });
        let (_leg, found) = target.open(Protocol::Ssh).await.unwrap();
        assert_eq!(found.address, address);
        server.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_or_in_vain() {
        let start = Instant::now();
        let late = waiting(Vec::new()).open(Protocol::Vnc).await.err().unwrap();
        assert_eq!(
            (late.close(), start.elapsed()),
            (EndReason::WakeTimeout, Duration::from_mins(5))
        );
        let failed = waiting(vec![Err(EndReason::TargetFailed)])
            .open(Protocol::Vnc)
            .await
            .err()
            .unwrap();
        assert_eq!(
            (failed.close(), failed.to_string()),
            (EndReason::TargetFailed, "because".to_owned())
        );
        assert_eq!(start.elapsed(), Duration::from_mins(5));
    }
}
