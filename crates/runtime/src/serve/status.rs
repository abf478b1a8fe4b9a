//! Errors as `metav1.Status`, with the codes and reasons that Kubernetes' clients know.

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::access::AccessError;

/// Body of an answer.
pub type ResponseBody = Full<Bytes>;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The request cannot be understood.
    #[error("{0}")]
    BadRequest(String),
    /// The request is not authenticated.
    #[error("Unauthorized: {0}")]
    Unauthorized(String),
    /// The user does not have the right; the sentence names verb and resource.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such path.
    #[error("the server could not find the requested resource")]
    NoSuchPath,
    /// There is no such object.
    #[error("{resource}.{group} {name:?} not found")]
    NotFound {
        /// Its group.
        group: &'static str,
        /// Its plural.
        resource: &'static str,
        /// Its name.
        name: String,
    },
    /// The path has no such method.
    #[error("the server does not allow this method on the requested resource; it allows {0}")]
    MethodNotAllowed(Method),
    /// The client accepts no media type that can be served.
    #[error("only the following media types are accepted: application/json")]
    NotAcceptable,
    /// The object is in a state in which this cannot be done.
    #[error("{0}")]
    Conflict(String),
    /// The body has a media type that is not read.
    #[error("the body of the request was in an unknown format - accepted media types include: application/json")]
    UnsupportedMediaType,
    /// A field has a value that it may not have.
    #[error("{kind}.{group} is invalid: {field}: {message}")]
    Invalid {
        /// The kind of the body.
        kind: &'static str,
        /// Its group.
        group: &'static str,
        /// Path of the field.
        field: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The body is too large.
    #[error("the body of the request is larger than {0} bytes")]
    TooLarge(usize),
    /// A limit on concurrent requests or objects is reached.
    #[error("{0}")]
    TooManyRequests(String),
    /// A fault of this server.
    #[error("Internal error occurred: {0}")]
    Internal(String),
    /// A server that is needed does not answer.
    #[error("{0}")]
    Unavailable(String),
}

impl StatusError {
    /// A field of an object of this group and kind that is wrong.
    #[must_use]
    pub fn invalid(group: &'static str, kind: &'static str, field: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid {
            kind,
            group,
            field,
            message: message.into(),
        }
    }

    /// The HTTP status.
    #[must_use]
    pub const fn code(&self) -> StatusCode {
        self.row().0
    }

    /// The `reason` of `metav1.Status`; also for logs and metric labels.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        self.row().1
    }

    /// Code and reason as in `k8s.io/apimachinery/pkg/api/errors`.
    const fn row(&self) -> (StatusCode, &'static str) {
        match self {
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "BadRequest"),
            Self::Unauthorized(_) => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "Forbidden"),
            Self::NoSuchPath | Self::NotFound { .. } => (StatusCode::NOT_FOUND, "NotFound"),
            Self::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
            Self::NotAcceptable => (StatusCode::NOT_ACCEPTABLE, "NotAcceptable"),
            Self::Conflict(_) => (StatusCode::CONFLICT, "Conflict"),
            Self::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType"),
            Self::Invalid { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge"),
            Self::TooManyRequests(_) => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
        }
    }

    /// Seconds after which to try again; `None` when the same request would fail again.
    const fn retry_after(&self) -> Option<u32> {
        match self {
            Self::TooManyRequests(_) | Self::Unavailable(_) => Some(1),
            _ => None,
        }
    }

    fn details(&self) -> Option<Value> {
        let retry = self.retry_after();
        match self {
            Self::NotFound { group, resource, name } => Some(json!({"name": name, "group": group, "kind": resource})),
            Self::Invalid {
                kind,
                group,
                field,
                message,
            } => {
                let cause = json!({"reason": "FieldValueInvalid", "message": message, "field": field});
                Some(json!({"group": group, "kind": kind, "causes": [cause]}))
            }
            _ => retry.map(|seconds| json!({"retryAfterSeconds": seconds})),
        }
    }

    /// The answer.
    #[must_use]
    pub fn response(&self) -> Response<ResponseBody> {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.to_string(),
            "reason": self.reason(),
            "code": self.code().as_u16(),
        });
        if let (Some(details), Some(status)) = (self.details(), status.as_object_mut()) {
            status.insert("details".to_owned(), details);
        }
        let mut response = json_response(self.code(), &status);
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Self::MethodNotAllowed(allowed) = self
            && let Ok(allowed) = HeaderValue::from_str(allowed.as_str())
        {
            headers.insert(header::ALLOW, allowed);
        }
        response
    }
}

