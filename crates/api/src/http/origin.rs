//! Pages of which origins may call.

use http::{HeaderMap, header};

use crate::config::ApiConfig;

/// The origin of a page that a browser names, if it is not ours and not allowed: a request with it must not act with a cookie, and gets
/// no CORS headers.
///
/// `Origin` is compared with `allowedOrigins`, with `publicUrl`, and with the name that the request was sent to, as RFC 6454 and the advice of
/// OWASP have it. Where a browser sends none, `Sec-Fetch-Site` tells.
#[must_use]
pub fn origin_is_allowed(headers: &HeaderMap, config: &ApiConfig) -> bool {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = headers.get(header::ORIGIN) else {
        let site = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
        return !matches!(site, Some("cross-site" | "same-site"));
    };
    let Ok(origin) = origin.to_str() else { return false };
    is_listed(origin, config) || authority(origin).is_some_and(|authority| text(header::HOST) == Some(authority))
}

/// Whether an origin is configured: its pages may read answers.
pub(super) fn is_listed(origin: &str, config: &ApiConfig) -> bool {
    let own = config.public_url.as_deref().and_then(origin_of_url);
    config.allowed_origins.iter().any(|allowed| allowed == origin) || own == Some(origin)
}

fn authority(origin: &str) -> Option<&str> {
    origin.split_once("://").map(|(_, authority)| authority)
}

/// Scheme, host and port of a URL.
fn origin_of_url(url: &str) -> Option<&str> {
    let begin = url.find("://")? + 3;
    let end = url.get(begin..)?.find('/').map_or(url.len(), |slash| begin + slash);
    url.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(pairs: &[(&str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: header::HeaderName = name.parse().unwrap();
            headers.insert(name, value.parse().unwrap());
        }
        let config = ApiConfig {
            allowed_origins: vec!["https://portal.example.org".to_owned()],
            public_url: Some("https://vms.example.org/nova".to_owned()),
            ..ApiConfig::default()
        };
        origin_is_allowed(&headers, &config)
    }

    #[test]
    fn foreign_pages_are_told_from_ours() {
        for good in [
            &[][..],
            &[("host", "a:8444"), ("origin", "https://a:8444")],
            &[("host", "a"), ("origin", "https://portal.example.org")],
            &[("host", "a"), ("origin", "https://vms.example.org")],
            &[("sec-fetch-site", "same-origin")],
        ] {
            assert!(allowed(good), "{good:?}");
        }
        for bad in [
            &[("host", "a"), ("origin", "https://evil.example.org")][..],
            &[("host", "a"), ("origin", "null")],
            &[("host", "a"), ("origin", "https://portal.example.org.evil.example")],
            &[("sec-fetch-site", "cross-site")],
        ] {
            assert!(!allowed(bad), "{bad:?}");
        }
    }
}
