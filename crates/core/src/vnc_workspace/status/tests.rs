mod health;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use novasphere_crd::HibernationReason;
use serde_json::{Value, json};

use super::{
    super::{
        activity::Activity,
        applied::{CrashLoop, ServiceOutcome},
        lifecycle::decide_for,
        samples::{at, references, workspace},
        snapshots::{PendingSnapshot, SnapshotProgress, SnapshotTrigger},
        transition::transition,
        validate::validate,
    },
    *,
};
use crate::{
    child::ChildOutcome,
    failure::{Failure, FailureKind},
    label::Owner,
    transition::WritePriority,
};

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
        "status": {"conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": at(0).to_string()}]},
    }))
    .unwrap()
}

fn applied(pod: Pod) -> Applied {
    Applied {
        home: ChildOutcome::Applied(bound()),
        service: ServiceOutcome::Applied(Box::new(service())),
        pod: PodOutcome::present(pod),
        ..Applied::default()
    }
}

fn of(workspace: &VncWorkspace, applied: &Applied, second: i64) -> VncWorkspaceStatus {
    with(workspace, applied, Activity::default(), second)
}

fn with(workspace: &VncWorkspace, applied: &Applied, activity: Activity, second: i64) -> VncWorkspaceStatus {
    let mut pod = applied.pod.pod().cloned();
    if let Some(pod) = &mut pod {
        pod.metadata.owner_references = Some(vec![Owner::of(workspace).unwrap().reference()]);
    }
    let references = References {
        activity,
        pod: pod.map(Arc::new),
        ..references()
    };
    let validated = validate(workspace, &references);
    let decision = decide_for(workspace, &references, at(second));
    status(&Observed {
        workspace,
        validated: validated.as_ref(),
        decision: decision.as_ref(),
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
        pod: PodOutcome::Absent,
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
fn one_that_sleeps_is_not_as_wanted_when_something_of_it_is_refused() {
    let asked = workspace(&json!({"lifecycle": {"state": "Hibernated"}}));
    let refused = || Failure::new(FailureKind::Forbidden, "not allowed");
    let sleeping = || Applied {
        pod: PodOutcome::Absent,
        ..applied(pod(true))
    };
    for applied in [
        Applied {
            service: ServiceOutcome::Refused(refused()),
            ..sleeping()
        },
        Applied {
            failures: vec![("Secret", refused())],
            ..sleeping()
        },
    ] {
        let status = of(&asked, &applied, 5);
        assert_eq!(reasons(&status)["Ready"], "False Forbidden");
        assert_eq!(reasons(&status)["Hibernated"], "True Asked");
        assert_eq!(status.phase, Some(WorkspacePhase::Hibernated));
    }
}

#[test]
fn pods_that_end_again_and_again_are_one_failure() {
    let ended = Some(CrashLoop {
        message: "UnexpectedAdmissionError: no device".to_owned(),
        exits: 3,
    });
    let ending = Applied {
        pod: PodOutcome::Ending,
        crash_loop: ended.clone(),
        ..applied(pod(false))
    };
    let starting = Applied {
        crash_loop: ended.clone(),
        ..applied(pod(false))
    };
    for applied in [ending, starting] {
        let status = of(&workspace(&json!({})), &applied, 5);
        assert_eq!(reasons(&status)["PodReady"], "False Ended");
        assert_eq!(status.phase, Some(WorkspacePhase::Failed));
        let told = transition(None, &status).events;
        assert!(
            told.iter().any(|event| event.is_warning
                && event.reason == "Ended"
                && event.message.contains("3 time(s)")
                && event.message.contains("no device")),
            "{told:?}"
        );
    }
    let running = Applied {
        crash_loop: ended,
        ..applied(pod(true))
    };
    assert_eq!(
        reasons(&of(&workspace(&json!({})), &running, 5))["PodReady"],
        "True Running"
    );
}

#[test]
fn a_sleep_is_announced() {
    let mut idle = workspace(&json!({"lifecycle": {"idleTimeout": "100s"}}));
    idle.status = Some(of(&idle, &applied(pod(true)), 0));
    let status = of(&idle, &applied(pod(true)), 90);
    assert_eq!(status.sleeps_at, Some(Time(at(100))));
    assert!(transition(idle.status.as_ref(), &status).priority == WritePriority::Now);
    let told = transition(idle.status.as_ref(), &status).events;
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].is_warning, told[0].reason.as_str()), (true, "SleepsSoon"));
    assert!(told[0].message.contains("2026-03-02T08:01:40Z"), "{}", told[0].message);
}

