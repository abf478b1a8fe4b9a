//! The page of a session: it enters by a token, is given a cookie, and comes back by it.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, header::SET_COOKIE};
use http_body_util::Full;
use hyper::body::Incoming;
use novasphere_dataplane::{
    admission::Admitted,
    listener::websocket::{PageSource, serve_with_page},
};
use novasphere_wire::websocket::opening::Origins;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::tungstenite::{
    Error,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::{
    desk::session,
    setup::{ORIGIN, Setup, wait_for, within},
    viewer::Browser,
    vnc_server::VncServer,
};

const WEBSOCKET: &str = "/api/v1/console/sessions/team/a/ws";

const NAME: &str = "__Secure-novasphere-resume";

fn resumable(server: &VncServer) -> Admitted {
    Admitted {
        is_resumable: true,
        ..session("a", server.target(None))
    }
}

/// What the answer sets, without the name.
fn set_cookie(browser: &Browser) -> Option<String> {
    let cookie = browser.response.headers().get(SET_COOKIE)?.to_str().unwrap();
    let (name, rest) = cookie.split_once('=').unwrap();
    assert_eq!(name, NAME);
    Some(rest.to_owned())
}

fn value(cookie: &str) -> String {
    cookie.split(';').next().unwrap().to_owned()
}

async fn enter(setup: &Setup, token: &str) -> Browser {
    let protocols = format!("binary, novasphere.token.{token}");
    let headers = [("sec-websocket-protocol", protocols.as_str()), ("origin", ORIGIN)];
    Browser::connect(setup.websocket, WEBSOCKET, &headers).await.unwrap()
}

async fn back(setup: &Setup, cookie: &str, origin: Option<&str>) -> Result<Browser, Error> {
    let cookie = format!("{NAME}={cookie}");
    let mut headers = vec![("sec-websocket-protocol", "binary"), ("cookie", cookie.as_str())];
    headers.extend(origin.map(|origin| ("origin", origin)));
    Browser::connect(setup.websocket, WEBSOCKET, &headers).await
}

#[tokio::test]
async fn a_page_comes_back_by_the_cookie_that_it_was_given() {
    let (setup, server) = (Setup::new().await, VncServer::start(None).await);
    let token = setup.desk.token(1, resumable(&server));
    let first = enter(&setup, &token).await;
    let cookie = set_cookie(&first).unwrap();
    assert!(cookie.contains("; Secure; HttpOnly; SameSite=Strict"), "{cookie}");
    assert!(cookie.contains("; Max-Age=3"), "until the session ends: {cookie}");
    assert!(!cookie.to_ascii_lowercase().contains("path"), "{cookie}");
    let _open = first.handshake().await;
    let again = back(&setup, &value(&cookie), Some(ORIGIN)).await.unwrap();
    let next = set_cookie(&again).unwrap();
    assert_ne!(value(&next), value(&cookie));
    assert_eq!(value(&next)[..43], value(&cookie)[..43], "the place is the same");
    let mut again = again.handshake().await;
    server.send(b"picture");
    assert_eq!(again.read(7).await, b"picture");
    assert!(setup.desk.log().iter().any(|line| line == "resumed"));
    assert_eq!(setup.gateway.limiter().half_open(), 0);
    assert_eq!(
        enter(&setup, &token).await.closed().await.0,
        4040,
        "the token opens nothing more"
    );
}

#[tokio::test]
async fn a_page_of_another_site_comes_back_by_nothing() {
    let (setup, server) = (Setup::new().await, VncServer::start(None).await);
    let first = enter(&setup, &setup.desk.token(1, resumable(&server))).await;
    let cookie = value(&set_cookie(&first).unwrap());
    for origin in ["https://evil.test", "null"] {
        let Err(Error::Http(response)) = back(&setup, &cookie, Some(origin)).await else {
            panic!("{origin} gets in")
        };
        assert_eq!(response.status(), 403, "{origin}");
        assert!(!response.headers().contains_key(SET_COOKIE));
    }
    let mut program = back(&setup, &cookie, None).await.unwrap();
    assert_eq!(program.closed().await, (4046, "ResumeRefused".into()));
    let _still_good = back(&setup, &cookie, Some(ORIGIN)).await.unwrap().handshake().await;
}

#[tokio::test]
async fn who_has_nothing_or_something_old_is_told_by_a_code() {
    let (setup, server) = (Setup::new().await, VncServer::start(None).await);
    let headers = [("sec-websocket-protocol", "binary"), ("origin", ORIGIN)];
    let mut nothing = Browser::connect(setup.websocket, WEBSOCKET, &headers).await.unwrap();
    assert_eq!(set_cookie(&nothing), None);
    assert_eq!(nothing.closed().await, (4046, "ResumeRefused".into()));
    setup.wait_for_log("refused team/a ResumeRefused").await;
    let mut unknown = back(&setup, &"u".repeat(86), Some(ORIGIN)).await.unwrap();
    assert!(
        set_cookie(&unknown).unwrap().starts_with("; Max-Age=0;"),
        "it is taken away"
    );
    assert_eq!(unknown.closed().await, (4046, "ResumeRefused".into()));
    let first = enter(&setup, &setup.desk.token(1, resumable(&server))).await;
    let old = value(&set_cookie(&first).unwrap());
    let _second = back(&setup, &old, Some(ORIGIN)).await.unwrap();
    let mut twice = back(&setup, &old, Some(ORIGIN)).await.unwrap();
    assert!(set_cookie(&twice).unwrap().starts_with("; Max-Age=0;"));
    assert_eq!(twice.closed().await, (4009, "CredentialReused".into()));
    let not_kept = enter(&setup, &setup.desk.token(1, session("a", server.target(None)))).await;
    assert_eq!(set_cookie(&not_kept), None, "nobody can come back to this one");
    wait_for("no connection to be held", || setup.gateway.limiter().half_open() == 0).await;
}

/// Asks how the target is.
async fn target(setup: &Setup, headers: &str) -> String {
    let mut stream = TcpStream::connect(setup.websocket).await.unwrap();
    let request = format!("GET /api/v1/console/sessions/team/a/target HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("the answer and the end", stream.read_to_string(&mut answer))
        .await
        .unwrap();
    answer
}

#[tokio::test]
async fn the_page_asks_about_its_target_by_the_same_cookie() {
    let (setup, server) = (Setup::new().await, VncServer::start(None).await);
    let first = enter(&setup, &setup.desk.token(1, resumable(&server))).await;
    let cookie = format!("cookie: {NAME}={}\r\n", value(&set_cookie(&first).unwrap()));
    let own = format!("{cookie}sec-fetch-site: same-origin\r\n");
    for (headers, status) in [
        (own.as_str(), 200),
        (&format!("{cookie}sec-fetch-site: cross-site\r\n"), 401),
        (&format!("{own}origin: https://evil.test\r\n"), 403),
        (&format!("{own}authorization: Bearer {}\r\n", "u".repeat(43)), 401),
        ("", 401),
    ] {
        let answer = target(&setup, headers).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{headers}: {answer}"
        );
        assert!(!answer.contains("set-cookie"), "{answer}");
    }
}

#[tokio::test]
async fn a_page_that_closes_for_good_says_so_and_one_that_is_loaded_again_does_not() {
    let (setup, server) = (Setup::new().await, VncServer::start(None).await);
    for (code, is_for_good) in [(CloseCode::Normal, true), (CloseCode::Away, false)] {
        let token = setup.desk.token(1, resumable(&server));
        let mut browser = enter(&setup, &token).await.handshake().await;
        let stream = setup.gateway.registry().all().pop().unwrap();
        let frame = CloseFrame {
            code,
            reason: "".into(),
        };
        browser.socket.close(Some(frame)).await.unwrap();
        wait_for("the end of the stream", || setup.gateway.registry().count() == 0).await;
        assert_eq!(stream.counters.has_left_for_good(), is_for_good, "{code}");
    }
}

/// A page that others may show in a frame.
struct EmbeddedPage;

impl PageSource for EmbeddedPage {
    fn answer(&self, _: &Request<Incoming>) -> Option<Response<Full<Bytes>>> {
        None
    }

    fn is_embedded(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_page_in_a_frame_gets_its_cookie_there() {
    let (setup, server) = (Setup::new().await, VncServer::start(None).await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve_with_page(
        listener,
        None,
        Origins::new([ORIGIN]).unwrap(),
        Some(Arc::new(EmbeddedPage)),
        setup.gateway.clone(),
        std::future::pending(),
    ));
    let protocols = format!("binary, novasphere.token.{}", setup.desk.token(1, resumable(&server)));
    let headers = [("sec-websocket-protocol", protocols.as_str()), ("origin", ORIGIN)];
    let browser = Browser::connect(address, WEBSOCKET, &headers).await.unwrap();
    let cookie = browser.response.headers()[SET_COOKIE].to_str().unwrap();
    assert!(cookie.starts_with("__Secure-novasphere-resume-embedded="), "{cookie}");
    assert!(
        cookie.ends_with("; Secure; HttpOnly; SameSite=None; Partitioned"),
        "{cookie}"
    );
}
