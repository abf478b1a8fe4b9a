//! Volume snapshots (`snapshot.storage.k8s.io/v1`), by hand from kubernetes-csi/external-snapshotter v8
//! `client/apis/volumesnapshot/v1/types.go`.

use k8s_openapi::apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Time};
use serde::{Deserialize, Serialize};

use crate::object::namespaced_object;

namespaced_object! {
    /// A snapshot of a claim, made by the driver of its volume.
    VolumeSnapshot, "snapshot.storage.k8s.io"/"v1", "volumesnapshots" {
        /// What is wanted.
        spec("spec"): VolumeSnapshotSpec,
        /// What the driver says about it; never applied.
        status("status"): VolumeSnapshotStatus,
    }
}

/// `VolumeSnapshotSpec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotSpec {
    /// What it is taken of.
    pub source: VolumeSnapshotSource,
    /// The `VolumeSnapshotClass`; the driver's default class when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_snapshot_class_name: Option<String>,
}

/// `VolumeSnapshotSource`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotSource {
    /// A claim in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim_name: Option<String>,
}

/// The part of `VolumeSnapshotStatus` that says whether a snapshot can be used.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotStatus {
    /// When the picture was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_time: Option<Time>,
    /// Whether a volume can be made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_to_use: Option<bool>,
    /// The smallest volume that takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_size: Option<Quantity>,
    /// The last failure; the driver tries again by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<VolumeSnapshotError>,
}

/// `VolumeSnapshotError`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct VolumeSnapshotError {
    /// The driver's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl VolumeSnapshot {
    /// Whether a volume can be made of it.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status
            .as_ref()
            .is_some_and(|status| status.ready_to_use == Some(true))
    }

    /// The driver's words about its last failure.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        let error = self.status.as_ref()?.error.as_ref()?;
        Some(error.message.as_deref().unwrap_or("the driver gives no reason"))
    }
}
