//! What is sent: a desired object as JSON.

use k8s_openapi::ByteString;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Annotation that says which desired object was applied last.
///
/// The comparison with the live object cannot see a field that we stated before and do not state any more: it is there, and
/// might be anybody's. Who owns it stands in `managedFields`, which are often larger than the rest of the object and would have
/// to be cached. A hash of all that was stated says that something was dropped, and the next apply drops it.
pub const APPLIED_HASH: &str = "novasphere.io/applied-hash";

/// The JSON of `desired` for a server-side apply: with type, without nulls, status and what only the apiserver sets, and with
/// [`APPLIED_HASH`].
pub(super) fn desired(desired: &impl Serialize, api_version: &str, kind: &str) -> Result<Value, serde_json::Error> {
    let mut document = serde_json::to_value(desired)?;
    remove_nulls(&mut document);
    if let Value::Object(fields) = &mut document {
        fields.remove("status");
        fields.insert("apiVersion".to_owned(), api_version.into());
        fields.insert("kind".to_owned(), kind.into());
        encode_string_data(fields)?;
    }
    if let Some(metadata) = metadata(&mut document) {
        for key in [
            "uid",
            "resourceVersion",
            "generation",
            "creationTimestamp",
            "managedFields",
            "selfLink",
        ] {
            metadata.remove(key);
        }
        if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
            annotations.remove(APPLIED_HASH);
        }
    }
    let hash = hash(&document);
    if let Some(metadata) = metadata(&mut document) {
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        if let Value::Object(annotations) = annotations {
            annotations.insert(APPLIED_HASH.to_owned(), hash.into());
        }
    }
    Ok(document)
}

/// Sets a field of the metadata.
pub(super) fn set_metadata(document: &mut Value, key: &str, value: &str) {
    if let Some(metadata) = metadata(document) {
        metadata.insert(key.to_owned(), value.into());
    }
}

/// 128 bits of SHA-256 in hexadecimal. The keys of `serde_json`'s maps are sorted, so equal documents have equal hashes.
pub(super) fn hash(document: &Value) -> String {
    let mut text = base16ct::lower::encode_string(&Sha256::digest(document.to_string()));
    text.truncate(32);
    text
}

fn metadata(document: &mut Value) -> Option<&mut Map<String, Value>> {
    document.get_mut("metadata")?.as_object_mut()
}

fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(remove_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}

/// `stringData` of a Secret is never read back, so it would differ for ever: it goes into `data`, as the apiserver does it.
fn encode_string_data(fields: &mut Map<String, Value>) -> Result<(), serde_json::Error> {
    if fields.get("kind").and_then(Value::as_str) != Some("Secret") {
        return Ok(());
    }
    let Some(Value::Object(strings)) = fields.remove("stringData") else {
        return Ok(());
    };
    let data = fields.entry("data").or_insert_with(|| json!({}));
    if let Value::Object(data) = data {
        for (key, value) in strings {
            let bytes = value.as_str().unwrap_or_default().as_bytes().to_vec();
            data.insert(key, serde_json::to_value(ByteString(bytes))?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};

    use super::*;

    fn read<K: serde::de::DeserializeOwned>(value: Value) -> K {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_what_is_stated_is_sent() {
        let service: Service = read(json!({
            "metadata": {"name": "a", "namespace": "ns", "uid": "u", "resourceVersion": "1", "annotations": {"mine": "x"}},
            "spec": {"type": "ClusterIP"},
            "status": {"loadBalancer": {}},
        }));
        let mut document = desired(&service, "v1", "Service").unwrap();
        let hash = document["metadata"]["annotations"]
            .as_object_mut()
            .unwrap()
            .remove(APPLIED_HASH)
            .unwrap();
        assert_eq!(hash.as_str().map(str::len), Some(32));
        assert_eq!(
            document,
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "a", "namespace": "ns", "annotations": {"mine": "x"}},
                "spec": {"type": "ClusterIP"},
            })
        );
    }

    #[test]
    fn the_hash_follows_the_content_alone() {
        let hash_of = |value: Value| {
            let document = desired(&read::<ConfigMap>(value), "v1", "ConfigMap").unwrap();
            document["metadata"]["annotations"][APPLIED_HASH]
                .as_str()
                .unwrap()
                .to_owned()
        };
        let plain = hash_of(json!({"metadata": {"name": "a"}, "data": {"x": "1", "y": "2"}}));
        assert_eq!(
            plain,
            hash_of(json!({"metadata": {"name": "a", "resourceVersion": "9"}, "data": {"y": "2", "x": "1"}}))
        );
        let from_live =
            json!({"metadata": {"name": "a", "annotations": {APPLIED_HASH: plain}}, "data": {"x": "1", "y": "2"}});
        assert_ne!(plain, hash_of(json!({"metadata": {"name": "a"}, "data": {"x": "1"}})));
        // An empty map of annotations is a statement about nothing, yet it is stated.
        assert_eq!(
            hash_of(from_live),
            hash_of(json!({"metadata": {"name": "a", "annotations": {}}, "data": {"x": "1", "y": "2"}}))
        );
    }

    #[test]
    fn string_data_becomes_data() {
        let secret: Secret =
            read(json!({"metadata": {"name": "a"}, "data": {"k": "AQI="}, "stringData": {"password": "geheim"}}));
        let document = desired(&secret, "v1", "Secret").unwrap();
        assert_eq!(document["data"], json!({"k": "AQI=", "password": "Z2VoZWlt"}));
        assert!(document.get("stringData").is_none());
    }
}
