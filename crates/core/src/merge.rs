//! Overrides of what a template says: a JSON merge patch that also merges lists by key.
//!
//! Not `k8s_openapi::DeepMerge`, because that merges typed values, for which `null` and an absent field are both `None`: an override
//! could not remove what the template sets, such as a probe. `null` does that here, in `podOverrides` and in a machine's `overrides`.
//! Unknown fields would be dropped before they could be reported, and there is no typed `VirtualMachine` to merge.

use serde_json::Value;

/// Merges `patch` into `target`.
///
/// The rule is that of a JSON merge patch (RFC 7386), objects by field and `null` takes a field away, but for lists whose
/// elements all have a name (`name`, or `metadata.name` as in `dataVolumeTemplates`): those are merged by name, new names
/// are added at the end. A list without names, and an empty one, replaces what was there; so does one with names where
/// there were none.
pub fn merge(target: &mut Value, patch: &Value) {
    merge_value(target, patch, None, |_| None);
}

/// Merges `patch` into a Pod, or a part of one.
///
/// As [`merge`], but for the lists that Kubernetes merges by another key than the name: `volumeMounts` by `mountPath`, `volumeDevices`
/// by `devicePath`, `ports` by `containerPort` and `protocol`. These are always merged, whatever names their elements have.
pub fn merge_pod(target: &mut Value, patch: &Value) {
    merge_value(target, patch, None, pod_key);
}

/// The key of an element of a list.
type ElementKey = fn(&Value) -> Option<String>;

/// The key of a list by the name of its field, where that is not the name (`patchMergeKey` and `listMapKey` in
/// k8s.io/api `core/v1/types.go`).
fn pod_key(field: &str) -> Option<ElementKey> {
    match field {
        "volumeMounts" => Some(|mount| Some(mount.get("mountPath")?.as_str()?.to_owned())),
        "volumeDevices" => Some(|device| Some(device.get("devicePath")?.as_str()?.to_owned())),
        "ports" => Some(|port| {
            let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
            Some(format!("{}/{protocol}", port.get("containerPort")?.as_u64()?))
        }),
        _ => None,
    }
}

/// `key` is that of this list, if it is one and has its own.
fn merge_value(target: &mut Value, patch: &Value, key: Option<ElementKey>, key_of: fn(&str) -> Option<ElementKey>) {
    match patch {
        Value::Object(fields) => {
            if !target.is_object() {
                *target = Value::Object(serde_json::Map::new());
            }
            let Value::Object(object) = target else { return };
            for (field, value) in fields {
                if value.is_null() {
                    object.remove(field);
                } else {
                    let present = object.entry(field.as_str()).or_insert(Value::Null);
                    merge_value(present, value, key_of(field), key_of);
                }
            }
        }
        Value::Array(elements) if key.is_some() || are_named(elements) => {
            let mut present = match target.take() {
                Value::Array(present) if key.is_some() || are_named(&present) => present,
                _ => Vec::new(),
            };
            merge_list_by_key(key.unwrap_or(name), &mut present, elements, key_of);
            *target = Value::Array(present);
        }
        _ => *target = patch.clone(),
    }
}

