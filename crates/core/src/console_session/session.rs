//! What a session's object says about itself, without its target.

use jiff::Timestamp;
use novasphere_crd::ConsoleSession;

use super::policy::SessionPolicy;
use crate::time::after;

/// Whether the session was ready once: its duration counts from then.
#[must_use]
pub fn is_started(session: &ConsoleSession) -> bool {
    let status = session.status.as_ref();
    status.is_some_and(|status| status.started_at.is_some() && status.policy.is_some())
}

/// Whether the session has started and is not closed. `maxConcurrentSessions` and `activeSessions` count these.
#[must_use]
pub fn is_active(session: &ConsoleSession) -> bool {
    let is_leaving = session.metadata.deletion_timestamp.is_some() || session.spec.revoked;
    let is_closed = session.status.as_ref().is_some_and(|status| status.closed_at.is_some());
    is_started(session) && !is_leaving && !is_closed
}

/// When the session expires; `None` before it has started, unless it has an absolute end. What was shortened counts before the status
/// has it.
#[must_use]
pub fn expires_at(session: &ConsoleSession) -> Option<Timestamp> {
    [duration_ends_at(session), absolute_end(session)]
        .into_iter()
        .flatten()
        .min()
}

/// When the session ends however often it is made again.
#[must_use]
pub fn absolute_end(session: &ConsoleSession) -> Option<Timestamp> {
    session.spec.not_after.as_ref().map(|time| time.0)
}

fn duration_ends_at(session: &ConsoleSession) -> Option<Timestamp> {
    let started = session.status.as_ref()?.started_at.as_ref()?.0;
    Some(after(started, granted_policy(session)?.duration))
}

/// What the session was granted when it started, with a duration that was shortened since; `None` before that.
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
