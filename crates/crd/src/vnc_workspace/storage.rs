//! The home volume of a workspace and its snapshots.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::{KubeSchema, core::Rule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lifecycle::utc;
use crate::{
    VolumeAccessMode,
    rule::{cron, exactly_one, forbidden, immutable, invalid, matches, object_name, plausible_size, time_zone},
};

/// A home volume. Only `size`, upwards, and `reclaim` can be changed later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = plausible_size("size"))]
#[x_kube(validation = forbidden(
    "!has(self.size) || !has(oldSelf.size) || !isQuantity(string(self.size)) || \
     quantity(string(self.size)).compareTo(quantity(string(oldSelf.size))) >= 0",
    "a home cannot shrink; keep the size, or make a larger one of it"
)
.field_path(".size"))]
#[x_kube(validation = fixed("storageClassName"))]
#[x_kube(validation = fixed("accessModes"))]
#[x_kube(validation = fixed("mountPath"))]
#[x_kube(validation = fixed("restoreFrom"))]
#[x_kube(validation = object_name("storageClassName"))]
#[x_kube(validation = matches("mountPath", "^/[^:]+$", "mountPath must be an absolute path without ':'"))]
#[x_kube(validation = free_path("mountPath"))]
pub struct WorkspaceStorage {
    /// Its size. It can grow when the storage class allows it, and never shrink. Default: the size that it has, also when it is taken over by
    /// `restoreFrom`; `10Gi` for a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Quantity>,

    /// The storage class. Default: the cluster's default class. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,

    /// How nodes may mount it. Default `ReadWriteOnce`. Immutable.
    #[serde(default = "access_modes")]
    #[schemars(length(min = 1, max = 4), extend("x-kubernetes-list-type" = "set"))]
    pub access_modes: Vec<VolumeAccessMode>,

    /// Where the desktop has it: an absolute path, outside of what a Linux system and the desktop itself need. Default
    /// `/home/user/workspace`. Immutable.
    #[serde(default = "mount_path")]
    #[schemars(length(min = 2, max = 512))]
    pub mount_path: String,

    /// What happens to it when the workspace is deleted or expires. Default `Retain`.
    #[serde(default)]
    pub reclaim: ReclaimPolicy,

    /// What it is filled with when it is made. Default: nothing. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_from: Option<RestoreFrom>,
}

impl Default for WorkspaceStorage {
    fn default() -> Self {
        Self {
            size: None,
            storage_class_name: None,
            access_modes: access_modes(),
            mount_path: mount_path(),
            reclaim: ReclaimPolicy::default(),
            restore_from: None,
        }
    }
}

fn fixed(field: &str) -> Rule {
    immutable(field, "make another workspace for another home")
}

/// A path at which a volume hides nothing that the desktop needs, and collides with none of its own mounts: `build/pod.rs` of the core crate.
fn free_path(field: &str) -> Rule {
    let needed = r"^(/+\.?)*(/+((bin|boot|dev|etc|lib|lib32|lib64|libx32|proc|run|sbin|sys|tmp|usr)(/.*)?)?)?$";
    invalid(
        &format!(r"!self.{field}.matches(r'{needed}') && !self.{field}.matches(r'/\.\.(/|$)')"),
        &format!(
            "{field} must not be / or in /bin, /boot, /dev, /etc, /lib, /proc, /run, /sbin, /sys, /tmp or /usr, which the desktop needs \
             itself, nor have '..'; choose a path such as /home/alice"
        ),
    )
    .field_path(format!(".{field}"))
}

fn access_modes() -> Vec<VolumeAccessMode> {
    vec![VolumeAccessMode::ReadWriteOnce]
}

fn mount_path() -> String {
    "/home/user/workspace".to_owned()
}

/// What happens to a home when its workspace ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ReclaimPolicy {
    /// It stays, to be used by `restoreFrom` or deleted by hand.
    #[default]
    Retain,
    /// It is deleted with all data.
    Delete,
    /// A `VolumeSnapshot` is taken first; it is deleted when the snapshot is ready to use.
    Snapshot,
}

/// What a home is filled with. Exactly one is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one(&["volumeSnapshotName", "persistentVolumeClaimName"]))]
#[x_kube(validation = object_name("volumeSnapshotName"))]
#[x_kube(validation = object_name("persistentVolumeClaimName"))]
pub struct RestoreFrom {
    /// Name of a `VolumeSnapshot` in the same namespace; its contents are copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub volume_snapshot_name: Option<String>,

    /// Name of a claim in the same namespace that a deleted workspace left; it becomes the home itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub persistent_volume_claim_name: Option<String>,
}

/// Snapshots of a home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = cron("schedule"))]
#[x_kube(validation = time_zone("timeZone"))]
#[x_kube(validation = object_name("volumeSnapshotClassName"))]
pub struct Backup {
    /// Take one at these times, whether the desktop sleeps or not: a cron expression of five fields (minute, hour, day of month, month, day of
    /// week), such as `0 3 * * *`. The next one is taken when the one before is ready to use; times that have passed meanwhile are made up for by
    /// one. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub schedule: Option<String>,

    /// The time zone of `schedule`, by its name in the IANA database, such as `Europe/Berlin`. Default `Etc/UTC`.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,

    /// Take one at each hibernation. Default false.
    #[serde(default)]
    pub on_hibernate: bool,

    /// Take one when the workspace expires. Default true.
    #[serde(default = "yes")]
    pub on_expire: bool,

    /// Take one when the workspace is deleted, whatever becomes of its home. The deletion waits until it is ready to use, for 10 minutes; after that
    /// the workspace goes without it, and its home is kept, unless `storage.reclaim` is `Snapshot`, which waits on. Default false.
    #[serde(default)]
    pub on_delete: bool,

    /// The `VolumeSnapshotClass`. Default: the cluster's default class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub volume_snapshot_class_name: Option<String>,

    /// How many snapshots are kept, the newest; from 1 to 100. Those that a lower number leaves over are announced and deleted 5 minutes
    /// later. Default 3.
    #[serde(default = "keep")]
    #[schemars(range(min = 1, max = 100))]
    pub keep: u16,
}

impl Default for Backup {
    fn default() -> Self {
        Self {
            schedule: None,
            time_zone: utc(),
            on_hibernate: false,
            on_expire: true,
            on_delete: false,
            volume_snapshot_class_name: None,
            keep: keep(),
        }
    }
}

const fn yes() -> bool {
    true
}

const fn keep() -> u16 {
    3
}
