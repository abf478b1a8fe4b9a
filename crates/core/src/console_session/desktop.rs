//! The state of a `VncWorkspace`, as far as its consoles are concerned: whether a viewer is let in, waits, or is refused.

use jiff::{SignedDuration, Timestamp};
use kube::Resource as _;
use novasphere_crd::{
    ConsoleInput, ConsoleProtocol, HibernationReason, LifecycleState, VncWorkspace, condition as types,
};

use super::target_state::TargetState;
use crate::{
    condition::{STALLED, find},
    vnc_workspace::{
        reason::PodReason,
        schedule::{Cron, time_zone},
    },
};

/// Why nobody can connect, and waiting does not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DesktopUnavailable {
    /// The workspace is being deleted.
    Deleting,
    /// Its time is over.
    Expired,
    /// Its spec, or something that it refers to, has to be changed.
    Invalid,
}

/// The protocols of the consoles that a workspace has.
#[must_use]
pub fn protocols(workspace: &VncWorkspace) -> &'static [ConsoleProtocol] {
    if workspace.spec.ssh.as_ref().is_some_and(|ssh| ssh.enabled) {
        &[ConsoleProtocol::Vnc, ConsoleProtocol::Ssh]
    } else {
        &[ConsoleProtocol::Vnc]
    }
}

/// Whether the desktop can be connected to. A desktop that was asked to wake is starting, also while the controller has not seen
/// that yet.
#[must_use]
pub fn state(workspace: &VncWorkspace) -> TargetState {
    if unavailable_reason(workspace).is_some() {
        TargetState::Stopped
    } else if ready(workspace)
        .is_some_and(|(is_ready, reason)| is_ready || answers_despite_invalid_spec(workspace, reason))
    {
        TargetState::Running
    } else if hibernated_since(workspace).is_some_and(|since| !is_wake_requested(workspace, since)) {
        TargetState::Asleep
    } else {
        TargetState::Starting
    }
}

/// Whether a viewer who may only view the console wakes the desktop.
#[must_use]
pub fn wakes_on_view(workspace: &VncWorkspace) -> bool {
    let spec = &workspace.spec;
    let nobody_controls = spec.console.input == ConsoleInput::ViewOnly;
    spec.lifecycle.wake_on_view.unwrap_or(nobody_controls)
}

/// Why nobody can connect before the workspace, or something that it refers to, is changed.
#[must_use]
pub fn unavailable_reason(workspace: &VncWorkspace) -> Option<DesktopUnavailable> {
    if workspace.meta().deletion_timestamp.is_some() {
        return Some(DesktopUnavailable::Deleting);
    }
    let (is_ready, reason) = ready(workspace)?;
    let is = |wanted: PodReason| reason == <&str>::from(wanted);
    if is(PodReason::Deleting) {
        Some(DesktopUnavailable::Deleting)
    } else if is(PodReason::Expired) {
        Some(DesktopUnavailable::Expired)
    } else if is_ready || answers_despite_invalid_spec(workspace, reason) {
        None
    } else if is(PodReason::InvalidSpec) || is_stalled(workspace) {
        Some(DesktopUnavailable::Invalid)
    } else {
        None
    }
}

/// Since when the desktop is hibernated.
#[must_use]
pub fn hibernated_since(workspace: &VncWorkspace) -> Option<Timestamp> {
    let status = workspace.status.as_ref()?;
    let hibernation = status.hibernation.as_ref().filter(|_| status.awake_since.is_none())?;
    Some(hibernation.since.0)
}

/// Why the desktop is hibernated.
#[must_use]
pub fn hibernation_reason(workspace: &VncWorkspace) -> Option<HibernationReason> {
    hibernated_since(workspace)?;
    let hibernation = workspace.status.as_ref()?.hibernation.as_ref()?;
    Some(hibernation.reason)
}

/// The time to write as `wakeRequestedAt` so that the desktop wakes, also when the clocks of gateway and controller differ.
#[must_use]
pub fn wake_request_time(workspace: &VncWorkspace, now: Timestamp) -> Timestamp {
    hibernated_since(workspace).map_or(now, |since| since.max(now))
}

