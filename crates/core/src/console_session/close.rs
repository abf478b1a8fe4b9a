//! Whether a session is closed, and why. The controller writes it into the status; gateways, which see the same objects, end
//! the streams without waiting for that.

use jiff::Timestamp;
use novasphere_crd::{CloseReason, ConsoleSession};

use super::{
    references::References,
    session::{expires_at, is_started},
    single_use,
    validate::{SessionError, validate},
};

/// Why the session is closed now; `None` while it is not.
#[must_use]
pub fn close_reason(session: &ConsoleSession, references: &References, now: Timestamp) -> Option<CloseReason> {
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
    if single_use::is_finished(session, now) {
        return Some(CloseReason::Finished);
    }
    if !is_started(session) {
        return None;
    }
    match validate(session, references) {
        Err(
            SessionError::TargetNotFound { .. } | SessionError::InstanceAlone { .. } | SessionError::TargetReplaced,
        ) => Some(CloseReason::TargetGone),
        Err(SessionError::Policy(_)) => Some(CloseReason::PolicyChanged),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
