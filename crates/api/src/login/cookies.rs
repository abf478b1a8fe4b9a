//! What a browser keeps of a login: the tokens, where no script can read them.

use cookie::{Cookie, SameSite};
use http::{HeaderMap, HeaderValue, header};
use jiff::Timestamp;

use super::IssuedLogin;
use crate::config::ApiConfig;

/// The cookie with the session token. The prefix lets a browser refuse it from another host, and without TLS (RFC 6265bis, 4.1.3).
const SESSION_COOKIE: &str = "__Host-novasphere";

/// Its name where there is no TLS at all.
const PLAIN_SESSION_COOKIE: &str = "novasphere";

/// The cookie with the refresh token.
const REFRESH_COOKIE: &str = "__Secure-novasphere-refresh";

const PLAIN_REFRESH_COOKIE: &str = "novasphere-refresh";

/// The refresh token is sent nowhere else.
const REFRESH_PATH: &str = "/api/v1/auth";

/// The cookies of a login.
#[must_use]
pub fn set(login: &IssuedLogin, config: &ApiConfig) -> HeaderMap {
    let session = of(config, session_name(config), &login.token, "/", login.refresh_expires);
    let refresh = of(
        config,
        refresh_name(config),
        &login.refresh_token,
        REFRESH_PATH,
        login.refresh_expires,
    );
    headers([session, refresh])
}

/// What takes them away.
#[must_use]
pub fn clear(config: &ApiConfig) -> HeaderMap {
    let session = of(config, session_name(config), "", "/", Timestamp::UNIX_EPOCH);
    let refresh = of(config, refresh_name(config), "", REFRESH_PATH, Timestamp::UNIX_EPOCH);
    headers([session, refresh])
}

/// The session token of a request's cookies.
#[must_use]
pub fn session_token(request: &HeaderMap, config: &ApiConfig) -> Option<String> {
    find(request, session_name(config))
}

/// The refresh token of a request's cookies.
#[must_use]
pub fn refresh_token(request: &HeaderMap, config: &ApiConfig) -> Option<String> {
    find(request, refresh_name(config))
}

fn session_name(config: &ApiConfig) -> &'static str {
    if config.has_secure_cookies() {
        SESSION_COOKIE
    } else {
        PLAIN_SESSION_COOKIE
    }
}

fn refresh_name(config: &ApiConfig) -> &'static str {
    if config.has_secure_cookies() {
        REFRESH_COOKIE
    } else {
        PLAIN_REFRESH_COOKIE
    }
}

/// In a frame of another site a browser sends only cookies that say so, and keeps them apart for each site (CHIPS).
fn of(config: &ApiConfig, name: &'static str, value: &str, path: &'static str, expires: Timestamp) -> String {
    let is_framed = config.embedding && config.has_secure_cookies();
    let mut cookie = Cookie::build((name, value.to_owned()))
        .path(path)
        .http_only(true)
        .secure(config.has_secure_cookies())
        .same_site(if is_framed { SameSite::None } else { SameSite::Lax })
        .build();
    if is_framed {
        cookie.set_partitioned(true);
    }
    let seconds = expires.duration_since(Timestamp::now()).as_secs().max(0);
    format!("{cookie}; Max-Age={seconds}")
}

fn headers(cookies: impl IntoIterator<Item = String>) -> HeaderMap {
    let values = cookies.into_iter().filter_map(|cookie| {
        let mut value = HeaderValue::from_str(&cookie).ok()?;
        value.set_sensitive(true);
        Some(value)
    });
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(header::SET_COOKIE, value);
    }
    headers
}

/// The value of a cookie of a request.
pub(crate) fn find(request: &HeaderMap, name: &str) -> Option<String> {
    let values = request
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut cookies = values.flat_map(Cookie::split_parse).flatten();
    cookies
        .find(|cookie| cookie.name() == name)
        .map(|cookie| cookie.value().to_owned())
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::{super::record::tests::record, *};
    use crate::login::LoginId;

    fn cookies(config: &ApiConfig) -> Vec<String> {
        let login = IssuedLogin {
            token: "t".to_owned(),
            expires: Timestamp::now(),
            refresh_token: "r".to_owned(),
            refresh_expires: Timestamp::now() + SignedDuration::from_secs(100),
            login: LoginId::generate(),
            record: record("ann"),
        };
        let set = set(&login, config);
        let values = set.get_all(header::SET_COOKIE).iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn no_script_and_no_other_site_gets_them() {
        for cookie in cookies(&ApiConfig::default()) {
            for part in ["HttpOnly", "Secure", "SameSite=Lax", "Max-Age="] {
                assert!(cookie.contains(part), "{part}: {cookie}");
            }
        }
        let first = cookies(&ApiConfig::default()).remove(0);
        assert!(
            first.starts_with("__Host-novasphere=t;") && first.contains("Path=/;"),
            "{first}"
        );
    }

    #[test]
    fn embedding_partitions_them() {
        let config = ApiConfig {
            embedding: true,
            ..ApiConfig::default()
        };
        for cookie in cookies(&config) {
            assert!(
                cookie.contains("SameSite=None") && cookie.contains("Partitioned"),
                "{cookie}"
            );
        }
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let request = HeaderMap::from_iter([(header::COOKIE, "a=b; __Host-novasphere=t".parse().unwrap())]);
        assert_eq!(session_token(&request, &ApiConfig::default()).unwrap(), "t");
        assert_eq!(refresh_token(&request, &ApiConfig::default()), None);
    }
}
