//! What else a `VncWorkspace` depends on, read from the cluster before validation.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::{
    core::v1::{Event, PersistentVolumeClaim, Pod, Service},
    storage::v1::StorageClass,
};
use novasphere_crd::{Cidr, VncWorkspace};
use novasphere_foreign::volume_snapshot::VolumeSnapshot;

use super::{activity::Activity, allowed_overrides::AllowedOverrides, expiry::EXPIRY_NOTICE, home_name};
use crate::allowed_names::AllowedNames;

/// The objects that a workspace refers to or that were made for it, as the watch caches have them.
#[derive(Clone, Debug, Default)]
pub struct References {
    /// The Pod of its name, no matter who created it.
    pub pod: Option<Arc<Pod>>,
    /// The Service of its name, no matter who created it.
    pub service: Option<Arc<Service>>,
    /// The claim called [`home_of`], when novasphere made it.
    pub home: Option<Arc<PersistentVolumeClaim>>,
    /// Whether the workspace for which that claim was made is still there, and is another one.
    pub home_is_used: bool,
    /// The snapshots that were taken for this workspace.
    pub snapshots: Vec<Arc<VolumeSnapshot>>,
    /// The snapshot that `storage.restoreFrom` names.
    pub restored_snapshot: Option<Arc<VolumeSnapshot>>,
    /// What the cluster says of volume snapshots.
    pub snapshot_api: SnapshotApi,
    /// All storage classes.
    pub storage_classes: Vec<Arc<StorageClass>>,
    /// The Secrets among those that it names which are shared with desktops.
    pub shared_secrets: BTreeSet<String>,
    /// How the claims that it names stand. One that is not among them does not exist.
    pub claims: BTreeMap<String, NamedClaim>,
    /// Warnings about its Pod, read while that takes long to start.
    pub pod_warnings: Vec<Event>,
    /// The input to the desktop.
    pub activity: Activity,
    /// What the administrator says of all workspaces.
    pub settings: Arc<WorkspaceSettings>,
}

/// What the cluster says of volume snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SnapshotApi {
    /// It does not serve them.
    #[default]
    Missing,
    /// It serves them, and their first list has not ended. One that no cache has may well exist, so none is counted, removed or missed.
    Unlisted,
    /// The caches have them all.
    Listed,
}

/// A claim beside its home that a workspace names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedClaim {
    /// A user who may change it has labelled it for desktops.
    Shared,
    /// Nobody has.
    NotShared,
    /// It is the home of another workspace.
    HomeOfOther,
}

/// Settings of the controller that a decision about a workspace depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceSettings {
    /// What `podOverrides` may set.
    pub allowed_overrides: AllowedOverrides,
    /// Keys of annotations of its Service.
    pub service_annotations: AllowedNames,
    /// How long a change of a spec that ends something soon is announced.
    pub expiry_notice: Duration,
    /// Addresses of the cluster itself, which desktops reach only where a rule names them.
    pub cluster_ranges: Vec<Cidr>,
}

impl Default for WorkspaceSettings {
    fn default() -> Self {
        Self {
            allowed_overrides: AllowedOverrides::default(),
            service_annotations: AllowedNames::new(["*"]),
            expiry_notice: EXPIRY_NOTICE,
            cluster_ranges: Vec::new(),
        }
    }
}

/// The claim that is the home of a workspace.
#[must_use]
pub fn home_of(workspace: &VncWorkspace) -> String {
    let restored = workspace.spec.storage.restore_from.as_ref();
    restored
        .and_then(|from| from.persistent_volume_claim_name.clone())
        .unwrap_or_else(|| home_name(workspace.metadata.name.as_deref().unwrap_or_default()))
}
