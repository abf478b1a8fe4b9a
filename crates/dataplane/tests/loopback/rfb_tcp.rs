//! Stock viewers, played by a small one of ours.

use novasphere_dataplane::registry::Protocol;
use novasphere_wire::close::EndReason;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    desk::session,
    setup::{Setup, within},
    viewer::{Stock, read},
    vnc_server::VncServer,
};

#[tokio::test]
async fn a_stock_viewer_enters_with_session_and_token() {
    let (setup, server) = (Setup::new().await, VncServer::start(Some("secret")).await);
    let token = setup.desk.token(1, session("a", server.target(Some("secret"))));
    let mut viewer = Stock::connect(&setup, "team/a", &token).await.enter().await;
    viewer.stream.write_all(&[4, 1, 0, 0, 0, 0, 0, 65]).await.unwrap();
    server.wait_for(&[4, 1, 0, 0, 0, 0, 0, 65]).await;
    assert_eq!(server.shared(), [1]);
    server.send(&vec![3; 200_000]);
    assert_eq!(viewer.read(200_000).await, vec![3; 200_000]);
    setup.gateway.registry().end_where(|_| true, EndReason::Expired);
    assert_eq!(within("the end", viewer.stream.read(&mut [0])).await.unwrap(), 0);
    setup.wait_for_log("closed team/a Expired").await;
}

#[tokio::test]
async fn nobody_else_enters_and_all_are_told_the_same() {
    let (setup, server) = (Setup::new().await, VncServer::start(None).await);
    let used = setup.desk.token(1, session("used", server.target(None)));
    let _first = Stock::connect(&setup, "team/used", &used).await.enter().await;
    let foreign = setup.desk.token(1, session("foreign", server.target(None)));
    for (user, password) in [
        ("team/used", used.as_str()),
        ("team/a", &foreign),
        ("team/a", &"x".repeat(43)),
        ("team/a", "short"),
        // A token in both places gets into no log.
        (&"x".repeat(43), &"x".repeat(43)),
        ("", ""),
        (&"u".repeat(600), "short"),
    ] {
        let told = Stock::connect(&setup, user, password).await.refused().await;
        assert_eq!(told, EndReason::TokenRefused.sentence(), "{user}");
    }
    assert_eq!(setup.gateway.registry().count(), 1);
    setup.wait_for_log("refused team/a TokenRefused").await;
    let log = setup.desk.log();
    assert!(!log.iter().any(|line| line.contains("xxx")), "{log:?}");
}

#[tokio::test]
async fn the_holder_of_a_token_learns_what_is_wrong_with_the_target() {
    let (setup, server) = (Setup::new().await, VncServer::start(Some("secret")).await);
    let token = setup.desk.token(1, session("a", server.target(None)));
    let told = Stock::connect(&setup, "team/a", &token).await.refused().await;
    assert_eq!(told, EndReason::TargetRefused.sentence());

    let mut serial = session("a", server.target(None));
    serial.protocol = Protocol::Serial;
    let token = setup.desk.token(1, serial);
    let told = Stock::connect(&setup, "team/a", &token).await.refused().await;
    assert_eq!(told, EndReason::TransportNotAllowed.sentence());
}

#[tokio::test]
async fn a_viewer_without_encryption_is_told_what_it_lacks() {
    let setup = Setup::new().await;
    let mut stream = TcpStream::connect(setup.rfb).await.unwrap();
    assert_eq!(read(&mut stream, 12).await, b"RFB 003.008\n");
    stream.write_all(b"RFB 003.003\n").await.unwrap();
    let mut told = Vec::new();
    within("the end", stream.read_to_end(&mut told)).await.unwrap();
    assert!(
        String::from_utf8_lossy(&told).ends_with("use one that speaks 3.7 or later"),
        "{told:?}"
    );

    let mut stream = TcpStream::connect(setup.rfb).await.unwrap();
    stream.write_all(b"RFB 003.008\n\x01").await.unwrap();
    let mut told = Vec::new();
    within("the end", stream.read_to_end(&mut told)).await.unwrap();
    assert!(
        String::from_utf8_lossy(&told).ends_with("security type 1, which was not offered"),
        "{told:?}"
    );
    setup.wait_for_log("refused - ProtocolError").await;
}
