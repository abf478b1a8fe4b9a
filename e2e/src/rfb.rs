//! A small VNC viewer: RFB 3.8 in the binary messages of a WebSocket.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::{Sink, SinkExt, Stream, StreamExt};
use kube::Client;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::console::connect;

/// How long the other side may take to say what it has to.
const PATIENCE: Duration = Duration::from_mins(1);

/// A WebSocket, whatever carries it.
pub trait Messages: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Unpin + Send {}

impl<T: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Unpin + Send> Messages for T {}

/// A viewer whose handshake is over.
pub struct Viewer {
    stream: Box<dyn Messages>,
    read: Vec<u8>,
    /// The screen's width in pixels.
    pub width: u16,
    /// Its height.
    pub height: u16,
}

impl Viewer {
    /// Opens a screen through kube-apiserver.
    ///
    /// # Errors
    /// When it is refused, with the answer, or does not speak RFB with no further authentication.
    pub async fn open(client: &Client, path: &str) -> Result<Self> {
        Self::over(Box::new(connect(client, path).await?)).await
    }

    /// Does the handshake over a WebSocket that is open.
    ///
    /// # Errors
    /// When the other side does not speak RFB with no further authentication.
    pub async fn over(stream: Box<dyn Messages>) -> Result<Self> {
        let mut viewer = Self {
            stream,
            read: Vec::new(),
            width: 0,
            height: 0,
        };
        let version = viewer.take(12).await?;
        ensure!(version == b"RFB 003.008\n", "not RFB 3.8: {version:?}");
        viewer.send(&version).await?;
        let count = viewer.take(1).await?;
        let types = viewer.take(count.first().copied().unwrap_or_default().into()).await?;
        ensure!(types.contains(&1), "the security type None is not offered: {types:?}");
        viewer.send(&[1]).await?;
        ensure!(viewer.take(4).await? == [0; 4], "the viewer is refused");
        viewer.send(&[1]).await?;
        viewer.width = viewer.number().await?;
        viewer.height = viewer.number().await?;
        let _pixel_format = viewer.take(16).await?;
        let _high = viewer.number().await?;
        let name = viewer.number().await?;
        viewer.take(name.into()).await?;
        Ok(viewer)
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.send(Message::binary(bytes.to_vec())).await?)
    }

    async fn take(&mut self, count: usize) -> Result<Vec<u8>> {
        while self.read.len() < count {
            let next = timeout(PATIENCE, self.stream.next()).await;
            match next.with_context(|| format!("{count} bytes did not come in {PATIENCE:?}"))? {
                Some(Ok(Message::Binary(bytes))) => self.read.extend_from_slice(&bytes),
                Some(Ok(Message::Close(frame))) => bail!("the console was closed: {frame:?}"),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => bail!("the console ended"),
            }
        }
        let rest = self.read.split_off(count);
        Ok(std::mem::replace(&mut self.read, rest))
    }

    async fn number(&mut self) -> Result<u16> {
        let bytes = self.take(2).await?;
        Ok(u16::from_be_bytes(
            *bytes.first_chunk().context("2 bytes were asked for")?,
        ))
    }

    /// Asks for the whole picture without compression and returns its pixels.
    ///
    /// # Errors
    /// When something else comes.
    pub async fn picture(&mut self) -> Result<Vec<u8>> {
        self.part(self.width, self.height).await
    }

    /// The same of the upper left corner.
    ///
    /// # Errors
    /// When something else comes.
    pub async fn part(&mut self, width: u16, height: u16) -> Result<Vec<u8>> {
        // SetEncodings: raw alone. FramebufferUpdateRequest: all of it, changed or not.
        self.send(&[2, 0, 0, 1, 0, 0, 0, 0]).await?;
        let mut request = vec![3, 0, 0, 0, 0, 0];
        request.extend(width.to_be_bytes());
        request.extend(height.to_be_bytes());
        self.send(&request).await?;
        let head = self.take(2).await?;
        ensure!(head.starts_with(&[0]), "not an update: {head:?}");
        let mut pixels = Vec::new();
        for _ in 0..self.number().await? {
            let _position = self.take(4).await?;
            let (width, height) = (self.number().await?, self.number().await?);
            let encoding = self.take(4).await?;
            ensure!(encoding == [0; 4], "not raw: {encoding:?}");
            pixels.extend(self.take(usize::from(width) * usize::from(height) * 4).await?);
        }
        Ok(pixels)
    }

    /// Presses the keys of a text of ASCII.
    ///
    /// # Errors
    /// When the console has ended.
    pub async fn type_text(&mut self, text: &str) -> Result<()> {
        for letter in text.bytes() {
            // X11 names its keys for ASCII as ASCII does, and Return 0xff0d.
            let (high, low) = if letter == b'\n' { (0xff, 0x0d) } else { (0, letter) };
            for down in [1, 0] {
                self.send(&[4, down, 0, 0, 0, 0, high, low]).await?;
            }
            // A guest in emulation loses keys that come faster than it reads.
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        Ok(())
    }

    /// Leaves.
    ///
    /// # Errors
    /// When the console has ended already.
    pub async fn close(mut self) -> Result<()> {
        Ok(self.stream.close().await?)
    }
}
