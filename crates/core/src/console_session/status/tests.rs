mod health;

use novasphere_crd::{Condition, ConsoleProtocol};
use serde_json::json;

use super::*;
use crate::{
    condition::find,
    console_session::{
        connection::{NewConnection, connect},
        grant::{DEFAULT_TOKEN_TTL, NewGrant, issue},
        resume::{NewPlace, with_place},
        samples::{at, outcome, ready, reconciled, references, references_of_workspace, session, session_of},
        validate::validate,
    },
};

/// Type, status and reason of every condition.
fn words(conditions: &[Condition]) -> Vec<String> {
    conditions
        .iter()
        .map(|condition| format!("{}={} {}", condition.type_, condition.status, condition.reason))
        .collect()
}

/// What kstatus makes of conditions (`sigs.k8s.io/cli-utils`, `pkg/kstatus/status/generic.go`).
fn kstatus(session: &ConsoleSession) -> &'static str {
    let status = session.status.as_ref().unwrap();
    let is = |type_, value| find(&status.conditions, type_).is_some_and(|condition| condition.status == value);
    if status.observed_generation != session.metadata.generation {
        "InProgress"
    } else if is("Stalled", "True") {
        "Failed"
    } else if is("Ready", "True") || find(&status.conditions, "Ready").is_none() {
        "Current"
    } else {
        "InProgress"
    }
}

fn viewer(id: &str, gateway: &str) -> NewConnection {
    NewConnection {
        id: id.into(),
        user: "ann".into(),
        gateway: gateway.into(),
        client_address: "192.0.2.1".into(),
        transport: novasphere_crd::Transport::WebSocket,
        input: novasphere_crd::ConsoleInput::Control,
    }
}

fn with_viewers(gateways: &[&str]) -> ConsoleSession {
    let mut session = ready(json!({}));
    for gateway in gateways {
        let status = session.status.as_ref().unwrap();
        session.status = Some(connect(status, viewer(gateway, gateway), 9, at(1)).unwrap());
    }
    session
}

#[test]
fn a_good_session_is_ready_at_once() {
    let session = reconciled(session(json!({"maxViewers": 1})), &references(&json!({})), at(0));
    insta::assert_yaml_snapshot!("ready", session.status);
    assert_eq!(kstatus(&session), "Current");
    assert_eq!(
        outcome(&session, &references(&json!({})), &[], at(5)).next,
        Some(at(3600))
    );
}

#[test]
fn a_settled_session_is_not_written() {
    let good = references(&json!({}));
    let missing = References::default();
    let desktop = references_of_workspace(&json!({}), &json!({}));
    let mut many = good.clone();
    many.sessions_ahead = 10;
    let expired = reconciled(ready(json!({})), &good, at(3600));
    let cases = [
        (ready(json!({})), &good, 100),
        (with_viewers(&["g"]), &good, 100),
        (reconciled(session(json!({"power": true})), &good, at(0)), &good, 100),
        (reconciled(session(json!({})), &missing, at(0)), &missing, 100),
        (reconciled(session(json!({})), &many, at(0)), &many, 100),
        (
            reconciled(session_of("VncWorkspace", json!({})), &desktop, at(0)),
            &desktop,
            100,
        ),
        (expired.clone(), &good, 3700),
        // What becomes of the target makes no difference any more.
        (expired, &missing, 3700),
    ];
    for (session, references, second) in cases {
        let stored: ConsoleSession = serde_json::from_value(serde_json::to_value(&session).unwrap()).unwrap();
        assert_eq!(stored.status, session.status, "it is read as it was written");
        assert_eq!(
            Some(outcome(&stored, references, &[], at(second)).status),
            session.status
        );
    }
}

#[test]
fn a_session_that_may_not_is_refused_for_good() {
    let session = reconciled(session(json!({"power": true})), &references(&json!({})), at(0));
    let status = session.status.as_ref().unwrap();
    assert_eq!(
        words(&status.conditions),
        [
            "Ready=False PolicyRefused",
            "TargetReady=Unknown NotChecked",
            "Closed=False NotOver",
            "Stalled=True PolicyRefused"
        ]
    );
    assert_eq!(
        (status.phase, status.started_at.as_ref()),
        (Some(SessionPhase::Failed), None)
    );
    assert_eq!(kstatus(&session), "Failed");
    // The target's owner allows it after all.
    let session = reconciled(session, &references(&json!({"power": true})), at(60));
    assert_eq!(kstatus(&session), "Current");
    assert_eq!(
        session.status.unwrap().expires_at.unwrap().0,
        at(3660),
        "its time begins when it is ready"
    );
}

