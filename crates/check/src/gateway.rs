//! The console gateway as browsers reach it: its page, and its WebSocket.

use std::{path::Path, sync::Arc};

use anyhow::{Context, bail, ensure};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::Empty;
use hyper::{
    body::Incoming,
    client::conn::http1,
    upgrade::{self, Upgraded},
};
use hyper_util::rt::TokioIo;
use novasphere_dataplane::websocket::WebSocket;
use novasphere_wire::websocket::frame::FrameRole;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

const PAGE: &str = "/console/";

const SOCKET: &str = "/api/v1/console/ws";

/// A stream of a console.
pub(crate) type ConsoleStream = WebSocket<TokioIo<Upgraded>>;

trait GatewayIo: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> GatewayIo for T {}

/// Where it is, and how it is known.
pub(crate) struct CheckedGateway {
    host: String,
    port: u16,
    /// None without TLS.
    tls: Option<Arc<ClientConfig>>,
}

impl CheckedGateway {
    pub(crate) fn new(url: &Uri, authority: Option<&Path>) -> anyhow::Result<Self> {
        let host = url.host().with_context(|| format!("--url {url} has no host"))?;
        let (default_port, tls) = match (url.scheme_str(), authority) {
            (Some("http"), _) => (80, None),
            (Some("https"), Some(authority)) => (443, Some(Arc::new(trusting(authority)?))),
            (Some("https"), None) => bail!("--url {url} needs --authority-file, by which the certificate is checked"),
            _ => bail!("--url {url} begins neither with https:// nor with http://"),
        };
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port_u16().unwrap_or(default_port),
            tls,
        })
    }

    /// The page is served.
    pub(crate) async fn page(&self) -> anyhow::Result<()> {
        let response = self.send(self.request(PAGE).body(Empty::new())?).await?;
        ensure!(response.status() == StatusCode::OK, "it answers {}", response.status());
        Ok(())
    }

    /// Who has a token that nobody gave sees nothing.
    pub(crate) async fn refuses_strangers(&self) -> anyhow::Result<()> {
        // As long as a token, which is 256 bits.
        let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let mut stream = self.open(&token).await?;
        let mut byte = [0];
        // A connection that breaks shows nothing either.
        let read = stream.read(&mut byte).await.unwrap_or_default();
        ensure!(read == 0, "the gateway lets it in");
        Ok(())
    }

    /// Opens the console of a token.
    pub(crate) async fn open(&self, token: &str) -> anyhow::Result<ConsoleStream> {
        let request = self
            .request(SOCKET)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, STANDARD.encode(rand::random::<[u8; 16]>()))
            .header(
                header::SEC_WEBSOCKET_PROTOCOL,
                format!("binary, novasphere.token.{token}"),
            )
            .body(Empty::new())?;
        let response = self.send(request).await?;
        ensure!(
            response.status() == StatusCode::SWITCHING_PROTOCOLS,
            "the gateway opens no WebSocket: {}",
            response.status()
        );
        let upgraded = upgrade::on(response).await?;
        Ok(WebSocket::new(TokioIo::new(upgraded), Bytes::new(), FrameRole::Client))
    }

    fn request(&self, path: &str) -> http::request::Builder {
        let bare = self.host.as_str();
        // RFC 3986 section 3.2.2: an IPv6 address has brackets.
        let host = if bare.contains(':') {
            format!("[{bare}]")
        } else {
            bare.to_owned()
        };
        Request::get(path).header(header::HOST, format!("{host}:{}", self.port))
    }

    async fn send(&self, request: Request<Empty<Bytes>>) -> anyhow::Result<Response<Incoming>> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(self.connect().await?)).await?;
        // It ends with the stream.
        tokio::spawn(connection.with_upgrades());
        Ok(sender.send_request(request).await?)
    }

    async fn connect(&self) -> anyhow::Result<Box<dyn GatewayIo>> {
        let place = format!("{}:{}", self.host, self.port);
        let connected = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = connected.with_context(|| format!("{place} cannot be reached"))?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let name = ServerName::try_from(self.host.clone())?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
        Ok(Box::new(stream.with_context(|| {
            format!("TLS with {place}: is its certificate of an authority in --authority-file?")
        })?))
    }
}

fn trusting(authority: &Path) -> anyhow::Result<ClientConfig> {
    let text = std::fs::read(authority).with_context(|| format!("--authority-file {}", authority.display()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        roots.add(certificate.with_context(|| format!("--authority-file {}", authority.display()))?)?;
    }
    ensure!(
        !roots.is_empty(),
        "--authority-file {} has no certificate",
        authority.display()
    );
    Ok(
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    #[test]
    fn a_certificate_is_checked_or_there_is_none() {
        let gateway = |url: &str| CheckedGateway::new(&url.parse().unwrap(), None);
        let plain = gateway("http://console.example.com").unwrap();
        assert_eq!((plain.host.as_str(), plain.port), ("console.example.com", 80));
        let address = gateway("http://[::1]:8443/").unwrap();
        assert_eq!(address.host, "::1");
        let request = address.request(PAGE).body(()).unwrap();
        assert_eq!(request.headers()[header::HOST], "[::1]:8443");
        for bad in [
            "https://console.example.com",
            "ftp://console.example.com",
            "console.example.com",
        ] {
            assert!(gateway(bad).is_err(), "{bad}");
        }
    }

    /// A gateway that answers each connection with these bytes.
    async fn answering(answer: &'static [u8]) -> CheckedGateway {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let length = stream.read(&mut request).await.unwrap();
                assert!(length > 0);
                stream.write_all(answer).await.unwrap();
            }
        });
        CheckedGateway::new(&url.parse().unwrap(), None).unwrap()
    }

    const OPENED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

    #[tokio::test]
    async fn a_gateway_that_lets_strangers_in_is_found() {
        // A close frame with 4040.
        let refusing = [OPENED.as_bytes(), b"\x88\x02\x0f\xc8"].concat().leak();
        answering(refusing).await.refuses_strangers().await.unwrap();
        let open = [OPENED.as_bytes(), b"\x82\x0cRFB 003.008\n"].concat().leak();
        let error = answering(open).await.refuses_strangers().await.unwrap_err();
        assert!(error.to_string().contains("lets it in"), "{error}");
        let broken = answering(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").await;
        assert!(broken.page().await.is_err() && broken.refuses_strangers().await.is_err());
    }
}
