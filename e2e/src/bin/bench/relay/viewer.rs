//! A viewer: as little of one as can be, so that it costs little of the machine that is measured.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, ensure};
use novasphere_wire::websocket::frame::{Arrived, Decoder, FrameRole, Header, Opcode};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::desktop::SERVER_INIT;

/// How a proxy is spoken to.
#[derive(Clone)]
pub(crate) struct Wire {
    framing: Framing,
    tls: Option<Arc<ClientConfig>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// RFB as it is.
    Raw,
    /// In frames of a WebSocket.
    WebSocket,
}

impl Wire {
    /// RFB as it is.
    pub(crate) const RAW: Self = Self {
        framing: Framing::Raw,
        tls: None,
    };

    /// RFB in frames of a WebSocket.
    pub(crate) const WEB_SOCKET: Self = Self {
        framing: Framing::WebSocket,
        tls: None,
    };

    /// The same inside TLS.
    pub(crate) fn in_tls(self, config: Arc<ClientConfig>) -> Self {
        Self {
            tls: Some(config),
            ..self
        }
    }
}

/// A constant, which costs a proxy what any other mask does.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The longest message that a viewer sends here.
const MESSAGE_BYTES: usize = 16;

trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

/// A connected viewer.
pub(crate) struct RelayViewer {
    connection: Box<dyn Connection>,
    /// Of a WebSocket.
    decoder: Option<Decoder>,
}

impl RelayViewer {
    /// Connects, up to the server's `ServerInit`.
    pub(crate) async fn connect(address: SocketAddr, wire: &Wire, path: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let connection: Box<dyn Connection> = match &wire.tls {
            None => Box::new(stream),
            Some(config) => {
                let name = ServerName::try_from("localhost")?;
                Box::new(TlsConnector::from(Arc::clone(config)).connect(name, stream).await?)
            }
        };
        let mut viewer = Self {
            connection,
            decoder: None,
        };
        if wire.framing == Framing::WebSocket {
            viewer.open(path).await.context("opening handshake")?;
        }
        viewer.handshake().await.context("RFB handshake")?;
        Ok(viewer)
    }

    async fn open(&mut self, path: &str) -> Result<()> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n\
             sec-websocket-protocol: binary\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.connection.write_all(request.as_bytes()).await?;
        self.connection.flush().await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.connection.read_u8().await?);
        }
        ensure!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        self.decoder = Some(Decoder::new(FrameRole::Client, false));
        Ok(())
    }

    async fn handshake(&mut self) -> Result<()> {
        self.skip(12, &mut [0; 12]).await?;
        self.send(b"RFB 003.008\n").await?;
        self.skip(2, &mut [0; 2]).await?;
        self.send(&[1]).await?;
        self.skip(4, &mut [0; 4]).await?;
        self.send(&[1]).await?;
        self.skip(SERVER_INIT.len(), &mut [0; 64]).await
    }

    /// Sends a message.
    pub(crate) async fn send(&mut self, message: &[u8]) -> Result<()> {
        if self.decoder.is_some() {
            return self.send_frame(Opcode::Binary, message).await;
        }
        self.connection.write_all(message).await?;
        // TLS may hold it back.
        Ok(self.connection.flush().await?)
    }

    async fn send_frame(&mut self, opcode: Opcode, payload: &[u8]) -> Result<()> {
        let header = Header::new(opcode, payload.len() as u64, Some(MASK));
        let mut frame = Vec::with_capacity(MESSAGE_BYTES * 2);
        frame.extend_from_slice(header.as_bytes());
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.connection.write_all(&frame).await?;
        Ok(self.connection.flush().await?)
    }

    /// Reads this many bytes and discards them.
    pub(crate) async fn skip(&mut self, bytes: usize, buffer: &mut [u8]) -> Result<()> {
        let mut left = bytes;
        while left > 0 {
            let read = self.receive(buffer).await?;
            ensure!(read <= left, "{} bytes more than expected", read - left);
            left -= read;
        }
        Ok(())
    }

    /// Waits for the end of the stream; pings are answered meanwhile.
    pub(crate) async fn closed(&mut self) {
        let mut buffer = [0; 128];
        while self.receive(&mut buffer).await.is_ok() {}
    }

    /// Reads some bytes of what the server sends.
    async fn receive(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            let read = self.connection.read(buffer).await?;
            ensure!(read > 0, "the stream was closed");
            let Some(decoder) = &mut self.decoder else {
                return Ok(read);
            };
            let mut arrived = Arrived::default();
            let payload = decoder.decode(buffer.get_mut(..read).unwrap_or_default(), &mut arrived)?;
            ensure!(arrived.close.is_none(), "the stream was closed: {:?}", arrived.close);
            if let Some(ping) = arrived.ping {
                self.send_frame(Opcode::Pong, ping.as_bytes()).await?;
            }
            if payload > 0 {
                return Ok(payload);
            }
        }
    }
}
