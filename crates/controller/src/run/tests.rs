//! A controller whose apiserver answers discovery and refuses everything else.

use std::{
    convert::Infallible,
    sync::atomic::{AtomicUsize, Ordering},
};

use http::{Request, Response};
use kube::client::Body;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;

/// More than one for each watch: they have been refused and have tried again.
const REFUSED: usize = 30;

/// Counts what it refuses.
async fn refuse_lists(listener: TcpListener, refused: Arc<AtomicUsize>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(answer(stream, Arc::clone(&refused)));
    }
}

async fn answer(mut stream: TcpStream, refused: Arc<AtomicUsize>) {
    let mut request = vec![0; 8192];
    let read = stream.read(&mut request).await.unwrap_or_default();
    let request = String::from_utf8_lossy(request.get(..read).unwrap_or_default()).into_owned();
    let (status, body) = if request.starts_with("GET /apis ") {
        ("200 OK", r#"{"items":[]}"#)
    } else {
        refused.fetch_add(1, Ordering::Relaxed);
        (
            "403 Forbidden",
            r#"{"kind":"Status","code":403,"reason":"Forbidden","message":"no"}"#,
        )
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// A client that counts its requests and answers none of them well.
fn counted(asked: Arc<AtomicUsize>) -> Client {
    let service = tower::service_fn(move |_: Request<Body>| {
        asked.fetch_add(1, Ordering::Relaxed);
        let refused = Response::builder().status(403).body(Body::empty());
        async move { Ok::<_, Infallible>(refused.unwrap()) }
    });
    Client::new(service, "default")
}

#[tokio::test]
async fn a_replica_whose_lists_fail_does_not_stand_for_leader_and_can_be_stopped() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let (refused, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let apiserver = tokio::spawn(refuse_lists(listener, Arc::clone(&refused)));
    let (shutdown, health) = (Shutdown::new(Duration::from_secs(1)), Health::default());
    let running = tokio::spawn(run(Options {
        config: ControllerConfig::default(),
        endpoints: Endpoints::default(),
        route_settings: watch::channel(Arc::default()).1,
        connection: client::Builder::new(kube::Config::new(uri)).unwrap(),
        lease_client: counted(Arc::clone(&asked)),
        namespace: "a".to_owned(),
        instance: "test".to_owned(),
        health: health.clone(),
        metrics: Metrics::default(),
        shutdown: shutdown.clone(),
    }));
    let tried = async {
        while refused.load(Ordering::Relaxed) < REFUSED {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let tried = tokio::time::timeout(Duration::from_secs(30), tried).await;
    tried.unwrap_or_else(|_| panic!("{} lists refused", refused.load(Ordering::Relaxed)));
    assert_eq!(
        asked.load(Ordering::Relaxed),
        0,
        "the lease is left to those that can do the work"
    );
    assert!(!health.is_ready());
    shutdown.trigger();
    let ended = tokio::time::timeout(Duration::from_secs(5), running).await;
    ended.expect("it does not stop").unwrap().unwrap();
    apiserver.abort();
}