/// When and why the desktop hibernates unless there is input; `None` until the last minutes before.
#[must_use]
pub fn next_hibernation(workspace: &VncWorkspace) -> Option<(Timestamp, HibernationReason)> {
    let at = workspace.status.as_ref()?.sleeps_at.as_ref()?.0;
    let lifecycle = &workspace.spec.lifecycle;
    let is_scheduled = || {
        let schedule = lifecycle.schedule.as_ref()?;
        let cron = Cron::parse(schedule.hibernate.as_ref()?, time_zone(&schedule.time_zone)?)?;
        let before = at.checked_sub(SignedDuration::from_secs(1)).ok()?;
        (cron.next(before) == Some(at)).then_some(())
    };
    let reason = match lifecycle.state {
        LifecycleState::Hibernated => HibernationReason::Asked,
        LifecycleState::Running if is_scheduled().is_some() => HibernationReason::Schedule,
        LifecycleState::Running => HibernationReason::Idle,
    };
    Some((at, reason))
}

/// The message of the condition that says what the desktop does.
#[must_use]
pub fn message(workspace: &VncWorkspace) -> String {
    let conditions = workspace.status.iter().flat_map(|status| &status.conditions);
    let type_ = if state(workspace) == TargetState::Asleep {
        types::HIBERNATED
    } else {
        types::POD_READY
    };
    let found = conditions.into_iter().find(|condition| condition.type_ == type_);
    found.map_or_else(
        || "The desktop has not been checked yet.".to_owned(),
        |condition| condition.message.clone(),
    )
}

fn is_wake_requested(workspace: &VncWorkspace, since: Timestamp) -> bool {
    let asked = workspace
        .status
        .as_ref()
        .and_then(|status| status.wake_requested_at.as_ref());
    asked.is_some_and(|asked| asked.0 >= since)
}

/// Whether `PodReady` is `True`, and its reason.
fn ready(workspace: &VncWorkspace) -> Option<(bool, &str)> {
    let conditions = &workspace.status.as_ref()?.conditions;
    let ready = find(conditions, types::POD_READY)?;
    Some((ready.status == "True", ready.reason.as_str()))
}

/// Whether a Pod that was made from an earlier spec answers, although the present one is invalid.
fn answers_despite_invalid_spec(workspace: &VncWorkspace, reason: &str) -> bool {
    let status = workspace.status.as_ref();
    reason == <&str>::from(PodReason::InvalidSpec) && status.is_some_and(|status| status.pod_name.is_some())
}

