use novasphere_crd::{Duration, Time};
use serde_json::json;

use super::*;
use crate::console_session::{
    samples::{at, ready, references, session, vm_access},
    single_use::{KEY_MADE_FOR, MADE_FOR_CONSOLE, start_deadline},
};

fn labelled(mut session: ConsoleSession) -> ConsoleSession {
    session.metadata.labels = Some([(KEY_MADE_FOR.to_owned(), MADE_FOR_CONSOLE.to_owned())].into());
    session
}

#[test]
fn a_session_ends_in_one_of_these_ways() {
    let good = references(&json!({}));
    assert_eq!(close_reason(&ready(json!({})), &good, at(3599)), None);
    assert_eq!(
        close_reason(&ready(json!({})), &good, at(3600)),
        Some(CloseReason::Expired)
    );

    let mut revoked = ready(json!({}));
    revoked.spec.revoked = true;
    assert_eq!(close_reason(&revoked, &good, at(1)), Some(CloseReason::Revoked));
    let mut deleted = revoked;
    deleted.metadata.deletion_timestamp = Some(Time(at(1)));
    assert_eq!(close_reason(&deleted, &good, at(1)), Some(CloseReason::Deleted));

    let gone = References {
        vm_access: None,
        ..good.clone()
    };
    assert_eq!(
        close_reason(&ready(json!({})), &gone, at(1)),
        Some(CloseReason::TargetGone)
    );
    let mut another = vm_access(&json!({}));
    another.metadata.uid = Some("target-2".into());
    let another = References {
        vm_access: Some(another.into()),
        ..good
    };
    assert_eq!(
        close_reason(&ready(json!({})), &another, at(1)),
        Some(CloseReason::TargetGone)
    );
}

#[test]
fn a_narrower_policy_ends_it_and_a_wider_one_does_not() {
    let changes = [
        (json!({"maxViewers": 5, "power": true, "takeover": "Replace"}), None),
        (json!({"maxConcurrentSessions": 1}), None),
        (json!({"input": "ViewOnly"}), Some(CloseReason::PolicyChanged)),
        (json!({"clipboard": "None"}), Some(CloseReason::PolicyChanged)),
        (json!({"protocols": ["serial"]}), Some(CloseReason::PolicyChanged)),
        (json!({"idleTimeout": "10m"}), Some(CloseReason::PolicyChanged)),
        (json!({"native": false}), Some(CloseReason::PolicyChanged)),
        (json!({"maxSessionDuration": "30m"}), Some(CloseReason::PolicyChanged)),
        (
            json!({"allowedSourceRanges": ["10.0.0.0/8"]}),
            Some(CloseReason::PolicyChanged),
        ),
    ];
    for (console, reason) in changes {
        assert_eq!(
            close_reason(&ready(json!({})), &references(&console), at(1)),
            reason,
            "{console}"
        );
    }
}

#[test]
fn an_absolute_end_counts_before_the_session_has_begun() {
    let good = references(&json!({}));
    let ends = session(json!({"notAfter": at(10).to_string()}));
    assert_eq!(close_reason(&ends, &good, at(9)), None);
    assert_eq!(close_reason(&ends, &good, at(10)), Some(CloseReason::Expired));
}

#[test]
fn a_session_that_never_began_waits_for_its_target() {
    let gone = References::default();
    assert_eq!(close_reason(&session(json!({})), &gone, at(1_000_000)), None);
}

#[test]
fn a_target_that_stopped_or_whose_kubevirt_is_away_is_not_gone() {
    let mut stopped = references(&json!({}));
    stopped.virtual_machine_instance = None;
    assert_eq!(close_reason(&ready(json!({})), &stopped, at(1)), None);
    stopped.kubevirt = false;
    stopped.virtual_machine = None;
    assert_eq!(close_reason(&ready(json!({})), &stopped, at(1)), None);
}

#[test]
fn a_shorter_duration_holds_before_the_status_says_so() {
    let mut session = ready(json!({"duration": "30m"}));
    assert_eq!(expires_at(&session), Some(at(1800)));
    session.spec.duration = Some(Duration::from_mins(10));
    assert_eq!(expires_at(&session), Some(at(600)));
    assert_eq!(
        close_reason(&session, &references(&json!({})), at(600)),
        Some(CloseReason::Expired)
    );
}

#[test]
fn a_session_for_one_connection_ends_with_it() {
    let references = references(&json!({}));
    let fresh = labelled(session(json!({})));
    assert_eq!(close_reason(&fresh, &references, at(29)), None);
    assert_eq!(start_deadline(&fresh, at(29)), Some(at(30)));
    assert_eq!(
        close_reason(&fresh, &references, at(30)),
        Some(CloseReason::Finished),
        "its maker died"
    );
    assert_eq!(start_deadline(&fresh, at(30)), None);

    let mut connected = labelled(ready(json!({})));
    let status = connected.status.as_mut().unwrap();
    *status = super::super::connection::connect(
        status,
        super::super::connection::NewConnection {
            id: "c".into(),
            user: "ann".into(),
            gateway: "g".into(),
            client_address: "192.0.2.1".into(),
            transport: novasphere_crd::Transport::KubeApiserver,
            input: novasphere_crd::ConsoleInput::Control,
        },
        1,
        at(1),
    )
    .unwrap();
    assert_eq!(close_reason(&connected, &references, at(100)), None);
    connected.status.as_mut().unwrap().connections.clear();
    assert_eq!(
        close_reason(&connected, &references, at(100)),
        Some(CloseReason::Finished)
    );
}
