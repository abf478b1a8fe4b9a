//! Tables: what was found → conditions and details.

#![allow(
    clippy::needless_pass_by_value,
    reason = "json!({..}) reads better than &json!({..}) in a table"
)]

mod health;
mod machine;
mod services;
mod stuck;

use std::{collections::BTreeMap, sync::Arc};

use novasphere_crd::VmAccess;
use novasphere_foreign::kubevirt::{VirtualMachine, VirtualMachineInstance};
use serde_json::{Value, json};

use super::*;
use crate::{
    child::ChildOutcome,
    condition::find,
    failure::FailureKind,
    routes::{
        plan::{PlannedRoute, RouteSurroundings, plan},
        status::RoutesOutcome,
    },
    vm_access::{observed::AppliedService, power::decide, references::Apis, validate::validate, virtual_machine_name},
};

/// The routes, without any gateway.
fn planned(valid: &ValidatedVmAccess) -> Vec<PlannedRoute> {
    let surroundings = RouteSurroundings {
        grants: BTreeMap::new(),
        apis: &BTreeMap::new(),
        gateways: &BTreeMap::new(),
        inspections: &BTreeMap::new(),
        findings: &[],
        node_addresses: &[],
    };
    plan(&valid.owner, &valid.routes, &surroundings)
}

const NOW: &str = "2026-01-01T12:00:00Z";

/// A found state, begun with a machine from a template, KubeVirt installed, everything applied.
struct Found {
    spec: Value,
    old: Value,
    kubevirt: bool,
    machine: Option<Value>,
    instance: Option<Value>,
    machine_failure: Option<Failure>,
    services: Vec<(&'static str, Result<Value, Failure>)>,
    power: Option<PowerDecision>,
    power_failure: Option<Failure>,
    others: Vec<VmAccess>,
    launcher_words: Option<String>,
}

impl Found {
    fn new(power: &Value) -> Self {
        let template = json!({"memory": "1Gi", "rootDisk": {"containerDisk": {"image": "registry/debian:13"}}});
        let mut spec = json!({"virtualMachine": {"template": template}});
        if !power.is_null() {
            spec["power"] = power.clone();
        }
        Self {
            spec,
            old: Value::Null,
            kubevirt: true,
            machine: None,
            instance: None,
            machine_failure: None,
            services: Vec::new(),
            power: None,
            power_failure: None,
            others: Vec::new(),
            launcher_words: None,
        }
    }

    fn wanting(state: &str) -> Self {
        Self::new(&if state.is_empty() {
            Value::Null
        } else {
            json!({"state": state})
        })
    }

    /// The machine is there and KubeVirt says this about it.
    fn machine(self, status: Value) -> Self {
        let disks = json!([{"name": "other", "disk": {}}, {"name": "root", "bootOrder": 1, "disk": {}}]);
        let volumes = json!([
            {"name": "other", "emptyDisk": {"capacity": "1Gi"}},
            {"name": "root", "containerDisk": {"image": "registry/debian:13"}},
        ]);
        let machine = json!({
            "metadata": {"name": "web-1", "namespace": "a", "uid": "machine", "labels": {"novasphere.io/owner-uid": "u"}},
            "spec": {"runStrategy": "Manual", "template": {"spec": {
                "domain": {"cpu": {"cores": 2, "sockets": 1, "threads": 1}, "memory": {"guest": "1Gi"}, "devices": {"disks": disks}},
                "volumes": volumes,
            }}},
            "status": status,
        });
        Self {
            machine: Some(machine),
            ..self
        }
    }

    fn printing(self, status: &str) -> Self {
        self.machine(json!({"printableStatus": status, "ready": status == "Running"}))
    }

    fn vm_access(&self) -> VmAccess {
        serde_json::from_value(json!({
            "apiVersion": "novasphere.io/v1alpha1",
            "kind": "VmAccess",
            "metadata": {"name": "web-1", "namespace": "a", "uid": "u", "generation": 7},
            "spec": self.spec,
            "status": self.old,
        }))
        .unwrap()
    }

    fn outcome(&self) -> Outcome {
        let vm_access = self.vm_access();
        let machine: Option<VirtualMachine> = self
            .machine
            .clone()
            .map(|machine| serde_json::from_value(machine).unwrap());
        let instance: Option<VirtualMachineInstance> = self
            .instance
            .clone()
            .map(|instance| serde_json::from_value(instance).unwrap());
        let references = References {
            virtual_machine_name: virtual_machine_name(&vm_access),
            virtual_machine: machine.clone().map(Arc::new),
            virtual_machine_instance: instance.clone().map(Arc::new),
            others: self.others.iter().cloned().map(Arc::new).collect(),
            apis: Apis {
                kubevirt: self.kubevirt,
                cdi: false,
            },
            launcher_words: self.launcher_words.clone(),
            ..References::default()
        };
        let validated = validate(&vm_access, &references);
        let services = self.services.iter().map(|(name, result)| AppliedService {
            name: (*name).to_owned(),
            outcome: match result.clone() {
                Ok(service) => ChildOutcome::Applied(serde_json::from_value(service).unwrap()),
                Err(failure) => ChildOutcome::Failed(failure),
            },
        });
        let applied = Applied {
            virtual_machine: match (self.machine_failure.clone(), machine.clone()) {
                (Some(failure), _) => ChildOutcome::Failed(failure),
                (None, Some(machine)) => ChildOutcome::Applied(machine),
                (None, None) => ChildOutcome::NotTried,
            },
            services: services.collect(),
            routes: RoutesOutcome {
                planned: validated.as_ref().map(planned).unwrap_or_default(),
                ..RoutesOutcome::default()
            },
        };
        let now = NOW.parse().unwrap();
        let live = LiveMachine {
            machine: machine.as_ref(),
            instance: instance.as_ref(),
        };
        let decided = validated
            .as_ref()
            .map(|valid| decide(valid, live, now))
            .unwrap_or_default();
        status(&Observed {
            vm_access: &vm_access,
            validated: validated.as_ref(),
            references: &references,
            applied: validated.is_ok().then_some(&applied),
            power: self.power.as_ref().unwrap_or(&decided),
            power_failure: self.power_failure.as_ref(),
            node_addresses: &["203.0.113.7".to_owned(), "fd00::7".to_owned()],
            active_sessions: 2,
            now,
        })
    }

