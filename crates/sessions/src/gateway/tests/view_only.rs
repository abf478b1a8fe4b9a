//! Viewers who may only view, in front of the same apiserver in memory: they hold no place before one who may control.

use super::*;

/// A console of KubeVirt, which carries one viewer, and somebody connected to it by another session.
fn shared(takeover: &str, present: &str) -> Stage {
    let mut mine = session(1);
    mine["status"]["policy"]["takeover"] = json!(takeover);
    let stage = Stage::with(mine);
    let vm_access = json!({
        "metadata": {"name": "web", "namespace": "team", "uid": "t1"},
        "spec": {"virtualMachine": {"name": "web"}, "console": {"maxViewers": 8, "takeover": "Replace"}},
    });
    let instance =
        json!({"metadata": {"name": "web", "namespace": "team", "uid": "i1"}, "status": {"phase": "Running"}});
    stage.sessions.fill(
        serde_json::from_value(vm_access).unwrap(),
        serde_json::from_value(instance).unwrap(),
    );
    let mut other = session(1);
    other["metadata"]["name"] = json!("other");
    other["metadata"]["uid"] = json!("s2");
    other["status"]["grants"] = json!([]);
    other["status"]["connections"] = json!([connection("c", "ben", present)]);
    stage
        .sessions
        .observe(&WatchEvent::Apply(serde_json::from_value(other).unwrap()));
    stage
}

fn connection(id: &str, user: &str, input: &str) -> Value {
    json!({
        "id": id, "user": user, "gateway": "g2", "clientAddress": "192.0.2.2", "transport": "WebSocket",
        "connectedAt": "2026-03-01T12:00:00Z", "input": input,
    })
}

async fn told(stage: &Stage) -> Option<EndReason> {
    stage.enter().await.err().map(|refusal| refusal.reason)
}

#[tokio::test]
async fn who_may_control_takes_the_place_of_who_only_views_and_nobody_else_does() {
    for (takeover, present, has_control, expected) in [
        ("Refuse", "ViewOnly", true, None),
        ("Refuse", "Control", true, Some(EndReason::InUse)),
        ("Replace", "Control", true, None),
        ("Refuse", "ViewOnly", false, Some(EndReason::InUse)),
        ("Replace", "ViewOnly", false, Some(EndReason::InUse)),
        ("Replace", "Control", false, Some(EndReason::InUse)),
    ] {
        let stage = shared(takeover, present);
        stage.server.0.lock().has_control = has_control;
        assert_eq!(told(&stage).await, expected, "{takeover} {present} {has_control}");
    }
}

#[tokio::test]
async fn who_may_control_finds_a_place_in_a_session_full_of_viewers() {
    for (present, has_control, expected) in [
        ("ViewOnly", true, None),
        ("Control", true, Some(EndReason::TooManyViewers)),
        ("ViewOnly", false, Some(EndReason::TooManyViewers)),
    ] {
        let mut full = session(1);
        full["status"]["policy"]["maxViewers"] = json!(1);
        full["status"]["connections"] = json!([connection("c", "ben", present)]);
        let stage = Stage::with(full);
        stage.server.0.lock().has_control = has_control;
        assert_eq!(told(&stage).await, expected, "{present} {has_control}");
        let status = stage.server.session().status.unwrap();
        if expected.is_none() {
            assert_eq!(status.last_disconnect.unwrap().reason, "Replaced");
            assert_eq!(status.connections.len(), 1);
            assert_eq!(status.connections[0].user, "ann");
        } else {
            assert_eq!(status.connections[0].user, "ben", "{present} {has_control}");
        }
    }
}

#[tokio::test]
async fn who_only_views_does_not_wake_a_desktop_unless_its_policy_says_so() {
    let stage = Stage::of_desktop(2, "vnc");
    stage.server.0.lock().has_control = false;
    let refusal = stage.enter().await.unwrap_err();
    assert_eq!(refusal.reason, EndReason::TargetNotRunning);
    assert!(refusal.detail().contains("wakeOnView"), "{}", refusal.detail());
    assert_eq!((stage.wakes(), stage.server.writes()), (0, 0));
    stage.see_desktop(|workspace| workspace["spec"]["lifecycle"] = json!({"wakeOnView": true}));
    stage.enter().await.unwrap();
    let status = stage.server.session().status.unwrap();
    assert_eq!(
        status.connections[0].input,
        Some(novasphere_crd::ConsoleInput::ViewOnly)
    );
}
