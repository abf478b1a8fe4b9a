//! A session that is paused does not begin and is not deleted. It ends all the same: a pause must not give anybody more time.

use jiff::Timestamp;
use novasphere_crd::{ConsoleSession, ConsoleSessionStatus};

use super::status::Outcome;
use crate::{
    pause::{Pause, paused_conditions},
    transition::EventNote,
};

const MEANWHILE: &str = "It does not begin meanwhile, and is not deleted. It ends all the same: in time, by revocation, or with its target.";

/// What remains of an outcome while the session is paused, and the event that goes with it.
#[must_use]
pub fn paused(
    session: &ConsoleSession,
    outcome: Outcome,
    pause: Pause,
    now: Timestamp,
) -> (Outcome, Option<EventNote>) {
    let old = session.status.clone().unwrap_or_default();
    if outcome.status.closed_at.is_some() {
        let status = if old.closed_at.is_some() { old } else { outcome.status };
        let next = None;
        return (
            Outcome {
                status,
                next,
                delete: false,
            },
            None,
        );
    }
    let told = paused_conditions(&old.conditions, pause, MEANWHILE, now);
    let (status, event) = match told {
        Some((conditions, event)) => (ConsoleSessionStatus { conditions, ..old }, Some(event)),
        None => (old, None),
    };
    let outcome = Outcome {
        status,
        next: outcome.next,
        delete: false,
    };
    (outcome, event)
}

#[cfg(test)]
mod tests {
    use novasphere_crd::CloseReason;
    use serde_json::json;

    use super::*;
    use crate::console_session::samples::{at, outcome, ready, reconciled, references, session};

    fn held(session: &ConsoleSession, second: i64) -> Outcome {
        let wanted = outcome(session, &references(&json!({})), &[], at(second));
        paused(session, wanted, Pause::PausedByAnnotation, at(second)).0
    }

    #[test]
    fn it_does_not_begin() {
        let mut waits = session(json!({}));
        let first = held(&waits, 0);
        assert!(first.status.started_at.is_none() && first.status.policy.is_none());
        waits.status = Some(first.status.clone());
        assert_eq!(held(&waits, 100).status, first.status, "it is said once");
    }

    #[test]
    fn it_ends_all_the_same() {
        let open = ready(json!({}));
        let before = held(&open, 10);
        assert_eq!(before.next, Some(at(3600)));
        assert!(before.status.expires_at.is_some(), "what it has it keeps");
        assert_eq!(held(&open, 3600).status.close_reason, Some(CloseReason::Expired));
        let mut revoked = open;
        revoked.spec.revoked = true;
        assert_eq!(held(&revoked, 10).status.close_reason, Some(CloseReason::Revoked));
    }

    #[test]
    fn it_is_not_deleted() {
        let over = reconciled(
            ready(json!({"ttlAfterFinished": "0s"})),
            &references(&json!({})),
            at(3600),
        );
        let kept = held(&over, 9999);
        assert_eq!((kept.delete, kept.next), (false, None));
        assert_eq!(Some(kept.status), over.status);
    }
}
