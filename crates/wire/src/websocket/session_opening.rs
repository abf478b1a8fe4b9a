//! The opening of the WebSocket of one session, by its page: with a token, or to come back. No IO.

use http::{HeaderMap, Request, Response, header};

use super::opening::{Handshake, OpeningError, Origins, handshake_from, is_session, protocol_token};
use crate::{resume::ResumeCredential, token::TokenHash};

/// What the paths of one session begin with; `namespace/name/` and what is asked for follow. The default path of a cookie (RFC 6265 section
/// 5.1.4) that is set there is that session's, also behind a proxy that serves all of this below another path.
pub const SESSIONS_PATH: &str = "/api/v1/console/sessions/";

/// A request of the page for the WebSocket of one session: by a token, or to come back by what the browser was given.
#[derive(Clone, Debug)]
pub struct SessionOpening {
    /// The hash of the token that came with it.
    pub token: Option<TokenHash>,
    /// What the browser was given when it entered before.
    pub resume: Option<ResumeCredential>,
    /// Whether it comes from a page, whose browser keeps what it is given. A browser adds it by itself to whatever asks, so without an allowed
    /// origin it counts for nothing.
    pub is_page: bool,
    handshake: Handshake,
}

impl SessionOpening {
    /// Reads a request. What is given to browsers is in the cookie of this name.
    ///
    /// # Errors
    ///
    /// [`OpeningError`]: answer with its status and text. That neither a token nor a credential came is none.
    pub fn read<B>(request: &Request<B>, origins: &Origins, cookie: &str) -> Result<Self, OpeningError> {
        let handshake = handshake_from(request, origins)?;
        let headers = request.headers();
        let token = protocol_token(headers).map(|token| TokenHash::of_token(token.as_bytes()));
        let is_page = headers.contains_key(header::ORIGIN);
        Ok(Self {
            token: token.transpose().map_err(|_| OpeningError::Token)?,
            resume: resume_cookie(headers, cookie).filter(|_| is_page),
            is_page,
            handshake,
        })
    }

    /// The answer that opens the WebSocket.
    #[must_use]
    pub fn response<B: Default>(&self) -> Response<B> {
        self.handshake.response()
    }
}

/// The credential in the cookie of this name. A browser of whom only this gateway sets it sends one; of several with different values it is
/// not known which is its own, so none counts.
#[must_use]
pub fn resume_cookie(headers: &HeaderMap, name: &str) -> Option<ResumeCredential> {
    let cookies = headers.get_all(header::COOKIE).into_iter();
    let pairs = cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value);
    let first = values.next()?;
    if values.any(|other| other != first) {
        return None;
    }
    ResumeCredential::parse(first).ok()
}

/// The session of a path below [`SESSIONS_PATH`], as `namespace/name`, and what is asked of it.
#[must_use]
pub fn session_of_path(path: &str) -> Option<(&str, &str)> {
    let (session, what) = path.strip_prefix(SESSIONS_PATH)?.rsplit_once('/')?;
    is_session(session).then_some((session, what))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{token::TOKEN_BYTES, websocket::opening::TOKEN_SUBPROTOCOL};

    const TOKEN: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM-_09";

    const COOKIE: &str = "__Secure-novasphere-resume";

    fn read_of_page(headers: &[(&str, &str)]) -> Result<SessionOpening, OpeningError> {
        let basic = [
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let request = basic
            .iter()
            .chain(headers)
            .fold(Request::get("/ws"), |request, (name, value)| {
                request.header(*name, *value)
            });
        let origins = Origins::new(["https://consoles.example.org"]).unwrap();
        SessionOpening::read(&request.body(()).unwrap(), &origins, COOKIE)
    }

    #[test]
    fn a_page_comes_back_by_its_cookie_and_no_other_page_does() {
        let kept = "k".repeat(2 * TOKEN_BYTES);
        let cookie = format!("other=1; {COOKIE}={kept}; {COOKIE}-x=2");
        let own = ("origin", "https://consoles.example.org");
        let opening = read_of_page(&[own, ("cookie", &cookie)]).unwrap();
        assert!(opening.token.is_none() && opening.is_page);
        assert_eq!(opening.resume.unwrap().text(), kept);
        // A browser sends its cookies whoever asks.
        for origin in ["https://evil.test", "null", "https://consoles.example.org.evil.test"] {
            let refused = read_of_page(&[("origin", origin), ("cookie", &cookie)]);
            assert_eq!(refused.unwrap_err(), OpeningError::Origin, "{origin}");
        }
        let program = read_of_page(&[("cookie", &cookie)]).unwrap();
        assert!(program.resume.is_none() && !program.is_page, "it is no page");
        let nothing = read_of_page(&[own]).unwrap();
        assert!(nothing.resume.is_none() && nothing.token.is_none());
        let protocol = format!("binary, {TOKEN_SUBPROTOCOL}{TOKEN}");
        let both = read_of_page(&[own, ("cookie", &cookie), ("sec-websocket-protocol", &protocol)]).unwrap();
        assert!(both.token.is_some() && both.resume.is_some());
        let short = format!("{TOKEN_SUBPROTOCOL}short");
        let malformed = read_of_page(&[own, ("sec-websocket-protocol", &short)]);
        assert_eq!(malformed.unwrap_err(), OpeningError::Token);
    }

    #[test]
    fn of_two_cookies_of_the_name_none_counts() {
        let (one, two) = ("1".repeat(2 * TOKEN_BYTES), "2".repeat(2 * TOKEN_BYTES));
        let own = ("origin", "https://consoles.example.org");
        for (sent, is_read) in [
            (format!("{COOKIE}={one}; {COOKIE}={one}"), true),
            (format!("{COOKIE}={one}; {COOKIE}={two}"), false),
            (format!("{COOKIE}={one}; {COOKIE}="), false),
            (format!("{COOKIE}=short"), false),
        ] {
            let opening = read_of_page(&[own, ("cookie", &sent)]).unwrap();
            assert_eq!(opening.resume.is_some(), is_read, "{sent}");
        }
    }

    #[test]
    fn a_path_names_one_session() {
        let path = |rest: &str| format!("{SESSIONS_PATH}{rest}");
        assert_eq!(session_of_path(&path("team/look-1/ws")), Some(("team/look-1", "ws")));
        assert_eq!(
            session_of_path(&path("team/look.1/target")),
            Some(("team/look.1", "target"))
        );
        for rest in [
            "",
            "ws",
            "team/ws",
            "team//ws",
            "a/b/c/ws",
            "a/B/ws",
            "a/b%2F/ws",
            "../b/c/ws",
        ] {
            assert_eq!(session_of_path(&path(rest)), None, "{rest}");
        }
        assert_eq!(session_of_path("/api/v1/console/ws"), None);
    }

    proptest! {
        #[test]
        fn arbitrary_cookies_are_answered(cookie in "[ -~]{0,120}", path in "[ -~]{0,80}") {
            let _ = read_of_page(&[("origin", "https://consoles.example.org"), ("cookie", &cookie)]);
            let _ = session_of_path(&format!("{SESSIONS_PATH}{path}"));
        }
    }
}
