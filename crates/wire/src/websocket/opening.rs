//! The opening handshake on the server side: who asks, from which page, with which token. No IO.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use sha1::{Digest, Sha1};

use crate::token::{TOKEN_BYTES, TokenHash};

/// What a subprotocol that carries a token begins with. Browsers can set no other header.
pub const TOKEN_SUBPROTOCOL: &str = "novasphere.token.";

/// Name of the query parameter that carries a token, for clients that can set no subprotocol.
pub const TOKEN_PARAMETER: &str = "token";

/// Name of the query parameter that names the session of the token, as `namespace/name`.
pub const SESSION_PARAMETER: &str = "session";

/// Bytes of a session's `namespace/name`: Kubernetes' limits of both.
const SESSION_BYTES_LIMIT: usize = 63 + 1 + 253;

/// Subprotocols that mean what is spoken here, bytes in binary messages: older noVNC's and `KubeVirt`'s names for it.
const SUBPROTOCOLS: [&str; 2] = ["binary", "plain.kubevirt.io"];

/// The pages whose scripts may open a console.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<String>);

/// An origin is not written as browsers send it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an origin; write scheme://host, with :port when it is not the scheme's own, such as https://consoles.example.org"
)]
pub struct NotAnOrigin(pub String);

impl Origins {
    /// Takes origins such as `https://consoles.example.org` or `http://localhost:8080`.
    ///
    /// # Errors
    ///
    /// [`NotAnOrigin`] for the first that no browser sends.
    pub fn new<T: AsRef<str>>(origins: impl IntoIterator<Item = T>) -> Result<Self, NotAnOrigin> {
        let parse = |origin: T| {
            let origin = origin.as_ref();
            let host = origin
                .strip_prefix("https://")
                .or_else(|| origin.strip_prefix("http://"));
            match host {
                Some(host) if !host.is_empty() && host.bytes().all(of_host) => Ok(origin.to_ascii_lowercase()),
                _ => Err(NotAnOrigin(origin.to_owned())),
            }
        };
        origins.into_iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// The origins, in lower case.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether a request with these headers may open a console. Without an `Origin` it does not come from a page; with several
    /// it comes from no browser, and each of them has to be allowed.
    #[must_use]
    pub fn allow(&self, headers: &HeaderMap) -> bool {
        let is_allowed = |origin: &HeaderValue| {
            let mut allowed = self.0.iter();
            allowed.any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
        };
        headers.get_all(header::ORIGIN).iter().all(is_allowed)
    }
}

/// Whether a byte may stand in an origin's host and port. Nothing that could end a word of a header or of HTML may.
fn of_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte)
}

/// Why a request opens no WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpeningError {
    /// It is no WebSocket request.
    #[error("this is a WebSocket; connect with a WebSocket client")]
    NotWebSocket,
    /// It is malformed or of another version.
    #[error("the WebSocket request is malformed or not of version 13")]
    Malformed,
    /// A page that is not allowed wants it.
    #[error("pages of this origin may not open consoles; the gateway's setting for allowed origins decides")]
    Origin,
    /// It has no token, or what it has is none.
    #[error(
        "the request has no console token; send one as subprotocol novasphere.token.<token> or as query parameter token"
    )]
    Token,
}

impl OpeningError {
    /// The HTTP status that tells it.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::NotWebSocket => StatusCode::UPGRADE_REQUIRED,
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Origin => StatusCode::FORBIDDEN,
            Self::Token => StatusCode::UNAUTHORIZED,
        }
    }

    /// One word for logs and metric labels.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotWebSocket => "NotWebSocket",
            Self::Malformed => "MalformedRequest",
            Self::Origin => "OriginNotAllowed",
            Self::Token => "NoToken",
        }
    }
}

/// A request that may open a WebSocket.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The hash of the token that came with it.
    pub token: TokenHash,
    /// The session that the token may be of, as `namespace/name`; what can be none counts as absent.
    pub session: Option<String>,
    handshake: Handshake,
}

impl Opening {
    /// Reads a request.
    ///
    /// # Errors
    ///
    /// [`OpeningError`]: answer with its status and text.
    pub fn read<B>(request: &Request<B>, origins: &Origins) -> Result<Self, OpeningError> {
        let handshake = handshake_from(request, origins)?;
        let query = request.uri().query().unwrap_or_default();
        let token = protocol_token(request.headers())
            .or_else(|| query_token(query))
            .ok_or(OpeningError::Token)?;
        Ok(Self {
            token: TokenHash::of_token(token.as_bytes()).map_err(|_| OpeningError::Token)?,
            session: query_session(query),
            handshake,
        })
    }

    /// The answer that opens the WebSocket.
    #[must_use]
    pub fn response<B: Default>(&self) -> Response<B> {
        self.handshake.response()
    }
}

