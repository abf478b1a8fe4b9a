//! Browsers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{SinkExt, StreamExt};
use novasphere_dataplane::{
    listener::websocket::serve,
    registry::{Protocol, SessionId},
    upstream::{Upstream, tcp::TcpUpstream},
};
use novasphere_wire::{close::EndReason, rules::Rules, websocket::opening::Origins};
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{
    client_async,
    tungstenite::{Error, Message},
};

use crate::{
    desk::session,
    setup::{Setup, certificate, within},
    viewer::Browser,
    vnc_server::VncServer,
};

const KEY: [u8; 8] = [4, 1, 0, 0, 0, 0, 0, 65];

fn id(name: &str) -> SessionId {
    SessionId {
        namespace: "team".into(),
        name: name.into(),
        uid: format!("uid-{name}"),
    }
}

#[tokio::test]
async fn a_browser_drives_a_console() {
    let (setup, server) = (Setup::new().await, VncServer::start(Some("secret")).await);
    let token = setup.desk.token(1, session("a", server.target(Some("secret"))));
    let mut browser = Browser::enter(&setup, &token).await;
    browser.send(&KEY).await;
    server.wait_for(&KEY).await;
    assert_eq!(server.shared(), [1], "nobody is thrown out, whatever the viewer says");
    let picture = vec![9; 300_000];
    server.send(&picture);
    assert_eq!(browser.read(picture.len()).await, picture);
    let stream = &setup.gateway.registry().of_session(&id("a"))[0];
    assert!(stream.counters.to_viewer() > 300_000);
    assert_eq!(stream.counters.from_viewer(), 8);
    browser.socket.close(None).await.unwrap();
    setup.wait_for_log("closed team/a ViewerLeft").await;
}

#[tokio::test]
async fn a_viewer_who_only_views_cannot_type() {
    let (setup, server) = (Setup::new().await, VncServer::start(None).await);
    let mut admitted = session("a", server.target(None));
    admitted.rules = Rules::VIEW_ONLY;
    let mut browser = Browser::enter(&setup, &setup.desk.token(1, admitted)).await;
    let update = [3, 0, 0, 0, 0, 0, 0, 8, 0, 4];
    browser.send(&[&KEY[..], &[5, 1, 0, 1, 0, 1], &update].concat()).await;
    server.wait_for(&update).await;
}

#[tokio::test]
async fn a_token_opens_as_often_as_it_may_and_no_oftener() {
    let (setup, server) = (Setup::new().await, VncServer::start(None).await);
    let token = setup.desk.token(1, session("a", server.target(None)));
    let _first = Browser::enter(&setup, &token).await;
    assert_eq!(
        Browser::open(&setup, &token).await.closed().await,
        (4040, "TokenRefused".into())
    );
    assert_eq!(
        Browser::open(&setup, &"x".repeat(43)).await.closed().await,
        (4040, "TokenRefused".into())
    );
    assert_eq!(setup.gateway.registry().count(), 1);
    setup.wait_for_log("refused - TokenRefused").await;
}

