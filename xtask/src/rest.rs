//! The REST API: its `OpenAPI` document, and the tables of its codes, permissions and operations.

use std::{fmt::Write as _, path::PathBuf};

use anyhow::Context;
use novasphere_api::{authorization::words::PERMISSIONS, code::CODES, router};
use serde_json::Value;

use crate::files::{Files, MARK};

/// The document and its page.
pub(crate) fn files() -> anyhow::Result<Files> {
    let document = router::document();
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(vec![
        (PathBuf::from("docs/openapi.json"), text),
        (PathBuf::from("docs/reference/rest-api.md"), page(&document)?),
    ])
}

fn page(document: &Value) -> anyhow::Result<String> {
    let mut page = format!(
        "<!-- {MARK} from crates/api. Do not edit. -->\n\n# REST API: operations, codes, permissions\n\nHow to use it: [rest-api.md](../rest-api.md). \
         The whole description, with every member: [openapi.json](../openapi.json).\n\n## Operations\n\n| operation | does |\n|---|---|\n"
    );
    let paths = document.get("paths").and_then(Value::as_object).context("no paths")?;
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().into_iter().flatten() {
            let summary = operation.get("summary").and_then(Value::as_str).unwrap_or_default();
            writeln!(page, "| `{} {path}` | {summary} |", method.to_uppercase())?;
        }
    }
    page.push_str(
        "\n## Codes\n\n`code` is 200, or one of these: the HTTP status and two digits. `extra.reason` has the word.\n\n| code | reason | message | 消息 |\n|---|---|---|---|\n",
    );
    for code in CODES {
        let row = code.row();
        writeln!(
            page,
            "| {} | `{}` | {} | {} |",
            row.number, row.reason, row.english, row.chinese
        )?;
    }
    page.push_str(
        "\n## Permissions\n\nWords of a login's `permissions`, and the right in Kubernetes that each stands for.\n\n| word | verb | resource |\n|---|---|---|\n",
    );
    for permission in PERMISSIONS {
        let right = permission.right(None);
        let part = |part: Option<String>| part.unwrap_or_default();
        let below = right.subresource.map(|name| format!("/{name}")).unwrap_or_default();
        writeln!(
            page,
            "| `{}` | `{}` | `{}{below}` of `{}` |",
            permission.word,
            part(right.verb),
            part(right.resource),
            part(right.group)
        )?;
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_says_what_it_does() {
        let document = router::document();
        let paths = document["paths"].as_object().unwrap();
        assert!(paths.len() > 25, "{}", paths.len());
        for (path, operations) in paths {
            assert!(path.starts_with("/api/v1/"), "{path}");
            for (method, operation) in operations.as_object().unwrap() {
                for member in ["summary", "operationId", "tags"] {
                    assert!(operation.get(member).is_some(), "{method} {path}: {member}");
                }
            }
        }
    }
}
