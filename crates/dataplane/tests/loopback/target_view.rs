//! How a target is, asked beside its stream.

use novasphere_wire::close::EndReason;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    desk::session,
    setup::{ORIGIN, Setup, wait_for, within},
    viewer::Browser,
    vnc_server::VncServer,
};

fn asleep() -> Value {
    json!({"kind": "VncWorkspace", "name": "alice", "state": "Asleep", "message": "The desktop sleeps.", "input": "Control"})
}

/// Sends a request and reads all that comes until the gateway closes.
async fn ask(setup: &Setup, method: &str, headers: &[(&str, &str)]) -> String {
    let mut stream = TcpStream::connect(setup.websocket).await.unwrap();
    let headers = headers.iter().fold(String::new(), |text, (name, value)| {
        format!("{text}{name}: {value}\r\n")
    });
    let request = format!("{method} /api/v1/console/target HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("the answer and the end", stream.read_to_string(&mut answer))
        .await
        .unwrap();
    answer
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

fn body(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn the_page_learns_how_its_target_is_beside_the_stream() {
    let (setup, server) = (Setup::new().await, VncServer::start(None).await);
    let token = setup.desk.token(1, session("a", server.target(None)));
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("origin", ORIGIN)];
    setup.desk.show(&token, asleep());
    let answer = ask(&setup, "GET", &headers).await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(answer.contains("cache-control: no-store\r\n"), "{answer}");
    assert!(answer.contains("content-type: application/json\r\n"), "{answer}");
    assert!(
        !answer.contains("access-control"),
        "other origins may not read it: {answer}"
    );
    let expected = json!({
        "kind": "VncWorkspace", "name": "alice", "state": "Asleep", "message": "The desktop sleeps.", "input": "Control",
    });
    assert_eq!(body(&answer), expected);
    // The token's one use is still there, and what is asked beside the stream is not in it.
    let mut browser = Browser::enter(&setup, &token).await;
    let mut awake = asleep();
    awake["state"] = json!("Running");
    awake["sleepsAt"] = json!("2026-11-21T17:05:00Z");
    awake["sleepsBecause"] = json!("Idle");
    awake["input"] = json!("ViewOnly");
    setup.desk.show(&token, awake);
    let answer = body(&ask(&setup, "GET", &headers).await);
    assert_eq!(
        (
            &answer["state"],
            &answer["sleepsAt"],
            &answer["sleepsBecause"],
            &answer["input"]
        ),
        (
            &json!("Running"),
            &json!("2026-11-21T17:05:00Z"),
            &json!("Idle"),
            &json!("ViewOnly")
        )
    );
    server.send(b"picture");
    assert_eq!(browser.read(7).await, b"picture");
    setup.gateway.registry().end_where(|_| true, EndReason::Deleted);
    assert_eq!(browser.closed().await.0, 4002);
    wait_for("no connection to be held", || setup.gateway.limiter().half_open() == 0).await;
}

#[tokio::test]
async fn a_client_that_may_not_know_is_told_nothing() {
    let setup = Setup::new().await;
    let known = "k".repeat(43);
    setup.desk.show(&known, asleep());
    let (good, unknown) = (format!("Bearer {known}"), format!("Bearer {}", "u".repeat(43)));
    let refused = ask(&setup, "GET", &[("authorization", unknown.as_str())]).await;
    assert_eq!(status(&refused), 401);
    let without_date = |answer: &str| -> Vec<String> {
        let lines = answer.lines().filter(|line| !line.starts_with("date:"));
        lines.map(str::to_owned).collect()
    };
    for headers in [
        vec![],
        vec![("authorization", "Bearer short")],
        vec![("authorization", "Basic a2trazpra2s=")],
        // From elsewhere: the desk tells those of this machine alone.
        vec![("authorization", good.as_str()), ("x-forwarded-for", "198.51.100.7")],
    ] {
        let answer = ask(&setup, "GET", &headers).await;
        assert_eq!(without_date(&answer), without_date(&refused), "{headers:?}");
    }
    for (method, origin, expected) in [
        ("GET", ORIGIN, 200),
        ("GET", "https://evil.test", 403),
        ("OPTIONS", ORIGIN, 405),
        ("POST", ORIGIN, 405),
    ] {
        let answer = ask(&setup, method, &[("authorization", good.as_str()), ("origin", origin)]).await;
        assert_eq!(status(&answer), expected, "{method} {origin}");
    }
}