#[test]
fn a_session_waits_for_its_target_and_its_place() {
    let mut references = references(&json!({"maxConcurrentSessions": 1}));
    references.virtual_machine_instance = None;
    references.sessions_ahead = 1;
    let waiting = reconciled(session(json!({})), &references, at(0));
    assert_eq!(
        words(&waiting.status.as_ref().unwrap().conditions),
        [
            "Ready=False TooManySessions",
            "TargetReady=Unknown NotChecked",
            "Closed=False NotOver"
        ]
    );
    assert_eq!(kstatus(&waiting), "InProgress");
    references.sessions_ahead = 0;
    let waiting = reconciled(waiting, &references, at(10));
    let status = waiting.status.as_ref().unwrap();
    assert_eq!(
        words(&status.conditions),
        [
            "Ready=False TargetNotRunning",
            "TargetReady=False TargetNotRunning",
            "Closed=False NotOver"
        ]
    );
    assert_eq!(
        (status.phase, status.expires_at.as_ref()),
        (Some(SessionPhase::Pending), None)
    );
    assert_eq!(status.protocol, Some(ConsoleProtocol::Vnc));
}

#[test]
fn the_clock_goes_on_while_the_machine_is_down() {
    let mut stopped = references(&json!({}));
    stopped.virtual_machine_instance = None;
    let down = reconciled(ready(json!({})), &stopped, at(600));
    let status = down.status.as_ref().unwrap();
    assert_eq!(
        (status.phase, status.expires_at.as_ref().unwrap().0),
        (Some(SessionPhase::Pending), at(3600))
    );
    let up = reconciled(down, &references(&json!({})), at(700));
    let status = up.status.unwrap();
    assert_eq!(
        (status.phase, status.expires_at.unwrap().0),
        (Some(SessionPhase::Ready), at(3600))
    );
}

#[test]
fn an_end_is_final_and_forgets_its_tokens() {
    let mut session = with_viewers(&["g"]);
    let grant = NewGrant {
        id: "a".into(),
        sha256: "0".repeat(64),
        user: "ann".into(),
        uid: None,
        groups: Vec::new(),
        extra: std::collections::BTreeMap::new(),
        ttl: DEFAULT_TOKEN_TTL,
        uses: 1,
    };
    session.status = Some(issue(session.status.as_ref().unwrap(), grant, at(2)).unwrap());
    session.spec.revoked = true;
    session.metadata.generation = Some(2);
    let session = reconciled(session, &references(&json!({})), at(10));
    insta::assert_yaml_snapshot!("revoked", session.status);
    assert_eq!(
        kstatus(&session),
        "Current",
        "nobody waits for it, and nothing is wrong with it"
    );
}

#[test]
fn only_an_end_that_nobody_meant_is_a_failure() {
    let good = references(&json!({}));
    let mut revoked = ready(json!({}));
    revoked.spec.revoked = true;
    let mut never_began = session(json!({"power": true}));
    never_began.spec.revoked = true;
    for planned in [
        reconciled(ready(json!({})), &good, at(3600)),
        reconciled(revoked, &good, at(10)),
        reconciled(never_began, &good, at(10)),
    ] {
        let conditions = &planned.status.as_ref().unwrap().conditions;
        assert!(find(conditions, "Closed").is_some_and(|closed| closed.status == "True"));
        assert_eq!(kstatus(&planned), "Current", "{conditions:?}");
    }
    let stricter = references(&json!({"clipboard": "None"}));
    for unplanned in [
        reconciled(ready(json!({})), &References::default(), at(1)),
        reconciled(ready(json!({})), &stricter, at(1)),
        // It could not begin.
        reconciled(session(json!({"power": true})), &good, at(0)),
    ] {
        assert_eq!(kstatus(&unplanned), "Failed", "{:?}", unplanned.status);
    }
}

