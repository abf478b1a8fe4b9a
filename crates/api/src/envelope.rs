//! The envelope of every answer: `{code, message, data, extra}`.
//!
//! A handler returns [`Answer`] or [`ApiError`]; neither writes a body. The layer of [`crate::http`] does, once, because it knows
//! the client's language, whether it accepts `application/problem+json`, and the request's ID.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};
use utoipa::ToSchema;

use crate::{error::ApiError, language::Sentence};

/// The shape of an answer, for the `OpenAPI` document.
#[derive(Debug, Serialize, ToSchema)]
pub struct Envelope<T> {
    /// 200, or the HTTP status and two digits.
    pub code: u32,
    /// For people, in the language of `Accept-Language`.
    pub message: String,
    /// The answer itself; `null` when there is none.
    pub data: T,
    /// Extensions: `requestId` always.
    pub extra: Map<String, Value>,
}

/// No `data`: `null`.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Nothing;

/// The shape of a refusal, for the `OpenAPI` document.
#[derive(Debug, Serialize, ToSchema)]
pub struct Refusal {
    /// The HTTP status and two digits.
    pub code: u32,
    /// For people, in the language of `Accept-Language`.
    pub message: String,
    /// Always `null`.
    pub data: Nothing,
    /// `requestId` and `reason` always; `detail`, `field` and more where they help.
    pub extra: Map<String, Value>,
}

/// What a successful answer says to people.
pub const SUCCESS: Sentence = Sentence {
    english: "success",
    chinese: "success",
};

/// A successful answer.
#[derive(Debug)]
pub struct Answer<T> {
    /// `data`.
    pub data: T,
    /// `message`.
    pub message: Sentence,
    /// More members of `extra`.
    pub extra: Map<String, Value>,
    /// Headers, such as cookies.
    pub headers: HeaderMap,
}

impl<T> Answer<T> {
    /// An answer with this `data`.
    #[must_use]
    pub fn new(data: T) -> Self {
        Self {
            data,
            message: SUCCESS,
            extra: Map::new(),
            headers: HeaderMap::new(),
        }
    }

    /// The same with another message.
    #[must_use]
    pub fn saying(self, message: Sentence) -> Self {
        Self { message, ..self }
    }

    /// The same with a member of `extra`.
    #[must_use]
    pub fn extra(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(name.to_owned(), value.into());
        self
    }
}

/// What the layer writes a body from. It is an extension of the response.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A handler answered.
    Answered {
        /// `data` as JSON.
        data: Box<RawValue>,
        /// `message`.
        message: Sentence,
        /// Members of `extra`.
        extra: Map<String, Value>,
    },
    /// A handler refused or failed.
    Refused(ApiError),
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let data = match serde_json::value::to_raw_value(&self.data) {
            Ok(data) => data,
            Err(error) => {
                tracing::error!(%error, "an answer cannot be written as JSON");
                return ApiError::new(crate::code::Code::INTERNAL).into_response();
            }
        };
        let mut response = StatusCode::OK.into_response();
        response.headers_mut().extend(self.headers);
        response.extensions_mut().insert(Outcome::Answered {
            data,
            message: self.message,
            extra: self.extra,
        });
        response
    }
}
