//! What the controller may not write of the kinds that gateways read, and what it has to.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use novasphere_controller::rbac::{CLUSTER_RULES, GATEWAY_RULES, Rule};
use novasphere_e2e::fixtures::golden_routes::golden_routes;
use serde_json::{Value, json};

use super::{How, Write, objects::marks, write};

/// Traefik's four, Kong's two and an Ingress, and three of Gateway API.
const KINDS: usize = 10;

/// The rights of a controller for which gateways of all products are configured.
pub(super) fn controller_rules() -> Vec<Rule> {
    let of_gateways = GATEWAY_RULES.iter().flat_map(|gateway| gateway.rules);
    CLUSTER_RULES.iter().chain(of_gateways).copied().collect()
}

/// One object of each kind as the controller writes it, but for its metadata.
pub(super) fn kinds() -> Result<Vec<Value>> {
    let mut kinds = BTreeMap::new();
    for (_, object) in golden_routes()? {
        let kind = object
            .get("kind")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        kinds.insert(kind, object);
    }
    ensure!(kinds.len() == KINDS, "{:?}", kinds.keys());
    Ok(kinds.into_values().collect())
}

/// An object of this kind.
fn named(kind: &Value, name: &str, labels: &Value) -> Value {
    let mut object = kind.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.insert("metadata".to_owned(), json!({"name": name, "labels": labels}));
    }
    object
}

/// What is there before: of each kind an object of people, and one of novasphere's.
pub(super) fn present(kinds: &[Value]) -> Vec<Value> {
    let of = |kind| [named(kind, "theirs", &json!({})), named(kind, "desk", &marks("desk"))];
    kinds.iter().flat_map(of).collect()
}

pub(super) fn of_controller(kinds: &[Value]) -> Vec<Write> {
    let none = json!({});
    let unmarked = json!({"app.kubernetes.io/managed-by": null, "novasphere.io/owner-uid": null});
    let of = |kind| {
        [
            write("a route without a mark", How::Create, named(kind, "x", &none)),
            write("another's route", How::Merge, named(kind, "theirs", &marks("x"))),
            write("another's route, deleted", How::Delete, named(kind, "theirs", &none)),
            write(
                "a route that loses its mark",
                How::Merge,
                named(kind, "desk", &unmarked),
            ),
        ]
    };
    kinds.iter().flat_map(of).collect()
}

pub(super) fn good_of_controller(kinds: &[Value]) -> Vec<Write> {
    let none = json!({});
    let of = |kind| {
        [
            write("a route", How::Create, named(kind, "x", &marks("x"))),
            write("a route again", How::Merge, named(kind, "desk", &marks("x"))),
            write("a route, deleted", How::Delete, named(kind, "desk", &none)),
        ]
    };
    kinds.iter().flat_map(of).collect()
}
