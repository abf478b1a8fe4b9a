//! SSH: what passes, and what does not.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures::{SinkExt, StreamExt};
use novasphere_dataplane::{
    admission::Admitted,
    registry::Protocol,
    upstream::{Upstream, tcp::TcpUpstream},
};
use novasphere_wire::{close::EndReason, rfb::upstream::Authentication, rules::Rules};
use sha2::Digest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    desk::session,
    setup::{Setup, within},
    sshd::{Sshd, output, ssh},
    viewer::{Browser, Stock, read},
};

/// A session of SSH with the server at this address.
pub(crate) fn ssh_session(address: SocketAddr) -> Admitted {
    let target = Upstream::Tcp(TcpUpstream {
        address,
        authentication: Authentication::None,
    });
    Admitted {
        protocol: Protocol::Ssh,
        ..session("shell", target)
    }
}

/// A server of a test's own, and a viewer who is connected to it.
struct Pair {
    setup: Setup,
    browser: Browser,
    server: TcpStream,
}

impl Pair {
    async fn new() -> Self {
        let (setup, listener) = (Setup::new().await, TcpListener::bind("127.0.0.1:0").await.unwrap());
        let admitted = ssh_session(listener.local_addr().unwrap());
        let browser = Browser::open(&setup, &setup.desk.token(1, admitted)).await;
        let (server, _) = within("the gateway at the server", listener.accept()).await.unwrap();
        Self { setup, browser, server }
    }

    /// What reaches the server until the gateway leaves it. A gateway that leaves with bytes unread resets the connection.
    async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = within("the gateway to leave the server", self.server.read_to_end(&mut rest)).await;
        rest
    }
}

#[tokio::test]
async fn every_byte_passes_as_it_is() {
    let mut pair = Pair::new().await;
    let said = b"Not now\r\nSSH-2.0-test comment\r\n";
    pair.server.write_all(said).await.unwrap();
    assert_eq!(pair.browser.read(said.len()).await, said);
    // What follows the identification at once is not for the gateway.
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    pair.browser.send(&[&b"SSH-2.0-client\r\n"[..], &bytes].concat()).await;
    assert_eq!(read(&mut pair.server, 16).await, b"SSH-2.0-client\r\n");
    assert_eq!(read(&mut pair.server, bytes.len()).await, bytes);
    pair.server.write_all(&bytes).await.unwrap();
    assert_eq!(pair.browser.read(bytes.len()).await, bytes);
    drop(pair.server);
    assert_eq!(pair.browser.closed().await, (4021, "TargetDisconnected".into()));
}

#[tokio::test]
async fn nothing_but_ssh_reaches_the_server() {
    for said in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"SSH-1.5-old\r\n",
        b"SSH-2.0-a\0\r\n",
        &[b'S'; 300],
    ] {
        let mut pair = Pair::new().await;
        pair.server.write_all(b"SSH-2.0-test\r\n").await.unwrap();
        pair.browser.send(said).await;
        assert_eq!(
            closed(&mut pair.browser).await,
            (4060, "ProtocolError".into()),
            "{said:?}"
        );
        assert_eq!(pair.rest().await, b"", "{said:?}");
        pair.setup.wait_for_log("refused team/shell ProtocolError").await;
    }
    let mut pair = Pair::new().await;
    pair.browser
        .socket
        .send(Message::text("SSH-2.0-text\r\n"))
        .await
        .unwrap();
    assert_eq!(pair.browser.closed().await, (4060, "ProtocolError".into()));
}

#[tokio::test]
async fn a_session_of_ssh_is_no_way_to_another_server() {
    let endless = [b'x'; 300];
    let chatty = b"220 mail.example.org ESMTP\r\n".repeat(40);
    for said in [&endless[..], &chatty, b"RFB 003.008\n\0", b"SSH-1.5-old\r\n"] {
        let mut pair = Pair::new().await;
        pair.browser
            .send(b"SSH-2.0-client\r\nMAIL FROM:<a@example.org>\r\n")
            .await;
        pair.server.write_all(said).await.unwrap();
        assert_eq!(closed(&mut pair.browser).await, (4023, "TargetRefused".into()));
        let rest = pair.rest().await;
        assert!(b"SSH-2.0-client\r\n".starts_with(&rest), "{rest:?}");
    }
}

/// The end, whatever came before.
async fn closed(browser: &mut Browser) -> (u16, String) {
    loop {
        if let Message::Close(Some(frame)) = within("a close frame", browser.socket.next()).await.unwrap().unwrap() {
            return (frame.code.into(), frame.reason.to_string());
        }
    }
}

#[tokio::test]
async fn a_viewer_who_only_views_gets_no_shell() {
    let (setup, listener) = (Setup::new().await, TcpListener::bind("127.0.0.1:0").await.unwrap());
    let mut admitted = ssh_session(listener.local_addr().unwrap());
    admitted.rules = Rules::VIEW_ONLY;
    let mut browser = Browser::open(&setup, &setup.desk.token(1, admitted)).await;
    assert_eq!(browser.closed().await, (4045, "InputNotAllowed".into()));
    let admitted = ssh_session(listener.local_addr().unwrap());
    let stock = Stock::connect(&setup, "team/shell", &setup.desk.token(1, admitted)).await;
    assert_eq!(stock.refused().await, EndReason::TransportNotAllowed.sentence());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client_runs_a_command() {
    let (setup, sshd) = (Setup::new().await, Sshd::start().await);
    let token = setup.desk.token(1, ssh_session(sshd.address));
    let mut client = ssh(&setup, &sshd, &token, &["sha256sum"]).await;
    let input: Vec<u8> = (0..=250).cycle().take(3_000_000).collect();
    let mut stdin = client.stdin.take().unwrap();
    stdin.write_all(&input).await.unwrap();
    drop(stdin);
    let told = output(client).await;
    assert!(told.status.success(), "{told:?}");
    let hash = sha2::Sha256::digest(&input);
    let expected = hash
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    assert_eq!(String::from_utf8_lossy(&told.stdout), format!("{expected}  -\n"));
    setup.wait_for_log("closed team/shell ViewerLeft").await;
    // The token was for one stream.
    let told = output(ssh(&setup, &sshd, &token, &["true"]).await).await;
    assert_eq!(told.status.code(), Some(255), "{told:?}");
    setup.wait_for_log("refused - TokenRefused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client_is_cut_with_its_session() {
    let (setup, sshd) = (Setup::new().await, Sshd::start().await);
    let token = setup.desk.token(1, ssh_session(sshd.address));
    let mut client = ssh(&setup, &sshd, &token, &["echo ready; exec cat"]).await;
    let mut line = [0; 6];
    let stdout = client.stdout.as_mut().unwrap();
    within("the command to run", stdout.read_exact(&mut line))
        .await
        .unwrap();
    assert_eq!(&line, b"ready\n");
    let start = Instant::now();
    let id = setup.gateway.registry().all()[0].info.session.clone();
    assert_eq!(setup.gateway.registry().end_session(&id, EndReason::Deleted), 1);
    let told = output(client).await;
    assert_eq!(told.status.code(), Some(255), "{told:?}");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}
