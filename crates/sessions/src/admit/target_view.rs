//! How a target is, as its viewers may know it.

use jiff::Timestamp;
use novasphere_core::console_session::target_state::TargetState;
use novasphere_crd::{ConsoleInput, GuestKeyboard, HibernationReason};
use serde::{Serialize, Serializer};

/// How a target is, as its viewers may know it. Written as JSON with these names in camelCase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetView {
    /// Its kind, such as `VncWorkspace`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Whether its console can be opened.
    #[serde(serialize_with = "word")]
    pub state: TargetState,
    /// What is going on, in plain words; empty when there is nothing to say.
    pub message: String,
    /// When it goes to sleep unless somebody does something, if that is soon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sleeps_at: Option<Timestamp>,
    /// Why it goes to sleep then, if that is known: input helps against `Idle` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sleeps_because: Option<HibernationReason>,
    /// Whether the session only looks. A user who may only look for want of a right is not told here.
    pub input: ConsoleInput,
    /// Whether the console takes keys and no text.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keys_only: bool,
    /// The layout of the guest's keyboard, where the console takes keys only and the target says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyboard: Option<GuestKeyboard>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn word<S: Serializer>(state: &TargetState, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str((*state).into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_page_reads_these_names() {
        let asleep = TargetView {
            kind: "VncWorkspace",
            name: "alice".into(),
            state: TargetState::Asleep,
            message: "The desktop sleeps.".into(),
            sleeps_at: None,
            sleeps_because: None,
            input: ConsoleInput::Control,
            keys_only: false,
            keyboard: None,
        };
        let expected = json!({
            "kind": "VncWorkspace", "name": "alice", "state": "Asleep", "message": "The desktop sleeps.", "input": "Control",
        });
        assert_eq!(serde_json::to_value(&asleep).unwrap(), expected);
        let awake = TargetView {
            state: TargetState::Running,
            sleeps_at: Some("2026-11-21T17:05:00Z".parse().unwrap()),
            sleeps_because: Some(HibernationReason::Idle),
            input: ConsoleInput::ViewOnly,
            ..asleep
        };
        let expected = json!({
            "kind": "VncWorkspace", "name": "alice", "state": "Running", "message": "The desktop sleeps.",
            "sleepsAt": "2026-11-21T17:05:00Z", "sleepsBecause": "Idle", "input": "ViewOnly",
        });
        assert_eq!(serde_json::to_value(&awake).unwrap(), expected);
        let machine = TargetView {
            kind: "VmAccess",
            sleeps_at: None,
            sleeps_because: None,
            keys_only: true,
            keyboard: Some(GuestKeyboard::De),
            ..awake
        };
        let expected = json!({
            "kind": "VmAccess", "name": "alice", "state": "Running", "message": "The desktop sleeps.", "input": "ViewOnly",
            "keysOnly": true, "keyboard": "de",
        });
        assert_eq!(serde_json::to_value(&machine).unwrap(), expected);
    }
}
