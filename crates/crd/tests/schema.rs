//! What must hold for every field of the three schemas.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "clippy.toml exempts test functions, and these are their helpers"
)]

use serde_json::Value;

/// Every schema below the specs and statuses, with its path and that of its kind.
fn fields() -> Vec<(String, Value)> {
    fn collect(path: &str, schema: &Value, out: &mut Vec<(String, Value)>) {
        out.push((path.to_owned(), schema.clone()));
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            collect(&format!("{path}.{name}"), field, out);
        }
        for (keyword, suffix) in [("items", "[]"), ("additionalProperties", ".<key>")] {
            if schema[keyword].is_object() {
                collect(&format!("{path}{suffix}"), &schema[keyword], out);
            }
        }
    }
    let mut out = Vec::new();
    for crd in novasphere_crd::crds() {
        let schema = crd.spec.versions[0]
            .schema
            .as_ref()
            .unwrap()
            .open_api_v3_schema
            .as_ref()
            .unwrap();
        let schema = serde_json::to_value(schema).unwrap();
        for part in ["spec", "status"] {
            collect(
                &format!("{}.{part}", crd.spec.names.kind),
                &schema["properties"][part],
                &mut out,
            );
        }
    }
    out
}

fn complaints(complaint: impl Fn(&str, &Value) -> bool) -> Vec<String> {
    fields()
        .into_iter()
        .filter(|(path, schema)| complaint(path, schema))
        .map(|(path, _)| path)
        .collect()
}

const NONE: [&str; 0] = [];

#[test]
fn every_field_has_a_text() {
    assert_eq!(
        complaints(|path, schema| {
            let is_field = !path.ends_with("[]") && !path.ends_with("<key>");
            is_field && schema["description"].as_str().is_none_or(|text| text.trim().is_empty())
        }),
        NONE
    );
}

/// `kubectl explain` shows no defaults, so the text has to.
#[test]
fn every_default_is_in_the_text() {
    assert_eq!(
        complaints(|path, schema| {
            let text = schema["description"].as_str().unwrap_or_default();
            path.contains(".spec.") && !schema["default"].is_null() && !text.contains("Default")
        }),
        NONE
    );
}

/// Without bounds the apiserver assumes the worst and refuses the rules for their cost, and one object fills the memory of every process.
#[test]
fn every_list_is_bounded_and_says_how_it_is_merged() {
    assert_eq!(
        complaints(|_, schema| {
            schema["type"] == "array" && (schema["maxItems"].is_null() || schema["x-kubernetes-list-type"].is_null())
        }),
        NONE
    );
}

/// What kstatus makes of an object without conditions is `Current`.
#[test]
fn an_object_that_nobody_has_looked_at_is_not_ready() {
    for crd in novasphere_crd::crds() {
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        let shown = &schema["openAPIV3Schema"]["properties"]["status"]["default"];
        let condition = &shown["conditions"][0];
        assert_eq!(
            (&condition["type"], &condition["status"]),
            (&"Ready".into(), &"Unknown".into()),
            "{}",
            crd.spec.names.kind
        );
        let condition: novasphere_crd::Condition = serde_json::from_value(condition.clone()).unwrap();
        assert_eq!(condition.reason, novasphere_crd::condition::PENDING);
        assert_eq!(condition.observed_generation, None);
    }
}

#[test]
fn every_string_of_a_spec_is_bounded() {
    assert_eq!(
        complaints(|path, schema| {
            let bounded = ["maxLength", "enum", "format"]
                .iter()
                .any(|keyword| !schema[keyword].is_null());
            path.contains(".spec.") && schema["type"] == "string" && !bounded
        }),
        NONE
    );
}

#[test]
fn every_map_of_a_spec_is_bounded_and_so_are_its_keys() {
    assert_eq!(
        complaints(|path, schema| {
            let rules = schema["x-kubernetes-validations"].to_string();
            path.contains(".spec.")
                && schema["additionalProperties"].is_object()
                && (schema["maxProperties"].is_null() || !rules.contains("size(key)"))
        }),
        NONE
    );
}

/// What is free is bounded by the admission policy object-size, and by what caches keep of it.
#[test]
fn the_free_objects_are_those_that_are_known() {
    assert_eq!(
        complaints(|_, schema| schema["x-kubernetes-preserve-unknown-fields"] == true),
        [
            "VmAccess.spec.virtualMachine.template.overrides",
            "VmAccess.spec.virtualMachine.template.scheduling.affinity",
            "VncWorkspace.spec.podOverrides",
        ]
    );
}

#[test]
fn nothing_is_nullable_and_formats_are_known_to_kubernetes() {
    assert_eq!(
        complaints(|_, schema| {
            !schema["nullable"].is_null()
                || !matches!(schema["format"].as_str(), None | Some("int32" | "int64" | "date-time"))
        }),
        NONE
    );
}
