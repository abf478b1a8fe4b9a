//! Whether a live object already has everything that is desired.
//!
//! The question is not whether the two are equal: the apiserver, admission webhooks and other controllers add fields, and with
//! server-side apply those are theirs. It is whether a server-side apply of `desired` would change a field that it states.
//! No crate answers it: structured merge diff is a library of Go. The rules are its own, as far as an answer without the schemas needs
//! them:
//!
//! - An object is compared field by field; what only the live one has is not ours. Label selectors and the like are atomic
//!   (`x-kubernetes-map-type`), so there nothing may be added.
//! - A list is atomic: same length, and each item has what is desired of it. (Items may hold more, since that is where defaults
//!   and webhooks write.) Lists with merge keys are compared item by item; live items of other owners do not count. Custom
//!   resources have such lists only where their schema says so, which for KubeVirt 1.8 is true of nothing that we set but the
//!   names in [`list_type`].
//! - Absent, `null`, `{}` and `[]` are the same (Go's `omitempty`). In built-in kinds so are an empty string and, for the
//!   few fields without a pointer in Go, `false`.
//! - Quantities are compared by value.

use serde_json::{Map, Value};

use super::list_type::{ListType, Schema, list_type};
use crate::quantity;

/// A place where the live object is not as desired.
#[derive(Debug, PartialEq)]
pub(super) struct Difference<'a> {
    /// Such as `spec.ports[http].nodePort`.
    pub(super) path: String,
    /// What is there.
    pub(super) live: &'a Value,
}

/// All differences between two whole objects. `desired` has no nulls (see [`super::document`]).
pub(super) fn differences<'a>(desired: &Value, live: &'a Value, schema: Schema) -> Vec<Difference<'a>> {
    let mut walk = Walk {
        schema,
        found: Vec::new(),
    };
    if let Value::Object(fields) = desired {
        for (key, value) in fields {
            // Type and name are how `live` was found.
            if !matches!(key.as_str(), "apiVersion" | "kind" | "status") {
                walk.compare(
                    value,
                    field(live, key),
                    &Place {
                        parent: "",
                        key,
                        path: key.clone(),
                    },
                );
            }
        }
    }
    walk.found
        .retain(|difference| !matches!(difference.path.as_str(), "metadata.name" | "metadata.namespace"));
    walk.found
}

const ABSENT: &Value = &Value::Null;

fn field<'a>(value: &'a Value, key: &str) -> &'a Value {
    value.get(key).unwrap_or(ABSENT)
}

struct Walk<'a> {
    schema: Schema,
    found: Vec<Difference<'a>>,
}

/// Where in the object a comparison is.
struct Place<'p> {
    /// Name of the field that holds the object or list that holds this value; list indexes do not count.
    parent: &'p str,
    /// Name of the field that holds this value.
    key: &'p str,
    path: String,
}

impl<'a> Walk<'a> {
    fn compare(&mut self, desired: &Value, live: &'a Value, place: &Place<'_>) {
        if is_empty(desired) && is_empty(live) {
            return;
        }
        match (desired, live) {
            (Value::Object(desired), live) if live.is_object() || live.is_null() => {
                self.compare_objects(desired, live, place);
            }
            (Value::Array(desired), Value::Array(live_items)) => self.compare_lists(desired, live_items, live, place),
            _ if self.scalars_equal(desired, live, place) => {}
            _ => self.differ(live, place),
        }
    }

    fn compare_objects(&mut self, desired: &Map<String, Value>, live: &'a Value, place: &Place<'_>) {
        if self.is_atomic_map(place.key) && has_more(live, desired) {
            return self.differ(live, place);
        }
        for (key, value) in desired {
            let path = format!("{}.{key}", place.path);
            self.compare(
                value,
                field(live, key),
                &Place {
                    parent: place.key,
                    key,
                    path,
                },
            );
        }
    }

