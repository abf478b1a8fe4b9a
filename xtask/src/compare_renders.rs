//! The chart and `config/` install the same objects.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::yaml;

/// What differs by nature: Helm names itself in these, and creates the
/// namespace by an option of its own.
const HELM_LABELS: &[&str] = &["app.kubernetes.io/managed-by", "helm.sh/chart"];
const HELM_ANNOTATIONS: &[&str] = &["helm.sh/resource-policy"];

/// One line per object or field that only one side has or that differs.
pub(crate) fn differences(helm: &Path, kustomize: &Path) -> anyhow::Result<Vec<String>> {
    let (helm, kustomize) = (objects(helm)?, objects(kustomize)?);
    if helm.is_empty() {
        bail!("the chart renders no object");
    }
    let mut found = Vec::new();
    for (name, left) in &helm {
        match kustomize.get(name) {
            None => found.push(format!("only in the chart: {name}")),
            Some(right) => compare(name, left, right, &mut found),
        }
    }
    found.extend(
        kustomize
            .keys()
            .filter(|name| !helm.contains_key(*name))
            .map(|name| format!("only in config/: {name}")),
    );
    if found.is_empty() {
        println!("{} objects, the same in both", helm.len());
    }
    Ok(found)
}

fn objects(path: &Path) -> anyhow::Result<BTreeMap<String, Value>> {
    let mut objects = BTreeMap::new();
    for object in yaml::read_documents(path)? {
        let part = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (kind, namespace) = (part("/kind"), part("/metadata/namespace"));
        if kind == "Namespace" {
            continue;
        }
        let name = format!("{} {kind} {namespace}/{}", part("/apiVersion"), part("/metadata/name"));
        let object = normalised(object.clone()).with_context(|| name.clone())?;
        if objects.insert(name.clone(), object).is_some() {
            bail!("{}: {name} is there twice", path.display());
        }
    }
    Ok(objects)
}

fn normalised(mut object: Value) -> anyhow::Result<Value> {
    for (field, names) in [("labels", HELM_LABELS), ("annotations", HELM_ANNOTATIONS)] {
        let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
            continue;
        };
        let Some(map) = metadata.get_mut(field).and_then(Value::as_object_mut) else {
            continue;
        };
        map.retain(|key, _| !names.contains(&key.as_str()));
        if map.is_empty() {
            metadata.remove(field);
        }
    }
    // Two printers may lay the same configuration out in different ways.
    if let Some(config) = object.pointer_mut("/data/config.yaml") {
        *config = yaml::parse(config.as_str().context("config.yaml is not text")?)?;
    }
    Ok(object)
}

fn compare(path: &str, left: &Value, right: &Value, found: &mut Vec<String>) {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            for (key, value) in left {
                match right.get(key) {
                    None => found.push(format!("only in the chart: {path} .{key}")),
                    Some(other) => compare(&format!("{path} .{key}"), value, other, found),
                }
            }
            let missing = right.keys().filter(|key| !left.contains_key(*key));
            found.extend(missing.map(|key| format!("only in config/: {path} .{key}")));
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (value, other)) in left.iter().zip(right).enumerate() {
                compare(&format!("{path} [{index}]"), value, other, found);
            }
        }
        _ if left == right => {}
        _ => found.push(format!("{path}: the chart has {left}, config/ has {right}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_difference_is_named_with_its_place() {
        let mut found = Vec::new();
        compare(
            "X",
            &json!({"a": 1, "b": [1, 2], "c": 0}),
            &json!({"a": 2, "b": [1, 3], "d": 0}),
            &mut found,
        );
        assert_eq!(
            found,
            [
                "X .a: the chart has 1, config/ has 2",
                "X .b [1]: the chart has 2, config/ has 3",
                "only in the chart: X .c",
                "only in config/: X .d"
            ]
        );
    }

    #[test]
    fn what_helm_says_of_itself_does_not_count() {
        let helm = json!({
            "metadata": {"labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": {"helm.sh/resource-policy": "keep"}},
            "data": {"config.yaml": "a: [1]"},
        });
        let plain = json!({"metadata": {}, "data": {"config.yaml": "a:\n  - 1\n"}});
        assert_eq!(normalised(helm).unwrap(), normalised(plain).unwrap());
    }
}
