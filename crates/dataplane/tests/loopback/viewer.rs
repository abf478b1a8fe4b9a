//! Viewers: a browser's WebSocket, made of tungstenite, and a stock viewer's `VeNCrypt`.

use std::net::SocketAddr;

use futures::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest, http::Response},
};

use crate::{
    setup::{Setup, within},
    vnc_server::SERVER_INIT,
};

pub(crate) struct Browser {
    pub(crate) socket: WebSocketStream<TcpStream>,
    pub(crate) response: Response<Option<Vec<u8>>>,
    buffer: Vec<u8>,
}

impl Browser {
    /// Opens the WebSocket with these further headers.
    pub(crate) async fn connect(to: SocketAddr, path: &str, headers: &[(&'static str, &str)]) -> Result<Self, Error> {
        Self::connect_over(TcpStream::connect(to).await.unwrap(), path, headers).await
    }

    pub(crate) async fn connect_over(
        stream: TcpStream,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Error> {
        let to = stream.peer_addr().unwrap();
        let mut request = format!("ws://{to}{path}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        let (socket, response) = within("the opening handshake", client_async(request, stream)).await?;
        Ok(Self {
            socket,
            response,
            buffer: Vec::new(),
        })
    }

    /// Opens the WebSocket as noVNC does, with the token as a subprotocol.
    pub(crate) async fn open(setup: &Setup, token: &str) -> Self {
        Self::open_over(TcpStream::connect(setup.websocket).await.unwrap(), token).await
    }

    /// The same over a connection that is there.
    pub(crate) async fn open_over(stream: TcpStream, token: &str) -> Self {
        let protocols = format!("binary, novasphere.token.{token}");
        let headers = [
            ("sec-websocket-protocol", protocols.as_str()),
            ("origin", crate::setup::ORIGIN),
        ];
        let browser = Self::connect_over(stream, "/api/v1/console/ws", &headers)
            .await
            .unwrap();
        assert_eq!(browser.response.headers()["sec-websocket-protocol"], "binary");
        browser
    }

    /// The same, and the RFB handshake up to `ServerInit`.
    pub(crate) async fn enter(setup: &Setup, token: &str) -> Self {
        Self::open(setup, token).await.handshake().await
    }

    /// The RFB handshake up to `ServerInit`.
    pub(crate) async fn handshake(self) -> Self {
        let mut browser = self;
        assert_eq!(browser.read(12).await, b"RFB 003.008\n");
        browser.send(b"RFB 003.008\n").await;
        assert_eq!(browser.read(2).await, [1, 1]);
        browser.send(&[1]).await;
        assert_eq!(browser.read(4).await, [0; 4]);
        browser.send(&[0]).await;
        assert_eq!(browser.read(SERVER_INIT.len()).await, SERVER_INIT);
        browser
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.socket.send(Message::binary(bytes.to_vec())).await.unwrap();
    }

    pub(crate) async fn read(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            match within("bytes for the browser", self.socket.next()).await {
                Some(Ok(Message::Binary(bytes))) => self.buffer.extend_from_slice(&bytes),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("expected bytes, got {other:?}"),
            }
        }
        self.buffer.drain(..length).collect()
    }

    /// Waits for the end, and tells its code and word.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            match within("a close frame", self.socket.next()).await {
                Some(Ok(Message::Close(Some(frame)))) => return (frame.code.into(), frame.reason.to_string()),
                Some(Ok(Message::Close(None)) | Err(_)) | None => panic!("the socket was closed without a word"),
                Some(Ok(_)) => {}
            }
        }
    }
}

pub(crate) struct Stock {
    pub(crate) stream: TlsStream<TcpStream>,
}

impl Stock {
    /// Negotiates up to the credentials and sends them.
    pub(crate) async fn connect(setup: &Setup, user: &str, password: &str) -> Self {
        Self::connect_over(TcpStream::connect(setup.rfb).await.unwrap(), setup, user, password).await
    }

    /// Negotiates `VeNCrypt` up to where TLS starts.
    pub(crate) async fn start_tls(stream: &mut TcpStream) {
        assert_eq!(read(stream, 12).await, b"RFB 003.008\n");
        stream.write_all(b"RFB 003.008\n").await.unwrap();
        assert_eq!(read(stream, 2).await, [1, 19]);
        stream.write_all(&[19]).await.unwrap();
        assert_eq!(read(stream, 2).await, [0, 2]);
        stream.write_all(&[0, 2]).await.unwrap();
        assert_eq!(read(stream, 6).await, [0, 1, 0, 0, 1, 6]);
        stream.write_all(&[0, 0, 1, 6]).await.unwrap();
        assert_eq!(read(stream, 1).await, [1]);
    }

    /// The same as [`connect`](Self::connect) over a connection that is there.
    pub(crate) async fn connect_over(stream: TcpStream, setup: &Setup, user: &str, password: &str) -> Self {
        let mut viewer = Self::connect_silent(stream, setup).await;
        viewer.log_in(user, password).await;
        viewer
    }

    /// Negotiates up to the credentials, as a viewer that asks its person for them.
    pub(crate) async fn connect_silent(mut stream: TcpStream, setup: &Setup) -> Self {
        Self::start_tls(&mut stream).await;
        let connector = TlsConnector::from(setup.tls.clone());
        let stream = connector
            .connect(ServerName::try_from("localhost").unwrap(), stream)
            .await
            .unwrap();
        Self { stream }
    }

    /// Sends the credentials.
    pub(crate) async fn log_in(&mut self, user: &str, password: &str) {
        let length = |text: &str| u32::try_from(text.len()).unwrap().to_be_bytes();
        let message = [
            &length(user)[..],
            &length(password),
            user.as_bytes(),
            password.as_bytes(),
        ]
        .concat();
        self.stream.write_all(&message).await.unwrap();
    }

    /// Expects to be let in, and reads up to `ServerInit`.
    pub(crate) async fn enter(mut self) -> Self {
        assert_eq!(self.read(4).await, [0; 4]);
        self.stream.write_all(&[0]).await.unwrap();
        assert_eq!(self.read(SERVER_INIT.len()).await, SERVER_INIT);
        self
    }

    /// Expects to be turned away, and tells why.
    pub(crate) async fn refused(mut self) -> String {
        assert_eq!(self.read(4).await, [0, 0, 0, 1]);
        let length = u32::from_be_bytes(self.read(4).await.try_into().unwrap());
        let reason = self.read(length as usize).await;
        assert_eq!(within("the end", self.stream.read(&mut [0])).await.unwrap(), 0);
        String::from_utf8(reason).unwrap()
    }

    pub(crate) async fn read(&mut self, length: usize) -> Vec<u8> {
        read(&mut self.stream, length).await
    }
}

pub(crate) async fn read<S: AsyncReadExt + Unpin>(stream: &mut S, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    within("bytes for the viewer", stream.read_exact(&mut bytes))
        .await
        .unwrap();
    bytes
}
