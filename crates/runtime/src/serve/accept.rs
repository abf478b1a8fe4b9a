//! The accept loop.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// The wait after an error that is not of one connection: mostly there are no file descriptors left, which passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many connections of a listener may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionLimit {
    /// The listener counts its connections itself.
    Own,
    /// One more is closed at once.
    Drop(usize),
    /// One more waits in the kernel's queue until another one is closed.
    Queue(usize),
}

/// Counts one connection against the limit until it is dropped.
#[derive(Debug)]
pub struct ConnectionPermit(
    #[expect(dead_code, reason = "dropping it gives the permit back")] Option<OwnedSemaphorePermit>,
);

/// Accepts connections until `stop`, and gives each to `serve`, which must not block. The listener is closed on return.
pub async fn accept(
    listener: TcpListener,
    limit: ConnectionLimit,
    stop: impl Future<Output = ()>,
    mut serve: impl FnMut(TcpStream, SocketAddr, ConnectionPermit),
) {
    let permits = match limit {
        ConnectionLimit::Own => None,
        ConnectionLimit::Drop(limit) | ConnectionLimit::Queue(limit) => Some(Arc::new(Semaphore::new(limit))),
    };
    let next = async || {
        let mut permit = None;
        if let (Some(permits), ConnectionLimit::Queue(_)) = (&permits, limit) {
            // The semaphore is never closed.
            permit = Arc::clone(permits).acquire_owned().await.ok();
        }
        (listener.accept().await, permit)
    };
    let mut stop = std::pin::pin!(stop);
    loop {
        let (accepted, queued) = tokio::select! {
            biased;
            () = &mut stop => return,
            accepted = next() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let permit = match (&permits, limit) {
                    (Some(permits), ConnectionLimit::Drop(_)) => {
                        let Ok(permit) = Arc::clone(permits).try_acquire_owned() else {
                            tracing::debug!(%peer, "a connection is dropped: there are too many");
                            continue;
                        };
                        Some(permit)
                    }
                    _ => queued,
                };
                serve(stream, peer, ConnectionPermit(permit));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Linux hands errors of a connection that broke in the queue to `accept(2)`; the next one is as good as ever.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt, sync::mpsc, time::timeout};

    use super::*;

    const SHORT: Duration = Duration::from_millis(200);

    /// A listener with a limit, and what it accepts.
    async fn listen(limit: ConnectionLimit) -> (SocketAddr, mpsc::UnboundedReceiver<(TcpStream, ConnectionPermit)>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, connections) = mpsc::unbounded_channel();
        let stop = accepted.clone();
        tokio::spawn(async move {
            let stopped = async move { stop.closed().await };
            accept(listener, limit, stopped, move |stream, _, permit| {
                let _ = accepted.send((stream, permit));
            })
            .await;
        });
        (address, connections)
    }

    #[tokio::test]
    async fn one_more_than_the_limit_is_closed_at_once() {
        let (address, mut connections) = listen(ConnectionLimit::Drop(1)).await;
        let _first = TcpStream::connect(address).await.unwrap();
        let held = connections.recv().await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        assert_eq!(second.read(&mut [0]).await.unwrap_or_default(), 0);
        drop(held);
        let _third = TcpStream::connect(address).await.unwrap();
        assert!(connections.recv().await.is_some());
    }

    #[tokio::test]
    async fn one_more_than_the_limit_waits_for_its_turn() {
        let (address, mut connections) = listen(ConnectionLimit::Queue(1)).await;
        let _first = TcpStream::connect(address).await.unwrap();
        let held = connections.recv().await.unwrap();
        let _second = TcpStream::connect(address).await.unwrap();
        assert!(timeout(SHORT, connections.recv()).await.is_err());
        drop(held);
        assert!(connections.recv().await.is_some());
    }

    #[tokio::test]
    async fn nothing_is_accepted_after_the_stop() {
        let (address, connections) = listen(ConnectionLimit::Own).await;
        drop(connections);
        let refused = async { while TcpStream::connect(address).await.is_ok() {} };
        timeout(Duration::from_secs(5), refused).await.unwrap();
    }

    #[test]
    fn a_broken_connection_stops_nothing() {
        assert!(is_of_one_connection(&io::Error::from(io::ErrorKind::ConnectionAborted)));
        assert!(!is_of_one_connection(&io::Error::from_raw_os_error(24)), "EMFILE");
    }
}
