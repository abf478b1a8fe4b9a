//! Tables: a machine, what is wanted, and the call that follows.

use std::sync::Arc;

use novasphere_crd::{PowerState, VmAccess};
use novasphere_foreign::kubevirt::VirtualMachine;
use serde_json::{Value, json};

use super::*;
use crate::vm_access::{
    references::{Apis, References},
    validate::validate,
};

const STARTED: &str = "2026-01-01T00:00:00Z";
const NOW: &str = "2026-01-01T12:00:00Z";

/// One row of a table: a machine, what is wanted, and the call that follows.
struct Case {
    adopted: bool,
    power: Value,
    strategy: &'static str,
    status: Value,
    /// The instance's phase, and what else its status has.
    instance: Option<(&'static str, Value)>,
    /// The instance is being deleted.
    ending: bool,
}

impl Case {
    fn adopted(state: PowerState, strategy: &'static str) -> Self {
        Self {
            adopted: true,
            power: json!({"state": state}),
            strategy,
            status: json!({}),
            instance: None,
            ending: false,
        }
    }

    fn owned(state: PowerState) -> Self {
        let strategy = if state == PowerState::Stopped {
            "Halted"
        } else {
            "Always"
        };
        Self {
            adopted: false,
            ..Self::adopted(state, strategy)
        }
    }

    fn imperative(strategy: &'static str) -> Self {
        Self {
            adopted: false,
            power: json!({}),
            ..Self::adopted(PowerState::Running, strategy)
        }
    }

    fn instance(self, phase: &'static str) -> Self {
        Self {
            instance: Some((phase, json!({}))),
            ..self
        }
    }

    fn ending(self) -> Self {
        Self {
            ending: true,
            ..self.instance("Running")
        }
    }

    fn paused(self, reason: &str) -> Self {
        let conditions = json!({"conditions": [{"type": "Paused", "status": "True", "reason": reason}]});
        Self {
            instance: Some(("Running", conditions)),
            ..self
        }
    }

    fn status(self, status: Value) -> Self {
        Self { status, ..self }
    }

    fn restarted_at(mut self, time: &str) -> Self {
        self.power["restartedAt"] = time.into();
        self
    }

    fn decide(&self) -> PowerDecision {
        let machine = json!({
            "metadata": {"name": "web-1", "namespace": "a", "uid": "machine", "labels": {"novasphere.io/owner-uid": "u"}},
            "spec": {"runStrategy": self.strategy},
            "status": self.status,
        });
        let machine: VirtualMachine = serde_json::from_value(machine).unwrap();
        let instance: Option<VirtualMachineInstance> = self.instance.as_ref().map(|(phase, more)| {
            let mut status = more.clone();
            status["phase"] = (*phase).into();
            let mut metadata = json!({"name": "web-1", "namespace": "a", "creationTimestamp": STARTED});
            if self.ending {
                metadata["deletionTimestamp"] = NOW.into();
            }
            serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap()
        });
        let source = if self.adopted {
            json!({"name": "web-1"})
        } else {
            json!({"template": {"memory": "1Gi", "rootDisk": {"containerDisk": {"image": "i"}}}})
        };
        let vm_access: VmAccess = serde_json::from_value(json!({
            "apiVersion": "novasphere.io/v1alpha1",
            "kind": "VmAccess",
            "metadata": {"name": "web-1", "namespace": "a", "uid": "u"},
            "spec": {"virtualMachine": source, "power": self.power},
        }))
        .unwrap();
        let references = References {
            virtual_machine_name: "web-1".to_owned(),
            virtual_machine: Some(Arc::new(machine.clone())),
            virtual_machine_instance: instance.clone().map(Arc::new),
            others: Vec::new(),
            apis: Apis {
                kubevirt: true,
                cdi: false,
            },
            ..References::default()
        };
        let validated = validate(&vm_access, &references).unwrap();
        let live = LiveMachine {
            machine: Some(&machine),
            instance: instance.as_ref(),
        };
        decide(&validated, live, NOW.parse().unwrap())
    }

