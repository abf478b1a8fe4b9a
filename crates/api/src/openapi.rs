//! The `OpenAPI` document, made from the handlers' own types, and a page that shows it.

mod page;

use std::{collections::BTreeMap, sync::Arc};

use axum::{Router, response::IntoResponse, routing::get};
use http::{HeaderValue, header};
use serde_json::{Map, Value, json};
use utoipa::{
    PartialSchema as _,
    openapi::{InfoBuilder, OpenApi, OpenApiBuilder, ServerBuilder},
};

use crate::{
    code::{CODES, Code},
    envelope::Refusal,
    state::ApiState,
};

/// Where the document is served.
pub const DOCUMENT_PATH: &str = "/api/v1/openapi.json";

/// Where the page is served that shows it.
const PAGE_PATH: &str = "/api/v1/docs";

/// Statuses that every operation may answer with.
const COMMON_STATUSES: [u16; 10] = [400, 401, 403, 404, 406, 408, 429, 500, 503, 504];

/// Statuses of operations that write, beside them.
const WRITE_STATUSES: [u16; 7] = [409, 412, 413, 415, 422, 501, 502];

/// The document without operations.
#[must_use]
pub fn head() -> OpenApi {
    let info = InfoBuilder::new()
        .title("novasphere")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Virtual machines, desktops and their consoles, under the rights that Kubernetes RBAC gives you.",
        ))
        .build();
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([ServerBuilder::new().url("/").build()]))
        .build()
}

/// The document with what all operations have: refusals by status, and the ways to sign in.
#[must_use]
pub fn completed(document: &OpenApi) -> Value {
    let mut document = serde_json::to_value(document).unwrap_or_default();
    let statuses = codes_by_status();
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    for operations in paths.into_iter().flat_map(Map::values_mut) {
        for (method, operation) in operations.as_object_mut().into_iter().flatten() {
            if let Some(operation) = operation.as_object_mut() {
                add_refusals(operation, method != "get", &statuses);
            }
        }
    }
    if let Some(document) = document.as_object_mut() {
        add_components(document);
    }
    document
}

/// The paths of the document, which are the templates of all routes.
#[must_use]
pub fn paths(document: &Value) -> Vec<String> {
    let paths = document.get("paths").and_then(Value::as_object);
    paths.into_iter().flat_map(|paths| paths.keys().cloned()).collect()
}

/// The document and its page.
pub fn routes(document: &Value) -> Router<ApiState> {
    let text: Arc<str> = document.to_string().into();
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    let page: Arc<str> = page::html(document).into();
    let html = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (header::CONTENT_SECURITY_POLICY, page::POLICY),
    ];
    Router::new()
        .route(
            DOCUMENT_PATH,
            get(move || async move { (json, text.to_string()).into_response() }),
        )
        .route(
            PAGE_PATH,
            get(move || async move { (html, page.to_string()).into_response() }),
        )
}

fn codes_by_status() -> BTreeMap<u16, Vec<Code>> {
    let mut statuses: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in CODES {
        statuses.entry(code.status().as_u16()).or_default().push(*code);
    }
    statuses
}

fn add_refusals(operation: &mut Map<String, Value>, writes: bool, statuses: &BTreeMap<u16, Vec<Code>>) {
    let responses = operation.entry("responses").or_insert_with(|| json!({}));
    let Some(responses) = responses.as_object_mut() else {
        return;
    };
    for (status, codes) in statuses {
        let is_answered = COMMON_STATUSES.contains(status) || (writes && WRITE_STATUSES.contains(status));
        if !is_answered {
            continue;
        }
        let sentences: Vec<String> = codes
            .iter()
            .map(|code| format!("{}: {}", code.row().number, code.row().english))
            .collect();
        let refusal = json!({"schema": {"$ref": "#/components/schemas/Refusal"}});
        let response = json!({
            "description": sentences.join("\n\n"),
            "content": {"application/json": refusal, "application/problem+json": {"schema": {"type": "object"}}},
        });
        responses.entry(status.to_string()).or_insert(response);
    }
}

fn add_components(document: &mut Map<String, Value>) {
    let components = document.entry("components").or_insert_with(|| json!({}));
    let Some(components) = components.as_object_mut() else {
        return;
    };
    let types = components.entry("schemas").or_insert_with(|| json!({}));
    if let (Some(types), Ok(refusal)) = (types.as_object_mut(), serde_json::to_value(Refusal::schema())) {
        types.insert("Refusal".to_owned(), refusal);
    }
    let ways = json!({
        "bearer": {"type": "http", "scheme": "bearer"},
        "cookie": {"type": "apiKey", "in": "cookie", "name": "__Host-novasphere"},
    });
    components.insert("securitySchemes".to_owned(), ways);
    document.insert("security".to_owned(), json!([{"bearer": []}, {"cookie": []}]));
}
