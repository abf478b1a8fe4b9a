//! `GET /auth/verify`: what a gateway asks before it lets a request through (Traefik's forwardAuth, nginx' `auth_request`, Kong's).

use std::fmt::Write as _;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{caller::Caller, error::ApiResult, state::ApiState};

/// The paths of this topic.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(verify))
}

/// Whether a request is of somebody who is signed in, and of whom: in headers, for the service behind the gateway.
#[utoipa::path(get, path = "/auth/verify", tag = "auth", operation_id = "verify",
    responses((status = 200, description = "Signed in: X-User-Id, X-User-Name and X-Client-Type say who", headers(
        ("X-User-Id" = String), ("X-User-Name" = String), ("X-Client-Type" = String)))))]
async fn verify(State(_): State<ApiState>, caller: Caller) -> ApiResult<Response> {
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    let client_type = if caller.by_cookie { "browser" } else { "api" };
    for (name, text) in [
        ("x-user-id", caller.user.name.as_str()),
        ("x-user-name", caller.display_name.as_str()),
        ("x-client-type", client_type),
    ] {
        headers.insert(HeaderName::from_static(name), header_text(text));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// A name outside ASCII in percent-encoding: a header has no character set (RFC 9110, 5.5).
fn header_text(text: &str) -> HeaderValue {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%' || byte == b' ';
    let mut encoded = String::new();
    for byte in text.bytes() {
        if is_plain(byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    HeaderValue::from_str(&encoded).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_scripts_stand_in_a_header() {
        assert_eq!(header_text("novasphere:ann"), "novasphere:ann");
        assert_eq!(header_text("张"), "%E5%BC%A0");
        assert_eq!(header_text("a\r\nb"), "a%0D%0Ab");
    }
}
