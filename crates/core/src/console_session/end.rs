//! Whether a session is over, and why. The controller writes it into the status; gateways, which see the same objects, end
//! the streams without waiting for that.

use jiff::Timestamp;
use novasphere_crd::{CloseReason, ConsoleSession};

use super::{
    made_for,
    policy::SessionPolicy,
    references::References,
    validate::{SessionError, validate},
};
use crate::time::after;

/// Why the session is over now; `None` while it is not.
#[must_use]
pub fn end(session: &ConsoleSession, references: &References, now: Timestamp) -> Option<CloseReason> {
    let status = session.status.as_ref();
    if let Some(status) = status.filter(|status| status.closed_at.is_some()) {
        return Some(status.close_reason.unwrap_or(CloseReason::Finished));
    }
    if session.metadata.deletion_timestamp.is_some() {
        return Some(CloseReason::Deleted);
    }
    if session.spec.revoked {
        return Some(CloseReason::Revoked);
    }
    if expires_at(session).is_some_and(|expires| expires <= now) {
        return Some(CloseReason::Expired);
    }
    if made_for::is_finished(session, now) {
        return Some(CloseReason::Finished);
    }
    if !is_started(session) {
        return None;
    }
    match validate(session, references) {
        Err(SessionError::TargetNotFound { .. } | SessionError::TargetReplaced) => Some(CloseReason::TargetGone),
        Err(SessionError::Policy(_)) => Some(CloseReason::PolicyChanged),
        _ => None,
    }
}

/// Whether the session was ready once, so that its time runs.
#[must_use]
pub fn is_started(session: &ConsoleSession) -> bool {
    let status = session.status.as_ref();
    status.is_some_and(|status| status.started_at.is_some() && status.policy.is_some())
}

/// Whether the session runs: it has started and is not over. `maxConcurrentSessions` and `activeSessions` count these.
#[must_use]
pub fn is_open(session: &ConsoleSession) -> bool {
    let is_leaving = session.metadata.deletion_timestamp.is_some() || session.spec.revoked;
    let is_closed = session.status.as_ref().is_some_and(|status| status.closed_at.is_some());
    is_started(session) && !is_leaving && !is_closed
}

/// When the session ends; `None` before it has started. It heeds a duration that was shortened and is not in the status yet.
#[must_use]
pub fn expires_at(session: &ConsoleSession) -> Option<Timestamp> {
    let started = session.status.as_ref()?.started_at.as_ref()?.0;
    Some(after(started, granted_policy(session)?.duration))
}

/// What the session was given when it started, with a duration that was shortened since; `None` before that.
#[must_use]
pub fn granted_policy(session: &ConsoleSession) -> Option<SessionPolicy> {
    let status = session.status.as_ref()?;
    status.started_at.as_ref()?;
    let protocol = status.protocol.or(session.spec.protocol).unwrap_or_default();
    let mut policy = SessionPolicy::of_granted(status.policy.as_ref()?, protocol);
    if let Some(duration) = session.spec.duration {
        policy.duration = policy.duration.min(duration.get());
    }
    Some(policy)
}

#[cfg(test)]
mod tests;
