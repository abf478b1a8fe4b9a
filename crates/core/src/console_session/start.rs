//! Which sessions of a target begin when several processes start some at the same moment.
//!
//! A session takes its place in two steps. First a write starts it: the controller's, or for a session that is for one connection that of
//! the replica of the aggregated API that connects. Then, before anybody is let in, a process looks at the sessions of the target as they
//! were when that write was stored, or later: the one that connects, the one that gives out the first token. Of sessions into which somebody
//! was let, the one that was looked at last has seen the starts of all the others, so never more begin than may, whichever processes start
//! them. It takes no write more, and a process that dies in between leaves nothing but a place that is taken.
//!
//! The order of the writes says who goes back when there is no room: the controller takes such a start back, a session for a connection
//! ends. Nothing depends on the order but who that is.

use std::time::Duration;

use jiff::Timestamp;
use novasphere_crd::{ConsoleInput, ConsoleSession};

use super::{
    references::{is_of_one_target, only_views},
    session::{is_active, is_started},
    single_use::{is_made_for, is_single_use},
};
use crate::time::{after, creation_order};

/// How long a viewer waits for the answer whether a session begins.
pub const START_CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// So long after its start a session for one connection has begun, or its process is gone: it is decided within half of it.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a process has seen of those who hold a place beside a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartCheck {
    /// Nothing that is as new as the session itself.
    #[default]
    Unseen,
    /// All that were started before it, and maybe later ones.
    Seen {
        /// How many others hold a place.
        others: usize,
        /// How many of them come first.
        ahead: usize,
    },
}

/// Whether a session begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartVerdict {
    /// There is room.
    Begins,
    /// So many others have the places.
    Full {
        /// How many.
        open: usize,
    },
    /// Some that come later have not gone back yet, or too little was seen.
    Undecided,
}

impl StartCheck {
    /// Whether the session begins where so many may.
    #[must_use]
    pub const fn verdict(self, limit: usize) -> StartVerdict {
        match self {
            Self::Seen { others, .. } if others < limit => StartVerdict::Begins,
            Self::Seen { others, ahead } if ahead >= limit => StartVerdict::Full { open: others },
            Self::Unseen | Self::Seen { .. } => StartVerdict::Undecided,
        }
    }

    fn of<'a>(others: impl Iterator<Item = &'a ConsoleSession>, is_ahead: impl Fn(&ConsoleSession) -> bool) -> Self {
        let (mut all, mut ahead) = (0, 0);
        for other in others {
            all += 1;
            ahead += usize::from(is_ahead(other));
        }
        Self::Seen { others: all, ahead }
    }
}

/// Whether a session was started by the controller, and nobody was let in or has a token yet.
#[must_use]
pub fn awaits_entry(session: &ConsoleSession) -> bool {
    is_active(session) && !is_single_use(session) && !is_entered(session)
}

/// Those beside a session that hold a place of its target. `others` are the sessions of the target as they are known where this state of the
/// session was seen. One that only views does not count before one with control; `input` is that of
/// [`target_input`](super::references::target_input).
#[must_use]
pub fn places_of_target<'a>(
    session: &ConsoleSession,
    others: impl IntoIterator<Item = &'a ConsoleSession>,
    input: ConsoleInput,
    now: Timestamp,
) -> StartCheck {
    let views = only_views(session, input);
    let counts =
        |other: &&ConsoleSession| is_beside(other, session) && is_active(other) && (views || !only_views(other, input));
    StartCheck::of(others.into_iter().filter(counts), |other| {
        let has_control_first = views && !only_views(other, input);
        has_control_first || is_ahead(other, session, now)
    })
}

/// The same of the sessions for connections of one user to the target, those that are over and not deleted yet included: each is an object
/// that every process caches.
#[must_use]
pub fn places_of_user<'a>(
    session: &ConsoleSession,
    user: &str,
    others: impl IntoIterator<Item = &'a ConsoleSession>,
    now: Timestamp,
) -> StartCheck {
    let counts = |other: &&ConsoleSession| {
        is_beside(other, session) && is_made_for(other, user) && (is_started(other) || is_closed(other))
    };
    StartCheck::of(others.into_iter().filter(counts), |other| {
        is_closed(other) || is_ahead(other, session, now)
    })
}

fn is_beside(other: &ConsoleSession, session: &ConsoleSession) -> bool {
    other.metadata.uid != session.metadata.uid && is_of_one_target(other, session)
}

fn is_closed(session: &ConsoleSession) -> bool {
    session.status.as_ref().is_some_and(|status| status.closed_at.is_some())
}

/// Whether somebody was let in or got a token.
fn is_entered(session: &ConsoleSession) -> bool {
    session
        .status
        .as_ref()
        .is_some_and(|status| status.user.is_some() || !status.grants.is_empty() || !status.connections.is_empty())
}

/// Whether `other` comes first: it has begun, or its write was stored first. Versions of one kind are numbers that grow with each write
/// (Kubernetes API concepts, "Comparing resource versions").
fn is_ahead(other: &ConsoleSession, session: &ConsoleSession, now: Timestamp) -> bool {
    let version = |session: &ConsoleSession| session.metadata.resource_version.as_ref()?.parse::<u64>().ok();
    let (theirs, own) = (&other.metadata, &session.metadata);
    let is_older = (version(other), creation_order(theirs)) < (version(session), creation_order(own));
    has_begun(other, now) || is_older
}

/// Whether it is known of a session that it has begun. A clock that is wrong changes the order alone.
fn has_begun(session: &ConsoleSession, now: Timestamp) -> bool {
    if !is_single_use(session) {
        return is_entered(session);
    }
    let started = session.status.as_ref().and_then(|status| status.started_at.as_ref());
    started.is_some_and(|started| after(started.0, SETTLE_TIMEOUT) <= now)
}

#[cfg(test)]
mod tests;
