//! The events that go with a change of a session's status. Whoever wrote the status emits them, and nobody else does.

use novasphere_crd::{CloseReason, ConsoleSessionStatus, condition::READY};

use super::reason::{ReadyReason, close_sentence, close_word};
use crate::condition::find;

/// An event to emit about a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// `Warning` rather than `Normal`.
    pub is_warning: bool,
    /// The event's reason: `Ready`, `Closed`, `Refused`, or why the session waits.
    pub reason: String,
    /// A sentence for people.
    pub note: String,
}

/// What became of the session with this write: it is ready, over, refused, or waits for something. Streams and tokens have
/// events of their own.
#[must_use]
pub fn news(old: Option<&ConsoleSessionStatus>, new: &ConsoleSessionStatus) -> Option<News> {
    if let (Some(reason), Some(_)) = (new.close_reason, &new.closed_at) {
        let was_closed = old.is_some_and(|old| old.closed_at.is_some());
        return (!was_closed).then(|| closed(reason));
    }
    let ready = find(&new.conditions, READY)?;
    let before = old.and_then(|old| find(&old.conditions, READY));
    if before.is_some_and(|before| (&before.status, &before.reason) == (&ready.status, &ready.reason)) {
        return None;
    }
    if ready.status == "True" {
        return Some(News {
            is_warning: false,
            reason: "Ready".to_owned(),
            note: ready.message.clone(),
        });
    }
    let refusals = [ReadyReason::PolicyRefused, ReadyReason::InvalidSpec];
    let is_refused = refusals.into_iter().any(|reason| <&str>::from(reason) == ready.reason);
    Some(News {
        is_warning: ready.reason != <&str>::from(ReadyReason::TargetNotRunning),
        reason: if is_refused {
            "Refused".to_owned()
        } else {
            ready.reason.clone()
        },
        note: ready.message.clone(),
    })
}

fn closed(reason: CloseReason) -> News {
    News {
        is_warning: matches!(reason, CloseReason::TargetGone | CloseReason::PolicyChanged),
        reason: "Closed".to_owned(),
        note: format!("{}: {}", close_word(reason), close_sentence(reason)),
    }
}

#[cfg(test)]
mod tests;
