//! A page with all operations: text alone, without scripts, so that no policy has to be opened for it.

use std::fmt::Write as _;

use http::HeaderValue;
use serde_json::Value;

/// What the page may load: nothing.
pub(super) const POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'");

/// The page.
pub(super) fn html(document: &Value) -> String {
    let mut page = String::from(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>novasphere REST API</title></head><body>\
         <h1>novasphere REST API</h1><p>The whole description: <a href=\"openapi.json\">openapi.json</a> (OpenAPI 3.1)</p>",
    );
    let paths = document.get("paths").and_then(Value::as_object);
    for (path, operations) in paths.into_iter().flatten() {
        for (method, operation) in operations.as_object().into_iter().flatten() {
            add(&mut page, path, method, operation);
        }
    }
    page.push_str("</body></html>");
    page
}

fn add(page: &mut String, path: &str, method: &str, operation: &Value) {
    let text = |name: &str| escaped(operation.get(name).and_then(Value::as_str).unwrap_or_default());
    let _ = write!(
        page,
        "<h2><code>{} {}</code></h2><p>{}</p><p>{}</p>",
        method.to_uppercase(),
        escaped(path),
        text("summary"),
        text("description"),
    );
    let parameters = operation.get("parameters").and_then(Value::as_array);
    let parameters: Vec<String> = parameters
        .into_iter()
        .flatten()
        .map(|parameter| {
            let part = |name: &str| escaped(parameter.get(name).and_then(Value::as_str).unwrap_or_default());
            format!(
                "<li><code>{}</code> ({}): {}</li>",
                part("name"),
                part("in"),
                part("description")
            )
        })
        .collect();
    if !parameters.is_empty() {
        let _ = write!(page, "<ul>{}</ul>", parameters.concat());
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations_are_listed_and_escaped() {
        let page = html(&json!({"paths": {"/vms/{vmId}": {"get": {"summary": "One <machine>"}}}}));
        assert!(page.contains("GET /vms/{vmId}"), "{page}");
        assert!(page.contains("One &lt;machine&gt;"), "{page}");
    }
}