    #[track_caller]
    fn calls(&self, expected: impl Into<Option<PowerSubresource>>) {
        let decision = self.decide();
        assert_eq!((decision.call, decision.refused), (expected.into(), None));
    }

    #[track_caller]
    fn is_refused(&self) {
        let decision = self.decide();
        let Some(why) = decision.refused.filter(|_| decision.call.is_none()) else {
            panic!("not refused")
        };
        assert!(!why.contains("  "), "{why}");
    }
}

use PowerState::{Paused, Running, Stopped};
use PowerSubresource::{Pause, Restart, Start, Stop, Unpause};

#[test]
fn an_adopted_machine_without_a_run_is_started_as_kubevirt_accepts_it() {
    for wanted in [Running, Paused] {
        Case::adopted(wanted, "Halted").calls(Start);
        Case::adopted(wanted, "Manual").calls(Start);
        Case::adopted(wanted, "RerunOnFailure").calls(Start);
        // 409: KubeVirt starts it.
        Case::adopted(wanted, "Always").calls(None);
        Case::adopted(wanted, "Once").calls(None);
        Case::adopted(wanted, "WaitAsReceiver").is_refused();
    }
}

#[test]
fn a_stop_that_loses_the_owners_strategy_is_told() {
    let warning = |strategy| Case::adopted(Stopped, strategy).instance("Running").decide().warning;
    assert!(warning("Once").unwrap().contains("from Once to Halted"));
    for strategy in ["Always", "Manual", "RerunOnFailure"] {
        assert_eq!(warning(strategy), None, "{strategy}");
    }
}

#[test]
fn an_adopted_machine_whose_guest_has_ended_is_started_as_kubevirt_accepts_it() {
    for phase in ["Succeeded", "Failed"] {
        Case::adopted(Running, "Manual").instance(phase).calls(Start);
        Case::adopted(Running, "Halted").instance(phase).calls(Start);
        Case::adopted(Running, "Always").instance(phase).calls(None);
        Case::adopted(Running, "Once").instance(phase).is_refused();
    }
    Case::adopted(Running, "RerunOnFailure")
        .instance("Succeeded")
        .calls(Start);
    // 409: KubeVirt starts it again.
    Case::adopted(Running, "RerunOnFailure").instance("Failed").calls(None);
}

#[test]
fn a_machine_on_its_way_is_waited_for() {
    for phase in ["", "Pending", "Scheduling", "Scheduled", "WaitingForSync", "Unknown"] {
        for wanted in [Running, Paused] {
            Case::adopted(wanted, "Manual").instance(phase).calls(None);
        }
    }
    // The instance is there, and its watch has not shown it yet.
    Case::adopted(Running, "Manual")
        .status(json!({"created": true}))
        .calls(None);
    Case::adopted(Running, "Manual")
        .status(json!({"printableStatus": "Starting"}))
        .calls(None);
}

#[test]
fn nothing_is_asked_for_while_a_request_is_pending() {
    let pending = json!({"stateChangeRequests": [{"action": "Start"}]});
    Case::adopted(Running, "Manual").status(pending.clone()).calls(None);
    Case::adopted(Stopped, "Manual")
        .instance("Running")
        .status(pending.clone())
        .calls(None);
    Case::owned(Running)
        .instance("Running")
        .restarted_at("2026-01-01T06:00:00Z")
        .status(pending)
        .calls(None);
}

#[test]
fn an_adopted_machine_is_stopped_as_kubevirt_accepts_it() {
    for strategy in ["Always", "Manual", "RerunOnFailure", "Once"] {
        Case::adopted(Stopped, strategy).instance("Running").calls(Stop);
        // It may wait for a node for ever.
        Case::adopted(Stopped, strategy).instance("Scheduling").calls(Stop);
        Case::adopted(Stopped, strategy).paused("PausedByUser").calls(Stop);
    }
    Case::adopted(Stopped, "Manual").ending().calls(None);
    Case::adopted(Stopped, "Manual")
        .status(json!({"created": true}))
        .calls(None);
    // KubeVirt would start it.
    Case::adopted(Stopped, "Always").calls(Stop);
    // 409: it does not run, or is being stopped.
    Case::adopted(Stopped, "Manual").calls(None);
    Case::adopted(Stopped, "Manual").instance("Succeeded").calls(None);
    Case::adopted(Stopped, "Halted").calls(None);
    Case::adopted(Stopped, "Halted").instance("Running").calls(None);
    Case::adopted(Stopped, "WaitAsReceiver").is_refused();
}

#[test]
fn a_machine_of_ours_is_started_and_stopped_by_its_spec_alone() {
    Case::owned(Running).calls(None);
    Case::owned(Running).instance("Succeeded").calls(None);
    Case::owned(Stopped).instance("Running").calls(None);
    Case::owned(Stopped).calls(None);
}

#[test]
fn pausing_and_unpausing_go_by_calls_for_both() {
    for case in [Case::owned, |state| Case::adopted(state, "Always")] {
        case(Paused).instance("Running").calls(Pause);
        case(Paused).paused("PausedByUser").calls(None);
        case(Paused).paused("PausedIOError").calls(None);
        case(Running).paused("PausedByUser").calls(Unpause);
        case(Running).instance("Running").calls(None);
        // Not ours to undo: a disk error, a migration.
        case(Running).paused("PausedIOError").calls(None);
        case(Running).paused("PausedByMigrationMonitor").calls(None);
        // 409 during a snapshot.
        case(Running)
            .paused("PausedByUser")
            .status(json!({"snapshotInProgress": "s"}))
            .calls(None);
    }
}

#[test]
fn without_power_people_decide() {
    for strategy in ["Manual", "Always", "Halted"] {
        Case::imperative(strategy).calls(None);
        Case::imperative(strategy).instance("Running").calls(None);
        Case::imperative(strategy).paused("PausedByUser").calls(None);
    }
}

#[test]
fn a_run_that_began_before_restarted_at_is_restarted() {
    let before = |case: Case| case.instance("Running").restarted_at("2026-01-01T06:00:00Z");
    for case in [
        Case::owned(Running),
        Case::imperative("Manual"),
        Case::adopted(Running, "RerunOnFailure"),
    ] {
        before(case).calls(Restart);
    }
    before(Case::adopted(Running, "Once")).is_refused();
    // It cannot start, and its spec was changed since.
    before(Case::owned(Running)).instance("Scheduling").calls(Restart);
    before(Case::owned(Running)).ending().calls(None);
    before(Case::imperative("Halted")).calls(None);
    Case::imperative("Manual")
        .paused("PausedByUser")
        .restarted_at("2026-01-01T06:00:00Z")
        .calls(Restart);
    Case::imperative("Manual")
        .restarted_at("2026-01-01T06:00:00Z")
        .calls(None);
    // The run began at that second or after it.
    Case::owned(Running)
        .instance("Running")
        .restarted_at(STARTED)
        .calls(None);
    Case::owned(Running)
        .instance("Running")
        .restarted_at("2026-01-01T00:00:00.9Z")
        .calls(None);
    Case::owned(Running)
        .instance("Running")
        .restarted_at("2025-12-31T00:00:00Z")
        .calls(None);
}

#[test]
fn a_restart_in_the_future_is_waited_for() {
    let decision = Case::owned(Running)
        .instance("Running")
        .restarted_at("2026-01-01T18:00:00Z")
        .decide();
    let expected = PowerDecision {
        next: Some("2026-01-01T18:00:00Z".parse().unwrap()),
        ..PowerDecision::default()
    };
    assert_eq!(decision, expected);
}
