//! What is decided about a desktop, also while its spec cannot be carried out: it sleeps and ends all the same.

use jiff::Timestamp;
use novasphere_crd::VncWorkspace;

use super::{
    lifecycle::{Decision, Memory, State, decide},
    references::References,
    validate::{ends_at, lifecycle},
};
use crate::label;

/// Decides. Of a workspace whose schedule is malformed nothing is known but its end: `None` before that.
#[must_use]
pub fn decision(workspace: &VncWorkspace, references: &References, now: Timestamp) -> Option<Decision> {
    let memory = workspace.status.as_ref().map(Memory::of).unwrap_or_default();
    let uid = workspace.metadata.uid.as_deref();
    let pod = references.pod.as_deref();
    let memory = memory.with_pod(pod.filter(|pod| label::owner_uid(&pod.metadata) == uid));
    match lifecycle(workspace) {
        Ok(lifecycle) => Some(decide(&lifecycle, &memory, &references.activity, now)),
        Err(_) => (ends_at(workspace)? <= now).then_some(Decision {
            state: State::Expired,
            hibernation: memory.hibernation,
            next: None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::{
            samples::{at, references, workspace},
            validate::validate,
        },
        *,
    };

    fn of(lifecycle: &Value, second: i64) -> Option<State> {
        let invalid = workspace(&json!({
            "lifecycle": lifecycle, "podOverrides": {"spec": {"hostNetwork": true}},
        }));
        validate(&invalid, &references()).unwrap_err();
        decision(&invalid, &references(), at(second)).map(|decision| decision.state)
    }

    #[test]
    fn an_invalid_desktop_sleeps_and_ends() {
        let asked = of(&json!({"state": "Hibernated"}), 5);
        assert!(matches!(asked, Some(State::Asleep(_))), "{asked:?}");
        let awake = of(&json!({"maxLifetime": "1h"}), 5);
        assert!(matches!(awake, Some(State::Awake { .. })), "{awake:?}");
        assert_eq!(of(&json!({"maxLifetime": "1h"}), 3600), Some(State::Expired));
    }

    #[test]
    fn a_malformed_schedule_ends_too_and_is_left_alone_before() {
        let lifecycle =
            json!({"maxLifetime": "1h", "schedule": {"timeZone": "Nowhere/Land", "hibernate": "0 18 * * *"}});
        assert_eq!(of(&lifecycle, 5), None);
        assert_eq!(of(&lifecycle, 3600), Some(State::Expired));
    }
}
