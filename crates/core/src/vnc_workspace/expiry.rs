//! When a workspace ends. What cannot be taken back is told before it is done: an end that a change of the spec brings near waits for a
//! notice, and so do snapshots that a change leaves beyond those that are kept.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use novasphere_crd::{ReclaimPolicy, VncWorkspace, VncWorkspaceStatus, condition as types};

use super::{
    lifecycle::{DesktopState, LifecycleDecision},
    reason::HibernatedReason,
    references::home_of,
    validate::snapshot_policy,
};
use crate::{
    time::{after, whole_second},
    transition::EventNote,
};

/// How long a change of the spec that ends something soon is announced, unless the configuration says something else.
pub const EXPIRY_NOTICE: Duration = Duration::from_mins(5);

/// The end that the spec asks for. One before the workspace was made is none: it is refused ([`before_creation`]).
#[must_use]
pub fn asked_end(workspace: &VncWorkspace) -> Option<Timestamp> {
    if before_creation(workspace).is_some() {
        return None;
    }
    let spec = &workspace.spec.lifecycle;
    let lives = spec.max_lifetime.and_then(|lifetime| {
        let made = workspace.metadata.creation_timestamp.as_ref()?.0;
        made.checked_add(SignedDuration::try_from(lifetime.get()).ok()?).ok()
    });
    spec.expires_at.as_ref().map(|time| time.0).or(lives)
}

/// An `expiresAt` that was over when the workspace was made, and when that was. Nobody means that.
#[must_use]
pub fn before_creation(workspace: &VncWorkspace) -> Option<(Timestamp, Timestamp)> {
    let expires = workspace.spec.lifecycle.expires_at.as_ref()?.0;
    let made = workspace.metadata.creation_timestamp.as_ref()?.0;
    (expires <= made).then_some((expires, made))
}

/// When the workspace ends. What `status.expiresAt` has said is kept; an end that a change has brought nearer than `notice` comes after that.
#[must_use]
pub fn end(workspace: &VncWorkspace, notice: Duration, now: Timestamp) -> Option<Timestamp> {
    let asked = asked_end(workspace)?;
    let soon = whole_second(after(now, notice));
    let status = workspace.status.as_ref().filter(|status| is_seen(status));
    // Nothing of a workspace that is new is lost.
    let Some(status) = status.filter(|_| asked < soon) else {
        return Some(asked);
    };
    let told = status.expires_at.as_ref().map(|time| time.0);
    match told.filter(|told| *told <= soon) {
        Some(told) => Some(asked.max(told)),
        None => Some(soon),
    }
}

/// Whether a controller has worked out this status; gateways may have written to one before.
fn is_seen(status: &VncWorkspaceStatus) -> bool {
    status.observed_generation.is_some()
}

/// What is told before a workspace whose time is over loses its desktop: once.
#[must_use]
pub fn last_words(workspace: &VncWorkspace, decision: Option<&LifecycleDecision>) -> Option<EventNote> {
    if decision?.state != DesktopState::Expired {
        return None;
    }
    let conditions = workspace.status.iter().flat_map(|status| &status.conditions);
    let is_told = conditions.into_iter().any(|condition| {
        condition.type_ == types::HIBERNATED && condition.reason == <&str>::from(HibernatedReason::Expired)
    });
    if is_told {
        return None;
    }
    let home = home_of(workspace);
    let policy = snapshot_policy(&workspace.spec);
    // What is over is deleted.
    let on_expire = policy.on_expire || policy.on_delete;
    let fate = match workspace.spec.storage.reclaim {
        ReclaimPolicy::Retain if on_expire => format!("its home {home} is kept, and saved as a snapshot"),
        ReclaimPolicy::Retain => format!("its home {home} is kept"),
        ReclaimPolicy::Delete if on_expire => {
            format!("its home {home} is deleted with all data, once a snapshot of it is ready")
        }
        ReclaimPolicy::Delete => format!("its home {home} is deleted with all data"),
        ReclaimPolicy::Snapshot => format!("its home {home} is deleted once a snapshot of it is ready"),
    };
    Some(EventNote::warning(
        "Expired",
        format!(
            "The time of the workspace is over: its desktop ends, the workspace is deleted, and {fate}. As long as it is there, a later \
             spec.lifecycle.expiresAt keeps it."
        ),
    ))
}

