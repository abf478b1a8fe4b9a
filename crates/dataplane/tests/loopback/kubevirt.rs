//! KubeVirt's consoles, behind a stand-in for kube-apiserver that answers as the real one was measured to.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade};
use hyper_util::rt::TokioIo;
use kube::{Client, Config};
use novasphere_dataplane::{
    registry::Protocol,
    upstream::{Upstream, kubevirt::KubeVirtUpstream},
};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

use crate::{
    desk::session,
    setup::{Setup, wait_for},
    viewer::Browser,
    vnc_server::SERVER_INIT,
};

const BUSY: &str = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","code":500,"message":"Internal error occurred: dialing virt-handler: Can't connect to websocket (503): virt-handler: Active VNC connection. Request denied."}"#;

/// What the stand-in was asked and has received.
#[derive(Clone, Default)]
struct Seen {
    paths: Arc<Mutex<Vec<String>>>,
    received: Arc<Mutex<Vec<u8>>>,
}

async fn kube_apiserver() -> (Client, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config::new(format!("http://{}", listener.local_addr().unwrap()).parse().unwrap());
    let seen = Seen::default();
    let serving = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let seen = serving.clone();
            let service = service_fn(move |request| {
                let response = answer(&seen, request);
                async move { Ok::<_, Infallible>(response) }
            });
            tokio::spawn(
                http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades(),
            );
        }
    });
    (Client::try_from(config).unwrap(), seen)
}

fn answer(seen: &Seen, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path_and_query().unwrap().to_string();
    seen.paths.lock().push(path.clone());
    let mut response = Response::new(Full::default());
    if path.contains("/busy/") && path.ends_with("preserveSession=true") {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        *response.body_mut() = Full::from(BUSY);
        return response;
    }
    assert_eq!(request.headers()["sec-websocket-protocol"], "plain.kubevirt.io");
    let key = derive_accept_key(request.headers()["sec-websocket-key"].as_bytes());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-accept", &key),
    ] {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    let (seen, upgraded) = (seen.clone(), upgrade::on(&mut request));
    tokio::spawn(async move {
        let io = TokioIo::new(upgraded.await.unwrap());
        let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
        if path.contains("/vnc") {
            guest_screen(&mut socket).await;
        }
        while let Some(Ok(message)) = socket.next().await {
            seen.received.lock().extend_from_slice(&message.into_data());
        }
    });
    response
}

/// The VNC server of QEMU, as far as its handshake goes; message borders mean nothing.
async fn guest_screen<S>(socket: &mut WebSocketStream<S>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    for (said, answered) in [(&b"RFB 003.008\n"[..], 12), (&[1, 1], 1), (&[0; 4], 1)] {
        for piece in said.chunks(5) {
            socket.send(Message::binary(piece.to_vec())).await.unwrap();
        }
        let mut got = 0;
        while got < answered {
            got += socket.next().await.unwrap().unwrap().into_data().len();
        }
    }
    socket.send(Message::binary(SERVER_INIT)).await.unwrap();
}

fn target(client: &Client, name: &str, takeover: bool) -> Upstream {
    Upstream::KubeVirt(KubeVirtUpstream {
        client: client.clone(),
        namespace: "team".into(),
        name: name.into(),
        takeover,
    })
}

#[tokio::test]
async fn a_screen_is_reached_through_kube_apiserver() {
    let (setup, (client, seen)) = (Setup::new().await, kube_apiserver().await);
    let token = setup.desk.token(1, session("a", target(&client, "web", false)));
    let mut browser = Browser::enter(&setup, &token).await;
    let keys = [4, 1, 0, 0, 0, 0, 0, 65].repeat(4000);
    browser.send(&keys).await;
    wait_for("all keys at the guest", || *seen.received.lock() == keys).await;
    assert_eq!(
        *seen.paths.lock(),
        ["/apis/subresources.kubevirt.io/v1/namespaces/team/virtualmachineinstances/web/vnc?preserveSession=true"]
    );
}

#[tokio::test]
async fn a_screen_in_use_is_told_or_taken_over() {
    let (setup, (client, seen)) = (Setup::new().await, kube_apiserver().await);
    let token = setup.desk.token(1, session("a", target(&client, "busy", false)));
    assert_eq!(
        Browser::open(&setup, &token).await.closed().await,
        (4024, "InUse".into())
    );
    assert_eq!(seen.paths.lock().len(), 1, "one try: each try could throw somebody out");
    let token = setup.desk.token(1, session("a", target(&client, "busy", true)));
    Browser::enter(&setup, &token).await;
}

#[tokio::test]
async fn a_serial_console_is_reached_through_kube_apiserver() {
    let (setup, (client, seen)) = (Setup::new().await, kube_apiserver().await);
    let mut admitted = session("a", target(&client, "web", false));
    admitted.protocol = Protocol::Serial;
    let mut browser = Browser::open(&setup, &setup.desk.token(1, admitted)).await;
    browser.send(b"root\r").await;
    wait_for("the name at the guest", || *seen.received.lock() == b"root\r").await;
    assert!(seen.paths.lock()[0].ends_with("/web/console"));
}
