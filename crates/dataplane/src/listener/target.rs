//! `GET /api/v1/console/target`: how the target of a token is, beside its stream. A page asks while it waits for the first
//! picture, and later to learn of a coming sleep; in the stream there is no place for either.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use novasphere_wire::{
    token::TokenHash,
    websocket::opening::{OpeningError, Origins},
};
use serde::Serialize;

use super::{
    http::{CLOSE, text},
    resume_cookie::ResumeCookie,
};
use crate::{admission::Admission, gateway::Gateway};

/// The path.
pub const PATH: &str = "/api/v1/console/target";

/// The same answer for no token, a malformed, unknown or expired one, and one of a session that is over.
const UNKNOWN: &str = "access refused; send a console token of an open session as \"Authorization: Bearer <token>\"";

pub(super) fn answer<A: Admission, B>(
    gateway: &Gateway<A>,
    request: &Request<B>,
    origins: &Origins,
    client: IpAddr,
) -> Response<Full<Bytes>> {
    answered(request, origins, || {
        bearer(request.headers()).and_then(|token| gateway.target_view(&token, client))
    })
}

/// What a page asks about.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The session, as `namespace/name`.
    pub(super) session: &'a str,
    /// Where the page is.
    pub(super) client: IpAddr,
}

/// The same for a session: by a token, or by what the browser was given when it entered.
pub(super) fn answer_of_session<A: Admission, B>(
    gateway: &Gateway<A>,
    request: &Request<B>,
    origins: &Origins,
    asked: Asked<'_>,
    cookie: ResumeCookie,
) -> Response<Full<Bytes>> {
    let headers = request.headers();
    if headers.contains_key(header::AUTHORIZATION) {
        return answer(gateway, request, origins, asked.client);
    }
    answered(request, origins, || {
        let credential = cookie.of(headers).filter(|_| is_of_own_page(headers))?;
        gateway.resumable_view(asked.session, &credential.hash(), asked.client)
    })
}

/// Browsers send no `Origin` with what a page reads from its own, and say so in another way (Fetch Metadata).
fn is_of_own_page(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin")
}

fn answered<B, V: Serialize>(
    request: &Request<B>,
    origins: &Origins,
    find: impl FnOnce() -> Option<V>,
) -> Response<Full<Bytes>> {
    let mut response = if request.method() != Method::GET {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "this can only be read; use GET");
        let allow = HeaderValue::from_static("GET");
        response.headers_mut().insert(header::ALLOW, allow);
        response
    } else if !origins.allow(request.headers()) {
        text(OpeningError::Origin.status(), &OpeningError::Origin.to_string())
    } else {
        find().and_then(|view| shown(&view)).unwrap_or_else(refused)
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // A page that asks now and then keeps no connection.
    headers.insert(header::CONNECTION, CLOSE);
    response
}

fn shown(view: &impl Serialize) -> Option<Response<Full<Bytes>>> {
    let body = serde_json::to_vec(view)
        .inspect_err(|error| tracing::error!(%error, "cannot write how a target is"))
        .ok()?;
    let mut response = Response::new(Full::from(body));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Some(response)
}

fn refused() -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::UNAUTHORIZED, UNKNOWN);
    let scheme = HeaderValue::from_static("Bearer");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    response
}

/// The token of `Authorization: Bearer` (RFC 6750 section 2.1; the scheme's case does not matter, RFC 9110 section 11.1).
fn bearer(headers: &HeaderMap) -> Option<TokenHash> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?.as_bytes(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Bearer ") {
        return None;
    }
    TokenHash::of_token(token.trim_ascii()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM-_09";

    fn read(values: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        let expected = TokenHash::of_token(TOKEN.as_bytes()).unwrap();
        bearer(&headers).is_some_and(|token| token.is(&expected))
    }

    #[test]
    fn one_bearer_token_is_read() {
        assert!(read(&[&format!("Bearer {TOKEN}")]));
        assert!(read(&[&format!("bearer  {TOKEN} ")]));
        let good = format!("Bearer {TOKEN}");
        for values in [
            &[][..],
            &["", &good],
            &[&good, &good],
            &[TOKEN],
            &["Bearer"],
            &["Bearer short"],
            &[&format!("Basic {TOKEN}")],
            &[&format!("Bearer{TOKEN}")],
        ] {
            assert!(!read(values), "{values:?}");
        }
    }
}
