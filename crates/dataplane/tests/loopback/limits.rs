//! Strangers who want to take what others need.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use novasphere_dataplane::{
    limits::Limits,
    listener::websocket::{PageSource, serve_with_page},
};
use novasphere_wire::websocket::opening::Origins;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Mutex,
    time::timeout,
};

use crate::{
    desk::session,
    setup::{Setup, wait_for, within},
    viewer::{Browser, Stock},
    vnc_server::VncServer,
};

/// Connects from another address of the loopback network.
pub(crate) async fn connect_from(address: &str, to: std::net::SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Held by a test while it measures the memory of this process, which others of its kind would add to.
pub(crate) static MEASURING: Mutex<()> = Mutex::const_new(());

/// Resident memory of this process, in KiB.
pub(crate) fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_half_open_connections_keep_nobody_out() {
    let _alone = MEASURING.lock().await;
    let limits = Limits {
        handshake: Duration::from_mins(5),
        ..Limits::default()
    };
    let (setup, server) = (Setup::with(limits).await, VncServer::start(None).await);
    let before = resident();
    let mut strangers = Vec::new();
    for number in 0..1000 {
        strangers.push(connect_from("127.0.0.9", setup.rfb).await);
        strangers.push(connect_from("127.0.0.9", setup.websocket).await);
        // Slowly, as if there were more to come.
        let _ = strangers[number * 2].write_all(b"RFB 003.").await;
        let _ = strangers[number * 2 + 1]
            .write_all(b"GET / HTTP/1.1\r\nx-header:")
            .await;
    }
    wait_for("the surplus to be dropped", || {
        setup.gateway.limiter().half_open() == setup.gateway.limiter().limits().half_open_per_address
    })
    .await;
    let grown = resident().saturating_sub(before);
    assert!(grown < 16 * 1024, "memory grew by {grown} KiB");
    let token = || setup.desk.token(1, session("a", server.target(None)));
    let _stock = Stock::connect(&setup, "team/a", &token()).await.enter().await;
    let _browser = Browser::enter(&setup, &token()).await;
    drop(strangers);
    wait_for("all to be forgotten", || setup.gateway.limiter().half_open() == 0).await;
}

/// How long somebody may wait whom strangers want to keep out.
const NEWCOMER_TIMEOUT: Duration = Duration::from_secs(1);

/// A browser and a stock viewer from this address enter within [`NEWCOMER_TIMEOUT`].
async fn enters_from(address: &str, setup: &Setup, server: &VncServer) -> (Browser, Stock) {
    let token = || setup.desk.token(1, session("a", server.target(None)));
    let browser = async {
        let stream = connect_from(address, setup.websocket).await;
        Browser::open_over(stream, &token()).await.handshake().await
    };
    let stock = async {
        let stream = connect_from(address, setup.rfb).await;
        Stock::connect_over(stream, setup, "team/a", &token())
            .await
            .enter()
            .await
    };
    let entered = timeout(NEWCOMER_TIMEOUT, futures::future::join(browser, stock)).await;
    entered.unwrap_or_else(|_| panic!("nobody enters from {address}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_keep_nobody_out_and_cut_no_stream() {
    // For the file descriptors that they share.
    let _alone = MEASURING.lock().await;
    let limits = Limits {
        handshake: Duration::from_mins(5),
        ..Limits::default()
    };
    let (setup, server) = (Setup::with(limits.clone()).await, VncServer::start(None).await);
    // As everybody behind a load balancer that hides where they connect from.
    let shared = "127.0.0.9";
    let (mut browser, mut stock) = enters_from(shared, &setup, &server).await;
    let mut strangers = Vec::new();
    for _ in 0..160 {
        strangers.push(connect_from(shared, setup.websocket).await);
        strangers.push(connect_from(shared, setup.rfb).await);
    }
    let _newcomers = enters_from(shared, &setup, &server).await;
    for number in 0..16 * 70 {
        strangers.push(connect_from(&format!("127.0.1.{}", number % 16), setup.websocket).await);
    }
    wait_for("all places to be taken", || {
        setup.gateway.limiter().half_open() == limits.half_open
    })
    .await;
    for address in [shared, "127.0.1.3", "127.0.2.1"] {
        let _newcomers = enters_from(address, &setup, &server).await;
    }
    server.send(b"still here");
    assert_eq!(browser.read(10).await, b"still here");
    assert_eq!(stock.read(10).await, b"still here");
    assert!(!setup.desk.log().iter().any(|line| line.starts_with("refused")));
}

#[tokio::test]
async fn a_stranger_who_dawdles_is_cut() {
    let limits = Limits {
        handshake: Duration::from_millis(300),
        ..Limits::default()
    };
    let (setup, server) = (Setup::with(limits).await, VncServer::start(None).await);
    for address in [setup.rfb, setup.websocket] {
        let mut stranger = TcpStream::connect(address).await.unwrap();
        stranger.write_all(b"R").await.unwrap();
        let mut told = Vec::new();
        let _ = within("the end", stranger.read_to_end(&mut told)).await;
    }
    setup.wait_for_log("refused - HandshakeTimeout").await;
    let mut browser = Browser::open(&setup, &setup.desk.token(1, session("a", server.target(None)))).await;
    assert_eq!(browser.read(12).await, b"RFB 003.008\n");
    assert_eq!(browser.closed().await, (4063, "HandshakeTimeout".into()));
    setup.wait_for_log("refused team/a HandshakeTimeout").await;
    let token = setup.desk.token(1, session("b", server.target(None)));
    let mut stock = Stock::connect(&setup, "team/b", &token).await;
    assert_eq!(stock.read(4).await, [0; 4]);
    setup.wait_for_log("refused team/b HandshakeTimeout").await;
}

#[tokio::test]
async fn a_person_has_time_to_type_user_and_token() {
    let limits = Limits {
        handshake: Duration::from_millis(500),
        login: Duration::from_secs(2),
        ..Limits::default()
    };
    let (setup, server) = (Setup::with(limits.clone()).await, VncServer::start(None).await);
    let connect = async || {
        let stream = TcpStream::connect(setup.rfb).await.unwrap();
        Stock::connect_silent(stream, &setup).await
    };
    let mut typing = connect().await;
    tokio::time::sleep(limits.handshake * 2).await;
    typing
        .log_in("team/a", &setup.desk.token(1, session("a", server.target(None))))
        .await;
    let _entered = typing.enter().await;
    let mut gone = connect().await;
    let since = std::time::Instant::now();
    let _ = within("the end", gone.stream.read_to_end(&mut Vec::new())).await;
    assert!(since.elapsed() + limits.handshake >= limits.login);
    setup.wait_for_log("refused - HandshakeTimeout").await;
}

/// A page whose script is larger than what is kept on the way to somebody who does not read.
struct LargePage;

impl PageSource for LargePage {
    fn answer(&self, request: &Request<Incoming>) -> Option<Response<Full<Bytes>>> {
        let body = match request.uri().path() {
            "/console/" => "<script src=\"assets/main.js\"></script></html>\n".to_owned(),
            "/console/assets/main.js" => " ".repeat(1024 * 1024),
            _ => return None,
        };
        Some(Response::new(Full::from(body)))
    }
}

/// Asks for the page's largest file again and again, and reads none of the answers.
#[tokio::test]
async fn a_stranger_who_does_not_read_keeps_no_place() {
    let setup = Setup::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve_with_page(
        listener,
        None,
        Origins::default(),
        Some(Arc::new(LargePage)),
        setup.gateway.clone(),
        std::future::pending(),
    ));
    let mut reader = TcpStream::connect(address).await.unwrap();
    let get = |path: &str| format!("GET /console/{path} HTTP/1.1\r\nhost: x\r\n\r\n");
    reader.write_all(get("").as_bytes()).await.unwrap();
    let mut page = String::new();
    within("the page and the end", reader.read_to_string(&mut page))
        .await
        .unwrap();
    let script = page
        .split('"')
        .find(|part| part.rsplit('.').next() == Some("js"))
        .unwrap();
    let mut stranger = TcpStream::connect(address).await.unwrap();
    // More than is kept on the way to somebody who does not read.
    stranger.write_all(get(script).repeat(200).as_bytes()).await.unwrap();
    within("the first answer", stranger.readable()).await.unwrap();
    wait_for("the stranger's place to be free", || {
        setup.gateway.limiter().half_open() == 0
    })
    .await;
}

/// As a proxy that authenticates people may send them.
#[tokio::test]
async fn many_header_fields_keep_nobody_out() {
    let (setup, server) = (Setup::new().await, VncServer::start(None).await);
    let token = setup.desk.token(1, session("a", server.target(None)));
    let mut headers = vec![("origin", crate::setup::ORIGIN)];
    headers.extend([("x-auth-request-group", "team-blue"); 300]);
    let path = format!("/api/v1/console/ws?token={token}");
    let browser = Browser::connect(setup.websocket, &path, &headers).await.unwrap();
    let _entered = browser.handshake().await;
}

#[tokio::test]
async fn an_endless_request_head_is_cut() {
    let setup = Setup::new().await;
    let mut stranger = TcpStream::connect(setup.websocket).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nx-header: {}\r\n", "x".repeat(1024 * 1024));
    let _ = stranger.write_all(head.as_bytes()).await;
    let mut told = Vec::new();
    let _ = within("the end", stranger.read_to_end(&mut told)).await;
    let told = String::from_utf8_lossy(&told);
    assert!(told.is_empty() || told.starts_with("HTTP/1.1 431"), "{told}");
}