#[test]
fn a_session_with_an_absolute_end_lasts_until_then() {
    let good = references(&json!({"maxSessionDuration": "8h"}));
    let lasting = reconciled(session(json!({"notAfter": at(7200).to_string()})), &good, at(0));
    let status = lasting.status.clone().unwrap();
    assert_eq!(status.expires_at.unwrap().0, at(7200));
    assert_eq!(status.policy.unwrap().duration, novasphere_crd::Duration::from_hours(2));
    assert_eq!(outcome(&lasting, &good, &[], at(5)).next, Some(at(7200)));
    let stored = outcome(&lasting, &good, &[], at(100)).status;
    assert_eq!(Some(stored), lasting.status, "it is settled");

    let mut earlier = lasting.clone();
    earlier.spec.not_after = Some(novasphere_crd::Time(at(600)));
    assert_eq!(
        outcome(&earlier, &good, &[], at(60)).status.expires_at.unwrap().0,
        at(600)
    );
    let over = reconciled(lasting, &good, at(7200)).status.unwrap();
    assert_eq!(over.close_reason, Some(CloseReason::Expired));

    let short = references(&json!({"maxSessionDuration": "30m"}));
    let bounded = reconciled(session(json!({"notAfter": at(7200).to_string()})), &short, at(0));
    assert_eq!(
        bounded.status.unwrap().expires_at.unwrap().0,
        at(1800),
        "the target's limit holds"
    );
}

#[test]
fn a_session_that_is_made_again_after_its_end_gives_nothing() {
    let good = references(&json!({}));
    let again = reconciled(session(json!({"notAfter": at(-60).to_string()})), &good, at(0));
    let status = again.status.as_ref().unwrap();
    assert_eq!(
        words(&status.conditions),
        ["TargetReady=True Running", "Closed=True Expired"]
    );
    assert_eq!(
        (status.phase, status.started_at.as_ref(), status.policy.as_ref()),
        (Some(SessionPhase::Expired), None, None)
    );
    assert_eq!(kstatus(&again), "Current");
    // One that waits for its target ends without having begun.
    let waits = session(json!({"notAfter": at(60).to_string()}));
    let missing = References::default();
    assert_eq!(outcome(&waits, &missing, &[], at(0)).next, Some(at(60)));
    let over = outcome(&waits, &missing, &[], at(60)).status;
    assert_eq!(over.close_reason, Some(CloseReason::Expired));
}

#[test]
fn a_session_that_is_kept_is_not_deleted_and_costs_nothing() {
    let good = references(&json!({}));
    let over = reconciled(ready(json!({"ttlAfterFinished": "Never"})), &good, at(3600));
    let later = outcome(&over, &good, &[], at(1_000_000_000));
    assert_eq!((later.delete, later.next), (false, None));
    assert_eq!(Some(later.status), over.status);
}

#[test]
fn each_end_has_its_phase() {
    let good = references(&json!({}));
    let expired = reconciled(ready(json!({})), &good, at(3600)).status.unwrap();
    assert_eq!(
        (expired.phase, expired.close_reason),
        (Some(SessionPhase::Expired), Some(CloseReason::Expired))
    );
    let gone = reconciled(ready(json!({})), &References::default(), at(1))
        .status
        .unwrap();
    // Without KubeVirt nothing is known of a machine, but the VmAccess is gone for sure.
    assert_eq!(
        (gone.phase, gone.close_reason),
        (Some(SessionPhase::Closed), Some(CloseReason::TargetGone))
    );
    assert_eq!(words(&gone.conditions)[1], "TargetReady=False TargetNotFound");
}

#[test]
fn a_change_after_the_end_is_only_taken_note_of() {
    let mut over = reconciled(ready(json!({})), &references(&json!({})), at(3600));
    over.spec.revoked = true;
    over.metadata.generation = Some(2);
    let new = outcome(&over, &references(&json!({})), &[], at(3700)).status;
    assert_eq!(
        (new.close_reason, new.observed_generation),
        (Some(CloseReason::Expired), Some(2))
    );
    assert_eq!(new.closed_at, over.status.unwrap().closed_at);
}

#[test]
fn a_finished_session_is_deleted_when_its_time_has_come() {
    let good = references(&json!({}));
    let over = reconciled(ready(json!({"ttlAfterFinished": "10m"})), &good, at(3600));
    let before = outcome(&over, &good, &[], at(4199));
    assert_eq!((before.delete, before.next), (false, Some(at(4200))));
    assert!(outcome(&over, &good, &[], at(4200)).delete);
    let mut leaving = over;
    leaving.metadata.deletion_timestamp = Some(novasphere_crd::Time(at(4200)));
    assert!(!outcome(&leaving, &good, &[], at(4300)).delete);
}

