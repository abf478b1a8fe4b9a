//! The end of the process.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::{
    desk::session,
    setup::{PATIENCE, Setup},
    viewer::{Browser, Stock},
    vnc_server::VncServer,
};

#[tokio::test]
async fn a_restart_lets_streams_go_on_for_the_grace_and_then_tells_them() {
    let (setup, server) = (Setup::new().await, VncServer::start(None).await);
    let token = || setup.desk.token(1, session("a", server.target(None)));
    let mut browser = Browser::enter(&setup, &token()).await;
    let _stock = Stock::connect(&setup, "team/a", &token()).await.enter().await;
    setup.stop();
    let registry = setup.gateway.registry().clone();
    let grace = Duration::from_millis(200);
    let drained = tokio::spawn(async move {
        let start = Instant::now();
        registry.drain(grace, PATIENCE).await;
        start.elapsed()
    });
    // Listeners that are dropped refuse.
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(setup.rfb).await.is_ok() || TcpStream::connect(setup.websocket).await.is_ok() {
        assert!(
            Instant::now() < deadline,
            "the listeners still accept after {PATIENCE:?}"
        );
    }
    browser.send(&[4, 1, 0, 0, 0, 0, 0, 65]).await;
    server.wait_for(&[4, 1, 0, 0, 0, 0, 0, 65]).await;
    assert_eq!(browser.closed().await, (1012, "Restarting".into()));
    let took = drained.await.unwrap();
    assert!(took >= grace && took < PATIENCE, "{took:?}");
    assert_eq!(setup.gateway.registry().count(), 0);
}
