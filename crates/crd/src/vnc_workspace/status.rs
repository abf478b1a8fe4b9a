//! What was found out about a `VncWorkspace`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{RouteStatus, condition, schema::tidy};

/// The observed state of a `VncWorkspace`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = tidy)]
pub struct VncWorkspaceStatus {
    /// The `metadata.generation` that this status was worked out from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// `Ready`, which sums up `PodReady`, `StorageReady` and `RoutesReady`; and `Hibernated`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "condition::list_schema")]
    pub conditions: Vec<Condition>,

    /// The workspace's state in one word, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<WorkspacePhase>,

    /// The Pod that runs the desktop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<String>,

    /// The node it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,

    /// Where the desktop is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<WorkspaceEndpoints>,

    /// The routes, in the order of the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub routes: Vec<RouteStatus>,

    /// Name of the Secret with the generated VNC password and SSH host keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret: Option<String>,

    /// Name of the `PersistentVolumeClaim` that is the home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home_claim: Option<String>,

    /// When somebody last typed, moved the pointer, connected or left; up to 10 minutes behind while somebody types.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_input_at: Option<Time>,

    /// When a gateway last asked for the desktop because somebody connects. Gateways alone write it; a time at or after
    /// `hibernation.since` wakes the desktop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_requested_at: Option<Time>,

    /// Since when the desktop is awake; absent while it sleeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awake_since: Option<Time>,

    /// Why and since when it sleeps; or slept, while it is awake although `lifecycle.state` is `Hibernated`, because somebody
    /// connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hibernation: Option<Hibernation>,

    /// When the desktop is going to sleep unless somebody types; only there in the last minutes before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sleeps_at: Option<Time>,

    /// When the workspace ends. An end that a change of `lifecycle` brings near comes 5 minutes after the change, or what the
    /// administrator has configured; it can be taken back until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,

    /// When the next snapshot is taken by `backup.schedule`. One that has come is being taken; the next time is there when that is ready to use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_backup_at: Option<Time>,

    /// The snapshots of the home, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub snapshots: Vec<SnapshotStatus>,
}

/// A workspace's state in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum WorkspacePhase {
    /// It is being made or woken.
    Starting,
    /// The desktop answers.
    Running,
    /// It is being put to sleep.
    Hibernating,
    /// It sleeps.
    Hibernated,
    /// Its time is over and its data is being dealt with.
    Expiring,
    /// Something is wrong; the conditions say what.
    Failed,
}

/// A desktop's sleep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hibernation {
    /// Who put it to sleep.
    pub reason: HibernationReason,

    /// Since when.
    pub since: Time,
}

/// Who puts a desktop to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum HibernationReason {
    /// `lifecycle.state` is `Hibernated`.
    Asked,
    /// Nobody typed for `lifecycle.idleTimeout`.
    Idle,
    /// `lifecycle.schedule`.
    Schedule,
}

/// Where a desktop is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkspaceEndpoints {
    /// The web page's URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web: Option<String>,

    /// `host:port` for VNC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vnc: Option<String>,

    /// `host:port` for SSH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<String>,
}

/// A snapshot of a home.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotStatus {
    /// The name of the `VolumeSnapshot`.
    pub name: String,

    /// When it was taken.
    pub created_at: Time,

    /// Whether a home can be restored from it.
    pub ready_to_use: bool,

    /// When it is deleted, because a change of `backup` keeps fewer than before. A larger `backup.keep` before that time keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
}
