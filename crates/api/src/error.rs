//! Why a request gets no answer of its own: a [`Code`] with what is known of this case.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use novasphere_runtime::access::{AccessError, ReviewError};
use serde_json::{Map, Value};

use crate::{code::Code, envelope::Outcome};

/// A refusal or a failure.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    /// Its code.
    pub code: Code,
    /// What is wrong in this case, where, and what to do; in English, for `extra.detail`. Never a secret.
    pub detail: Option<String>,
    /// The field of the body or the parameter that is wrong, for `extra.field`.
    pub field: Option<String>,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// More members of `extra`.
    pub extra: Map<String, Value>,
}

/// The result of a handler.
pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// A refusal without more words than its code's.
    #[must_use]
    pub fn new(code: Code) -> Self {
        Self {
            code,
            detail: None,
            field: None,
            retry_after: None,
            extra: Map::new(),
        }
    }

    /// A refusal with a sentence about this case.
    #[must_use]
    pub fn with(code: Code, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..Self::new(code)
        }
    }

    /// A parameter or a field that is wrong.
    #[must_use]
    pub fn parameter(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            field: Some(field.into()),
            ..Self::with(Code::INVALID_PARAMETER, detail)
        }
    }

    /// The same with the field that is wrong.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// The same with a time after which to try again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl IntoResponse for ApiError {
    /// The body is written by the layer around all handlers, which knows the client's language and what it accepts.
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(Outcome::Refused(self));
        response
    }
}

impl From<AccessError> for ApiError {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Denied(text) => Self::with(Code::FORBIDDEN, text),
            AccessError::Unknown(error) => error.into(),
        }
    }
}

impl From<ReviewError> for ApiError {
    fn from(error: ReviewError) -> Self {
        let code = match error {
            ReviewError::Timeout => Code::CLUSTER_TIMEOUT,
            ReviewError::Api(_) => Code::CLUSTER_UNAVAILABLE,
        };
        tracing::warn!(%error, "rights are not known");
        Self::new(code).retry_after(Duration::from_secs(1))
    }
}
