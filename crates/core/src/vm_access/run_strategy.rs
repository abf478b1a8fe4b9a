//! Who decides when `KubeVirt` keeps a machine of a template running, and how that is written.
//!
//! `KubeVirt` has two fields for it, `runStrategy` and the deprecated `running`. It requires one and refuses both, and a field that a
//! person has set cannot be taken away by server-side apply. So what is wanted is written into the field that the machine has.

use kube::ResourceExt as _;
use novasphere_foreign::{CompactJson, kubevirt::VirtualMachine};
use serde_json::{Map, Value};

use super::validated::WantedState;

const RUN_STRATEGY: &str = "runStrategy";
const RUNNING: &str = "running";

/// When `KubeVirt` keeps the machine running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunStrategy {
    /// `power` decides: `Always` or `Halted`.
    Wanted(&'static str),
    /// As before, on a machine whose author uses the deprecated `spec.running` in its place.
    WantedRunning(bool),
    /// People decide. A new machine gets `Manual`; later the field is what it is in the live object.
    ///
    /// The field cannot be left out of what is applied: `KubeVirt` requires it, and server-side apply would remove it from
    /// a machine that it was applied to before. The live value is repeated, at the version of the live object alone, so that it never
    /// undoes what `virtctl` or a user wrote.
    Peoples(Value),
    /// As before, on a machine whose author uses the deprecated `spec.running` in its place.
    PeoplesRunning(bool),
}

impl RunStrategy {
    /// What a machine gets of which `wanted` is the power state.
    pub(super) fn of(wanted: WantedState, live: Option<&VirtualMachine>) -> Self {
        let live = Live::of(live);
        match (wanted, live) {
            // A paused machine is a running one whose CPUs do not turn.
            (WantedState::Running | WantedState::Paused, Live::Running(_)) => Self::WantedRunning(true),
            (WantedState::Running | WantedState::Paused, _) => Self::Wanted("Always"),
            (WantedState::Stopped, Live::Running(_)) => Self::WantedRunning(false),
            (WantedState::Stopped, _) => Self::Wanted("Halted"),
            (WantedState::Any, Live::Strategy(strategy)) => Self::Peoples(strategy),
            (WantedState::Any, Live::Running(running)) => Self::PeoplesRunning(running),
            (WantedState::Any, Live::Neither) => Self::Peoples("Manual".into()),
        }
    }

    /// Whether people decide.
    #[must_use]
    pub const fn is_peoples(&self) -> bool {
        matches!(self, Self::Peoples(_) | Self::PeoplesRunning(_))
    }

    /// The field of a `VirtualMachineSpec` and its value.
    pub(super) fn field(&self) -> (&'static str, Value) {
        match self {
            Self::Wanted(strategy) => (RUN_STRATEGY, (*strategy).into()),
            Self::Peoples(strategy) => (RUN_STRATEGY, strategy.clone()),
            Self::WantedRunning(running) | Self::PeoplesRunning(running) => (RUNNING, (*running).into()),
        }
    }
}

/// What a live machine says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Live {
    Strategy(Value),
    Running(bool),
    Neither,
}

impl Live {
    fn of(machine: Option<&VirtualMachine>) -> Self {
        let spec = machine
            .and_then(|machine| machine.spec.as_ref())
            .map(CompactJson::to_value);
        let field = |name: &str| spec.as_ref().and_then(|spec| spec.get(name)).cloned();
        match (field(RUN_STRATEGY), field(RUNNING)) {
            (Some(strategy), _) => Self::Strategy(strategy),
            (None, Some(Value::Bool(running))) => Self::Running(running),
            _ => Self::Neither,
        }
    }
}

/// `KubeVirt`'s `VirtualMachine.RunStrategy()` (kubevirt.io/api `core/v1/types.go`).
pub(super) fn effective(machine: Option<&VirtualMachine>) -> String {
    match Live::of(machine) {
        Live::Strategy(Value::String(strategy)) => strategy,
        Live::Running(true) => "Always".to_owned(),
        _ => "Halted".to_owned(),
    }
}

/// `desired`, whose run strategy people decide, with that of `live`, to be written at the version of `live` alone.
#[must_use]
pub fn repeat(desired: &VirtualMachine, live: &VirtualMachine) -> VirtualMachine {
    let mut repeated = desired.clone();
    let mut spec = desired.spec.as_ref().map(CompactJson::to_value).unwrap_or_default();
    if let Some(fields) = spec.as_object_mut() {
        set(fields, &RunStrategy::of(WantedState::Any, Some(live)));
    }
    repeated.spec = Some(CompactJson::from(spec));
    repeated.metadata.resource_version = live.resource_version();
    repeated
}

/// Writes a run strategy into a `VirtualMachineSpec`, which has one of the two fields then.
pub(super) fn set(spec: &mut Map<String, Value>, strategy: &RunStrategy) {
    spec.remove(RUN_STRATEGY);
    spec.remove(RUNNING);
    let (field, value) = strategy.field();
    spec.insert(field.to_owned(), value);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn machine(version: &str, spec: &Value) -> VirtualMachine {
        let machine = json!({"metadata": {"name": "web-1", "resourceVersion": version}, "spec": spec});
        serde_json::from_value(machine).unwrap()
    }

    #[test]
    fn power_is_written_into_the_field_that_the_machine_has() {
        use WantedState::{Any, Paused, Running, Stopped};
        let (strategy, running) = (json!({"runStrategy": "Manual"}), json!({"running": true}));
        for (wanted, live, field, value) in [
            (Running, &strategy, "runStrategy", json!("Always")),
            (Paused, &strategy, "runStrategy", json!("Always")),
            (Stopped, &strategy, "runStrategy", json!("Halted")),
            (Any, &strategy, "runStrategy", json!("Manual")),
            (Running, &running, "running", json!(true)),
            (Paused, &running, "running", json!(true)),
            (Stopped, &running, "running", json!(false)),
            (Any, &running, "running", json!(true)),
        ] {
            let chosen = RunStrategy::of(wanted, Some(&machine("7", live)));
            assert_eq!(chosen.field(), (field, value), "{wanted:?} {live}");
            assert_eq!(chosen.is_peoples(), wanted == Any);
        }
    }

    #[test]
    fn what_is_repeated_is_the_newest_and_is_written_at_its_version_alone() {
        let desired = machine("7", &json!({"runStrategy": "Manual", "template": {"a": 1}}));
        let repeated = repeat(&desired, &machine("9", &json!({"runStrategy": "Halted"})));
        assert_eq!(repeated.metadata.resource_version.as_deref(), Some("9"));
        assert_eq!(
            repeated.spec.unwrap().to_value(),
            json!({"runStrategy": "Halted", "template": {"a": 1}})
        );
        let repeated = repeat(&desired, &machine("9", &json!({"running": false})));
        assert_eq!(
            repeated.spec.unwrap().to_value(),
            json!({"running": false, "template": {"a": 1}})
        );
    }

    #[test]
    fn the_effective_strategy_is_kubevirts() {
        for (spec, effective_strategy) in [
            (json!({"runStrategy": "Once"}), "Once"),
            (json!({"running": true}), "Always"),
            (json!({"running": false}), "Halted"),
            (json!({}), "Halted"),
        ] {
            assert_eq!(effective(Some(&machine("7", &spec))), effective_strategy, "{spec}");
        }
        assert_eq!(effective(None), "Halted");
    }
}
