use serde_json::json;

use super::*;
use crate::console_session::{
    references::References,
    samples::{at, outcome, ready, reconciled, references, session},
};

fn of(session: &novasphere_crd::ConsoleSession, references: &References, second: i64) -> Option<EventNote> {
    let new = outcome(session, references, &[], at(second)).status;
    let mut events = transition(session, &new).events;
    assert!(events.len() < 2, "{events:?}");
    events.pop()
}

fn words(event: Option<EventNote>) -> Option<(bool, String)> {
    event.map(|event| (event.is_warning, event.reason))
}

#[test]
fn each_change_is_told_once() {
    let good = references(&json!({}));
    assert_eq!(words(of(&session(json!({})), &good, 0)), Some((false, "Ready".into())));
    assert_eq!(of(&ready(json!({})), &good, 1), None);
    assert_eq!(
        words(of(&ready(json!({})), &good, 3600)),
        Some((false, "Closed".into()))
    );
    let over = reconciled(ready(json!({})), &good, at(3600));
    assert_eq!(of(&over, &good, 3700), None);
}

#[test]
fn what_needs_a_person_is_a_warning() {
    let good = references(&json!({}));
    let refused = of(&session(json!({"maxViewers": 9})), &good, 0);
    assert!(refused.as_ref().unwrap().message.starts_with("spec.maxViewers: "));
    assert_eq!(words(refused), Some((true, "Refused".into())));
    let missing = References {
        vm_access: None,
        ..good.clone()
    };
    assert_eq!(
        words(of(&session(json!({})), &missing, 0)),
        Some((true, "TargetNotFound".into()))
    );
    let closed = of(&ready(json!({})), &missing, 1);
    assert!(closed.as_ref().unwrap().message.starts_with("TargetGone: "));
    assert_eq!(words(closed), Some((true, "Closed".into())));
    let stopped = References {
        virtual_machine_instance: None,
        ..good
    };
    assert_eq!(
        words(of(&session(json!({})), &stopped, 0)),
        Some((false, "TargetNotRunning".into()))
    );
}

#[test]
fn a_session_that_goes_with_its_end_says_so_first() {
    let good = references(&json!({}));
    let told = |ttl: &str| {
        let session = ready(json!({"ttlAfterFinished": ttl}));
        let new = outcome(&session, &good, &[], at(3600)).status;
        transition(&session, &new).events
    };
    for ttl in ["0s", "59s"] {
        let events = told(ttl);
        let reasons: Vec<_> = events
            .iter()
            .map(|event| (event.is_warning, event.reason.as_str()))
            .collect();
        assert_eq!(reasons, [(false, "Closed"), (true, "RecordExpires")], "{ttl}");
        assert!(
            events[1].message.contains(&format!("deleted {ttl} after")),
            "{events:?}"
        );
    }
    for ttl in ["1m", "Never"] {
        assert_eq!(told(ttl).len(), 1, "{ttl}");
    }
    // It is told with the end and not again, whatever is still written.
    let over = reconciled(ready(json!({"ttlAfterFinished": "0s"})), &good, at(3600));
    assert_eq!(of(&over, &good, 3601), None);
}
