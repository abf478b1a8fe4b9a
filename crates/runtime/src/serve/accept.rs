//! The accept loop of every listener.

use std::{io, net::SocketAddr, time::Duration};

use tokio::net::{TcpListener, TcpStream};

use super::places::{Place, Places};

/// The wait after an error that is not of one connection: mostly there are no file descriptors left, which passes.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Accepts connections until `stop`, gives each a place, and gives both to `serve`, which must not block. A connection holds its place
/// until it is known whose it is, and ends when the place is cut. The listener is closed on return.
pub async fn accept(
    listener: TcpListener,
    places: &Places,
    stop: impl Future<Output = ()>,
    mut serve: impl FnMut(TcpStream, SocketAddr, Place),
) {
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => serve(stream, peer, places.enter(peer.ip())),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
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
    use tokio::{sync::mpsc, time::timeout};

    use super::{super::places::PlaceLimits, *};

    /// A listener with a limit, and what it accepts.
    async fn listen(limit: usize) -> (SocketAddr, mpsc::UnboundedReceiver<(TcpStream, Place)>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, connections) = mpsc::unbounded_channel();
        let stop = accepted.clone();
        tokio::spawn(async move {
            let stopped = async move { stop.closed().await };
            let places = Places::new(PlaceLimits::of(limit));
            accept(listener, &places, stopped, move |stream, _, place| {
                let _ = accepted.send((stream, place));
            })
            .await;
        });
        (address, connections)
    }

    #[tokio::test]
    async fn one_more_than_the_limit_is_accepted_and_the_oldest_is_cut() {
        let (address, mut connections) = listen(1).await;
        let _first = TcpStream::connect(address).await.unwrap();
        let (_, first) = connections.recv().await.unwrap();
        let _second = TcpStream::connect(address).await.unwrap();
        let (_, second) = connections.recv().await.unwrap();
        timeout(Duration::from_secs(5), first.cut()).await.unwrap();
        assert_eq!(second.unless_cut(async {}).await, Ok(()));
    }

    #[tokio::test]
    async fn nothing_is_accepted_after_the_stop() {
        let (address, connections) = listen(1).await;
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
