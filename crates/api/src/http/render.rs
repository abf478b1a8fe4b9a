//! The body of an answer: the envelope, or RFC 9457 where the client accepts it, with what the client may keep.

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value, json, value::RawValue};
use sha2::{Digest as _, Sha256};

use super::note::RequestNote;
use crate::{
    code::Code,
    envelope::{Outcome, SUCCESS},
    error::ApiError,
    language::{Language, Sentence},
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// RFC 9457.
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Hex digits of an entity tag. It tells versions of one answer apart, so 64 bits are enough.
const TAG_DIGITS: usize = 16;

/// What of a request decides how its answer is written.
pub(super) struct Wanted {
    language: Language,
    is_problem_accepted: bool,
    is_get: bool,
    known_tag: Option<HeaderValue>,
}

#[derive(Serialize)]
struct WrittenEnvelope<'a> {
    code: u32,
    message: &'a str,
    data: &'a RawValue,
    extra: &'a Map<String, Value>,
}

impl Wanted {
    pub(super) fn of(method: &Method, headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(header::ACCEPT).iter();
        let is_problem_accepted = accepted
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.contains("application/problem+json"));
        Self {
            language: Language::of(headers),
            is_problem_accepted,
            is_get: method == Method::GET,
            known_tag: headers.get(header::IF_NONE_MATCH).cloned(),
        }
    }

    /// The answer with its body. One without an [`Outcome`], such as a stream of events or a redirect, stays as it is.
    pub(super) fn render(&self, mut response: Response, note: &RequestNote) -> Response {
        let Some(outcome) = outcome_of(&mut response) else {
            return response;
        };
        match outcome {
            Outcome::Answered { data, message, extra } => self.answered(response, &data, message, extra, note),
            Outcome::Refused(error) => self.refused(response, error, note),
        }
    }

    fn answered(
        &self,
        mut response: Response,
        data: &RawValue,
        message: Sentence,
        mut extra: Map<String, Value>,
        note: &RequestNote,
    ) -> Response {
        if self.is_get
            && let Some(tag) = entity_tag(data, self.language)
        {
            let is_known = self.known_tag.as_ref().is_some_and(|known| names(known, &tag));
            response.headers_mut().insert(header::ETAG, tag);
            if is_known {
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                return response;
            }
        }
        extra.insert("requestId".to_owned(), json!(note.request_id()));
        let message = if message == SUCCESS {
            SUCCESS.english
        } else {
            message.in_language(self.language)
        };
        let envelope = WrittenEnvelope {
            code: 200,
            message,
            data,
            extra: &extra,
        };
        with_body(response, &envelope, JSON, self.language)
    }

    fn refused(&self, mut response: Response, error: ApiError, note: &RequestNote) -> Response {
        let ApiError {
            code,
            detail,
            field,
            retry_after,
            mut extra,
        } = error;
        *response.status_mut() = code.status();
        if let Some(wait) = retry_after {
            // Rounded up: a client that comes back a moment early is refused again.
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
        }
        if code.status() == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"novasphere\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        let message = code.sentence().in_language(self.language);
        extra.insert("requestId".to_owned(), json!(note.request_id()));
        extra.insert("reason".to_owned(), json!(code.row().reason));
        if let Some(detail) = &detail {
            extra.insert("detail".to_owned(), json!(detail));
        }
        if let Some(field) = field {
            extra.insert("field".to_owned(), json!(field));
        }
        if self.is_problem_accepted {
            let mut problem = extra;
            problem.insert("type".to_owned(), json!("about:blank"));
            problem.insert("title".to_owned(), json!(message));
            problem.insert("status".to_owned(), json!(code.status().as_u16()));
            problem.insert("code".to_owned(), json!(code.row().number));
            return with_body(response, &problem, PROBLEM, self.language);
        }
        let envelope = WrittenEnvelope {
            code: code.row().number,
            message,
            data: RawValue::NULL,
            extra: &extra,
        };
        with_body(response, &envelope, JSON, self.language)
    }
}

