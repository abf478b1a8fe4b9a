//! Whose connection it is that was accepted: that of who connected, or of the client that a proxy names in a header of the PROXY protocol.
//!
//! From which addresses a header has to come, and on which ways in, is configured: a receiver must not guess it from the bytes (section 2 of
//! the protocol's specification), because then every client could send one.

use std::net::IpAddr;

use novasphere_wire::{
    close::EndReason,
    proxy_protocol::{ProxyHeaderProgress, ProxyHeaderReader, UNEXPECTED_HEADER, begins_with_header},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::Accepted;
use crate::{
    admission::Admission,
    gateway::{EntryFailure, Gateway, PROXY_HEADER_REASON, before},
    limits::{HalfOpen, Limits},
    registry::Transport,
};

/// A connection of which it is known whose it is.
pub(super) struct Identified {
    pub(super) stream: TcpStream,
    /// The client; who connected, where nobody has named one.
    pub(super) client: IpAddr,
    /// Whether a proxy passes it on that has to name the client, and has named none. Such a proxy passes bytes on as they are, so what is said
    /// of clients further on is a client's own word.
    pub(super) is_unnamed: bool,
}

impl Accepted {
    /// Gives the connection to the thread that this is called on, and finds out whose it is. Who is turned away here is told nothing: what
    /// protocol they speak is not known yet.
    pub(super) async fn identify<A: Admission>(
        self,
        gateway: &Gateway<A>,
        transport: Transport,
        half_open: &mut HalfOpen,
    ) -> Option<Identified> {
        let peer = self.peer;
        let stream = match TcpStream::from_std(self.stream) {
            Ok(stream) => stream,
            Err(error) => {
                let failure = EntryFailure::new(EndReason::Unavailable, error.to_string());
                gateway.refused(failure, peer, transport);
                return None;
            }
        };
        // Boxed, so that the stream's task does not keep room for it.
        let identified = Box::pin(client_of(
            stream,
            peer,
            transport,
            gateway.limiter().limits(),
            half_open.until(),
        ))
        .await;
        match identified {
            Ok(identified) => {
                half_open.pass_to(identified.client);
                Some(identified)
            }
            Err(failure) => {
                gateway.refused(failure, peer, transport);
                None
            }
        }
    }
}

async fn client_of(
    mut stream: TcpStream,
    peer: IpAddr,
    transport: Transport,
    limits: &Limits,
    until: Instant,
) -> Result<Identified, EntryFailure> {
    let named = if limits.wants_proxy_header(peer, transport) {
        let late = EntryFailure::new(
            EndReason::HandshakeTimeout,
            "no header of the PROXY protocol came; have the proxy send one before everything else",
        );
        let header = before(until, late.counted_as(PROXY_HEADER_REASON), read_header(&mut stream)).await?;
        Some(header)
    } else {
        None
    };
    // Also behind a header, where it is that of a second proxy. A viewer of RFB waits for the server, which tells of a header when it gets
    // one as an answer.
    if transport == Transport::WebSocket && header_comes(&stream, until).await {
        return Err(EntryFailure::new(EndReason::ProtocolError, UNEXPECTED_HEADER).counted_as(PROXY_HEADER_REASON));
    }
    Ok(Identified {
        stream,
        client: named.flatten().unwrap_or(peer),
        is_unnamed: named == Some(None),
    })
}

/// The client that the header names, if it names one. Reads no byte of what follows.
async fn read_header<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Option<IpAddr>, EntryFailure> {
    let mut reader = ProxyHeaderReader::default();
    loop {
        let mut part = vec![0; reader.want()];
        stream.read_exact(&mut part).await?;
        match reader.receive(&part)? {
            ProxyHeaderProgress::More => {}
            ProxyHeaderProgress::Client(client) => return Ok(Some(client)),
            ProxyHeaderProgress::Proxy => return Ok(None),
        }
    }
}

/// Whether a client that speaks first begins with a header. Nothing is taken from what it sends.
async fn header_comes(stream: &TcpStream, until: Instant) -> bool {
    let mut first = [0; 16];
    let peeked = timeout_at(until, stream.peek(&mut first)).await;
    // What is wrong with a connection shows in what comes next.
    matches!(peeked, Ok(Ok(length)) if first.get(..length).is_some_and(begins_with_header))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncWriteExt, duplex},
        net::TcpListener,
    };

    use super::*;
    use crate::gateway::tests::Porter;

    const HEADER: &[u8] = b"PROXY TCP4 198.51.100.7 192.0.2.1 12345 5900\r\n";

    async fn told(sent: &[u8]) -> Result<(Option<IpAddr>, Vec<u8>), String> {
        let (mut near, mut far) = duplex(1024);
        far.write_all(sent).await.unwrap();
        drop(far);
        let client = read_header(&mut near).await;
        let client = client.map_err(|failure| failure.end.detail.unwrap_or_default())?;
        let mut rest = Vec::new();
        near.read_to_end(&mut rest).await.unwrap();
        Ok((client, rest))
    }

    #[tokio::test]
    async fn what_follows_the_header_is_left_for_the_protocol() {
        let sent = [HEADER, b"GET / HTTP/1.1\r\n"].concat();
        let (client, rest) = told(&sent).await.unwrap();
        assert_eq!(client, Some([198, 51, 100, 7].into()));
        assert_eq!(rest, b"GET / HTTP/1.1\r\n");
        let (client, rest) = told(b"PROXY UNKNOWN\r\nRFB 003.008\n").await.unwrap();
        assert_eq!(client, None);
        assert_eq!(rest, b"RFB 003.008\n");
        let words = told(b"GET / HTTP/1.1\r\n\r\n").await.unwrap_err();
        assert!(words.contains("does not begin with a header"), "{words}");
        // It left.
        told(b"PROXY TCP4 198").await.unwrap_err();
    }

    /// Identifies a connection on which this is sent, from a proxy that is named or from somebody else.
    async fn identified(is_proxy: bool, transport: Transport, sent: &[u8]) -> (Porter, Option<IpAddr>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (near, from) = listener.accept().await.unwrap();
        far.write_all(sent).await.unwrap();
        let porter = Porter::default();
        let limits = Limits {
            handshake: Duration::from_millis(300),
            trusted_proxies: if is_proxy {
                vec!["127.0.0.0/8".parse().unwrap()]
            } else {
                Vec::new()
            },
            proxy_protocol: vec![Transport::Rfb, Transport::WebSocket],
            ..Limits::default()
        };
        let observers: Vec<Box<dyn crate::admission::Observer>> = vec![Box::new(porter.clone())];
        let gateway = Gateway::new(porter.clone(), observers, crate::limits::ConnectionLimiter::new(limits));
        let limiter = gateway.limiter();
        let mut half_open = limiter.begin(limiter.places().enter(from.ip()));
        let accepted = Accepted {
            stream: near.into_std().unwrap(),
            peer: from.ip(),
        };
        let identified = accepted.identify(&gateway, transport, &mut half_open).await;
        (porter, identified.map(|identified| identified.client))
    }

    #[tokio::test]
    async fn a_second_header_is_told_as_such() {
        let sent = [HEADER, HEADER].concat();
        let (porter, client) = identified(true, Transport::WebSocket, &sent).await;
        assert_eq!(client, None);
        let refused = porter.refused.lock().pop().unwrap();
        let words = refused.end.detail.unwrap_or_default();
        assert!(words.contains("two proxies stand in a row"), "{words}");
        assert_eq!(refused.counted_as, PROXY_HEADER_REASON);
    }

    fn refused(porter: &Porter) -> (String, EndReason, &'static str) {
        let refused = porter.refused.lock().pop().unwrap();
        (refused.client.to_string(), refused.end.reason, refused.counted_as)
    }

    #[tokio::test]
    async fn a_named_proxy_has_to_send_a_header_and_nobody_else_may() {
        for transport in [Transport::Rfb, Transport::WebSocket] {
            let (_, client) = identified(true, transport, HEADER).await;
            assert_eq!(client, Some([198, 51, 100, 7].into()));
            let (porter, client) = identified(true, transport, b"GET / HTTP/1.1\r\n").await;
            assert_eq!(client, None);
            assert_eq!(
                refused(&porter),
                ("127.0.0.1".to_owned(), EndReason::ProtocolError, PROXY_HEADER_REASON)
            );
            // A viewer who waits for the server.
            let (porter, client) = identified(true, transport, b"").await;
            assert_eq!(client, None);
            assert_eq!(
                refused(&porter),
                ("127.0.0.1".to_owned(), EndReason::HandshakeTimeout, PROXY_HEADER_REASON)
            );
            let (_, client) = identified(false, transport, b"GET / HTTP/1.1\r\n").await;
            assert_eq!(client, Some([127, 0, 0, 1].into()));
        }
        let (porter, client) = identified(false, Transport::WebSocket, HEADER).await;
        assert_eq!(client, None);
        assert_eq!(
            refused(&porter),
            ("127.0.0.1".to_owned(), EndReason::ProtocolError, PROXY_HEADER_REASON)
        );
    }
}
