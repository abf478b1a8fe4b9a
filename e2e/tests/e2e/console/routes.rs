//! The chart's routes to novasphere itself, through a real Traefik: the page and the WebSocket over TLS that Traefik checks against
//! novasphere's own authority, and RFB for stock viewers.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use novasphere_e2e::{
    fixtures::{
        cluster::Cluster,
        install::{NAMESPACE, RELEASE, node_address},
        paths, tls, traefik,
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(CASE, Needs::Node, through_traefik)]
}

const CASE: &str = "console::routes::traefik";

/// Traefik accepts connections before it knows where to lead them, and then says nothing.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

async fn through_traefik() -> Result<()> {
    let cluster = Cluster::with_novasphere()?;
    traefik::start(cluster).await?;
    let node = node_address(cluster)?;
    let file = paths::output(CASE)?.join("routes.yaml");
    std::fs::write(&file, rendered(cluster, &node)?)?;
    let file = file.to_str().context("the path is not UTF-8")?;
    cluster.kubectl(&["apply", "--server-side", "--filename", file])?;
    let seen = all_ways_in(&node).await;
    cluster.kubectl(&["delete", "--ignore-not-found", "--filename", file])?;
    seen
}

/// What the chart makes for a host.
fn rendered(cluster: &Cluster, host: &str) -> Result<String> {
    let chart = paths::repository()?.join("charts/novasphere");
    cluster.helm(&[
        "template",
        RELEASE,
        chart.to_str().context("the path of the repository is not UTF-8")?,
        "--namespace",
        NAMESPACE,
        "--kube-version",
        "1.33.0",
        "--set",
        &format!(
            "routes.gateway=traefik,routes.traefik.httpsEntryPoint={},routes.traefik.vncEntryPoint={}",
            traefik::HTTPS_ENTRY_POINT.0,
            traefik::VNC_ENTRY_POINT.0
        ),
        "--set-string",
        &format!("routes.host={host}"),
        "--show-only",
        "templates/gateway/service.yaml",
        "--show-only",
        "templates/gateway/traefik.yaml",
    ])
}

async fn all_ways_in(node: &str) -> Result<()> {
    answers("the page", "HTTP/1.1 200", || {
        asked(
            node,
            format!("GET /console/ HTTP/1.1\r\nHost: {node}\r\nConnection: close\r\n\r\n"),
        )
    })
    .await?;
    // Of a token that opens nothing, the WebSocket itself tells.
    let token = "A".repeat(43);
    let opening = format!(
        "GET /api/v1/console/ws?token={token} HTTP/1.1\r\nHost: {node}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    answers("the WebSocket", "HTTP/1.1 101", || asked(node, opening.clone())).await?;
    answers("the greeting of RFB", "RFB 003.008\n", || async {
        let mut stream = TcpStream::connect((node, traefik::VNC_ENTRY_POINT.1)).await?;
        first_bytes(&mut stream).await
    })
    .await
}

async fn answers<F, Fut>(what: &str, start: &str, ask: F) -> Result<()>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<String>>,
{
    wait::until(format!("{what} comes through Traefik"), wait::SHORT, || async {
        let answer = ask().await?;
        let is_it = answer.starts_with(start);
        Ok(Seen::some(is_it.then_some(()), format!("{answer:?}")))
    })
    .await
}

/// What comes first; nothing when nothing comes.
async fn first_bytes(stream: &mut (impl AsyncRead + Unpin)) -> Result<String> {
    let mut bytes = vec![0; 1024];
    let read = timeout(ANSWER_TIMEOUT, stream.read(&mut bytes)).await;
    bytes.truncate(read.unwrap_or(Ok(0))?);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The beginning of the answer to a request to Traefik, whose certificate is its own.
async fn asked(node: &str, request: String) -> Result<String> {
    let stream = TcpStream::connect((node, traefik::HTTPS_ENTRY_POINT.1)).await?;
    let mut stream = TlsConnector::from(Arc::new(tls::trusting_any_certificate()?))
        .connect(ServerName::try_from("localhost")?, stream)
        .await?;
    stream.write_all(request.as_bytes()).await?;
    first_bytes(&mut stream).await
}
