//! Viewers through a proxy that says by the PROXY protocol whose connection it passes on.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use novasphere_dataplane::{limits::Limits, listener::websocket::serve, registry::Transport};
use novasphere_wire::websocket::opening::Origins;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsConnector;

use crate::{
    desk::session,
    limits::connect_from,
    setup::{Setup, certificate, wait_for, within},
    viewer::{Browser, Stock},
    vnc_server::VncServer,
};

/// The proxy is whoever connects from 127.0.0.1; see [`Setup::with`].
async fn setup(half_open_per_address: usize) -> Setup {
    let limits = Limits {
        half_open_per_address,
        handshake: Duration::from_mins(5),
        proxy_protocol: vec![Transport::Rfb, Transport::WebSocket],
        ..Limits::default()
    };
    Setup::with(limits).await
}

/// A header of version 2 for a client.
fn header(client: [u8; 4]) -> Vec<u8> {
    let start = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice();
    [start, &client, &[192, 0, 2, 1, 0x30, 0x39, 0x17, 0x0c]].concat()
}

/// A connection that the proxy passes on.
async fn through(to: SocketAddr, header: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(header).await.unwrap();
    stream
}

/// Where the gateway takes the last one who asked to enter to be.
fn last_client(setup: &Setup) -> String {
    setup.desk.requests().last().unwrap().client.to_string()
}

#[tokio::test]
async fn viewers_of_both_ways_in_are_known_by_their_own_addresses() {
    let (setup, server) = (setup(64).await, VncServer::start(None).await);
    let token = || setup.desk.token(1, session("a", server.target(None)));
    let line = b"PROXY TCP6 2001:db8::7 2001:db8::1 12345 443\r\n";
    for (header, client) in [
        (header([198, 51, 100, 7]), "198.51.100.7"),
        (line.to_vec(), "2001:db8::7"),
    ] {
        let stream = through(setup.rfb, &header).await;
        let _stock = Stock::connect_over(stream, &setup, "team/a", &token())
            .await
            .enter()
            .await;
        assert_eq!(last_client(&setup), client);
        let stream = through(setup.websocket, &header).await;
        let _browser = Browser::open_over(stream, &token()).await.handshake().await;
        assert_eq!(last_client(&setup), client);
    }
    // Who does not come through the proxy sends no header.
    let stream = connect_from("127.0.0.9", setup.rfb).await;
    let _stock = Stock::connect_over(stream, &setup, "team/a", &token())
        .await
        .enter()
        .await;
    assert_eq!(last_client(&setup), "127.0.0.9");
    let stream = connect_from("127.0.0.9", setup.websocket).await;
    let _browser = Browser::open_over(stream, &token()).await.handshake().await;
    assert_eq!(last_client(&setup), "127.0.0.9");
}

#[tokio::test]
async fn nobody_names_a_client_but_the_proxy() {
    let (setup, server) = (setup(64).await, VncServer::start(None).await);
    for to in [setup.rfb, setup.websocket] {
        let mut stranger = connect_from("127.0.0.9", to).await;
        stranger.write_all(&header([198, 51, 100, 7])).await.unwrap();
        let mut told = Vec::new();
        // It may be a reset.
        let _ = within("the end", stranger.read_to_end(&mut told)).await;
        assert!(told.is_empty() || told == b"RFB 003.008\n", "{told:?}");
    }
    wait_for("both to be refused", || {
        let log = setup.desk.log();
        log.iter().filter(|line| *line == "refused - ProtocolError").count() == 2
    })
    .await;
    // Nor does a viewer behind the proxy: what they send is no header any more.
    let token = setup.desk.token(1, session("a", server.target(None)));
    let forged = format!("/api/v1/console/ws?token={token}");
    let headers = [("origin", crate::setup::ORIGIN), ("x-forwarded-for", "203.0.113.9")];
    let stream = through(setup.websocket, &header([198, 51, 100, 7])).await;
    let _browser = Browser::connect_over(stream, &forged, &headers).await.unwrap();
    wait_for("the request", || !setup.desk.requests().is_empty()).await;
    assert_eq!(last_client(&setup), "198.51.100.7");
    // Nor one of whom the proxy does not know where they are.
    let token = setup.desk.token(1, session("a", server.target(None)));
    let forged = format!("/api/v1/console/ws?token={token}");
    let stream = through(setup.websocket, b"PROXY UNKNOWN\r\n").await;
    let _nobody = Browser::connect_over(stream, &forged, &headers).await.unwrap();
    wait_for("the second request", || setup.desk.requests().len() == 2).await;
    assert_eq!(last_client(&setup), "127.0.0.1");
}

#[tokio::test]
async fn the_header_comes_before_tls() {
    let setup = setup(64).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (server, client, _) = certificate();
    let stop = std::future::pending();
    tokio::spawn(serve(
        listener,
        Some(Arc::new(server)),
        Origins::default(),
        setup.gateway.clone(),
        stop,
    ));
    let stream = through(address, &header([198, 51, 100, 7])).await;
    let name = ServerName::try_from("localhost").unwrap();
    let connecting = TlsConnector::from(client).connect(name, stream);
    let mut stream = within("TLS", connecting).await.unwrap();
    stream
        .write_all(b"GET /api/v1/console/ws HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 12];
    within("the answer", stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 426");
}

#[tokio::test]
async fn a_client_behind_the_proxy_takes_no_places_but_its_own() {
    let (setup, server) = (setup(3).await, VncServer::start(None).await);
    let mut strangers = Vec::new();
    for _ in 0..10 {
        let mut stranger = through(setup.rfb, &header([198, 51, 100, 9])).await;
        // It is known by then whose the connection is.
        let _ = within("the greeting or the end", stranger.read(&mut [0; 12])).await;
        strangers.push(stranger);
    }
    let is_full = || setup.gateway.limiter().half_open() == 3;
    wait_for("the surplus to be dropped", is_full).await;
    let token = setup.desk.token(1, session("a", server.target(None)));
    let stream = through(setup.rfb, &header([198, 51, 100, 7])).await;
    let _stock = Stock::connect_over(stream, &setup, "team/a", &token)
        .await
        .enter()
        .await;
    wait_for("the stranger's places alone to be taken", is_full).await;
}

#[tokio::test]
async fn the_proxy_may_look_whether_somebody_answers() {
    let setup = setup(64).await;
    let mut probe = through(setup.rfb, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0").await;
    let mut greeting = [0; 12];
    within("the greeting", probe.read_exact(&mut greeting)).await.unwrap();
    assert_eq!(&greeting, b"RFB 003.008\n");
}