fn merge_list_by_key(
    key: ElementKey,
    present: &mut Vec<Value>,
    elements: &[Value],
    key_of: fn(&str) -> Option<ElementKey>,
) {
    for element in elements {
        let its_key = key(element);
        let same = |other: &&mut Value| its_key.is_some() && key(other) == its_key;
        if let Some(other) = present.iter_mut().find(same) {
            merge_value(other, element, None, key_of);
        } else {
            let mut added = Value::Null;
            merge_value(&mut added, element, None, key_of);
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

fn name(element: &Value) -> Option<String> {
    let name = element.get("name").or_else(|| element.get("metadata")?.get("name"));
    name?.as_str().map(str::to_owned)
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

    fn merged_into_a_pod(mut target: Value, patch: &Value) -> Value {
        merge_pod(&mut target, patch);
        target
    }

    #[test]
    fn mounts_of_a_pod_are_told_apart_by_their_path() {
        let container = json!({"volumeMounts": [
            {"name": "home", "mountPath": "/home/user/workspace"},
            {"name": "tmp", "mountPath": "/tmp"},
        ]});
        let patch = json!({"volumeMounts": [
            {"name": "home", "mountPath": "/data", "subPath": "data"},
            {"name": "home", "mountPath": "/more"},
            {"name": "scratch", "mountPath": "/tmp"},
        ]});
        assert_eq!(
            merged_into_a_pod(container.clone(), &patch),
            json!({"volumeMounts": [
                {"name": "home", "mountPath": "/home/user/workspace"},
                {"name": "scratch", "mountPath": "/tmp"},
                {"name": "home", "mountPath": "/data", "subPath": "data"},
                {"name": "home", "mountPath": "/more"},
            ]})
        );
        assert_eq!(
            merged_into_a_pod(container.clone(), &json!({"volumeMounts": []})),
            container
        );
    }

    #[test]
    fn ports_of_a_pod_are_told_apart_by_number_and_protocol() {
        let container = json!({"ports": [{"name": "vnc", "containerPort": 5901, "protocol": "TCP"}]});
        let patch = json!({"ports": [
            {"containerPort": 8080},
            {"containerPort": 5901, "protocol": "UDP"},
            {"containerPort": 5901, "hostIP": "127.0.0.1"},
        ]});
        assert_eq!(
            merged_into_a_pod(container, &patch),
            json!({"ports": [
                {"name": "vnc", "containerPort": 5901, "protocol": "TCP", "hostIP": "127.0.0.1"},
                {"containerPort": 8080},
                {"containerPort": 5901, "protocol": "UDP"},
            ]})
        );
    }

    #[test]
    fn other_documents_keep_their_rule_for_fields_of_these_names() {
        // A network interface of a VirtualMachine has `ports` with names (kubevirt.io/api `core/v1`, `Interface`).
        assert_eq!(
            merged(
                json!({"ports": [{"name": "ssh", "port": 22}]}),
                &json!({"ports": [{"port": 80}]})
            ),
            json!({"ports": [{"port": 80}]})
        );
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
        fn over_a_pod_as_well(
            mounts in prop::collection::vec(("[ab]", "/[ab]"), 0..4),
            ports in prop::collection::vec((1_u16..4, any::<bool>()), 0..4),
            more in prop::collection::vec(("[ab]", "/[a-c]"), 0..4),
            further in prop::collection::vec((1_u16..5, any::<bool>()), 0..4),
        ) {
            let container = |mounts: Vec<(String, String)>, ports: Vec<(u16, bool)>| {
                let mounts: Value = mounts.into_iter().map(|(name, path)| json!({"name": name, "mountPath": path})).collect();
                let protocol = |is_udp| if is_udp { "UDP" } else { "TCP" };
                let ports: Value = ports
                    .into_iter()
                    .map(|(port, is_udp)| json!({"containerPort": port, "protocol": protocol(is_udp)}))
                    .collect();
                json!({"volumeMounts": mounts, "ports": ports})
            };
            let (target, patch) = (container(mounts, ports), container(more, further));
            let once = merged_into_a_pod(target.clone(), &patch);
            prop_assert_eq!(merged_into_a_pod(once.clone(), &patch), once.clone());
            for (field, key) in [("volumeMounts", "/mountPath"), ("ports", "/containerPort")] {
                let keys = |of: &Value| -> Vec<Value> {
                    let all = of[field].as_array().unwrap();
                    all.iter().map(|element| element.pointer(key).unwrap().clone()).collect()
                };
                let kept = keys(&once);
                prop_assert!(keys(&target).iter().chain(&keys(&patch)).all(|key| kept.contains(key)), "{} lost some", field);
            }
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
            let names: std::collections::BTreeSet<_> = all.as_array().unwrap().iter().filter_map(name).collect();
            prop_assert_eq!(all.as_array().unwrap().len(), names.len());
            prop_assert_eq!(names, a.union(&b).cloned().collect::<std::collections::BTreeSet<_>>());
        }
    }
}