/// What a handler left; for refusals of the framework itself, the code that fits.
fn outcome_of(response: &mut Response) -> Option<Outcome> {
    if let Some(outcome) = response.extensions_mut().remove::<Outcome>() {
        return Some(outcome);
    }
    let code = match response.status() {
        StatusCode::NOT_FOUND => Code::NO_SUCH_PATH,
        StatusCode::METHOD_NOT_ALLOWED => Code::METHOD_NOT_ALLOWED,
        StatusCode::BAD_REQUEST => Code::INVALID_REQUEST,
        StatusCode::PAYLOAD_TOO_LARGE => Code::TOO_LARGE,
        status if status.is_server_error() => Code::INTERNAL,
        _ => return None,
    };
    Some(Outcome::Refused(ApiError::new(code)))
}

fn with_body(mut response: Response, body: &impl Serialize, media_type: HeaderValue, language: Language) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => {
            let headers = response.headers_mut();
            headers.remove(header::CONTENT_LENGTH);
            headers.insert(header::CONTENT_TYPE, media_type);
            headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(language.tag()));
            *response.body_mut() = Body::from(bytes);
        }
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
    }
    response
}

/// The tag of a representation: `extra` has the request's ID and is not part of it, the message's language is.
fn entity_tag(data: &RawValue, language: Language) -> Option<HeaderValue> {
    let mut hasher = Sha256::new();
    hasher.update(language.tag());
    hasher.update(data.get());
    let digits = base16ct::lower::encode_string(&hasher.finalize());
    HeaderValue::from_str(&format!("\"{}\"", digits.get(..TAG_DIGITS)?)).ok()
}

/// Whether `If-None-Match` names a tag (RFC 9110, 13.1.2; the comparison is weak).
fn names(known: &HeaderValue, tag: &HeaderValue) -> bool {
    let (Ok(known), Ok(tag)) = (known.to_str(), tag.to_str()) else {
        return false;
    };
    known == "*" || known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use http_body_util::BodyExt;

    use super::*;
    use crate::envelope::Answer;

    async fn rendered(response: Response, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, Value) {
        let mut sent = HeaderMap::new();
        for (name, value) in headers {
            let name: header::HeaderName = name.parse().unwrap();
            sent.insert(name, value.parse().unwrap());
        }
        let note = RequestNote::new(&HeaderMap::new());
        let response = Wanted::of(&Method::GET, &sent).render(response, &note);
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (
            parts.status,
            parts.headers,
            serde_json::from_slice(&bytes).unwrap_or_default(),
        )
    }

    #[tokio::test]
    async fn an_answer_has_the_envelope_and_a_tag() {
        let answer = || Answer::new(json!({"a": 1})).into_response();
        let (status, headers, body) = rendered(answer(), &[]).await;
        assert_eq!(status, 200);
        assert_eq!(
            (&body["code"], &body["message"], &body["data"]["a"]),
            (&json!(200), &json!("success"), &json!(1))
        );
        assert!(body["extra"]["requestId"].is_string());
        let tag = headers[header::ETAG].to_str().unwrap().to_owned();
        let (status, _, body) = rendered(answer(), &[("if-none-match", &format!("\"x\", W/{tag}"))]).await;
        assert_eq!((status.as_u16(), body), (304, Value::Null));
    }

    #[tokio::test]
    async fn a_refusal_speaks_the_client_s_language() {
        let refusal = || ApiError::with(Code::BAD_CREDENTIALS, "d").into_response();
        let (status, headers, body) = rendered(refusal(), &[("accept-language", "zh-CN")]).await;
        assert_eq!(status, 401);
        assert_eq!(body["code"], 40101);
        assert_eq!(body["message"], "用户名或密码错误");
        assert_eq!(body["data"], Value::Null);
        assert_eq!(body["extra"]["reason"], "BadCredentials");
        assert_eq!(headers[header::CONTENT_LANGUAGE], "zh-CN");
        let (_, headers, body) = rendered(refusal(), &[("accept", "application/problem+json")]).await;
        assert_eq!(headers[header::CONTENT_TYPE], PROBLEM);
        assert_eq!((&body["status"], &body["detail"]), (&json!(401), &json!("d")));
    }

    #[tokio::test]
    async fn refusals_of_the_framework_are_in_the_envelope_too() {
        let (_, _, body) = rendered(StatusCode::METHOD_NOT_ALLOWED.into_response(), &[]).await;
        assert_eq!(body["code"], 40501);
        let wait = std::time::Duration::from_millis(1200);
        let refusal = ApiError::new(Code::TOO_MANY_REQUESTS).retry_after(wait).into_response();
        assert_eq!(rendered(refusal, &[]).await.1[header::RETRY_AFTER], "2");
    }
}
