//! `WebSocket`s for browsers and programs, and what else is served at their port.

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::target;
use crate::{
    admission::{Admission, AdmissionRequest},
    close::Close,
    gateway::{Failure, Gateway},
    limits::{HalfOpen, Limits},
    page::Page,
    registry::Transport,
    websocket::opening::{Opening, Origins},
};

/// The path of the WebSocket.
pub const PATH: &str = "/api/v1/console/ws";

/// Serves `WebSocket`s until `stop`, to pages of these origins, with TLS when there is a configuration for it. Streams that are open then go on: see
/// [`Registry::drain`](crate::registry::Registry::drain).
pub async fn serve<A: Admission>(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    origins: Origins,
    gateway: Gateway<A>,
    stop: impl Future<Output = ()>,
) {
    serve_with_page(listener, tls, origins, None, gateway, stop).await;
}

/// The same, and the page that browsers open them with.
pub async fn serve_with_page<A: Admission>(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    origins: Origins,
    page: Option<Page>,
    gateway: Gateway<A>,
    stop: impl Future<Output = ()>,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    let origins = Arc::new(origins);
    super::accept(listener, gateway.gate(), stop, |stream, client, half_open| {
        let connection = Connection {
            gateway: gateway.clone(),
            origins: Arc::clone(&origins),
            page: page.clone(),
            client,
            half_open: Some(half_open),
        };
        let acceptor = acceptor.clone();
        async move {
            let stream = match stream.here() {
                Ok(stream) => stream,
                Err(error) => return connection.refuse(Close::Unavailable, error.to_string()),
            };
            let Some(acceptor) = acceptor else {
                return connection.serve(stream).await;
            };
            match timeout(connection.time(), acceptor.accept(stream)).await {
                Ok(Ok(stream)) => connection.serve(stream).await,
                Ok(Err(error)) => connection.refuse(Close::ProtocolError, error.to_string()),
                Err(_) => connection.refuse(Close::HandshakeTimeout, "no time left for TLS"),
            }
        }
    })
    .await;
}

struct Connection<A> {
    gateway: Gateway<A>,
    origins: Arc<Origins>,
    page: Option<Page>,
    client: IpAddr,
    half_open: Option<HalfOpen>,
}

impl<A: Admission> Connection<A> {
    fn time(&self) -> Duration {
        self.gateway.gate().limits().handshake
    }

    fn refuse(&self, why: Close, detail: impl Into<String>) {
        self.gateway
            .refused(Failure::new(why, detail), self.client, Transport::WebSocket);
    }

    async fn serve<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (time, head) = (self.time(), self.gateway.gate().limits().http_head);
        let this = Arc::new(std::sync::Mutex::new(self));
        let service = service_fn(move |request: Request<Incoming>| {
            let mut connection = this.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let response = connection.answer::<S>(request);
            async move { Ok::<_, Infallible>(response) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(time)
            .max_buf_size(head)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        if let Err(error) = Box::pin(served).await {
            tracing::debug!(%error, "an HTTP connection failed");
        }
    }

    fn answer<S>(&mut self, mut request: Request<Incoming>) -> Response<Full<Bytes>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if let Some(response) = self.page.as_ref().and_then(|page| page.answer(&request)) {
            return response;
        }
        let client = client_address(self.client, request.headers(), self.gateway.gate().limits());
        if request.uri().path() == target::PATH {
            return target::answer(&self.gateway, &request, &self.origins, client);
        }
        if request.uri().path() != PATH {
            return text(
                StatusCode::NOT_FOUND,
                "there is nothing here; the console's WebSocket is at /api/v1/console/ws",
            );
        }
        let opening = match Opening::read(&request, &self.origins) {
            Ok(opening) => opening,
            Err(error) => {
                self.refuse(Close::TokenRefused, format!("{}: {error}", error.reason()));
                return text(error.status(), &error.to_string());
            }
        };
        let admission = AdmissionRequest {
            token: opening.token,
            session: None,
            client,
            transport: Transport::WebSocket,
        };
        let (gateway, half_open) = (self.gateway.clone(), self.half_open.take());
        let upgraded = upgrade::on(&mut request);
        tokio::spawn(async move {
            let parts = upgraded.await.map(upgrade::Upgraded::downcast::<TokioIo<S>>);
            // It is always S: that is what the connection was made of.
            let Ok(Ok(parts)) = parts else { return };
            gateway
                .serve_websocket(parts.io.into_inner(), parts.read_buf, admission, half_open)
                .await;
        });
        opening.response()
    }
}

pub(super) fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{text}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
        .headers_mut()
        .insert(header::CONNECTION, http::HeaderValue::from_static("close"));
    response
}

/// Where a client connects from: the last address of `X-Forwarded-For` that no trusted proxy has, if a trusted proxy sent
/// the header. Everything before that address is what the client says about itself.
fn client_address(peer: IpAddr, headers: &HeaderMap, limits: &Limits) -> IpAddr {
    if !limits.is_trusted_proxy(peer) {
        return peer;
    }
    let values: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let mut client = peer;
    for hop in values.iter().rev().flat_map(|value| value.rsplit(',')) {
        let Ok(address) = hop.trim().parse::<IpAddr>() else {
            break;
        };
        client = address.to_canonical();
        if !limits.is_trusted_proxy(client) {
            break;
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let trusted_proxies = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let limits = Limits {
            trusted_proxies,
            ..Limits::default()
        };
        client_address(peer.parse().unwrap(), &headers, &limits).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(client("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(client("fd00::1", &["2001:db8::1"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn what_a_client_says_about_itself_does_not_count() {
        assert_eq!(client("10.0.0.1", &["203.0.113.9, 198.51.100.7"]), "198.51.100.7");
        assert_eq!(
            client("10.0.0.1", &["203.0.113.9", "198.51.100.7, 10.0.0.2"]),
            "198.51.100.7"
        );
        assert_eq!(client("10.0.0.1", &["203.0.113.9, not an address"]), "10.0.0.1");
        assert_eq!(
            client("10.0.0.1", &["203.0.113.9, not an address, 10.0.0.3"]),
            "10.0.0.3"
        );
    }
}
