//! How a cache stores an object: parsed, or as its text.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};

/// Writes and reads the text of an object.
pub(super) struct Codec<K> {
    write: fn(&K) -> Option<Box<[u8]>>,
    read: fn(&[u8]) -> Option<K>,
}

impl<K> Clone for Codec<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Codec<K> {}

impl<K: Serialize + DeserializeOwned + PartialEq> Codec<K> {
    /// The JSON of the wire.
    pub(super) fn json() -> Self {
        Self {
            write: |object| {
                let text = serde_json::to_vec(object).ok()?.into_boxed_slice();
                // A cache must not answer anything but what it was given.
                (serde_json::from_slice::<K>(&text).ok()? == *object).then_some(text)
            },
            read: |text| serde_json::from_slice(text).ok(),
        }
    }
}

/// One object.
pub(super) enum Stored<K> {
    Parsed(Arc<K>),
    /// Only ever what [`Codec::json`] has read back already.
    Text(Box<[u8]>, fn(&[u8]) -> Option<K>),
}

impl<K: Clone> Stored<K> {
    /// As text, if there is a codec and it gives back the same object.
    pub(super) fn new(object: &K, codec: Option<Codec<K>>) -> Self {
        let text = codec.and_then(|codec| Some(Self::Text((codec.write)(object)?, codec.read)));
        text.unwrap_or_else(|| Self::Parsed(Arc::new(object.clone())))
    }

    /// The object.
    pub(super) fn get(&self) -> Option<Arc<K>> {
        match self {
            Self::Parsed(object) => Some(Arc::clone(object)),
            Self::Text(text, read) => read(text).map(Arc::new),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ConfigMap, Service};
    use serde_json::json;

    use super::*;

    fn is_text<K: Clone>(stored: &Stored<K>) -> bool {
        matches!(stored, Stored::Text(..))
    }

    #[test]
    fn an_object_comes_back_from_its_text() {
        let service: Service = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "web-1-ssh", "namespace": "default", "uid": "u", "resourceVersion": "7",
                "creationTimestamp": "2026-11-21T07:00:00Z", "labels": {"a": "b"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "A", "name": "n", "uid": "o", "controller": true}],
            },
            "spec": {
                "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "internalTrafficPolicy": "Cluster",
                "ports": [{"name": "ssh", "port": 22, "protocol": "TCP", "targetPort": 22}],
                "selector": {"vm": "web-1"}, "type": "ClusterIP",
            },
            "status": {"loadBalancer": {}},
        }))
        .unwrap();
        let stored = Stored::new(&service, Some(Codec::json()));
        assert!(is_text(&stored));
        assert_eq!(*stored.get().unwrap(), service);
    }

    #[test]
    fn what_its_text_would_change_is_stored_parsed() {
        #[derive(Clone, Debug, Default, PartialEq, Serialize, serde::Deserialize)]
        struct Note {
            #[serde(skip)]
            unwritten: bool,
        }
        let note = Note { unwritten: true };
        let stored = Stored::new(&note, Some(Codec::json()));
        assert!(!is_text(&stored));
        assert_eq!(*stored.get().unwrap(), note);
        assert!(is_text(&Stored::new(&Note::default(), Some(Codec::json()))));
    }

    #[test]
    fn without_a_codec_it_is_the_same_object_each_time() {
        let stored = Stored::new(&ConfigMap::default(), None);
        assert!(Arc::ptr_eq(&stored.get().unwrap(), &stored.get().unwrap()));
    }
}
