//! When a changed status is written, and the events that go with it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use novasphere_crd::{VncWorkspaceStatus, condition as types};

use super::{
    expiry,
    status::{is_much_newer, is_on_its_way},
};
use crate::{
    condition::find,
    transition::{EventNote, Transition, WritePriority},
};

/// Compares the status that an object has with the one that it should have. Both are without `wakeRequestedAt`, which gateways
/// write.
#[must_use]
pub fn transition(old: Option<&VncWorkspaceStatus>, new: &VncWorkspaceStatus) -> Transition {
    if old == Some(new) {
        return Transition::none();
    }
    Transition {
        priority: if is_significant(old, new) {
            WritePriority::Now
        } else {
            WritePriority::Soon
        },
        events: events(old, new)
            .into_iter()
            .chain(expiry::announcements(old, new))
            .collect(),
    }
}

/// Whether a status has something that users or programs wait for, compared with the one that an object has.
fn is_significant(old: Option<&VncWorkspaceStatus>, new: &VncWorkspaceStatus) -> bool {
    let Some(old) = old else { return true };
    // That the home is bound is written together with what the desktop does next.
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
        || (&old.expires_at, &old.endpoints, &old.next_backup_at)
            != (&new.expires_at, &new.endpoints, &new.next_backup_at)
        || old.routes != new.routes
        || is_much_newer(
            old.last_input_at.as_ref().map(|time| time.0),
            new.last_input_at.as_ref().map(|time| time.0),
        )
}

/// An event for each condition with a new failure, and for a desktop that hibernates.
fn events(old: Option<&VncWorkspaceStatus>, new: &VncWorkspaceStatus) -> Vec<EventNote> {
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
        "RoutePending",
        "AddressPending",
    ];
    let worth_an_event = new.conditions.iter().filter(|condition| {
        let is_new = find(old, &condition.type_).is_none_or(|old| old.reason != condition.reason);
        let is_failure = condition.status == "False"
            && condition.type_ != types::READY
            && !quiet.contains(&condition.reason.as_str());
        let hibernates = condition.type_ == types::HIBERNATED && condition.status == "True";
        is_new && (is_failure || hibernates)
    });
    worth_an_event
        .map(|condition| {
            if condition.status == "False" {
                EventNote::warning(&condition.reason, &condition.message)
            } else {
                EventNote::normal("Hibernated", &condition.message)
            }
        })
        .collect()
}
