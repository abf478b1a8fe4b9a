use novasphere_crd::HibernationReason;
use serde_json::{Value, json};

use super::{
    super::{
        activity::Activity,
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
    with(workspace, applied, Activity::default(), second)
}

fn with(workspace: &VncWorkspace, applied: &Applied, activity: Activity, second: i64) -> VncWorkspaceStatus {
    let references = References {
        activity,
        ..references()
    };
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

fn typed(second: i64) -> Activity {
    Activity {
        last_input_at: Some(at(second)),
        is_shown: true,
        connected: true,
    }
}

#[test]
fn input_is_told_now_and_then_while_somebody_types() {
    let mut alice = workspace(&json!({"lifecycle": {"idleTimeout": "30m"}}));
    let told = |alice: &VncWorkspace, activity, second| with(alice, &applied(pod(true)), activity, second);
    let status = told(&alice, typed(60), 70);
    assert_eq!(status.last_input_at, Some(Time(at(60))), "with the first status");
    alice.status = Some(status);
    for second in [120, 300, 659] {
        assert_eq!(
            told(&alice, typed(second), second + 5),
            alice.status.clone().unwrap(),
            "nothing to write"
        );
    }
    let later = told(&alice, typed(660), 670);
    assert_eq!(later.last_input_at, Some(Time(at(660))));
    assert!(is_news(alice.status.as_ref(), &later));
    let gone = Activity {
        is_shown: false,
        connected: false,
        ..typed(300)
    };
    let last = told(&alice, gone, 310);
    assert_eq!(last.last_input_at, Some(Time(at(300))), "no session shows it any more");
    let other = with(&alice, &applied(pod(false)), typed(300), 310);
    assert_eq!(other.last_input_at, Some(Time(at(300))), "together with other news");
}

#[test]
fn input_takes_the_announcement_back() {
    let mut idle = workspace(&json!({"lifecycle": {"idleTimeout": "600s"}}));
    idle.status = Some(of(&idle, &applied(pod(true)), 0));
    let soon = with(&idle, &applied(pod(true)), typed(0), 600);
    assert_eq!(
        soon.sleeps_at,
        Some(Time(at(665))),
        "with what may not have been told yet"
    );
    assert_eq!(reasons(&soon)["Hibernated"], "False SleepsSoon");
    idle.status = Some(soon);
    let awake = with(&idle, &applied(pod(true)), typed(601), 630);
    assert_eq!(
        (awake.sleeps_at.clone(), awake.last_input_at.clone()),
        (None, Some(Time(at(601))))
    );
    assert_eq!(reasons(&awake)["Hibernated"], "False Awake");
    assert!(is_news(idle.status.as_ref(), &awake));
    assert!(
        news(idle.status.as_ref(), &awake).is_empty(),
        "no event for what goes on"
    );
}

#[test]
fn a_desktop_that_could_not_grow_goes_on_and_says_so() {
    let refused = Applied {
        resize: Some(Failure::new(FailureKind::QuotaExceeded, "exceeded quota: team")),
        ..applied(pod(true))
    };
    let status = of(&workspace(&json!({})), &refused, 5);
    assert_eq!(reasons(&status)["PodReady"], "True Running");
    let said = &status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "PodReady")
        .unwrap()
        .message;
    assert!(
        said.contains("keeps its former resources") && said.contains("exceeded quota"),
        "{said}"
    );
}
