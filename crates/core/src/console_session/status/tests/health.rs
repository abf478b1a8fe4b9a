//! Every state of a session that GitOps tools see, as `docs/gitops.md` has it.

use std::collections::BTreeSet;

use super::*;
use crate::{console_session::pause::paused, gitops_states::assert_states, pause::Pause};

const ENDS: [CloseReason; 6] = [
    CloseReason::Expired,
    CloseReason::Revoked,
    CloseReason::Deleted,
    CloseReason::TargetGone,
    CloseReason::PolicyChanged,
    CloseReason::Finished,
];

/// As the apiserver shows it before a controller has looked at it.
fn unseen() -> ConsoleSession {
    let pending = json!({"conditions": [{
        "type": "Ready", "status": "Unknown", "reason": "Pending", "message": "", "lastTransitionTime": "1970-01-01T00:00:00Z",
    }]});
    ConsoleSession {
        status: Some(serde_json::from_value(pending).unwrap()),
        ..session(json!({}))
    }
}

fn held(session: &ConsoleSession) -> ConsoleSession {
    let wanted = outcome(session, &references(&json!({})), &[], at(5));
    let (held, _) = paused(session, wanted, Pause::PausedByAnnotation, at(5));
    ConsoleSession {
        status: Some(held.status),
        ..session.clone()
    }
}

fn ended(reason: CloseReason) -> ConsoleSession {
    let open = ready(json!({}));
    ConsoleSession {
        status: Some(close(&open, reason, at(9))),
        ..open
    }
}

#[test]
fn the_guide_to_gitops_has_every_state() {
    let good = references(&json!({}));
    let mut stopped = references(&json!({}));
    stopped.virtual_machine_instance = None;
    let mut many = references(&json!({"maxConcurrentSessions": 1}));
    many.sessions_ahead = 1;
    let asleep = json!({
        "conditions": [{
            "type": "PodReady", "status": "False", "reason": "Hibernated", "message": "Why.", "lastTransitionTime": "2026-03-01T12:00:00Z",
        }],
        "hibernation": {"reason": "Idle", "since": "2026-03-01T11:00:00Z"},
    });
    let asleep = references_of_workspace(&json!({}), &asleep);
    let new = || session(json!({}));
    let again = session(json!({"notAfter": at(-60).to_string()}));
    let states = vec![
        ("open", reconciled(new(), &good, at(0))),
        ("open, somebody is connected", with_viewers(&["g"])),
        (
            "open, its desktop sleeps",
            reconciled(session_of("VncWorkspace", json!({})), &asleep, at(0)),
        ),
        (
            "waits for its target to be made",
            reconciled(new(), &References::default(), at(0)),
        ),
        ("waits for its machine to run", reconciled(new(), &stopped, at(0))),
        ("waits for other sessions to end", reconciled(new(), &many, at(0))),
        (
            "could not begin: refused",
            reconciled(session(json!({"power": true})), &good, at(0)),
        ),
        ("made again after its notAfter", reconciled(again, &good, at(0))),
        ("paused before it began", held(&unseen())),
        ("paused while it is open", held(&ready(json!({})))),
    ];
    let states = states.into_iter().map(|(name, session)| (name.to_owned(), session));
    let ends = ENDS
        .into_iter()
        .map(|reason| (format!("ended: {}", reason.as_str()), ended(reason)));
    let states: Vec<_> = states
        .chain(ends)
        .map(|(name, session)| (name, session.status.unwrap()))
        .collect();

    let phases: BTreeSet<_> = states
        .iter()
        .filter_map(|(_, status)| Some(format!("{:?}", status.phase?)))
        .collect();
    assert_eq!(phases.len(), 6, "every phase has a state: {phases:?}");
    let states = states.into_iter().map(|(name, status)| (name, status.conditions));
    assert_states("ConsoleSession", states.collect());
}