impl From<AccessError> for StatusError {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Denied(sentence) => Self::Forbidden(sentence),
            AccessError::Unknown(error) => Self::Unavailable(error.to_string()),
        }
    }
}

/// An answer in JSON.
#[must_use]
pub fn json_response(code: StatusCode, body: &Value) -> Response<ResponseBody> {
    bytes_response(
        code,
        HeaderValue::from_static("application/json"),
        body.to_string().into(),
    )
}

/// An answer of some type.
#[must_use]
pub fn bytes_response(code: StatusCode, content_type: HeaderValue, body: Bytes) -> Response<ResponseBody> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

    use super::*;

    /// The body as JSON.
    async fn body(response: Response<ResponseBody>) -> Value {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[tokio::test]
    async fn errors_are_statuses_that_clients_know() {
        let errors = [
            (StatusError::BadRequest("x".into()), 400, "BadRequest"),
            (StatusError::Unauthorized("x".into()), 401, "Unauthorized"),
            (StatusError::Forbidden("x".into()), 403, "Forbidden"),
            (StatusError::NoSuchPath, 404, "NotFound"),
            (StatusError::MethodNotAllowed(Method::GET), 405, "MethodNotAllowed"),
            (StatusError::NotAcceptable, 406, "NotAcceptable"),
            (StatusError::Conflict("x".into()), 409, "Conflict"),
            (StatusError::UnsupportedMediaType, 415, "UnsupportedMediaType"),
            (
                StatusError::invalid("subresources.novasphere.io", "ConsoleToken", "uses", "x"),
                422,
                "Invalid",
            ),
            (StatusError::TooManyRequests("x".into()), 429, "TooManyRequests"),
            (StatusError::Internal("x".into()), 500, "InternalError"),
            (StatusError::Unavailable("x".into()), 503, "ServiceUnavailable"),
        ];
        for (error, code, reason) in errors {
            let response = error.response();
            assert_eq!(response.status(), code);
            let status: Status = serde_json::from_value(body(response).await).unwrap();
            assert_eq!(
                (status.code, status.reason.as_deref()),
                (Some(code.into()), Some(reason))
            );
            assert_eq!(
                (status.status.as_deref(), status.message),
                (Some("Failure"), Some(error.to_string()))
            );
        }
    }

    #[tokio::test]
    async fn details_say_which_object_field_and_when_to_come_back() {
        let missing = StatusError::NotFound {
            group: "novasphere.io",
            resource: "vmaccesses",
            name: "web".into(),
        };
        let missing = body(missing.response()).await;
        assert_eq!(
            missing["details"],
            json!({"name": "web", "group": "novasphere.io", "kind": "vmaccesses"})
        );
        let invalid =
            body(StatusError::invalid("subresources.novasphere.io", "ConsoleToken", "uses", "too many").response())
                .await;
        assert_eq!(invalid["details"]["causes"][0]["field"], "uses");
        let busy = StatusError::TooManyRequests("x".into()).response();
        assert_eq!(busy.headers()[header::RETRY_AFTER], "1");
        assert_eq!(body(busy).await["details"]["retryAfterSeconds"], 1);
        let method = StatusError::MethodNotAllowed(Method::POST).response();
        assert_eq!(method.headers()[header::ALLOW], "POST");
    }
}