#[tokio::test]
async fn an_ended_session_is_told_why_within_milliseconds() {
    let (setup, server) = (Setup::new().await, VncServer::start(None).await);
    let mut browsers = Vec::new();
    for _ in 0..20 {
        browsers.push(Browser::enter(&setup, &setup.desk.token(1, session("a", server.target(None)))).await);
    }
    let mut other = Browser::enter(&setup, &setup.desk.token(1, session("b", server.target(None)))).await;
    let start = Instant::now();
    assert_eq!(setup.gateway.registry().end_session(&id("a"), EndReason::Revoked), 20);
    for browser in &mut browsers {
        assert_eq!(browser.closed().await, (4001, "Revoked".into()));
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    other.send(&KEY).await;
    server.wait_for(&KEY).await;
}

#[tokio::test]
async fn the_reason_of_a_targets_end_is_looked_for() {
    let (setup, server) = (Setup::new().await, VncServer::start(None).await);
    let mut browser = Browser::enter(&setup, &setup.desk.token(1, session("a", server.target(None)))).await;
    server.hang_up();
    assert_eq!(browser.closed().await, (4021, "TargetDisconnected".into()));
    setup.desk.explain_by(EndReason::TargetStopped);
    let mut browser = Browser::enter(&setup, &setup.desk.token(1, session("a", server.target(None)))).await;
    server.hang_up();
    assert_eq!(browser.closed().await, (4020, "TargetStopped".into()));
}

#[tokio::test]
async fn a_target_that_is_not_there_is_told() {
    let setup = Setup::new().await;
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let server = VncServer::start(Some("secret")).await;
    let Upstream::Tcp(reachable) = server.target(None) else {
        panic!("another target")
    };
    let nowhere = Upstream::Tcp(TcpUpstream {
        address: unused,
        ..reachable
    });
    for (target, end) in [
        (nowhere, (4022, "TargetUnreachable".to_owned())),
        (server.target(None), (4023, "TargetRefused".to_owned())),
        (server.target(Some("guess")), (4023, "TargetRefused".to_owned())),
    ] {
        let token = setup.desk.token(1, session("a", target));
        assert_eq!(Browser::open(&setup, &token).await.closed().await, end);
    }
}

#[tokio::test]
async fn a_viewer_that_breaks_the_protocol_is_told() {
    let (setup, server) = (Setup::new().await, VncServer::start(None).await);
    let token = || setup.desk.token(1, session("a", server.target(None)));
    let mut browser = Browser::enter(&setup, &token()).await;
    browser.send(&[&KEY[..], &[7, 0, 0]].concat()).await;
    assert_eq!(browser.closed().await, (4061, "MessageNotAllowed".into()));
    server.wait_for(&KEY).await;

    let mut browser = Browser::enter(&setup, &token()).await;
    browser.socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(browser.closed().await, (4060, "ProtocolError".into()));

    let mut browser = Browser::open(&setup, &token()).await;
    browser.send(b"GET / HTTP/1.1").await;
    assert_eq!(browser.read(12).await, b"RFB 003.008\n");
    assert_eq!(browser.closed().await, (4060, "ProtocolError".into()));
}

#[tokio::test]
async fn a_serial_console_is_bytes_and_text() {
    let (setup, server) = (Setup::new().await, TcpListener::bind("127.0.0.1:0").await.unwrap());
    let Upstream::Tcp(mut target) = VncServer::start(None).await.target(None) else {
        panic!("another target")
    };
    target.address = server.local_addr().unwrap();
    let mut admitted = session("a", Upstream::Tcp(target));
    admitted.protocol = Protocol::Serial;
    let mut browser = Browser::open(&setup, &setup.desk.token(1, admitted)).await;
    let (mut guest, _) = server.accept().await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut guest, b"login: ")
        .await
        .unwrap();
    assert_eq!(browser.read(7).await, b"login: ");
    browser.socket.send(Message::text("root\r")).await.unwrap();
    browser.send(b"\x03").await;
    assert_eq!(crate::viewer::read(&mut guest, 6).await, b"root\r\x03");
}

#[tokio::test]
async fn requests_that_open_nothing_are_told_by_http() {
    let (setup, server) = (Setup::new().await, VncServer::start(None).await);
    let token = setup.desk.token(9, session("a", server.target(None)));
    let good = format!("/api/v1/console/ws?token={token}");
    for (path, origin, status) in [
        (good.as_str(), Some("https://evil.test"), 403),
        ("/api/v1/console/ws", None, 401),
        ("/elsewhere", None, 404),
        (&good, Some(crate::setup::ORIGIN), 101),
        (&good, None, 101),
    ] {
        let headers: Vec<_> = origin.iter().map(|origin| ("origin", *origin)).collect();
        let got = match Browser::connect(setup.websocket, path, &headers).await {
            Ok(browser) => browser.response.status(),
            Err(Error::Http(response)) => response.status(),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(got, status, "{path} from {origin:?}");
    }
}

#[tokio::test]
async fn the_address_of_a_client_behind_a_gateway_is_known() {
    let (setup, server) = (Setup::new().await, VncServer::start(None).await);
    let token = setup.desk.token(1, session("a", server.target(None)));
    let headers = [("x-forwarded-for", "203.0.113.1, 198.51.100.7")];
    let path = format!("/api/v1/console/ws?token={token}");
    let mut browser = Browser::connect(setup.websocket, &path, &headers).await.unwrap();
    browser.read(12).await;
    assert_eq!(setup.desk.requests()[0].client.to_string(), "198.51.100.7");
}

#[tokio::test]
async fn tls_carries_the_same() {
    let (setup, server) = (Setup::new().await, VncServer::start(None).await);
    let (tls, trusting, _) = certificate();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gateway = setup.gateway.clone();
    tokio::spawn(serve(
        listener,
        Some(Arc::new(tls)),
        Origins::default(),
        gateway,
        std::future::pending(),
    ));
    let token = setup.desk.token(1, session("a", server.target(None)));
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(trusting).connect(name, stream).await.unwrap();
    let url = format!("wss://localhost/api/v1/console/ws?token={token}");
    let (mut socket, _) = client_async(url, stream).await.unwrap();
    let mut answers = Vec::new();
    for said in [&b"RFB 003.008\n"[..], &[1], &[1], &KEY] {
        answers.extend_from_slice(&within("an answer", socket.next()).await.unwrap().unwrap().into_data());
        socket.send(Message::binary(said.to_vec())).await.unwrap();
    }
    assert!(answers.starts_with(b"RFB 003.008\n\x01\x01\0\0\0\0"), "{answers:?}");
    server.wait_for(&KEY).await;
    setup.gateway.registry().end_where(|_| true, EndReason::AccessWithdrawn);
    let Some(Ok(Message::Close(Some(frame)))) = within("the end", socket.next()).await else {
        panic!("no close frame")
    };
    assert_eq!(u16::from(frame.code), 4006);
}