    /// Status and reason of a condition, and its message.
    fn condition(&self, type_: &str) -> (String, String) {
        let outcome = self.outcome();
        let condition = find(&outcome.status.conditions, type_).unwrap_or_else(|| panic!("no {type_}"));
        assert_eq!(condition.observed_generation, Some(7));
        (
            format!("{} {}", condition.status, condition.reason),
            condition.message.clone(),
        )
    }

    #[track_caller]
    fn machine_is(&self, expected: &str) -> String {
        let (found, message) = self.condition(types::VIRTUAL_MACHINE_READY);
        assert_eq!(found, expected, "{message}");
        let (ready, ready_message) = self.condition(types::READY);
        assert_eq!((ready.as_str(), &ready_message), (expected, &message), "Ready sums up");
        message
    }

    #[track_caller]
    fn services_are(&self, expected: &str) -> String {
        let (found, message) = self.condition(types::SERVICES_READY);
        assert_eq!(found, expected, "{message}");
        message
    }

    fn is_stalled(&self) -> bool {
        find(&self.outcome().status.conditions, STALLED).is_some()
    }
}

#[test]
fn an_invalid_spec_stalls_and_keeps_what_is_known() {
    let mut found = Found::wanting("Running").printing("Running");
    found.spec["virtualMachine"]["template"]["cloudInit"] = json!({"secretRef": "s"});
    found.spec["virtualMachine"]["template"]["sshAuthorizedKeys"] = json!(["ssh-ed25519 AAAA"]);
    found.old = json!({"services": [{"name": "ssh", "endpoint": "10.0.0.1:22"}]});
    let message = found.machine_is("False InvalidSpec");
    assert!(
        message.starts_with("spec.virtualMachine.template.sshAuthorizedKeys: "),
        "{message}"
    );
    found.services_are("Unknown InvalidSpec");
    assert!(found.is_stalled());
    let status = found.outcome().status;
    assert_eq!(status.services[0].endpoint.as_deref(), Some("10.0.0.1:22"));
    assert_eq!(
        status.virtual_machine.unwrap().printable_status.as_deref(),
        Some("Running")
    );
}

fn service(mut spec: Value, status: Value) -> Value {
    spec["ports"] = json!([
        {"name": "ssh", "port": 22, "targetPort": 22, "nodePort": 30022, "protocol": "TCP"},
        {"name": "dns", "port": 53, "targetPort": 53, "protocol": "UDP"},
    ]);
    json!({"metadata": {"name": "web-1-s"}, "spec": spec, "status": status})
}

fn with_service(type_: &str, result: Result<Value, Failure>) -> Found {
    let mut found = Found::wanting("").printing("Stopped");
    found.spec["services"] = json!([{"name": "s", "type": type_, "ports": [{"name": "ssh", "port": 22}]}]);
    found.services = vec![("s", result)];
    found
}

#[test]
fn the_next_deadline_is_the_earliest_to_come() {
    let looping = |retry: &str| {
        json!({
            "printableStatus": "CrashLoopBackOff",
            "startFailure": {"consecutiveFailCount": 3, "retryAfterTimestamp": retry},
        })
    };
    let found = Found::wanting("Running").machine(looping("2026-01-01T12:05:00Z"));
    assert_eq!(found.outcome().next, Some("2026-01-01T12:05:00Z".parse().unwrap()));
    assert!(found.machine_is("False CrashLoopBackOff").contains("3 starts in a row"));
    assert_eq!(
        Found::wanting("Running")
            .machine(looping("2026-01-01T11:00:00Z"))
            .outcome()
            .next,
        None
    );
    let restart = json!({"state": "Running", "restartedAt": "2026-01-01T12:01:00Z"});
    let found = Found::new(&restart).machine(looping("2026-01-01T12:05:00Z"));
    assert_eq!(found.outcome().next, Some("2026-01-01T12:01:00Z".parse().unwrap()));
}

#[test]
fn a_second_look_at_the_same_changes_nothing() {
    let mut found = Found::wanting("Running").printing("Running");
    let first = found.outcome().status;
    found.old = serde_json::to_value(&first).unwrap();
    assert_eq!(found.outcome().status, first);
}
