//! How `overrides` are laid over what a template says.

use serde_json::Value;

/// Lays `patch` over `target`.
///
/// The rule is that of a JSON merge patch (RFC 7386), objects by field and `null` takes a field away, but for lists whose
/// elements all have a name (`name`, or `metadata.name` as in `dataVolumeTemplates`): those are merged by name, new names
/// are added at the end. A list without names, and an empty one, replaces what was there; so does one with names where
/// there were none.
pub fn merge(target: &mut Value, patch: &Value) {
    match patch {
        Value::Object(fields) => {
            if !target.is_object() {
                *target = Value::Object(serde_json::Map::new());
            }
            let Value::Object(object) = target else { return };
            for (key, value) in fields {
                if value.is_null() {
                    object.remove(key);
                } else {
                    merge(object.entry(key.as_str()).or_insert(Value::Null), value);
                }
            }
        }
        Value::Array(elements) if are_named(elements) => {
            let mut present = match target.take() {
                Value::Array(present) if are_named(&present) => present,
                _ => Vec::new(),
            };
            merge_named(&mut present, elements);
            *target = Value::Array(present);
        }
        _ => *target = patch.clone(),
    }
}

fn merge_named(present: &mut Vec<Value>, elements: &[Value]) {
    for element in elements {
        if let Some(other) = present.iter_mut().find(|other| name(other) == name(element)) {
            merge(other, element);
        } else {
            let mut added = Value::Null;
            merge(&mut added, element);
            present.push(added);
        }
    }
}

/// Whether all elements are objects with names that differ.
fn are_named(elements: &[Value]) -> bool {
    let mut names: Vec<_> = elements.iter().filter_map(name).collect();
    let all = !elements.is_empty() && names.len() == elements.len();
    names.sort_unstable();
    names.dedup();
    all && names.len() == elements.len()
}

fn name(element: &Value) -> Option<&str> {
    let name = element.get("name").or_else(|| element.get("metadata")?.get("name"));
    name?.as_str()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;

    fn merged(mut target: Value, patch: &Value) -> Value {
        merge(&mut target, patch);
        target
    }

    #[test]
    fn objects_are_merged_by_field_and_null_removes() {
        assert_eq!(
            merged(
                json!({"a": {"b": 1, "c": 2}, "d": 3}),
                &json!({"a": {"b": null, "e": {"f": null, "g": 4}}})
            ),
            json!({"a": {"c": 2, "e": {"g": 4}}, "d": 3})
        );
    }

    #[test]
    fn named_lists_are_merged_by_name() {
        assert_eq!(
            merged(
                json!([{"name": "root", "disk": {"bus": "virtio"}}, {"name": "b"}]),
                &json!([{"name": "c"}, {"name": "root", "disk": null, "cdrom": {"bus": "sata"}}])
            ),
            json!([{"name": "root", "cdrom": {"bus": "sata"}}, {"name": "b"}, {"name": "c"}])
        );
        assert_eq!(
            merged(
                json!([{"metadata": {"name": "a"}, "spec": {"x": 1}}]),
                &json!([{"metadata": {"name": "b"}}])
            ),
            json!([{"metadata": {"name": "a"}, "spec": {"x": 1}}, {"metadata": {"name": "b"}}])
        );
    }

    #[test]
    fn other_lists_are_replaced() {
        for (target, patch) in [
            (json!([1, 2]), json!([3])),
            (json!([{"name": "a"}]), json!([])),
            (json!([{"name": "a"}]), json!([{"key": "b"}])),
            (json!([{"name": "a"}, {"name": "a"}]), json!([{"name": "a"}])),
            (json!([{"key": "x"}]), json!([{"name": "a"}])),
        ] {
            assert_eq!(merged(target, &patch), patch);
        }
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner.clone(), 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
                prop::collection::btree_map("[a-c]", inner, 0..4).prop_map(|fields| {
                    fields
                        .into_iter()
                        .map(|(name, value)| json!({"name": name, "value": value}))
                        .collect()
                }),
            ]
        })
    }

    /// No list has named elements, so the rule is the RFC's alone.
    fn has_no_named_list(value: &Value) -> bool {
        match value {
            Value::Array(elements) => !are_named(elements) && elements.iter().all(has_no_named_list),
            Value::Object(fields) => fields.values().all(has_no_named_list),
            _ => true,
        }
    }

    proptest! {
        #[test]
        fn without_named_lists_it_is_rfc_7386(target in json_value(), patch in json_value()) {
            prop_assume!(has_no_named_list(&patch));
            let mut expected = target.clone();
            json_patch::merge(&mut expected, &patch);
            prop_assert_eq!(merged(target, &patch), expected);
        }

        #[test]
        fn a_second_time_changes_nothing(target in json_value(), patch in json_value()) {
            let once = merged(target, &patch);
            prop_assert_eq!(merged(once.clone(), &patch), once);
        }

        #[test]
        fn an_empty_patch_changes_nothing(target in prop::collection::btree_map("[a-d]", json_value(), 0..4)) {
            let target = Value::Object(target.into_iter().collect());
            prop_assert_eq!(merged(target.clone(), &json!({})), target);
        }

        #[test]
        fn every_name_is_there_once(a in prop::collection::btree_set("[a-f]", 1..5), b in prop::collection::btree_set("[a-f]", 1..5)) {
            let list = |names: &std::collections::BTreeSet<String>| names.iter().map(|name| json!({"name": name})).collect::<Value>();
            let all = merged(list(&a), &list(&b));
            let names: std::collections::BTreeSet<_> = all.as_array().unwrap().iter().filter_map(name).map(str::to_owned).collect();
            prop_assert_eq!(all.as_array().unwrap().len(), names.len());
            prop_assert_eq!(names, a.union(&b).cloned().collect::<std::collections::BTreeSet<_>>());
        }
    }
}
