//! What is known of a request while it is answered, for its log line.

use std::sync::Arc;

use http::{HeaderMap, request::Parts};
use parking_lot::Mutex;

/// Longer IDs of a client's are replaced.
const REQUEST_ID_BYTES: usize = 64;

/// The request's ID, and who was found to have sent it. Clones share it.
#[derive(Clone, Debug)]
pub struct RequestNote(Arc<NoteInner>);

#[derive(Debug)]
struct NoteInner {
    request_id: String,
    user: Mutex<Option<String>>,
}

impl RequestNote {
    /// A note for a request with these headers: `X-Request-Id` is taken where it can stand in a log.
    #[must_use]
    pub fn new(headers: &HeaderMap) -> Self {
        let given = headers.get("x-request-id").and_then(|value| value.to_str().ok());
        let request_id = match given {
            Some(given) if is_request_id(given) => given.to_owned(),
            _ => format!("{:016x}", rand::random::<u64>()),
        };
        Self(Arc::new(NoteInner {
            request_id,
            user: Mutex::default(),
        }))
    }

    /// The note of a request, or a new one when no layer made one.
    #[must_use]
    pub fn of(parts: &Parts) -> Self {
        let found = parts.extensions.get::<Self>().cloned();
        found.unwrap_or_else(|| Self::new(&parts.headers))
    }

    /// The request's ID.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.0.request_id
    }

    /// Notes who has sent it.
    pub fn name_user(&self, user: &str) {
        *self.0.user.lock() = Some(user.to_owned());
    }

    /// Who has sent it, once that is known.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        self.0.user.lock().clone()
    }
}

fn is_request_id(text: &str) -> bool {
    (1..=REQUEST_ID_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn with_id(id: &str) -> String {
        let name = HeaderName::from_static("x-request-id");
        let headers = HeaderMap::from_iter([(name, id.parse().unwrap())]);
        RequestNote::new(&headers).request_id().to_owned()
    }

    #[test]
    fn an_id_is_taken_where_it_can_stand_in_a_log() {
        assert_eq!(with_id("a-1.b_2"), "a-1.b_2");
        for bad in ["a b", "", &"x".repeat(65), "\"}"] {
            assert_ne!(with_id(bad), bad);
            assert_eq!(with_id(bad).len(), 16);
        }
    }
}
