//! Bounds of maps, and of types that come from Kubernetes without any: every process of novasphere keeps what users write.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

/// The longest key that Kubernetes takes anywhere: a DNS name, a slash and a name, in characters.
const KEY_LENGTH_LIMIT: usize = 317;

/// Entries of a list of Kubernetes' that has no bound of its own.
const LIST_LENGTH_LIMIT: usize = 64;

/// Entries of a map.
const MAP_LENGTH_LIMIT: usize = 32;

/// The value of a label, in characters.
const LABEL_LENGTH_LIMIT: usize = 63;

/// The value of an annotation of a Service, in characters.
const SERVICE_ANNOTATION_LENGTH_LIMIT: usize = 4096;

/// The value of an annotation of a machine, in characters. `kubevirt.io/ignitiondata` is a whole configuration.
const ANNOTATION_LENGTH_LIMIT: usize = 16384;

/// Fields whose types are Kubernetes' own.
const FOREIGN_FIELDS: &[&str] = &["namespaceSelector", "podSelector", "tolerations"];

/// The rule about the keys of a map: a structural schema bounds values alone.
pub(crate) fn short_keys() -> Value {
    json!([{
        "rule": format!("self.all(key, size(key) <= {KEY_LENGTH_LIMIT})"),
        "message": format!("keys may have {KEY_LENGTH_LIMIT} characters; shorten them")
    }])
}

/// Labels.
pub(crate) fn labels(_: &mut SchemaGenerator) -> Schema {
    texts(LABEL_LENGTH_LIMIT)
}

/// Annotations of a machine.
pub(crate) fn annotations(_: &mut SchemaGenerator) -> Schema {
    texts(ANNOTATION_LENGTH_LIMIT)
}

/// Annotations of a Service.
pub(crate) fn service_annotations(_: &mut SchemaGenerator) -> Schema {
    texts(SERVICE_ANNOTATION_LENGTH_LIMIT)
}

/// A map of texts of this length.
fn texts(length: usize) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": MAP_LENGTH_LIMIT,
        "additionalProperties": {"type": "string", "maxLength": length},
        "x-kubernetes-validations": short_keys()
    })
}

/// Bounds the fields of a spec whose types are Kubernetes' own. A transform of the root types of specs.
pub(crate) fn bound_foreign(schema: &mut Schema) {
    if let Some(schema) = schema.as_object_mut() {
        find_foreign(schema);
    }
}

fn find_foreign(schema: &mut Map<String, Value>) {
    for (name, field) in objects(schema, "properties") {
        if FOREIGN_FIELDS.contains(&name.as_str()) {
            bound(field);
        } else {
            find_foreign(field);
        }
    }
    if let Some(Value::Object(items)) = schema.get_mut("items") {
        find_foreign(items);
    }
}

fn bound(schema: &mut Map<String, Value>) {
    let kind = schema
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let bounds = match kind.as_str() {
        "string" => vec![("maxLength", json!(KEY_LENGTH_LIMIT))],
        "array" => vec![
            ("maxItems", json!(LIST_LENGTH_LIMIT)),
            ("x-kubernetes-list-type", json!("atomic")),
        ],
        _ if schema.contains_key("additionalProperties") => vec![
            ("maxProperties", json!(MAP_LENGTH_LIMIT)),
            ("x-kubernetes-validations", short_keys()),
        ],
        _ => Vec::new(),
    };
    for (keyword, bound) in bounds {
        schema.entry(keyword).or_insert(bound);
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(Value::Object(inner)) = schema.get_mut(keyword) {
            bound(inner);
        }
    }
    for (_, field) in objects(schema, "properties") {
        bound(field);
    }
}

/// The objects under a keyword, with their names.
fn objects<'a>(
    schema: &'a mut Map<String, Value>,
    keyword: &str,
) -> impl Iterator<Item = (&'a String, &'a mut Map<String, Value>)> + use<'a> {
    let found = schema.get_mut(keyword).and_then(Value::as_object_mut);
    found
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name, value.as_object_mut()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kubernetes_own_gets_bounds_and_the_rest_stays() {
        let own = json!({"type": "string"});
        let mut schema = Schema::try_from(json!({"properties": {
            "own": own,
            "rules": {"type": "array", "items": {"properties": {"podSelector": {
                "type": "object",
                "properties": {
                    "matchLabels": {"type": "object", "additionalProperties": {"type": "string"}},
                    "values": {"type": "array", "maxItems": 3, "items": {"type": "string"}},
                },
            }}}},
        }}))
        .unwrap();
        bound_foreign(&mut schema);
        let bounded = schema.to_value();
        assert_eq!(bounded["properties"]["own"], own);
        let selector = &bounded["properties"]["rules"]["items"]["properties"]["podSelector"]["properties"];
        assert_eq!(
            *selector,
            json!({
                "matchLabels": {
                    "type": "object", "maxProperties": 32, "additionalProperties": {"type": "string", "maxLength": 317},
                    "x-kubernetes-validations": short_keys(),
                },
                "values": {
                    "type": "array", "maxItems": 3, "x-kubernetes-list-type": "atomic",
                    "items": {"type": "string", "maxLength": 317},
                },
            })
        );
    }
}
