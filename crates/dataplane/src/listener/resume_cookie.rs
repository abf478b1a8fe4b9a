//! The cookie with what a browser comes back with.
//!
//! It is set in the answer that opens the WebSocket: so it costs no request of its own, and nobody has it who has no stream. It has no
//! `Path`, so a browser sends it to the directory of that request alone, which is its session's, also behind a proxy that serves all of this
//! below another path. Scripts cannot read it.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use novasphere_wire::{resume::ResumeCredential, websocket::session_opening::resume_cookie};

/// The cookie of this gateway's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResumeCookie {
    /// Sent only where the page itself is what a person has opened.
    OwnPage,
    /// Sent in frames of other sites as well, to each of them another one: browsers keep it by the site of the outermost page.
    Embedded,
}

impl ResumeCookie {
    pub(super) const fn new(is_embedded: bool) -> Self {
        if is_embedded { Self::Embedded } else { Self::OwnPage }
    }

    /// Another name for each: a cookie of the one kind does not stand beside one of the other when the configuration changes.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::OwnPage => "__Secure-novasphere-resume",
            Self::Embedded => "__Secure-novasphere-resume-embedded",
        }
    }

    const fn attributes(self) -> &'static str {
        match self {
            Self::OwnPage => "Secure; HttpOnly; SameSite=Strict",
            Self::Embedded => "Secure; HttpOnly; SameSite=None; Partitioned",
        }
    }

    pub(super) fn of(self, headers: &HeaderMap) -> Option<ResumeCredential> {
        resume_cookie(headers, self.name())
    }

    /// Gives a browser a credential that is good for at most this time.
    pub(super) fn set(self, credential: &ResumeCredential, left: Duration) -> Option<HeaderValue> {
        self.value(&credential.text(), left.as_secs().max(1))
    }

    /// Takes it away.
    pub(super) fn removed(self) -> Option<HeaderValue> {
        self.value("", 0)
    }

    fn value(self, text: &str, seconds: u64) -> Option<HeaderValue> {
        let cookie = format!("{}={text}; Max-Age={seconds}; {}", self.name(), self.attributes());
        let mut value = HeaderValue::from_str(&cookie).ok()?;
        // It is shown in no log.
        value.set_sensitive(true);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    #[test]
    fn a_browser_sends_it_to_its_session_and_for_its_page_alone() {
        let credential = ResumeCredential::new([1; 32], [2; 32]);
        for (cookie, attributes) in [
            (ResumeCookie::OwnPage, "Secure; HttpOnly; SameSite=Strict"),
            (ResumeCookie::Embedded, "Secure; HttpOnly; SameSite=None; Partitioned"),
        ] {
            let set = cookie.set(&credential, Duration::from_millis(90_500)).unwrap();
            assert!(!format!("{set:?}").contains(&credential.text()));
            let set = set.to_str().unwrap().to_owned();
            assert_eq!(
                set,
                format!("{}={}; Max-Age=90; {attributes}", cookie.name(), credential.text())
            );
            assert!(!set.contains("Path") && !set.contains("Domain"));
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, set.split(';').next().unwrap().parse().unwrap());
            assert_eq!(cookie.of(&headers).unwrap().text(), credential.text());
            let removed = cookie.removed().unwrap();
            assert_eq!(
                removed.to_str().unwrap(),
                format!("{}=; Max-Age=0; {attributes}", cookie.name())
            );
        }
    }
}
