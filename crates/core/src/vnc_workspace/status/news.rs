//! What of a status is worth a write, and an event.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use novasphere_crd::{VncWorkspaceStatus, condition as types};

use super::{sleep::is_much_newer, storage::is_on_its_way};
use crate::condition::find;

/// Whether a status says something that people or programs wait for, compared with the one that an object has.
#[must_use]
pub fn is_news(old: Option<&VncWorkspaceStatus>, new: &VncWorkspaceStatus) -> bool {
    let Some(old) = old else { return true };
    // That the home has come is told with what the desktop does next.
    let comes = |old: &Condition, new: &Condition| {
        new.type_ == types::STORAGE_READY
            && is_on_its_way(&old.reason)
            && (new.status == "True" || is_on_its_way(&new.reason))
    };
    let changed = |condition: &Condition| {
        find(&old.conditions, &condition.type_).is_none_or(|old| {
            (&old.status, &old.reason) != (&condition.status, &condition.reason) && !comes(old, condition)
        })
    };
    old.conditions.len() != new.conditions.len()
        || new.conditions.iter().any(changed)
        || (
            old.observed_generation,
            &old.awake_since,
            &old.hibernation,
            &old.sleeps_at,
        ) != (
            new.observed_generation,
            &new.awake_since,
            &new.hibernation,
            &new.sleeps_at,
        )
        || (old.phase, &old.snapshots, &old.pod_name) != (new.phase, &new.snapshots, &new.pod_name)
        || (&old.expires_at, &old.endpoints) != (&new.expires_at, &new.endpoints)
        || is_much_newer(
            old.last_input_at.as_ref().map(|time| time.0),
            new.last_input_at.as_ref().map(|time| time.0),
        )
}

/// What a person should hear of, with whether it is a warning.
#[must_use]
pub fn news(old: Option<&VncWorkspaceStatus>, new: &VncWorkspaceStatus) -> Vec<(bool, String, String)> {
    let old = old.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let quiet = [
        "Starting",
        "Stopping",
        "Hibernated",
        "Provisioning",
        "WaitingForPod",
        "Awake",
        "Expired",
        "Deleting",
        "TakingSnapshot",
    ];
    let told = new.conditions.iter().filter(|condition| {
        let is_new = find(old, &condition.type_).is_none_or(|old| old.reason != condition.reason);
        let wrong = condition.status == "False"
            && condition.type_ != types::READY
            && !quiet.contains(&condition.reason.as_str());
        let sleeps = condition.type_ == types::HIBERNATED && condition.status == "True";
        is_new && (wrong || sleeps)
    });
    told.map(|condition| {
        let is_warning = condition.status == "False";
        let reason = if is_warning {
            condition.reason.clone()
        } else {
            "Hibernated".to_owned()
        };
        (is_warning, reason, condition.message.clone())
    })
    .collect()
}
