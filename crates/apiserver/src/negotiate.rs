//! Which form of answer a client takes, and in which form its body is (RFC 9110 section 12.5.1, as far as Kubernetes'
//! clients use it). No IO.

use http::{HeaderMap, header};
use novasphere_runtime::serve::status::StatusError;

/// The media type of aggregated discovery.
pub const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// A form of answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Plain JSON.
    Json,
    /// JSON of an `APIGroupDiscoveryList`.
    Aggregated,
}

/// The first of the forms that the client names and that there is. Without `Accept` it takes anything.
///
/// # Errors
///
/// 406 when it takes none of them.
pub fn accepted_form(headers: &HeaderMap, aggregated: bool) -> Result<Form, StatusError> {
    let mut any = false;
    for value in headers.get_all(header::ACCEPT) {
        let ranges = value.to_str().unwrap_or_default();
        for range in ranges.split(',').map(str::trim).filter(|range| !range.is_empty()) {
            any = true;
            if let Some(form) = form(range).filter(|form| aggregated || *form == Form::Json) {
                return Ok(form);
            }
        }
    }
    if any {
        Err(StatusError::NotAcceptable)
    } else {
        Ok(Form::Json)
    }
}

/// What a media range asks for. `as` asks for another kind of object than the plain one.
fn form(range: &str) -> Option<Form> {
    let (media_type, parameters) = parts(range);
    let get = |name: &str| {
        let mut all = parameters.iter();
        all.find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    };
    if get("q").is_some_and(|quality| quality.parse() == Ok(0.0)) {
        return None;
    }
    let json = ["application/json", "application/*", "*/*"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(media_type));
    match (get("g"), get("v"), get("as")) {
        _ if !json => None,
        (_, _, None) => Some(Form::Json),
        (Some("apidiscovery.k8s.io"), Some("v2"), Some("APIGroupDiscoveryList")) => Some(Form::Aggregated),
        _ => None,
    }
}

/// Whether the body is JSON; without a type it is taken for it, as kube-apiserver does.
///
/// # Errors
///
/// 415 for every other type.
pub fn body_is_json(headers: &HeaderMap) -> Result<(), StatusError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let (media_type, _) = parts(value.to_str().unwrap_or_default());
    if media_type.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(StatusError::UnsupportedMediaType)
    }
}

fn parts(range: &str) -> (&str, Vec<(&str, &str)>) {
    let mut parts = range.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    let parameters = parts.filter_map(|part| part.split_once('='));
    (
        media_type,
        parameters
            .map(|(key, value)| (key.trim(), value.trim().trim_matches('"')))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn accepted(value: &str) -> Option<Form> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(value).unwrap());
        accepted_form(&headers, true).ok()
    }

    #[test]
    fn the_first_form_that_there_is_counts() {
        let discovery = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        assert_eq!(
            accepted(&format!("{discovery},application/json")),
            Some(Form::Aggregated)
        );
        assert_eq!(accepted(&format!("application/json, {discovery}")), Some(Form::Json));
        // What the namespace controller and client-go's protobuf clients send.
        for json in [
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
            "application/vnd.kubernetes.protobuf, application/json",
            "*/*",
            "application/*;q=0.8",
            "",
        ] {
            assert_eq!(accepted(json), Some(Form::Json), "{json}");
        }
        for none in [
            "application/vnd.kubernetes.protobuf",
            "text/html",
            "application/json;as=Table;g=meta.k8s.io;v=v1",
            "application/json;q=0",
            "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        ] {
            assert_eq!(accepted(none), None, "{none}");
        }
    }

    #[test]
    fn aggregated_discovery_is_of_one_path_only() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(AGGREGATED));
        assert!(accepted_form(&headers, false).is_err());
        headers.append(header::ACCEPT, HeaderValue::from_static("application/json"));
        assert_eq!(accepted_form(&headers, false).unwrap(), Form::Json);
    }

    #[test]
    fn bodies_are_json() {
        let mut headers = HeaderMap::new();
        assert!(body_is_json(&headers).is_ok());
        for (value, good) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/yaml", false),
            ("application/vnd.kubernetes.protobuf", false),
        ] {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
            assert_eq!(body_is_json(&headers).is_ok(), good, "{value}");
        }
    }
}