/// What is told of a change that ends something sooner than it would have ended.
pub(super) fn announcements(old: Option<&VncWorkspaceStatus>, new: &VncWorkspaceStatus) -> Vec<EventNote> {
    let Some(old) = old.filter(|old| is_seen(old)) else {
        return Vec::new();
    };
    let mut events = Vec::new();
    let time = |status: &VncWorkspaceStatus| status.expires_at.as_ref().map(|time| time.0);
    if let Some(ends) = time(new).filter(|ends| time(old).is_none_or(|before| *ends < before)) {
        let before = time(old).map_or_else(|| "never".to_owned(), |before| before.to_string());
        events.push(EventNote::warning(
            "ExpiresSooner",
            format!(
                "The workspace ends at {ends}, and was to end at {before}: spec.lifecycle has changed. spec.storage.reclaim says what becomes \
                 of its home. To take it back, set spec.lifecycle.expiresAt to a later time."
            ),
        ));
    }
    events.extend(snapshots_expire(old, new));
    events
}

/// How many snapshots an event names.
const NAMED_SNAPSHOTS_LIMIT: usize = 5;

fn snapshots_expire(old: &VncWorkspaceStatus, new: &VncWorkspaceStatus) -> Option<EventNote> {
    let is_told = |name: &str| {
        old.snapshots
            .iter()
            .any(|old| old.name == name && old.expires_at.is_some())
    };
    let expiring = || {
        new.snapshots
            .iter()
            .filter(|snapshot| snapshot.expires_at.is_some() && !is_told(&snapshot.name))
    };
    let first = expiring()
        .filter_map(|snapshot| Some(snapshot.expires_at.as_ref()?.0))
        .min()?;
    let names: Vec<_> = expiring()
        .map(|snapshot| snapshot.name.as_str())
        .take(NAMED_SNAPSHOTS_LIMIT)
        .collect();
    let more = expiring().count().saturating_sub(names.len());
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    Some(EventNote::warning(
        "SnapshotsExpire",
        format!(
            "spec.backup.keep leaves these snapshots over, which are deleted at {first}: {}{more}. Raise spec.backup.keep before to keep them.",
            names.join(", ")
        ),
    ))
}

