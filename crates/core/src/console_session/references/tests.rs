use jiff::Timestamp;
use novasphere_crd::{ConsoleInput, SessionPhase, Time};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::console_session::{
    samples::{at, outcome, ready, references, session, session_of},
    validate::validate,
};

fn named(mut session: ConsoleSession, uid: &str, second: i64) -> ConsoleSession {
    session.metadata.uid = Some(uid.to_owned());
    session.metadata.creation_timestamp = Some(Time(at(second)));
    session
}

#[test]
fn a_session_that_runs_or_is_older_comes_first() {
    let mine = named(session(json!({})), "m", 10);
    let before = |other: &ConsoleSession| is_queued_ahead_of(other, &mine, ConsoleInput::Control);
    assert!(!before(&mine));
    assert!(before(&named(session(json!({})), "a", 9)));
    assert!(before(&named(session(json!({})), "a", 10)), "of one second: by UID");
    assert!(!before(&named(session(json!({})), "z", 10)));
    assert!(!before(&named(session(json!({})), "a", 11)));
    assert!(before(&named(ready(json!({})), "a", 11)), "it runs");
    assert!(
        !before(&named(session_of("VirtualMachine", json!({})), "a", 9)),
        "another target"
    );
}

#[test]
fn who_only_views_holds_no_place_before_who_may_control() {
    let view = || json!({"input": "ViewOnly"});
    let (controls, views) = (named(session(json!({})), "m", 10), named(session(view()), "n", 10));
    let ahead = |other: &ConsoleSession, of: &ConsoleSession| is_queued_ahead_of(other, of, ConsoleInput::Control);
    assert!(!ahead(&named(ready(view()), "a", 1), &controls), "it runs and looks");
    assert!(
        !ahead(&named(session(view()), "a", 1), &controls),
        "it is older and looks"
    );
    assert!(ahead(&named(ready(view()), "a", 11), &views), "among those who look");
    assert!(
        ahead(&named(session(json!({})), "z", 11), &views),
        "it may control, and waits"
    );
    assert!(ahead(&named(ready(json!({})), "z", 11), &views));
    // Where the target allows nothing else, sessions that ask for nothing only view.
    let plain = named(session(json!({})), "a", 9);
    assert!(is_queued_ahead_of(&plain, &controls, ConsoleInput::ViewOnly));
}

#[test]
fn a_session_that_is_over_or_refused_holds_no_place() {
    let mine = named(session(json!({})), "m", 10);
    let mut over = named(ready(json!({})), "a", 1);
    over.spec.revoked = true;
    assert!(!is_queued_ahead_of(&over, &mine, ConsoleInput::Control));
    let mut leaving = named(ready(json!({})), "a", 1);
    leaving.metadata.deletion_timestamp = Some(Time(at(2)));
    assert!(!is_queued_ahead_of(&leaving, &mine, ConsoleInput::Control));
    let mut refused = named(session(json!({"power": true})), "a", 1);
    refused.status = Some(outcome(&refused, &references(&json!({})), &[], at(1)).status);
    assert_eq!(refused.status.as_ref().unwrap().phase, Some(SessionPhase::Failed));
    assert!(!is_queued_ahead_of(&refused, &mine, ConsoleInput::Control));
}

/// Looks at one session as the controller does.
fn reconcile(sessions: &mut [ConsoleSession], index: usize, references: &References, now: Timestamp) {
    let mine = sessions[index].clone();
    let before = sessions
        .iter()
        .filter(|other| is_queued_ahead_of(other, &mine, ConsoleInput::Control))
        .count();
    let references = References {
        sessions_ahead: if is_started(&mine) { 0 } else { before },
        ..references.clone()
    };
    sessions[index].status = Some(outcome(&mine, &references, &[], now).status);
    assert!(validate(&sessions[index], &references).is_ok() || !is_started(&sessions[index]));
}

proptest! {
    /// In whatever order sessions are looked at and end, no more run than may, and no place stays empty.
    #[test]
    fn places_are_neither_exceeded_nor_wasted(
        limit in 1..4_usize,
        created in prop::collection::vec(0..5_i64, 1..8),
        steps in prop::collection::vec((any::<prop::sample::Index>(), prop::bool::weighted(0.2)), 0..60),
    ) {
        let references = references(&json!({"maxConcurrentSessions": limit}));
        let mut sessions: Vec<_> = created
            .iter()
            .enumerate()
            .map(|(number, second)| named(session(json!({})), &format!("s{number}"), *second))
            .collect();
        let open = |sessions: &[ConsoleSession]| {
            sessions.iter().filter(|session| crate::console_session::session::is_active(session)).count()
        };
        for (index, revoke) in steps {
            let index = index.index(sessions.len());
            sessions[index].spec.revoked |= revoke;
            reconcile(&mut sessions, index, &references, at(10));
            prop_assert!(open(&sessions) <= limit);
        }
        // Everybody is looked at until nothing changes any more.
        for _ in 0..sessions.len() {
            for index in 0..sessions.len() {
                reconcile(&mut sessions, index, &references, at(10));
                prop_assert!(open(&sessions) <= limit);
            }
        }
        let willing = sessions.iter().filter(|session| !session.spec.revoked).count();
        prop_assert_eq!(open(&sessions), willing.min(limit));
    }
}
