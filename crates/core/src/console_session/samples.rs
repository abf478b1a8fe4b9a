//! Objects for the tests of this module.

use std::sync::Arc;

use jiff::Timestamp;
use novasphere_crd::{ConsoleSession, ConsoleSessionStatus, VmAccess, VncWorkspace};
use novasphere_foreign::kubevirt::{VirtualMachine, VirtualMachineInstance};
use serde_json::{Value, json};

use super::{
    endpoints::Endpoints,
    references::References,
    start::StartCheck,
    status::{Observed, Outcome, status},
    validate::validate,
};

/// The time at which tests begin, and so many seconds later.
pub(super) fn at(second: i64) -> Timestamp {
    let start: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
    Timestamp::from_second(start.as_second() + second).unwrap()
}

/// A session of `VmAccess` web with these further fields of its spec.
pub(super) fn session(spec: Value) -> ConsoleSession {
    session_of("VmAccess", spec)
}

pub(super) fn session_of(kind: &str, spec: Value) -> ConsoleSession {
    let mut all = json!({"targetRef": {"kind": kind, "name": "web"}});
    merge(&mut all, spec);
    serde_json::from_value(json!({
        "apiVersion": "novasphere.io/v1alpha1",
        "kind": "ConsoleSession",
        "metadata": {
            "name": "look", "namespace": "team", "uid": "session-1", "generation": 1,
            "creationTimestamp": at(0).to_string(),
        },
        "spec": all,
    }))
    .unwrap()
}

fn merge(into: &mut Value, fields: Value) {
    let (Value::Object(into), Value::Object(fields)) = (into, fields) else {
        panic!("a spec is an object");
    };
    into.extend(fields);
}

/// `VmAccess` web with this `console` policy.
pub(super) fn vm_access(console: &Value) -> VmAccess {
    serde_json::from_value(json!({
        "apiVersion": "novasphere.io/v1alpha1",
        "kind": "VmAccess",
        "metadata": {"name": "web", "namespace": "team", "uid": "target-1"},
        "spec": {
            "virtualMachine": {"name": "web-vm"},
            "services": [{"name": "screen", "ports": [{"name": "rfb", "port": 5901}]}],
            "console": console,
        },
    }))
    .unwrap()
}

/// `VncWorkspace` web with these further fields of its spec, and this status.
pub(super) fn workspace(spec: &Value, status: &Value) -> VncWorkspace {
    let mut all = json!({"user": "ann", "image": "registry.example.org/desktop:1"});
    merge(&mut all, spec.clone());
    serde_json::from_value(json!({
        "apiVersion": "novasphere.io/v1alpha1",
        "kind": "VncWorkspace",
        "metadata": {"name": "web", "namespace": "team", "uid": "target-1"},
        "spec": all,
        "status": status,
    }))
    .unwrap()
}

/// That workspace alone; the cluster has no `KubeVirt`.
pub(super) fn references_of_workspace(spec: &Value, status: &Value) -> References {
    References {
        vnc_workspace: Some(Arc::new(workspace(spec, status))),
        ..References::default()
    }
}

/// The machine web-vm runs, behind a `VmAccess` with this `console` policy.
pub(super) fn references(console: &Value) -> References {
    let machine = json!({"metadata": {"name": "web-vm", "namespace": "team", "uid": "machine-1"}});
    let machine: VirtualMachine = serde_json::from_value(machine).unwrap();
    References {
        vm_access: Some(Arc::new(vm_access(console))),
        vnc_workspace: None,
        virtual_machine: Some(Arc::new(machine)),
        virtual_machine_instance: Some(Arc::new(instance("Running"))),
        kubevirt: true,
        sessions_ahead: 0,
        start: StartCheck::Unseen,
    }
}

pub(super) fn instance(phase: &str) -> VirtualMachineInstance {
    serde_json::from_value(json!({
        "metadata": {"name": "web-vm", "namespace": "team", "uid": "run-1"},
        "status": {"phase": phase},
    }))
    .unwrap()
}

pub(super) fn endpoints() -> Endpoints {
    Endpoints {
        public_url: Some("https://vms.example.org".to_owned()),
        vnc_address: Some("vms.example.org:5900".to_owned()),
    }
}

/// What the controller makes of the session now.
pub(super) fn outcome(session: &ConsoleSession, references: &References, dead: &[&str], now: Timestamp) -> Outcome {
    let validated = validate(session, references);
    status(&Observed {
        session,
        validated: validated.as_ref(),
        references,
        endpoints: &endpoints(),
        dead_gateways: &dead.iter().map(|&gateway| gateway.to_owned()).collect(),
        now,
    })
}

/// The session with the status that the controller writes now.
pub(super) fn reconciled(mut session: ConsoleSession, references: &References, now: Timestamp) -> ConsoleSession {
    session.status = Some(outcome(&session, references, &[], now).status);
    session
}

/// A session that is ready since [`at`]\(0\), for an hour.
pub(super) fn ready(spec: Value) -> ConsoleSession {
    let session = reconciled(session(spec), &references(&json!({})), at(0));
    assert!(session.status.as_ref().unwrap().started_at.is_some());
    session
}

/// The status of such a session.
pub(super) fn ready_status() -> ConsoleSessionStatus {
    ready(json!({})).status.unwrap()
}
