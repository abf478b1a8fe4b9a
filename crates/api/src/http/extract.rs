//! Parts of a request, with refusals in the envelope.

use axum::extract::{FromRequest, FromRequestParts, Path as AxumPath, Query as AxumQuery, Request};
use bytes::Bytes;
use http::{HeaderMap, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::{code::Code, error::ApiError, state::ApiState};

/// Bytes of a request's body.
pub(super) const BODY_BYTES: usize = 1024 * 1024;

/// A body of JSON, which has to be there.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

/// A body of JSON, or none, which stands for the defaults.
#[derive(Debug)]
pub struct OptionalBody<T>(pub T);

/// Parameters of the query. Unknown and repeated ones are refused.
#[derive(Debug)]
pub struct Query<T>(pub T);

/// Parameters of the path.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned> FromRequest<ApiState> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &ApiState) -> Result<Self, ApiError> {
        let (headers, bytes) = read(request).await?;
        is_json(&headers)?;
        parse(&bytes).map(Self)
    }
}

impl<T: DeserializeOwned + Default> FromRequest<ApiState> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &ApiState) -> Result<Self, ApiError> {
        let (headers, bytes) = read(request).await?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Self(T::default()));
        }
        is_json(&headers)?;
        parse(&bytes).map(Self)
    }
}

impl<T: DeserializeOwned> FromRequestParts<ApiState> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, ApiError> {
        let read = AxumQuery::<T>::try_from_uri(&parts.uri);
        let read = read.map_err(|error| ApiError::with(Code::INVALID_PARAMETER, error.body_text()))?;
        Ok(Self(read.0))
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<ApiState> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let read = AxumPath::<T>::from_request_parts(parts, state).await;
        let read = read.map_err(|error| ApiError::with(Code::INVALID_ID, error.body_text()))?;
        Ok(Self(read.0))
    }
}

async fn read(request: Request) -> Result<(HeaderMap, Bytes), ApiError> {
    let (parts, body) = request.into_parts();
    let read = Limited::new(body, BODY_BYTES).collect().await;
    let read = read.map_err(|error| {
        if error.is::<LengthLimitError>() {
            ApiError::with(Code::TOO_LARGE, format!("a body may have {BODY_BYTES} bytes"))
        } else {
            ApiError::with(Code::INVALID_REQUEST, "the body broke off")
        }
    })?;
    Ok((parts.headers, read.to_bytes()))
}

/// RFC 8259 has one character set, so a parameter of the type changes nothing. A form of a foreign page cannot have this type.
fn is_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let media_type = types.next().and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") && types.next().is_none() {
        Ok(())
    } else {
        Err(ApiError::new(Code::UNSUPPORTED_MEDIA_TYPE))
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // By way of a map: serde would take a list of fields for an object.
    let fields: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(bytes).map_err(|error| ApiError::with(Code::INVALID_BODY, error.to_string()))?;
    serde_json::from_value(serde_json::Value::Object(fields))
        .map_err(|error| ApiError::with(Code::INVALID_BODY, error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Force {
        force: bool,
    }

    #[test]
    fn a_body_is_an_object_with_known_fields() {
        assert_eq!(parse::<Force>(br#"{"force":true}"#).unwrap(), Force { force: true });
        for bad in [&b"[true]"[..], b"{\"force\":1}", b"{\"x\":1}", b"{} {}", b"", b"null"] {
            assert_eq!(parse::<Force>(bad).unwrap_err().code, Code::INVALID_BODY, "{bad:?}");
        }
    }

    #[test]
    fn only_json_is_read() {
        let with = |text: &str| HeaderMap::from_iter([(header::CONTENT_TYPE, text.parse().unwrap())]);
        for good in ["application/json", "Application/JSON; charset=utf-8"] {
            is_json(&with(good)).unwrap();
        }
        for bad in ["text/plain", "application/jsonp", "multipart/form-data"] {
            assert_eq!(is_json(&with(bad)).unwrap_err().code, Code::UNSUPPORTED_MEDIA_TYPE);
        }
        is_json(&HeaderMap::new()).unwrap_err();
    }
}
