//! The samples in `config/samples` fit the schemas of the kinds. CEL rules and
//! patterns are the API server's to check; the cluster tests apply the samples.

use std::path::Path;

use serde_json::Value;

use crate::{
    files,
    yaml::{self, at},
};

/// One line per field of a sample that its schema does not allow.
pub(crate) fn invalid_samples(root: &Path) -> anyhow::Result<Vec<String>> {
    let crds = serde_json::to_value(novasphere_crd::crds())?;
    let mut found = Vec::new();
    for path in files::walk(&root.join("config/samples"))? {
        for sample in yaml::read_documents(&path)? {
            if at(&sample, "/apiVersion")
                .as_str()
                .is_some_and(|version| version.starts_with("kustomize."))
            {
                continue;
            }
            let file = path.strip_prefix(root)?.display();
            match schema(&crds, &sample) {
                Some(schema) => check(&format!("{file}: spec"), schema, at(&sample, "/spec"), &mut found),
                None => found.push(format!("{file}: no CRD has its apiVersion and kind")),
            }
        }
    }
    Ok(found)
}

/// The schema of the sample's spec.
fn schema<'a>(crds: &'a Value, sample: &Value) -> Option<&'a Value> {
    let (group, version) = at(sample, "/apiVersion").as_str()?.split_once('/')?;
    let spec = |crd: &'a Value| at(crd, "/spec");
    let mut crds = crds.as_array()?.iter().map(spec);
    let crd = crds.find(|spec| at(spec, "/group") == group && at(spec, "/names/kind") == at(sample, "/kind"))?;
    let version = at(crd, "/versions")
        .as_array()?
        .iter()
        .find(|candidate| at(candidate, "/name") == version)?;
    Some(at(version, "/schema/openAPIV3Schema/properties/spec"))
}

fn check(path: &str, schema: &Value, value: &Value, found: &mut Vec<String>) {
    if !has_type(schema, value) {
        found.push(format!("{path} is not of type {}", at(schema, "/type")));
        return;
    }
    if at(schema, "/enum")
        .as_array()
        .is_some_and(|allowed| !allowed.contains(value))
    {
        found.push(format!("{path} is not one of {}", at(schema, "/enum")));
    }
    match value {
        Value::Object(fields) => {
            for name in at(schema, "/required")
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                if !fields.contains_key(name) {
                    found.push(format!("{path}.{name} is missing"));
                }
            }
            for (name, value) in fields {
                let path = format!("{path}.{name}");
                match field(schema, name) {
                    Some(schema) => check(&path, schema, value, found),
                    None if at(schema, "/x-kubernetes-preserve-unknown-fields") == true => {}
                    None => found.push(format!("{path} is not a field")),
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                check(&format!("{path}[{index}]"), at(schema, "/items"), item, found);
            }
        }
        _ => {}
    }
}

fn field<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    let named = at(schema, "/properties").get(name);
    named.or_else(|| schema.get("additionalProperties").filter(|open| open.is_object()))
}

fn has_type(schema: &Value, value: &Value) -> bool {
    if at(schema, "/x-kubernetes-int-or-string") == true {
        return value.is_i64() || value.is_string();
    }
    match at(schema, "/type").as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_error_is_named_with_its_place() {
        let schema = json!({
            "type": "object",
            "required": ["name", "count"],
            "properties": {
                "name": {"type": "string", "enum": ["a", "b"]},
                "list": {"type": "array", "items": {"type": "integer"}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            },
        });
        let mut found = Vec::new();
        check(
            "x",
            &schema,
            &json!({"name": "c", "list": [1, "2"], "free": {"any": 1}, "more": true}),
            &mut found,
        );
        assert_eq!(
            found,
            [
                "x.count is missing",
                "x.list[1] is not of type \"integer\"",
                "x.more is not a field",
                "x.name is not one of [\"a\",\"b\"]"
            ]
        );
    }
}