fn is_stalled(workspace: &VncWorkspace) -> bool {
    let conditions = workspace.status.as_ref().map(|status| status.conditions.as_slice());
    find(conditions.unwrap_or_default(), STALLED).is_some_and(|stalled| stalled.status == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::console_session::samples::workspace;

    fn standing(status: &Value) -> (TargetState, Option<DesktopUnavailable>) {
        let workspace = workspace(&json!({}), status);
        (state(&workspace), unavailable_reason(&workspace))
    }

    #[test]
    fn a_viewer_comes_in_waits_or_waits_in_vain() {
        use TargetState::{Asleep, Running, Starting, Stopped};
        let ready = |status: &str, reason: &str| {
            json!([{
                "type": "PodReady", "status": status, "reason": reason, "message": "m", "lastTransitionTime": "2026-03-01T12:00:00Z",
            }])
        };
        let slept = json!({"reason": "Idle", "since": "2026-03-01T12:00:00Z"});
        let table = [
            (json!({}), Starting, None),
            (json!({"conditions": ready("True", "Running")}), Running, None),
            (json!({"conditions": ready("False", "Starting")}), Starting, None),
            (json!({"conditions": ready("False", "ImagePullError")}), Starting, None),
            (
                json!({"conditions": ready("False", "Hibernated"), "hibernation": slept}),
                Asleep,
                None,
            ),
            // Awake although it is to hibernate, because somebody connected.
            (
                json!({"conditions": ready("True", "Running"), "hibernation": slept, "awakeSince": "2026-03-01T12:05:00Z"}),
                Running,
                None,
            ),
            (
                json!({
                    "conditions": ready("False", "Hibernated"), "hibernation": slept, "wakeRequestedAt": "2026-03-01T11:59:59Z",
                }),
                Asleep,
                None,
            ),
            (
                json!({
                    "conditions": ready("False", "Hibernated"), "hibernation": slept, "wakeRequestedAt": "2026-03-01T12:00:00Z",
                }),
                Starting,
                None,
            ),
            (
                json!({"conditions": ready("False", "Expired")}),
                Stopped,
                Some(DesktopUnavailable::Expired),
            ),
            (
                json!({"conditions": ready("False", "InvalidSpec")}),
                Stopped,
                Some(DesktopUnavailable::Invalid),
            ),
            (
                json!({"conditions": ready("Unknown", "InvalidSpec"), "hibernation": slept}),
                Stopped,
                Some(DesktopUnavailable::Invalid),
            ),
            // Its Pod was made before the spec became invalid, and answers.
            (
                json!({"conditions": ready("False", "InvalidSpec"), "podName": "alice"}),
                Running,
                None,
            ),
        ];
        for (status, state, stop) in table {
            assert_eq!(standing(&status), (state, stop), "{status}");
        }
    }

    #[test]
    fn a_desktop_that_stalls_is_not_waited_for_unless_it_answers() {
        let stalled = |pod_ready: &str| {
            let condition = |type_: &str, status: &str| {
                json!({
                    "type": type_, "status": status, "reason": "Rejected", "message": "m", "lastTransitionTime": "2026-03-01T12:00:00Z",
                })
            };
            standing(&json!({"conditions": [condition("PodReady", pod_ready), condition("Stalled", "True")]}))
        };
        assert_eq!(
            stalled("False"),
            (TargetState::Stopped, Some(DesktopUnavailable::Invalid))
        );
        assert_eq!(stalled("True"), (TargetState::Running, None));
    }

    #[test]
    fn a_wake_counts_also_when_clocks_differ() {
        let since: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let status = json!({"hibernation": {"reason": "Asked", "since": since.to_string()}});
        let workspace = workspace(&json!({}), &status);
        for (now, asked) in [
            ("2026-03-01T11:58:00Z", since),
            ("2026-03-01T12:01:00Z", "2026-03-01T12:01:00Z".parse().unwrap()),
        ] {
            assert_eq!(wake_request_time(&workspace, now.parse().unwrap()), asked);
        }
        assert_eq!(hibernation_reason(&workspace), Some(HibernationReason::Asked));
    }

    #[test]
    fn why_a_desktop_goes_to_sleep_is_read_from_its_spec() {
        let status = json!({"sleepsAt": "2026-03-02T18:00:00Z"});
        let schedule = json!({"timeZone": "UTC", "hibernate": "0 18 * * *"});
        let later = json!({"timeZone": "UTC", "hibernate": "0 20 * * *"});
        let table = [
            (json!({"idleTimeout": "1h"}), HibernationReason::Idle),
            (json!({"schedule": schedule}), HibernationReason::Schedule),
            (
                json!({"idleTimeout": "1h", "schedule": schedule}),
                HibernationReason::Schedule,
            ),
            (json!({"idleTimeout": "1h", "schedule": later}), HibernationReason::Idle),
            (json!({"state": "Hibernated"}), HibernationReason::Asked),
        ];
        for (lifecycle, reason) in table {
            let workspace = workspace(&json!({"lifecycle": lifecycle}), &status);
            assert_eq!(
                next_hibernation(&workspace).map(|(_, reason)| reason),
                Some(reason),
                "{lifecycle}"
            );
        }
    }

    #[test]
    fn who_only_views_wakes_a_desktop_where_its_policy_says_so_or_nobody_may_do_more() {
        let wakes = |spec: Value| wakes_on_view(&workspace(&spec, &json!({})));
        assert!(!wakes(json!({})));
        assert!(wakes(json!({"lifecycle": {"wakeOnView": true}})));
        assert!(wakes(json!({"console": {"input": "ViewOnly"}})));
        assert!(!wakes(
            json!({"console": {"input": "ViewOnly"}, "lifecycle": {"wakeOnView": false}})
        ));
    }

    #[test]
    fn a_desktop_has_ssh_when_it_is_enabled() {
        let with = |ssh: Value| protocols(&workspace(&json!({"ssh": ssh}), &json!({}))).contains(&ConsoleProtocol::Ssh);
        assert!(with(json!({"authorizedKeys": ["ssh-ed25519 AAAA"]})));
        assert!(!with(json!({"enabled": false})));
        assert!(!protocols(&workspace(&json!({}), &json!({}))).contains(&ConsoleProtocol::Ssh));
    }
}
