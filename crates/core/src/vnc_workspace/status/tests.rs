use serde_json::{Value, json};

use super::{
    super::{
        lifecycle::{Memory, decide},
        samples::{at, references, workspace},
        validate::validate,
    },
    *,
};
use crate::vm_access::failure::FailureKind;

fn bound() -> PersistentVolumeClaim {
    let claim =
        json!({"metadata": {"name": "alice-home"}, "spec": {"storageClassName": "fast"}, "status": {"phase": "Bound"}});
    serde_json::from_value(claim).unwrap()
}

fn service() -> Service {
    serde_json::from_value(json!({"metadata": {"name": "alice"}, "spec": {
        "clusterIP": "10.0.0.7",
        "ports": [{"name": "vnc", "port": 5901, "nodePort": 30001}],
    }}))
    .unwrap()
}

fn pod(ready: bool) -> Pod {
    let ready = if ready { "True" } else { "False" };
    serde_json::from_value(json!({
        "metadata": {"name": "alice"},
        "spec": {"containers": [], "nodeName": "node-1"},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }))
    .unwrap()
}

fn applied(pod: Pod) -> Applied {
    Applied {
        home: Some(Ok(bound())),
        service: Some(Ok(service())),
        pod: Some(Ok(pod)),
        ..Applied::default()
    }
}

fn of(workspace: &VncWorkspace, applied: &Applied, second: i64) -> VncWorkspaceStatus {
    let references = references();
    let validated = validate(workspace, &references);
    let memory = workspace.status.as_ref().map(Memory::of).unwrap_or_default();
    let decision = validated
        .as_ref()
        .ok()
        .map(|valid| decide(&valid.lifecycle, &memory, &references.activity, at(second)));
    status(&Observed {
        workspace,
        validated: validated.as_ref().map(|valid| (valid, decision.as_ref().unwrap())),
        references: &references,
        applied,
        node_addresses: &["192.0.2.1".to_owned()],
        now: at(second),
    })
}

fn reasons(status: &VncWorkspaceStatus) -> Value {
    let all = status.conditions.iter().map(|condition| {
        let said = format!("{} {}", condition.status, condition.reason);
        (condition.type_.clone(), Value::from(said))
    });
    Value::Object(all.collect())
}

#[test]
fn a_desktop_that_answers_is_ready() {
    insta::assert_yaml_snapshot!("ready", of(&workspace(&json!({})), &applied(pod(true)), 5));
}

#[test]
fn one_that_starts_is_not_and_its_node_is_not_told_yet() {
    let starting = of(&workspace(&json!({})), &applied(pod(false)), 5);
    assert_eq!(
        reasons(&starting),
        json!({"Ready": "False Starting", "PodReady": "False Starting", "StorageReady": "True Bound", "RoutesReady": "True NoRoutes",
            "Hibernated": "False Awake"})
    );
    assert_eq!(starting.node_name, None);
    assert_eq!(starting.phase, Some(WorkspacePhase::Starting));
}

#[test]
fn one_that_sleeps_is_as_wanted() {
    let asked = workspace(&json!({"lifecycle": {"state": "Hibernated"}}));
    let applied = Applied {
        pod: None,
        ..applied(pod(true))
    };
    let status = of(&asked, &applied, 5);
    assert_eq!(
        reasons(&status),
        json!({"Ready": "True Hibernated", "PodReady": "False Hibernated", "StorageReady": "True Bound",
            "RoutesReady": "True NoRoutes", "Hibernated": "True Asked"})
    );
    assert_eq!(status.hibernation.unwrap().reason, HibernationReason::Asked);
    assert_eq!((status.awake_since, status.pod_name), (None, None));
    assert_eq!(status.phase, Some(WorkspacePhase::Hibernated));
}

#[test]
fn a_sleep_is_announced() {
    let mut idle = workspace(&json!({"lifecycle": {"idleTimeout": "100s"}}));
    idle.status = Some(of(&idle, &applied(pod(true)), 0));
    let status = of(&idle, &applied(pod(true)), 90);
    assert_eq!(status.sleeps_at, Some(Time(at(100))));
    assert!(is_news(idle.status.as_ref(), &status));
    let told = news(idle.status.as_ref(), &status);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].0, told[0].1.as_str()), (true, "SleepsSoon"));
    assert!(told[0].2.contains("2026-03-02T08:01:40Z"), "{}", told[0].2);
}

#[test]
fn refusals_are_told_where_they_belong() {
    let failed = Applied {
        home: Some(Err(Failure::new(FailureKind::QuotaExceeded, "exceeded quota: team"))),
        ..applied(pod(false))
    };
    let status = of(&workspace(&json!({})), &failed, 0);
    assert_eq!(reasons(&status)["StorageReady"], "False QuotaExceeded");
    assert_eq!(reasons(&status)["Ready"], "False QuotaExceeded");
    let invalid = workspace(&json!({"podOverrides": {"spec": {"hostPID": true}}}));
    let status = of(&invalid, &Applied::default(), 0);
    assert_eq!(reasons(&status)["PodReady"], "False InvalidSpec");
    assert_eq!(reasons(&status)["Stalled"], "True InvalidSpec");
    assert_eq!(status.phase, Some(WorkspacePhase::Failed));
}

#[test]
fn ports_on_nodes_are_told_with_an_address() {
    let workspace = workspace(&json!({"service": {"type": "NodePort"}}));
    let status = of(&workspace, &applied(pod(true)), 0);
    assert_eq!(status.endpoints.unwrap().vnc.as_deref(), Some("192.0.2.1:30001"));
}

#[test]
fn what_gateways_write_is_left_to_them() {
    let mut woken = workspace(&json!({}));
    woken.status = Some(VncWorkspaceStatus {
        wake_requested_at: Some(Time(at(3))),
        ..VncWorkspaceStatus::default()
    });
    assert_eq!(of(&woken, &applied(pod(true)), 5).wake_requested_at, None);
}
