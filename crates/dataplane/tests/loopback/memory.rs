//! What an idle stream costs.

use std::net::SocketAddr;

use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    desk::session,
    limits::{MEASURING, resident},
    setup::{Setup, wait_for},
    viewer::read,
    vnc_server::{SERVER_INIT, VncServer},
};

/// As many as the 4 sockets of each, here where all peers are in one process, leave room for under a limit of 4096.
const STREAMS: usize = 800;

/// The bare minimum of a browser: a socket, and bytes that were written down before.
async fn enter(to: SocketAddr, token: &str) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let request = format!(
        "GET /api/v1/console/ws?token={token} HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(read(&mut stream, 1).await);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    // Masked with zeros: the version, the type, ClientInit.
    let frame = |payload: &[u8]| {
        [
            &[0x82, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0],
            payload,
        ]
        .concat()
    };
    assert_eq!(read(&mut stream, 14).await[2..], b"RFB 003.008\n"[..]);
    stream.write_all(&frame(b"RFB 003.008\n")).await.unwrap();
    assert_eq!(read(&mut stream, 4).await[2..], [1, 1]);
    stream.write_all(&frame(&[1])).await.unwrap();
    assert_eq!(read(&mut stream, 6).await[2..], [0; 4]);
    stream.write_all(&frame(&[1])).await.unwrap();
    assert_eq!(read(&mut stream, 2 + SERVER_INIT.len()).await[2..], *SERVER_INIT);
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_stream_costs_less_than_forty_kibibytes() {
    let _alone = MEASURING.lock().await;
    let (setup, server) = (Setup::new().await, VncServer::start(None).await);
    let token = setup.desk.token(u32::MAX, session("a", server.target(None)));
    let mut viewers = Vec::new();
    // The first ones make the threads' own buffers.
    for _ in 0..20 {
        viewers.push(enter(setup.websocket, &token).await);
    }
    server.send(&vec![7; 100_000]);
    for viewer in &mut viewers {
        read(viewer, 100_000).await;
    }
    let before = resident();
    for _ in 0..STREAMS {
        viewers.push(enter(setup.websocket, &token).await);
    }
    let grown = resident().saturating_sub(before);
    assert_eq!(setup.gateway.registry().count(), viewers.len());
    // The viewers and the servers of the test are in here as well.
    let each = grown / STREAMS as u64;
    println!("{each} KiB for each of {STREAMS} idle streams, their peers included");
    assert!(each < 40, "{each} KiB for each of {STREAMS} idle streams");
    drop(viewers);
    wait_for("all streams to end", || setup.gateway.registry().count() == 0).await;
}
