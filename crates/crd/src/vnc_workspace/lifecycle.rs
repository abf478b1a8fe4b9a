//! When a desktop runs, sleeps and ends.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Duration,
    rule::{at_most_one, between, cron, forbidden, required, time_zone},
};

/// When the desktop runs, sleeps and ends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = forbidden(
    "!has(self.keepAwakeUntil) || self.state == 'Running'",
    "a desktop that is to hibernate cannot be kept awake; remove keepAwakeUntil, or set state to Running"
)
.field_path(".keepAwakeUntil"))]
#[x_kube(validation = at_most_one(&["expiresAt", "maxLifetime"]))]
#[x_kube(validation = between("idleTimeout", "1s", "720h"))]
#[x_kube(validation = between("maxLifetime", "1s", "87600h"))]
pub struct Lifecycle {
    /// Whether it may run. Default `Running`.
    #[serde(default)]
    pub state: LifecycleState,

    /// Without human input by VNC, SSH or browser for this long, it hibernates; from 1s to 720h. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,

    /// Neither idleness nor `schedule` hibernates it before this time (RFC 3339), and one of these that sleeps is woken.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_awake_until: Option<Time>,

    /// It ends at this time (RFC 3339), which is after its creation. A change that would end it at once is announced and carried out 5 minutes
    /// later, `status.expiresAt` has the time; the same for `maxLifetime`. Not with `maxLifetime`. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,

    /// It ends this long after it was made; from 1s to 87600h. Not with `expiresAt`. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lifetime: Option<Duration>,

    /// Hours at which it hibernates and wakes. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,

    /// Whether a viewer who may only view the console wakes it, too; one who may control it always does. Default: `true` where
    /// `console.input` is `ViewOnly`, because nobody may do more there, else `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_on_view: Option<bool>,
}

/// Whether a desktop may run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum LifecycleState {
    /// It runs, unless it is idle or `schedule` lets it sleep.
    #[default]
    Running,
    /// Its Pod is gone and its home is kept. Somebody who connects wakes it, until nobody types for `idleTimeout`, or 30m
    /// where none is given.
    Hibernated,
}

/// Hours at which a desktop hibernates and wakes. At least one of `wake` and `hibernate` is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = required(
    "has(self.wake) || has(self.hibernate)",
    "a schedule needs wake, hibernate or both; add one, or remove schedule"
))]
#[x_kube(validation = time_zone("timeZone"))]
#[x_kube(validation = cron("wake"))]
#[x_kube(validation = cron("hibernate"))]
pub struct Schedule {
    /// The time zone of both, by its name in the IANA database, such as `Europe/Berlin`. Default `Etc/UTC`.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,

    /// When it wakes: a cron expression of five fields (minute, hour, day of month, month, day of week), such as
    /// `0 8 * * 1-5`. Default: when somebody connects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub wake: Option<String>,

    /// When it hibernates: a cron expression of five fields. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub hibernate: Option<String>,
}

pub(super) fn utc() -> String {
    "Etc/UTC".to_owned()
}
