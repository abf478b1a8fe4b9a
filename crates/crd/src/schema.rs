//! Makes of a derived schema what the apiserver, `kubectl explain` and server-side apply should see.
//!
//! schemars and kube-derive get most of it right; this is the one place that corrects the rest.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use schemars::Schema;
use serde_json::{Map, Value, json};

use crate::condition::pending_status;

/// Corrects the schema of a spec or status, all the way down. A transform of the root types of this crate.
pub(crate) fn tidy(schema: &mut Schema) {
    if let Some(schema) = schema.as_object_mut() {
        tidy_object(schema);
    }
}

/// Corrects what kube-derive adds after [`tidy`]: a title, and `nullable` for the status and for quantities. Null would mean
/// nothing that an absent field does not, and without the mark the apiserver drops it. Adds what the status of a new object says.
pub(crate) fn tidy_root(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        if let Some(root) = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
        {
            root.title = None;
            drop_nullable(root);
            if let Some(status) = root.properties.as_mut().and_then(|fields| fields.get_mut("status")) {
                status.default = Some(JSON(pending_status()));
            }
        }
    }
    crd
}

fn drop_nullable(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema
        .properties
        .iter_mut()
        .flat_map(BTreeMap::values_mut)
        .for_each(drop_nullable);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        drop_nullable(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        drop_nullable(values);
    }
}

fn tidy_object(schema: &mut Map<String, Value>) {
    drop_null(schema);
    merge_enum(schema);
    schema.remove("title");
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = unwrap_lines(text);
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(Value::Object(inner)) = schema.get_mut(keyword) {
            tidy_object(inner);
        }
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for property in properties.values_mut().filter_map(Value::as_object_mut) {
            tidy_object(property);
        }
    }
    fit_format(schema);
    bound_quantity(schema);
}

/// An optional field is absent, not null: a field manager that writes null would own the field.
fn drop_null(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [single] = types.as_slice() {
            let single = single.clone();
            schema.insert("type".to_owned(), single);
        }
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    if let Some(Value::Array(variants)) = schema.get("anyOf")
        && let [Value::Object(wanted), Value::Object(null)] = variants.as_slice()
        && null.get("type").is_some_and(|kind| kind == "null")
    {
        let wanted = wanted.clone();
        schema.remove("anyOf");
        // The field's own text says more than its type's.
        for (keyword, value) in wanted {
            schema.entry(keyword).or_insert(value);
        }
    }
}

/// A list of documented constants becomes one `enum`, whose description keeps their texts.
fn merge_enum(schema: &mut Map<String, Value>) {
    let Some(Value::Array(variants)) = schema.get("oneOf") else {
        return;
    };
    let Some(values) = variants
        .iter()
        .map(|variant| variant.get("const").cloned())
        .collect::<Option<Vec<_>>>()
    else {
        return;
    };
    let mut text = schema
        .get("description")
        .and_then(Value::as_str)
        .map(unwrap_lines)
        .unwrap_or_default();
    for variant in variants {
        if let (Some(Value::String(value)), Some(Value::String(meaning))) =
            (variant.get("const"), variant.get("description"))
        {
            text.extend(["\n- `", value, "`: ", &unwrap_lines(meaning)]);
        }
    }
    schema.remove("oneOf");
    schema.insert("type".to_owned(), json!("string"));
    schema.insert("enum".to_owned(), Value::Array(values));
    schema.insert("description".to_owned(), json!(text.trim()));
}

/// Joins the lines of a paragraph, which end where the source code had to break them, and keeps lists and paragraphs.
fn unwrap_lines(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines().map(str::trim) {
        let separator = match line {
            "" => "\n\n",
            _ if out.is_empty() || out.ends_with('\n') => "",
            _ if line.starts_with("- ") => "\n",
            _ => " ",
        };
        out.extend([separator, line]);
    }
    out.trim().to_owned()
}

/// Kubernetes knows the formats `int32` and `int64` alone and warns about others.
fn fit_format(schema: &mut Map<String, Value>) {
    let format = match schema.get("format").and_then(Value::as_str) {
        Some("uint8" | "uint16" | "int8" | "int16") => "int32",
        Some("uint32" | "uint64") => "int64",
        _ => return,
    };
    schema.insert("format".to_owned(), json!(format));
    schema.entry("minimum").or_insert(json!(0));
}

/// Bounds what CEL may have to read of a quantity, and refuses what is none.
fn bound_quantity(schema: &mut Map<String, Value>) {
    if schema.get("x-kubernetes-int-or-string") == Some(&json!(true)) {
        schema.insert("maxLength".to_owned(), json!(32));
        schema.insert(
            "x-kubernetes-validations".to_owned(),
            json!([{
                "rule": "isQuantity(string(self)) && !quantity(string(self)).isLessThan(quantity('0'))",
                "message": "must be a quantity and not negative, such as 500m, 2 or 4Gi"
            }]),
        );
        if schema
            .get("description")
            .and_then(Value::as_str)
            .is_some_and(|text| text.starts_with("Quantity is a fixed"))
        {
            schema.insert("description".to_owned(), json!("A quantity, such as `500m` or `2Gi`."));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tidied(schema: Value) -> Value {
        let mut schema = Schema::try_from(schema).unwrap();
        tidy(&mut schema);
        schema.to_value()
    }

    #[test]
    fn an_optional_field_is_not_null() {
        assert_eq!(
            tidied(json!({"type": ["string", "null"], "enum": ["A", null], "default": null})),
            json!({"type": "string", "enum": ["A"]})
        );
        assert_eq!(
            tidied(json!({
                "description": "The field.",
                "anyOf": [{"type": "object", "description": "The type."}, {"type": "null"}]
            })),
            json!({"type": "object", "description": "The field."})
        );
    }

    #[test]
    fn an_enum_tells_its_values() {
        assert_eq!(
            tidied(json!({
                "description": "Whether\nit runs.",
                "oneOf": [
                    {"type": "string", "const": "On", "description": "It\nruns."},
                    {"type": "string", "const": "Off", "description": "It does not."}
                ]
            })),
            json!({
                "type": "string",
                "enum": ["On", "Off"],
                "description": "Whether it runs.\n- `On`: It runs.\n- `Off`: It does not."
            })
        );
    }

    #[test]
    fn paragraphs_and_lists_stay() {
        assert_eq!(unwrap_lines("a\nb\n\nc\n- d\n- e\ne"), "a b\n\nc\n- d\n- e e");
    }

    #[test]
    fn formats_are_those_of_kubernetes() {
        assert_eq!(
            tidied(json!({"items": {"type": "integer", "format": "uint16"}})),
            json!({"items": {"type": "integer", "format": "int32", "minimum": 0}})
        );
        assert_eq!(
            tidied(json!({"properties": {"a": {"type": "integer", "format": "uint32", "minimum": 1}}})),
            json!({"properties": {"a": {"type": "integer", "format": "int64", "minimum": 1}}})
        );
    }
}
