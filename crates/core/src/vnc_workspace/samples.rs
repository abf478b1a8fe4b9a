//! Objects for the tests of this module.

use std::sync::Arc;

use jiff::Timestamp;
use novasphere_crd::VncWorkspace;
use serde_json::{Value, json};

use super::references::{References, SnapshotApi};

pub(super) fn at(second: i64) -> Timestamp {
    let start: Timestamp = "2026-03-02T08:00:00Z".parse().unwrap();
    Timestamp::from_second(start.as_second() + second).unwrap()
}

/// Workspace alice with these further fields of its spec.
pub(super) fn workspace(spec: &Value) -> VncWorkspace {
    let mut all = json!({"user": "alice", "image": "registry.example.org/desktop:1"});
    if let (Some(all), Some(spec)) = (all.as_object_mut(), spec.as_object()) {
        all.extend(spec.clone());
    }
    serde_json::from_value(json!({
        "apiVersion": "novasphere.io/v1alpha1",
        "kind": "VncWorkspace",
        "metadata": {
            "name": "alice", "namespace": "team", "uid": "alice-1", "generation": 1,
            "creationTimestamp": at(0).to_string(),
        },
        "spec": all,
    }))
    .unwrap()
}

/// A cluster with snapshots and one storage class, in which nothing was made yet.
pub(super) fn references() -> References {
    let class = json!({"metadata": {"name": "fast"}, "provisioner": "csi"});
    References {
        snapshot_api: SnapshotApi::Listed,
        storage_classes: vec![Arc::new(serde_json::from_value(class).unwrap())],
        ..References::default()
    }
}