/// When the times of the status that something waits for come, the first of them.
#[must_use]
pub fn next_deletion(status: &VncWorkspaceStatus) -> Option<Timestamp> {
    let times = status
        .snapshots
        .iter()
        .filter_map(|snapshot| snapshot.expires_at.as_ref());
    times.map(|time| time.0).min()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::{Value, json};

    use super::{
        super::{
            lifecycle::decide_for,
            samples::{at, references, workspace},
            validate::{ValidateError, validate},
        },
        *,
    };
    use crate::time::kubernetes_time;

    /// A workspace that was seen, with the end that its status tells.
    fn seen(lifecycle: &Value, told: Option<i64>) -> VncWorkspace {
        let mut workspace = workspace(&json!({ "lifecycle": lifecycle }));
        workspace.status = Some(VncWorkspaceStatus {
            observed_generation: Some(1),
            expires_at: told.map(|second| Time(at(second))),
            ..VncWorkspaceStatus::default()
        });
        workspace
    }

    fn until(second: i64) -> Value {
        json!({"expiresAt": at(second).to_string()})
    }

    #[test]
    fn a_change_that_ends_it_at_once_waits_and_can_be_taken_back() {
        let hour = 3600;
        let ends = |lifecycle: &Value, told: Option<i64>, now: i64| {
            end(&seen(lifecycle, told), EXPIRY_NOTICE, at(now)).map(|end| end.as_second() - at(0).as_second())
        };
        for lifecycle in [until(10), json!({"maxLifetime": "10s"})] {
            for told in [None, Some(9 * hour)] {
                assert_eq!(
                    ends(&lifecycle, told, hour),
                    Some(hour + 300),
                    "it is over, says the change"
                );
            }
            assert_eq!(ends(&lifecycle, Some(hour + 300), hour), Some(hour + 300));
            assert_eq!(
                ends(&lifecycle, Some(hour + 300), hour + 299),
                Some(hour + 300),
                "once it is told it stays"
            );
            assert_eq!(ends(&lifecycle, Some(hour + 300), hour + 400), Some(hour + 300));
        }
        assert_eq!(ends(&json!({}), Some(hour + 300), hour + 299), None, "taken back");
        assert_eq!(
            ends(&until(9 * hour), Some(hour + 300), hour + 299),
            Some(9 * hour),
            "moved on"
        );
        assert_eq!(
            ends(&until(2 * hour), Some(9 * hour), hour),
            Some(2 * hour),
            "early enough"
        );
        assert_eq!(
            ends(&until(2 * hour), Some(2 * hour), 2 * hour - 1),
            Some(2 * hour),
            "told long ago"
        );
        assert_eq!(
            ends(&until(2 * hour), Some(2 * hour), 3 * hour),
            Some(2 * hour),
            "nobody looked meanwhile"
        );
        let new = workspace(&json!({"lifecycle": until(10)}));
        assert_eq!(
            end(&new, EXPIRY_NOTICE, at(5)),
            Some(at(10)),
            "a new one ends when it says"
        );
    }

    #[test]
    fn an_end_before_its_creation_is_refused_and_ends_nothing() {
        for mut workspace in [
            workspace(&json!({"lifecycle": until(-1)})),
            seen(&until(-86400), Some(3600)),
        ] {
            let error = validate(&workspace, &references()).unwrap_err();
            assert!(matches!(error, ValidateError::ExpiresBeforeCreation { .. }), "{error}");
            assert_eq!(asked_end(&workspace), None);
            workspace.spec.storage.reclaim = ReclaimPolicy::Delete;
            let decision = decide_for(&workspace, &references(), at(100_000));
            assert_eq!(decision, None, "nothing changes");
        }
    }

    #[test]
    fn the_end_is_told_before_and_once() {
        let told = |spec: &Value| {
            let mut over = workspace(spec);
            let decision = decide_for(&over, &references(), at(50));
            let note = last_words(&over, decision.as_ref()).unwrap();
            let condition = json!({
                "type": "Hibernated", "status": "False", "reason": "Expired", "message": "m", "lastTransitionTime": at(0).to_string(),
            });
            let status = VncWorkspaceStatus {
                conditions: vec![serde_json::from_value(condition).unwrap()],
                ..VncWorkspaceStatus::default()
            };
            over.status = Some(status);
            assert_eq!(last_words(&over, decision.as_ref()), None);
            assert!(note.is_warning);
            note.message
        };
        let lifecycle = until(10);
        for (spec, says) in [
            (json!({"lifecycle": lifecycle}), "its home alice-home is kept."),
            (
                json!({"lifecycle": lifecycle, "storage": {"reclaim": "Delete"}}),
                "is deleted with all data.",
            ),
            (
                json!({"lifecycle": lifecycle, "storage": {"reclaim": "Delete"}, "backup": {}}),
                "is deleted with all data, once a snapshot of it is ready.",
            ),
            (
                json!({"lifecycle": lifecycle, "storage": {"reclaim": "Snapshot"}}),
                "is deleted once a snapshot of it is ready.",
            ),
        ] {
            let said = told(&spec);
            assert!(said.contains(says), "{said}");
        }
        assert_eq!(last_words(&workspace(&json!({})), None), None);
    }

    #[test]
    fn a_sooner_end_and_fewer_snapshots_are_announced() {
        let status = |ends: Option<i64>, expiring: &[&str]| VncWorkspaceStatus {
            observed_generation: Some(1),
            expires_at: ends.map(|second| kubernetes_time(at(second))),
            snapshots: ["a", "b", "c"]
                .map(|name| {
                    let expires = expiring.contains(&name).then(|| at(300).to_string());
                    serde_json::from_value(json!({
                        "name": name, "createdAt": at(0).to_string(), "readyToUse": true, "expiresAt": expires,
                    }))
                    .unwrap()
                })
                .to_vec(),
            ..VncWorkspaceStatus::default()
        };
        let told = |old: &VncWorkspaceStatus, new: &VncWorkspaceStatus| {
            let events = announcements(Some(old), new);
            events.into_iter().map(|event| event.reason).collect::<Vec<_>>()
        };
        let none = status(None, &[]);
        assert_eq!(told(&none, &status(Some(500), &[])), ["ExpiresSooner"]);
        assert_eq!(
            told(&status(Some(900), &[]), &status(Some(500), &[])),
            ["ExpiresSooner"]
        );
        assert_eq!(
            told(&status(Some(500), &[]), &status(Some(900), &[])),
            Vec::<String>::new()
        );
        assert_eq!(told(&status(Some(500), &[]), &none), Vec::<String>::new());
        assert_eq!(told(&none, &status(None, &["a", "b"])), ["SnapshotsExpire"]);
        assert_eq!(told(&status(None, &["a"]), &status(None, &["a"])), Vec::<String>::new());
        assert_eq!(announcements(None, &status(Some(500), &["a"])), Vec::new(), "a new one");
        assert_eq!(next_deletion(&status(None, &["a"])), Some(at(300)));
    }
}