#[test]
fn refusals_are_told_where_they_belong() {
    let failed = Applied {
        home: ChildOutcome::Failed(Failure::new(FailureKind::QuotaExceeded, "exceeded quota: team")),
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
    assert!(transition(alice.status.as_ref(), &later).priority == WritePriority::Now);
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
    assert!(transition(idle.status.as_ref(), &awake).priority == WritePriority::Now);
    assert!(
        transition(idle.status.as_ref(), &awake).events.is_empty(),
        "no event for what goes on"
    );
}

#[test]
fn a_desktop_that_could_not_grow_goes_on_and_says_so() {
    let refused = Applied {
        pod: PodOutcome::Present {
            pod: Box::new(pod(true)),
            resize_refused: Some(Failure::new(FailureKind::QuotaExceeded, "exceeded quota: team")),
        },
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

/// An override that Pod Security refuses.
fn weak(more: &Value) -> VncWorkspace {
    let mut spec = json!({"podOverrides": {"spec": {"hostNetwork": true}}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    workspace(&spec)
}

#[test]
fn an_invalid_desktop_sleeps_and_ends_and_goes_on_until_then() {
    let left = Applied {
        service: ServiceOutcome::NotTried,
        home: ChildOutcome::NotTried,
        ..applied(pod(true))
    };
    let status = of(&weak(&json!({})), &left, 5);
    assert_eq!(reasons(&status)["PodReady"], "False InvalidSpec");
    assert_eq!(reasons(&status)["Hibernated"], "False Awake");
    assert_eq!(status.pod_name.as_deref(), Some("alice"), "who connects comes in");
    assert_eq!(status.phase, Some(WorkspacePhase::Failed));
    let status = of(
        &weak(&json!({"lifecycle": {"state": "Hibernated"}})),
        &Applied::default(),
        5,
    );
    assert_eq!(reasons(&status)["PodReady"], "False InvalidSpec");
    assert_eq!(reasons(&status)["Ready"], "False InvalidSpec");
    assert_eq!(reasons(&status)["Hibernated"], "True Asked");
    assert_eq!((status.hibernation.is_some(), status.awake_since), (true, None));
    let status = of(
        &weak(&json!({"lifecycle": {"maxLifetime": "1s"}})),
        &Applied::default(),
        5,
    );
    assert_eq!(reasons(&status)["PodReady"], "False Expired");
    assert_eq!(status.phase, Some(WorkspacePhase::Expiring));
}

fn taking(trigger: SnapshotTrigger, progress: SnapshotProgress) -> PendingSnapshot {
    PendingSnapshot {
        name: "alice-last-1".to_owned(),
        trigger,
        progress,
    }
}

fn said(status: &VncWorkspaceStatus) -> String {
    let storage = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "StorageReady");
    storage.unwrap().message.clone()
}

#[test]
fn a_deletion_is_told_as_such() {
    for mut going in [workspace(&json!({})), weak(&json!({}))] {
        going.metadata.deletion_timestamp = Some(Time(at(3)));
        let ending = Applied {
            home: ChildOutcome::Applied(bound()),
            pod: PodOutcome::Ending,
            ..Applied::default()
        };
        let status = of(&going, &ending, 5);
        assert_eq!(reasons(&status)["PodReady"], "False Deleting");
        assert_eq!(reasons(&status)["StorageReady"], "True Bound");
        let homeless = of(&going, &Applied::default(), 5);
        assert_eq!(reasons(&homeless)["StorageReady"], "Unknown NotChecked");
        let failed = Applied {
            snapshot: Some(taking(
                SnapshotTrigger::Deletion,
                SnapshotProgress::Failed("no space".into()),
            )),
            ..ending
        };
        let status = of(&going, &failed, 5);
        assert_eq!(reasons(&status)["StorageReady"], "False SnapshotFailed");
        assert!(said(&status).contains("no space"), "{}", said(&status));
    }
}

#[test]
fn nobody_is_told_to_give_up_a_home_that_is_not_going() {
    let words = |trigger, progress| {
        let failed = Applied {
            snapshot: Some(taking(trigger, progress)),
            ..applied(pod(true))
        };
        said(&of(&workspace(&json!({})), &failed, 5))
    };
    for trigger in [
        SnapshotTrigger::Hibernation,
        SnapshotTrigger::Expiry,
        SnapshotTrigger::Deletion,
        SnapshotTrigger::BackupOnDelete,
        SnapshotTrigger::Schedule,
    ] {
        let failed = words(trigger, SnapshotProgress::Failed("no space".into()));
        assert!(
            failed.contains("kubectl describe volumesnapshot alice-last-1"),
            "{failed}"
        );
        assert!(failed.contains("delete that VolumeSnapshot"), "{failed}");
        assert_eq!(
            failed.contains("to Delete"),
            trigger == SnapshotTrigger::Deletion,
            "{failed}"
        );
        let refused = words(trigger, SnapshotProgress::Refused("not allowed".into()));
        assert!(
            !refused.contains("delete that VolumeSnapshot"),
            "there is none: {refused}"
        );
        assert!(failed.contains("the home is kept") && refused.contains("the home is kept"));
    }
}
