//! The serial console of a guest, through KubeVirt's subresource.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::{SinkExt, StreamExt};
use http::{Request, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use kube::{Client, client::Body};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::client::generate_key, protocol::Role},
};

/// The name that KubeVirt gives its byte stream
/// (kubevirt.io/client-go/subresources/constants.go).
const SUBPROTOCOL: &str = "plain.kubevirt.io";

/// How long to wait for an answer before the line is sent again.
const ONE_TRY: Duration = Duration::from_secs(2);

/// A WebSocket through kube-apiserver.
pub type Stream = WebSocketStream<TokioIo<Upgraded>>;

/// Opens the WebSocket of a subresource.
///
/// # Errors
/// When the server refuses, with its answer.
pub async fn connect(client: &Client, path: &str) -> Result<Stream> {
    let request = Request::get(path)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, generate_key())
        .header(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL)
        .body(Body::empty())?;
    let response = client.send(request).await.context("open the console")?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = response.status();
        let body = response.into_body().collect_bytes().await.unwrap_or_default();
        bail!("{path}: {status}: {}", String::from_utf8_lossy(&body));
    }
    let upgraded = hyper::upgrade::on(response).await?;
    Ok(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await)
}

/// An open console. KubeVirt allows one per guest: a second one ends the first.
pub struct Console {
    stream: Stream,
    seen: String,
}

impl Console {
    /// Opens the console of a running `VirtualMachineInstance`.
    ///
    /// # Errors
    /// When KubeVirt refuses, with its answer.
    pub async fn open(client: &Client, namespace: &str, name: &str) -> Result<Self> {
        let path =
            format!("/apis/subresources.kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstances/{name}/console");
        Ok(Self {
            stream: connect(client, &path).await?,
            seen: String::new(),
        })
    }

    /// Sends a line to the guest.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn send_line(&mut self, line: &str) -> Result<()> {
        // KubeVirt drops text frames silently.
        let bytes = format!("{line}\n").into_bytes();
        Ok(self.stream.send(Message::binary(bytes)).await?)
    }

    /// Reads until the text has appeared; what follows it stays for the next call.
    ///
    /// # Errors
    /// When it does not appear within `bound`, with what was read.
    pub async fn expect(&mut self, text: &str, bound: Duration) -> Result<()> {
        let deadline = tokio::time::Instant::now() + bound;
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen = self.seen.split_off(at + text.len());
                return Ok(());
            }
            let next = tokio::time::timeout_at(deadline, self.stream.next()).await;
            match next {
                Ok(Some(Ok(Message::Binary(bytes)))) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(error))) => bail!(
                    "console broke while waiting for {text:?}: {error}; read: {:?}",
                    self.seen
                ),
                Ok(None) => bail!("console ended while waiting for {text:?}; read: {:?}", self.seen),
                Err(_) => bail!(
                    "{text:?} did not appear on the console within {bound:?}; read: {:?}",
                    self.seen
                ),
            }
        }
    }

    /// Sends a line again and again until the text appears: a guest that is
    /// still booting does not read yet, and there is no replay of what it
    /// printed before the console was opened.
    ///
    /// # Errors
    /// When the text does not appear within `bound`.
    pub async fn ask(&mut self, line: &str, answer: &str, bound: Duration) -> Result<()> {
        ensure!(!line.contains(answer), "the echo of the line would count as the answer");
        let deadline = tokio::time::Instant::now() + bound;
        loop {
            self.send_line(line).await?;
            match self.expect(answer, ONE_TRY).await {
                Ok(()) => return Ok(()),
                Err(error) if tokio::time::Instant::now() >= deadline => return Err(error),
                Err(_) => {}
            }
        }
    }
}