pub(super) fn handshake_from<B>(request: &Request<B>, origins: &Origins) -> Result<Handshake, OpeningError> {
    let handshake = Handshake::read(request)?;
    if origins.allow(request.headers()) {
        Ok(handshake)
    } else {
        Err(OpeningError::Origin)
    }
}

pub(super) fn protocol_token(headers: &HeaderMap) -> Option<&str> {
    tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL).find_map(|protocol| protocol.strip_prefix(TOKEN_SUBPROTOCOL))
}

/// The part of an opening that does not say who asks.
#[derive(Clone, Debug)]
pub struct Handshake {
    accept: HeaderValue,
    subprotocol: Option<HeaderValue>,
}

impl Handshake {
    /// Reads a request.
    ///
    /// # Errors
    ///
    /// [`OpeningError::NotWebSocket`] and [`OpeningError::Malformed`].
    pub fn read<B>(request: &Request<B>) -> Result<Self, OpeningError> {
        let headers = request.headers();
        if request.method() != Method::GET
            || !has_token(headers, &header::UPGRADE, "websocket")
            || !has_token(headers, &header::CONNECTION, "upgrade")
        {
            return Err(OpeningError::NotWebSocket);
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or(OpeningError::Malformed)?;
        let version = headers
            .get(header::SEC_WEBSOCKET_VERSION)
            .ok_or(OpeningError::Malformed)?;
        let is_key = STANDARD.decode(key).is_ok_and(|key| key.len() == 16);
        if request.version() != Version::HTTP_11 || version != "13" || !is_key {
            return Err(OpeningError::Malformed);
        }
        let offered: Vec<&str> = tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL).collect();
        Ok(Self {
            accept: accept(key),
            subprotocol: subprotocol(&offered),
        })
    }

    /// The answer that opens the WebSocket.
    #[must_use]
    pub fn response<B: Default>(&self) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept.clone());
        if let Some(subprotocol) = &self.subprotocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, subprotocol.clone());
        }
        response
    }
}

/// The subprotocol to echo. A browser that offers some and gets none back fails the connection, so when it offers nothing
/// but its token, that is echoed.
fn subprotocol(offered: &[&str]) -> Option<HeaderValue> {
    let chosen = offered
        .iter()
        .find(|protocol| SUBPROTOCOLS.contains(protocol))
        .or_else(|| offered.iter().find(|protocol| protocol.starts_with(TOKEN_SUBPROTOCOL)))?;
    HeaderValue::from_str(chosen).ok()
}

fn query_token(query: &str) -> Option<&str> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut tokens = pairs.filter(|(name, value)| *name == TOKEN_PARAMETER && value.len() == TOKEN_BYTES);
    tokens.next().map(|(_, value)| value)
}

/// Names of Kubernetes need no escapes, but a browser may write the slash as one.
fn query_session(query: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let named = pairs.into_iter().find(|(name, _)| *name == SESSION_PARAMETER)?.1;
    let named = named.replace("%2F", "/").replace("%2f", "/");
    is_session(&named).then_some(named)
}

/// Whether it can be the `namespace/name` of a session.
pub(super) fn is_session(named: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-./".contains(&byte);
    named.len() <= SESSION_BYTES_LIMIT
        && named.bytes().all(is_allowed)
        && named.split('/').filter(|part| !part.is_empty()).count() == 2
        && named.matches('/').count() == 1
}

/// `Sec-WebSocket-Accept` for a key (RFC 6455 section 4.2.2).
fn accept(key: &HeaderValue) -> HeaderValue {
    HeaderValue::from_str(&accept_key(key.as_bytes())).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The value of `Sec-WebSocket-Accept` that proves that the key was read (RFC 6455 section 4.2.2).
#[must_use]
pub fn accept_key(key: &[u8]) -> String {
    let digest = Sha1::new()
        .chain_update(key)
        .chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
        .finalize();
    STANDARD.encode(digest)
}

/// The elements of a comma-separated header, which may be there several times.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(str::trim))
}

fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM-_09";

    fn request(uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let basic = [
            ("upgrade", "websocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let kept = basic
            .iter()
            .filter(|(name, _)| !headers.iter().any(|(other, _)| other == name));
        kept.chain(headers)
            .fold(Request::get(uri), |request, (name, value)| {
                request.header(*name, *value)
            })
            .body(())
            .unwrap()
    }

    fn read(uri: &str, headers: &[(&str, &str)]) -> Result<Opening, OpeningError> {
        Opening::read(
            &request(uri, headers),
            &Origins::new(["https://consoles.example.org"]).unwrap(),
        )
    }

    fn echoed(opening: &Opening) -> Option<String> {
        let response: Response<()> = opening.response();
        response
            .headers()
            .get(header::SEC_WEBSOCKET_PROTOCOL)
            .map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_key_is_answered_as_in_rfc_6455() {
        let opening = read(&format!("/ws?a=b&token={TOKEN}"), &[]).unwrap();
        let response: Response<()> = opening.response();
        assert_eq!(response.status(), 101);
        assert_eq!(
            response.headers()[header::SEC_WEBSOCKET_ACCEPT],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert!(opening.token.is(&TokenHash::of_token(TOKEN.as_bytes()).unwrap()));
        assert_eq!(echoed(&opening), None);
    }

    #[test]
    fn a_session_is_read_when_it_can_be_one() {
        let named = |query: &str| read(&format!("/ws?token={TOKEN}{query}"), &[]).unwrap().session;
        assert_eq!(named("&session=team/look-1").as_deref(), Some("team/look-1"));
        assert_eq!(named("&session=team%2Flook.1").as_deref(), Some("team/look.1"));
        let long = format!("&session=team/{}", "a".repeat(SESSION_BYTES_LIMIT));
        for query in [
            "",
            "&session=",
            "&session=team",
            "&session=team/",
            "&session=a/b/c",
            "&session=a/B",
            "&session=a/%20",
            &long,
        ] {
            assert_eq!(named(query), None, "{query}");
        }
    }

    #[test]
    fn a_token_subprotocol_is_echoed_only_when_nothing_else_can_be() {
        let protocol = format!("{TOKEN_SUBPROTOCOL}{TOKEN}");
        let alone = read("/ws", &[("sec-websocket-protocol", &protocol)]).unwrap();
        assert_eq!(echoed(&alone), Some(protocol.clone()));
        for (offer, echo) in [
            (format!("{protocol}, binary"), "binary"),
            (format!("base64,plain.kubevirt.io,{protocol}"), "plain.kubevirt.io"),
        ] {
            assert_eq!(
                echoed(&read("/ws", &[("sec-websocket-protocol", &offer)]).unwrap()).as_deref(),
                Some(echo)
            );
        }
        let unknown = read(&format!("/ws?token={TOKEN}"), &[("sec-websocket-protocol", "chat")]).unwrap();
        assert_eq!(echoed(&unknown), None);
    }

    #[test]
    fn only_pages_of_allowed_origins_may_connect() {
        let uri = format!("/ws?token={TOKEN}");
        for origin in ["https://consoles.example.org", "HTTPS://Consoles.example.org"] {
            assert!(read(&uri, &[("origin", origin)]).is_ok(), "{origin}");
        }
        for origin in [
            "null",
            "",
            "http://consoles.example.org",
            "https://consoles.example.org.evil.test",
            "https://evil.test",
        ] {
            assert_eq!(
                read(&uri, &[("origin", origin)]).unwrap_err(),
                OpeningError::Origin,
                "{origin}"
            );
        }
        // No browser sends two, so one that is allowed does not speak for another.
        let good = ("origin", "https://consoles.example.org");
        let evil = ("origin", "https://evil.test");
        for both in [[good, evil], [evil, good]] {
            assert_eq!(read(&uri, &both).unwrap_err(), OpeningError::Origin, "{both:?}");
        }
        assert!(Origins::new(["https://a:8443", "http://localhost"]).is_ok());
        for origin in [
            "*",
            "consoles.example.org",
            "https://",
            "https://a/",
            "https://*.example.org",
            "https://a;",
            "https://a\"",
            "ws://a",
        ] {
            assert!(Origins::new([origin]).is_err(), "{origin}");
        }
    }

    #[test]
    fn other_requests_are_told_what_is_wrong() {
        let uri = format!("/ws?token={TOKEN}");
        for (headers, error) in [
            (&[("upgrade", "h2c")][..], OpeningError::NotWebSocket),
            (&[("connection", "close")], OpeningError::NotWebSocket),
            (&[("sec-websocket-version", "8")], OpeningError::Malformed),
            (&[("sec-websocket-key", "short")], OpeningError::Malformed),
            (&[("sec-websocket-key", "////")], OpeningError::Malformed),
        ] {
            assert_eq!(read(&uri, headers).unwrap_err(), error, "{headers:?}");
        }
        for uri in [
            "/ws",
            "/ws?token=",
            "/ws?token=short",
            "/ws?tok=abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM-_09",
        ] {
            assert_eq!(read(uri, &[]).unwrap_err(), OpeningError::Token, "{uri}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_headers_are_answered(query in "[ -~&&[^#]]{0,80}", protocol in "[ -~]{0,80}", origin in "[ -~]{0,40}", key in "[ -~]{0,30}") {
            let uri: Result<http::Uri, _> = format!("/ws?{query}").parse();
            if let Ok(uri) = uri {
                let _ = read(&uri.to_string(), &[("sec-websocket-protocol", &protocol), ("origin", &origin), ("sec-websocket-key", &key)]);
            }
        }
    }
}
