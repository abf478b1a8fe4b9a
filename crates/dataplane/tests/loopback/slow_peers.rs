//! Peers that stall or never answer delay nobody else.

use std::time::Duration;

use novasphere_dataplane::{
    limits::Limits,
    upstream::{Upstream, tcp::TcpUpstream},
};
use novasphere_wire::rfb::upstream::Authentication;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    time::Instant,
};

use crate::{
    desk::session,
    limits::connect_from,
    setup::{Setup, wait_for},
    viewer::{Browser, Stock, read},
    vnc_server::VncServer,
};

/// Stalled connections of each kind.
const STALLED: usize = 20;

/// Viewers who want to work meanwhile, and how many of them come at a time.
const OTHERS: usize = 1_000;
const OTHERS_AT_A_TIME: usize = 20;

/// The time in which 99 of 100 others have their picture, also where tests of other things run beside.
const P99_LIMIT: Duration = Duration::from_secs(2);

/// Takes connections and never says a word.
async fn silent_target() -> (TcpListener, Upstream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Upstream::Tcp(TcpUpstream {
        address: listener.local_addr().unwrap(),
        authentication: Authentication::None,
    });
    (listener, target)
}

/// Connections that stop in the middle of every step up to the stream.
async fn stall(setup: &Setup) -> Vec<TcpStream> {
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        let address = "127.0.3.1";
        stalled.push(connect_from(address, setup.rfb).await);
        stalled.push(connect_from(address, setup.websocket).await);

        let mut version = connect_from("127.0.3.2", setup.rfb).await;
        assert_eq!(read(&mut version, 12).await, b"RFB 003.008\n");
        version.write_all(b"RFB 003.008\n").await.unwrap();
        stalled.push(version);

        let mut tls = connect_from("127.0.3.3", setup.rfb).await;
        Stock::start_tls(&mut tls).await;
        // The beginning of a ClientHello.
        tls.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
        stalled.push(tls);

        let mut head = connect_from("127.0.3.4", setup.websocket).await;
        head.write_all(b"GET /api/v1/console/ws HTTP/1.1\r\nhost: x\r\nupgrade: webso")
            .await
            .unwrap();
        stalled.push(head);
    }
    stalled
}

/// How long it takes to get a picture, by a browser or by a stock viewer.
async fn work(setup: &Setup, server: &VncServer, by_browser: bool) -> Duration {
    let begun = Instant::now();
    let token = setup.desk.token(1, session("other", server.target(None)));
    if by_browser {
        drop(Browser::enter(setup, &token).await);
    } else {
        drop(Stock::connect(setup, "team/other", &token).await.enter().await);
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_stall_and_targets_that_never_answer_delay_nobody_else() {
    let limits = Limits {
        handshake: Duration::from_mins(5),
        ..Limits::default()
    };
    let (setup, server) = (Setup::with(limits).await, VncServer::start(None).await);
    let _stalled = stall(&setup).await;
    let (listener, silent) = silent_target().await;
    let mut waiting = Vec::new();
    for _ in 0..STALLED {
        // One waits for the target, one for a viewer who says nothing.
        waiting.push(Browser::open(&setup, &setup.desk.token(1, session("silent", silent.clone()))).await);
        waiting.push(Browser::open(&setup, &setup.desk.token(1, session("mute", server.target(None)))).await);
    }
    wait_for("the stalled connections to be counted", || {
        setup.gateway.limiter().half_open() == 5 * STALLED
    })
    .await;

    let mut times = Vec::new();
    for _ in 0..OTHERS / OTHERS_AT_A_TIME {
        let others = (0..OTHERS_AT_A_TIME).map(|number| work(&setup, &server, number % 2 == 0));
        times.extend(futures::future::join_all(others).await);
    }
    times.sort();
    let (median, p99) = (times[OTHERS / 2], times[OTHERS * 99 / 100 - 1]);
    println!(
        "{OTHERS} others beside {} stalled: median {median:?}, p99 {p99:?}",
        7 * STALLED
    );
    assert!(p99 < P99_LIMIT, "p99 {p99:?}");
    drop((waiting, listener));
}
