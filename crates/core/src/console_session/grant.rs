//! Tokens: who got one, for how long, for how many streams. Only the SHA-256 of a token is known here.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use novasphere_crd::{ConsoleSessionStatus, Grant, ResumePlace, SessionPhase, UserExtra};
use subtle::ConstantTimeEq as _;

use crate::time::{after, kubernetes_time};

/// How many grants a session has at most; the limit of the schema.
pub const GRANTS_LIMIT: usize = 256;

/// Entries of a user's extra, and values over all of them, that a grant holds: as many as the aggregated API takes. The schema has the
/// same limit for the entries and for the values of each.
pub const EXTRA_LIMIT: usize = 256;

/// Bytes of an extra's key; at most the schema's limit of characters.
pub const EXTRA_KEY_BYTES: usize = 256;

/// Bytes of an extra's value; at most the schema's limit of characters.
pub const EXTRA_VALUE_BYTES: usize = 1024;

/// How long a token can be used when nothing else is asked for.
pub const DEFAULT_TOKEN_TTL: Duration = Duration::from_mins(1);

/// The longest time that can be asked for. A session that expires sooner shortens it.
pub const TOKEN_TTL_LIMIT: Duration = Duration::from_hours(24);

/// A token that is to be given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewGrant {
    /// The grant's name, unique in the session.
    pub id: String,
    /// SHA-256 of the token, in lower-case hex.
    pub sha256: String,
    /// Who asked for it.
    pub user: String,
    /// The UID of who asked for it.
    pub uid: Option<String>,
    /// The groups of who asked for it.
    pub groups: Vec<String>,
    /// What else the authenticator said of who asked for it.
    pub extra: BTreeMap<String, Vec<String>>,
    /// How long it can be used, from now; at most until the session expires.
    pub ttl: Duration,
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
    /// Others of the target were started at the same moment, and came first.
    #[error(
        "the target has as many open sessions as its console.maxConcurrentSessions allows; end one, or raise the limit"
    )]
    TooManySessions,
    /// It is not known in time whether the target has room for the session.
    #[error("it cannot be known yet whether the target has room for the session; try again")]
    Undecided,
    /// Too many tokens are good at once.
    #[error("the session has {GRANTS_LIMIT} tokens that are still good; wait until one of them expires")]
    TooManyGrants,
    /// The session cannot hold what the authenticator says of the user. A token without it could do more than the user may.
    #[error(
        "the user's extra information is too large for a token: at most {EXTRA_LIMIT} entries and {EXTRA_LIMIT} values, each of \
         {EXTRA_VALUE_BYTES} bytes; ask with other credentials"
    )]
    UserTooLarge,
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
            Self::TooManySessions => "TooManySessions",
            Self::Undecided => "Undecided",
            Self::TooManyGrants => "TooManyGrants",
            Self::UserTooLarge => "UserTooLarge",
            Self::Duplicate => "Duplicate",
        }
    }
}

/// The status with one grant more, and without those that cannot be used any more.
///
/// # Errors
///
/// When the session gives out no token now.
pub fn issue(status: &ConsoleSessionStatus, new: NewGrant, now: Timestamp) -> Result<ConsoleSessionStatus, IssueError> {
    let expires = match availability(status, now) {
        SessionAvailability::Over => return Err(IssueError::Over),
        SessionAvailability::NotReady => return Err(IssueError::NotReady),
        SessionAvailability::Available { expires } => expires,
    };
    if status.grants.iter().any(|grant| grant.id == new.id) || find(status, &new.sha256).is_some() {
        return Err(IssueError::Duplicate);
    }
    if !fits(&new.extra) {
        return Err(IssueError::UserTooLarge);
    }
    let mut status = without_unusable(status.clone(), now);
    if status.grants.len() >= GRANTS_LIMIT {
        return Err(IssueError::TooManyGrants);
    }
    let issued_at = kubernetes_time(now);
    let not_after = after(issued_at.0, new.ttl.min(TOKEN_TTL_LIMIT)).min(expires);
    status.user = Some(new.user.clone());
    status.grants.push(Grant {
        id: new.id,
        sha256: new.sha256,
        user: new.user,
        uid: new.uid,
        groups: new.groups,
        extra: new
            .extra
            .into_iter()
            .map(|(key, values)| UserExtra { key, values })
            .collect(),
        issued_at,
        not_after: kubernetes_time(not_after),
        uses_left: new.uses.max(1),
    });
    Ok(status)
}

fn fits(extra: &BTreeMap<String, Vec<String>>) -> bool {
    let values: usize = extra.values().map(Vec::len).sum();
    extra.len() <= EXTRA_LIMIT
        && values <= EXTRA_LIMIT
        && extra.iter().all(|(key, values)| {
            (1..=EXTRA_KEY_BYTES).contains(&key.len()) && values.iter().all(|value| value.len() <= EXTRA_VALUE_BYTES)
        })
}

/// The extra of a grant, as reviews of rights take it.
#[must_use]
pub fn extra_of(grant: &Grant) -> BTreeMap<String, Vec<String>> {
    let entries = grant.extra.iter();
    entries.map(|entry| (entry.key.clone(), entry.values.clone())).collect()
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
pub fn is_usable(grant: &Grant, now: Timestamp) -> bool {
    grant.uses_left > 0 && now < grant.not_after.0
}

/// Without the grants that cannot be used any more and whose users nobody asks for: that of a place says who comes back to it.
pub(super) fn without_unusable(mut status: ConsoleSessionStatus, now: Timestamp) -> ConsoleSessionStatus {
    let places = &status.resumes;
    status
        .grants
        .retain(|grant| is_usable(grant, now) || has_place(grant, places));
    status
}

/// Whether somebody can come back who was let in by a token of this grant.
pub(super) fn has_place(grant: &Grant, places: &[ResumePlace]) -> bool {
    places
        .iter()
        .any(|place| place.grant.as_deref() == Some(grant.id.as_str()))
}

/// Whether tokens are given out and streams opened.
pub(super) enum SessionAvailability {
    Over,
    NotReady,
    Available { expires: Timestamp },
}

pub(super) fn availability(status: &ConsoleSessionStatus, now: Timestamp) -> SessionAvailability {
    if status.closed_at.is_some() {
        return SessionAvailability::Over;
    }
    match (&status.expires_at, status.phase) {
        (Some(expires), _) if expires.0 <= now => SessionAvailability::Over,
        (Some(expires), Some(SessionPhase::Ready | SessionPhase::Active)) => {
            SessionAvailability::Available { expires: expires.0 }
        }
        _ => SessionAvailability::NotReady,
    }
}

#[cfg(test)]
mod tests;