#[test]
fn what_a_dead_gateway_left_is_cleaned_up() {
    let session = with_viewers(&["gateway-1", "gateway-2"]);
    let status = outcome(&session, &references(&json!({})), &["gateway-1"], at(50)).status;
    assert_eq!((status.viewers, status.phase), (Some(1), Some(SessionPhase::Active)));
    assert_eq!(status.connections[0].gateway, "gateway-2");
    let last = status.last_disconnect.unwrap();
    assert_eq!((last.reason.as_str(), last.at.0), (GATEWAY_LOST, at(50)));
}

#[test]
fn a_shorter_duration_moves_the_end() {
    let mut session = ready(json!({"duration": "30m"}));
    session.spec.duration = Some(novasphere_crd::Duration::from_mins(10));
    session.metadata.generation = Some(2);
    let new = outcome(&session, &references(&json!({})), &[], at(60));
    assert_eq!((new.status.expires_at.unwrap().0, new.next), (at(600), Some(at(600))));
    assert_eq!(
        new.status.policy.unwrap().duration,
        novasphere_crd::Duration::from_mins(10)
    );
}

#[test]
fn a_maker_can_close_what_it_made() {
    let session = with_viewers(&[]);
    let closed = close(&session, CloseReason::Finished, at(9));
    assert_eq!(
        words(&closed.conditions),
        ["TargetReady=True Running", "Closed=True Finished"]
    );
    let mut session = session;
    session.status = Some(closed.clone());
    assert_eq!(
        close(&session, CloseReason::Revoked, at(10)),
        closed,
        "the first end counts"
    );
    assert_eq!(outcome(&session, &references(&json!({})), &[], at(10)).status, closed);
    assert!(validate(&session, &references(&json!({}))).is_ok());
}

#[test]
fn a_session_of_a_sleeping_desktop_is_ready_and_stays_as_it_is_while_that_starts() {
    let pod = |status: &str, reason: &str| {
        json!([{
            "type": "PodReady", "status": status, "reason": reason, "message": "Why.", "lastTransitionTime": "2026-03-01T12:00:00Z",
        }])
    };
    let slept = json!({"reason": "Idle", "since": "2026-03-01T11:00:00Z"});
    let asleep = references_of_workspace(
        &json!({}),
        &json!({"conditions": pod("False", "Hibernated"), "hibernation": slept}),
    );
    let session = reconciled(session_of("VncWorkspace", json!({})), &asleep, at(0));
    let status = session.status.as_ref().unwrap();
    assert_eq!(
        words(&status.conditions),
        [
            "Ready=True Open",
            "TargetReady=True WakesOnConnect",
            "Closed=False NotOver"
        ]
    );
    let starting = references_of_workspace(&json!({}), &json!({"conditions": pod("False", "Starting")}));
    assert_eq!(outcome(&session, &starting, &[], at(5)).status, *status);
    let expired = references_of_workspace(&json!({}), &json!({"conditions": pod("False", "Expired")}));
    let stopped = outcome(&session, &expired, &[], at(9)).status;
    assert_eq!(
        words(&stopped.conditions),
        [
            "Ready=False TargetNotRunning",
            "TargetReady=False TargetNotRunning",
            "Closed=False NotOver"
        ]
    );
    assert_eq!(
        stopped.conditions[0].message,
        "The desktop of VncWorkspace web does not start: Why."
    );
}

#[test]
fn who_was_connected_by_a_gateway_that_is_gone_can_come_back_until_the_session_is_over() {
    let mut session = with_viewers(&["alive", "dead"]);
    let status = session.status.take().unwrap();
    let both = ["alive", "dead"]
        .into_iter()
        .fold(status, |status, id| with_place(&status, id, id, NewPlace::User));
    session.status = Some(both);
    let lost = outcome(&session, &references(&json!({})), &["dead"], at(10)).status;
    let left: Vec<_> = lost.resumes.iter().map(|place| place.left_at.clone()).collect();
    assert_eq!(left, [None, Some(kubernetes_time(at(10)))]);
    assert_eq!(lost.connections.len(), 1);
    session.status = Some(lost);
    session.spec.revoked = true;
    let over = outcome(&session, &references(&json!({})), &[], at(11)).status;
    assert!(over.resumes.is_empty());
}