    fn compare_lists(&mut self, desired: &[Value], items: &'a [Value], live: &'a Value, place: &Place<'_>) {
        match list_type(self.schema, place.parent, place.key) {
            ListType::Set => {
                if desired.iter().any(|item| !items.contains(item)) {
                    self.differ(live, place);
                }
            }
            ListType::Map(keys) => {
                for item in desired {
                    let name = merge_key(item, keys);
                    let path = format!("{}[{name}]", place.path);
                    let found = items
                        .iter()
                        .find(|live| merge_key(live, keys) == name)
                        .unwrap_or(ABSENT);
                    if found.is_null() {
                        self.found.push(Difference { path, live: found });
                    } else {
                        self.compare(
                            item,
                            found,
                            &Place {
                                parent: place.parent,
                                key: place.key,
                                path,
                            },
                        );
                    }
                }
            }
            ListType::Atomic if desired.len() != items.len() => self.differ(live, place),
            ListType::Atomic => {
                for (index, (item, live)) in desired.iter().zip(items).enumerate() {
                    let path = format!("{}[{index}]", place.path);
                    self.compare(
                        item,
                        live,
                        &Place {
                            parent: place.parent,
                            key: place.key,
                            path,
                        },
                    );
                }
            }
        }
    }

    fn scalars_equal(&self, desired: &Value, live: &Value, place: &Place<'_>) -> bool {
        if desired == live {
            return true;
        }
        if live.is_null() && self.schema == Schema::BuiltIn && is_dropped_zero(desired, place.key) {
            return true;
        }
        if is_quantity(place)
            && let (Some(desired), Some(live)) = (scalar_text(desired), scalar_text(live))
        {
            return quantity::equal(&desired, &live).unwrap_or(false);
        }
        // 1 and 1.0 are one number in JSON.
        matches!((desired.as_f64(), live.as_f64()), (Some(desired), Some(live)) if desired.total_cmp(&live).is_eq())
    }

    fn is_atomic_map(&self, key: &str) -> bool {
        match key {
            "labelSelector" => true,
            "selector" | "nodeSelector" | "podSelector" | "namespaceSelector" => self.schema == Schema::BuiltIn,
            _ => false,
        }
    }

    fn differ(&mut self, live: &'a Value, place: &Place<'_>) {
        self.found.push(Difference {
            path: place.path.clone(),
            live,
        });
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// Whether `live` has a field that `desired` does not state, at this level.
fn has_more(live: &Value, desired: &Map<String, Value>) -> bool {
    live.as_object().is_some_and(|live| {
        live.iter()
            .any(|(key, value)| !is_empty(value) && !desired.contains_key(key))
    })
}

/// Fields without a pointer in Go lose their zero value on the way into etcd.
fn is_dropped_zero(desired: &Value, key: &str) -> bool {
    match desired {
        // An empty storage class is a statement ("none"), an absent one the default.
        Value::String(text) => text.is_empty() && key != "storageClassName",
        Value::Bool(false) => matches!(
            key,
            "hostNetwork"
                | "hostPID"
                | "hostIPC"
                | "stdin"
                | "stdinOnce"
                | "tty"
                | "readOnly"
                | "publishNotReadyAddresses"
        ),
        _ => false,
    }
}

fn is_quantity(place: &Place<'_>) -> bool {
    matches!(
        place.parent,
        "requests" | "limits" | "capacity" | "hard" | "overhead" | "default" | "defaultRequest" | "max" | "min"
    ) || matches!(place.key, "sizeLimit" | "guest" | "maxGuest" | "divisor" | "storage")
}

fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The merge key of a list item as one text. An absent protocol is TCP, the only default that a merge key has.
fn merge_key(item: &Value, keys: &[&str]) -> String {
    let parts = keys.iter().map(|key| match item.get(key) {
        None | Some(Value::Null) if *key == "protocol" => "TCP".to_owned(),
        Some(value) => scalar_text(value).unwrap_or_default(),
        None => String::new(),
    });
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
