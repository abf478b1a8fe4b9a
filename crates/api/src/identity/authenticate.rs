//! Who sends a request: by its session token, by a token of Kubernetes, or by a cookie.

use http::{HeaderMap, Method, header, request::Parts};
use subtle::ConstantTimeEq as _;

use crate::{
    BASE_PATH,
    caller::{BearerToken, Caller, CallerCredential},
    code::Code,
    error::{ApiError, ApiResult},
    http::{ClientAddress, origin_is_allowed},
    identity::VerifiedUser,
    login::{LoginId, LoginRecord, cookies, token::SessionToken},
    state::ApiState,
};

/// The header against forged requests.
const CSRF_HEADER: &str = "x-csrf-token";

/// Where the documents let a token stand in a header of its own.
const USER_TOKEN_HEADER: &str = "x-user-token";

/// A token, and whether it came as a cookie.
struct Presented {
    token: String,
    by_cookie: bool,
}

/// Finds out who sends a request.
///
/// # Errors
///
/// [`Code::NOT_SIGNED_IN`] without a token; [`Code::TOKEN_INVALID`], [`Code::TOKEN_EXPIRED`], [`Code::LOGIN_ENDED`] for a token that is
/// not good; [`Code::CSRF_REFUSED`] for a request of a cookie's that may be forged; [`Code::FORBIDDEN`] for one that asks to impersonate.
pub async fn authenticate(parts: &Parts, state: &ApiState) -> ApiResult<Caller> {
    let headers = &parts.headers;
    if headers.keys().any(|name| name.as_str().starts_with("impersonate-")) {
        return Err(ApiError::with(
            Code::FORBIDDEN,
            "this API takes no headers that impersonate; ask kube-apiserver itself",
        ));
    }
    let presented = presented(parts, state).ok_or(ApiError::new(Code::NOT_SIGNED_IN))?;
    let client = parts.extensions.get::<ClientAddress>().copied();
    let client = client.map_or(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), |client| client.0);
    if let Some((session, record)) = state.logins.verify(&presented.token).await? {
        if !state.identity.vouches_for(&record) {
            return Err(ApiError::new(Code::LOGIN_ENDED));
        }
        if presented.by_cookie {
            refuse_forged(&parts.method, headers, &session.login, state)?;
        }
        return Ok(of_login(session, record, presented.by_cookie, client));
    }
    if presented.by_cookie {
        return Err(ApiError::new(Code::TOKEN_INVALID));
    }
    if let Some((verified, is_handed_on)) = state.identity.oidc.bearer(&presented.token).await? {
        return Ok(of_provider(verified, is_handed_on, presented.token, client));
    }
    if !state.config.identity.kubernetes.enabled {
        return Err(ApiError::new(Code::TOKEN_INVALID));
    }
    let user = state.identity.kubernetes.user(&presented.token).await?;
    let user = user.ok_or(ApiError::new(Code::TOKEN_INVALID))?;
    Ok(Caller {
        display_name: user.name.clone(),
        user,
        credential: CallerCredential::Bearer(BearerToken::new(presented.token)),
        login: None,
        tenant: None,
        by_cookie: false,
        client,
    })
}

fn of_login(session: SessionToken, record: LoginRecord, by_cookie: bool, client: std::net::IpAddr) -> Caller {
    Caller {
        user: record.user_info(),
        tenant: record.tenant_id(),
        display_name: record.display_name,
        credential: session.own_token.map_or(CallerCredential::Impersonated, |token| {
            CallerCredential::Bearer(BearerToken::new(token))
        }),
        login: Some(session.login),
        by_cookie,
        client,
    }
}

fn of_provider(verified: VerifiedUser, is_handed_on: bool, token: String, client: std::net::IpAddr) -> Caller {
    Caller {
        user: verified.user,
        display_name: verified.display_name,
        credential: if is_handed_on {
            CallerCredential::Bearer(BearerToken::new(token))
        } else {
            CallerCredential::Impersonated
        },
        login: None,
        tenant: None,
        by_cookie: false,
        client,
    }
}

fn presented(parts: &Parts, state: &ApiState) -> Option<Presented> {
    let header = |token: String| Presented {
        token,
        by_cookie: false,
    };
    if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
        return bearer(value.to_str().ok()?).map(header);
    }
    if parts.uri.path().starts_with(&format!("{BASE_PATH}/pods"))
        && let Some(value) = parts.headers.get(USER_TOKEN_HEADER)
    {
        return value.to_str().ok().map(|token| header(token.to_owned()));
    }
    let token = cookies::session_token(&parts.headers, &state.config)?;
    Some(Presented { token, by_cookie: true })
}

/// RFC 6750, 2.1; the scheme is case-insensitive (RFC 9110, 11.1).
fn bearer(value: &str) -> Option<String> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}

/// A page of another site can have a browser send a cookie, but neither read the token nor set a header.
fn refuse_forged(method: &Method, headers: &HeaderMap, login: &LoginId, state: &ApiState) -> ApiResult<()> {
    if method.is_safe() {
        return Ok(());
    }
    let wanted = state.logins.csrf_token(login)?;
    let sent = headers
        .get(CSRF_HEADER)
        .map(http::HeaderValue::as_bytes)
        .unwrap_or_default();
    if bool::from(wanted.as_bytes().ct_eq(sent)) && origin_is_allowed(headers, &state.config) {
        Ok(())
    } else {
        Err(ApiError::new(Code::CSRF_REFUSED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_read_as_the_standard_has_it() {
        assert_eq!(bearer("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(bearer("bearer  abc").as_deref(), Some("abc"));
        for bad in ["Basic abc", "Bearer", "Bearer ", "abc"] {
            assert_eq!(bearer(bad), None, "{bad}");
        }
    }
}
