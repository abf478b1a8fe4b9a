//! Tokens: who got one, for how long, for how many streams. Only the SHA-256 of a token is known here.

use std::time::Duration;

use jiff::Timestamp;
use novasphere_crd::{ConsoleSessionStatus, Grant, SessionPhase};
use subtle::ConstantTimeEq as _;

use crate::time::{after, kubernetes_time};

/// How many grants a session holds at most; the schema's limit.
pub const MAX_GRANTS: usize = 256;

/// How long a token opens a stream when nothing else is asked for.
pub const DEFAULT_WINDOW: Duration = Duration::from_mins(1);

/// The longest window that can be asked for. A session that ends sooner shortens it.
pub const MAX_WINDOW: Duration = Duration::from_hours(24);

/// A token that is to be given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewGrant {
    /// The grant's name, unique in the session.
    pub id: String,
    /// SHA-256 of the token, in lower-case hex.
    pub sha256: String,
    /// Who asked for it.
    pub user: String,
    /// The groups of who asked for it.
    pub groups: Vec<String>,
    /// How long it opens a stream, from now; at most the rest of the session.
    pub window: Duration,
    /// How many streams it opens; 0 is taken as 1.
    pub uses: u32,
}

/// Why no token is given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The session is over.
    #[error("the session is over; make a new one")]
    Over,
    /// The session waits for its target, or was refused.
    #[error("the session is not ready; its conditions say why")]
    NotReady,
    /// Too many tokens are good at once.
    #[error("the session has {MAX_GRANTS} tokens that are still good; wait until one of them expires")]
    TooManyGrants,
    /// A grant of this name or hash is there already.
    #[error("the session has such a token already; ask again")]
    Duplicate,
}

impl IssueError {
    /// One word for logs and metrics.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Over => "SessionOver",
            Self::NotReady => "SessionNotReady",
            Self::TooManyGrants => "TooManyGrants",
            Self::Duplicate => "Duplicate",
        }
    }
}

/// The status with one grant more, and without those that open nothing any more.
///
/// # Errors
///
/// When the session gives out no token now.
pub fn issue(status: &ConsoleSessionStatus, new: NewGrant, now: Timestamp) -> Result<ConsoleSessionStatus, IssueError> {
    let expires = match state(status, now) {
        State::Over => return Err(IssueError::Over),
        State::NotReady => return Err(IssueError::NotReady),
        State::Open { expires } => expires,
    };
    if status.grants.iter().any(|grant| grant.id == new.id) || find(status, &new.sha256).is_some() {
        return Err(IssueError::Duplicate);
    }
    let mut status = pruned(status.clone(), now);
    if status.grants.len() >= MAX_GRANTS {
        return Err(IssueError::TooManyGrants);
    }
    let issued_at = kubernetes_time(now);
    let not_after = after(issued_at.0, new.window.min(MAX_WINDOW)).min(expires);
    status.user = Some(new.user.clone());
    status.grants.push(Grant {
        id: new.id,
        sha256: new.sha256,
        user: new.user,
        groups: new.groups,
        issued_at,
        not_after: kubernetes_time(not_after),
        uses_left: new.uses.max(1),
    });
    Ok(status)
}

/// The grant of the token with this hash, in lower-case hex. All grants are compared, each in constant time, so how long
/// it takes says nothing about the hashes.
#[must_use]
pub fn find<'a>(status: &'a ConsoleSessionStatus, sha256_hex: &str) -> Option<&'a Grant> {
    position(status, sha256_hex).and_then(|position| status.grants.get(position))
}

pub(super) fn position(status: &ConsoleSessionStatus, sha256_hex: &str) -> Option<usize> {
    let mut found = None;
    for (position, grant) in status.grants.iter().enumerate() {
        if bool::from(grant.sha256.as_bytes().ct_eq(sha256_hex.as_bytes())) {
            found = Some(position);
        }
    }
    found
}

/// Whether a token of this grant opens a stream now, its session permitting.
#[must_use]
pub fn is_good(grant: &Grant, now: Timestamp) -> bool {
    grant.uses_left > 0 && now < grant.not_after.0
}

/// Without the grants that open nothing any more.
pub(super) fn pruned(mut status: ConsoleSessionStatus, now: Timestamp) -> ConsoleSessionStatus {
    status.grants.retain(|grant| is_good(grant, now));
    status
}

/// Whether tokens are given out and streams opened.
pub(super) enum State {
    Over,
    NotReady,
    Open { expires: Timestamp },
}

pub(super) fn state(status: &ConsoleSessionStatus, now: Timestamp) -> State {
    if status.closed_at.is_some() {
        return State::Over;
    }
    match (&status.expires_at, status.phase) {
        (Some(expires), _) if expires.0 <= now => State::Over,
        (Some(expires), Some(SessionPhase::Ready | SessionPhase::Active)) => State::Open { expires: expires.0 },
        _ => State::NotReady,
    }
}

#[cfg(test)]
mod tests;
