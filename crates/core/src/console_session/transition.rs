//! When a changed status is written, and the event that goes with it. The process that wrote the status emits the event, and no
//! other does.

use novasphere_crd::{CloseReason, ConsoleSession, ConsoleSessionStatus, Duration, condition::READY};

use super::reason::{ReadyReason, close_message, is_planned};
use crate::{
    condition::find,
    transition::{EventNote, Transition, WritePriority},
};

/// A session that is kept for less than this after its end is gone before a person or a program that looks once a minute has seen it.
const NOTICED_TTL: Duration = Duration::from_mins(1);

/// Compares the status that a session has with the one that it should have.
#[must_use]
pub fn transition(session: &ConsoleSession, new: &ConsoleSessionStatus) -> Transition {
    let old = session.status.as_ref();
    if old == Some(new) {
        return Transition::none();
    }
    let events = match (new.close_reason, &new.closed_at) {
        (Some(_), Some(_)) if old.is_some_and(|old| old.closed_at.is_some()) => Vec::new(),
        (Some(reason), Some(_)) => [closed(reason)].into_iter().chain(expires_unseen(session)).collect(),
        _ => open(old, new).into_iter().collect(),
    };
    Transition {
        priority: WritePriority::Now,
        events,
    }
}

/// That the object goes with all that it says, before it does.
fn expires_unseen(session: &ConsoleSession) -> Option<EventNote> {
    let kept = session.spec.ttl_after_finished.get()?;
    (kept < NOTICED_TTL).then(|| {
        EventNote::warning(
            "RecordExpires",
            format!(
                "spec.ttlAfterFinished: this session is deleted {kept} after its end, and what its status says of tokens \
                 and streams with it; the audit log keeps that. Give the next session 1m or more, or Never, to read it here"
            ),
        )
    })
}

/// Whether the session is now ready, refused, or waits for something. Streams and tokens have events of their own.
fn open(old: Option<&ConsoleSessionStatus>, new: &ConsoleSessionStatus) -> Option<EventNote> {
    let ready = find(&new.conditions, READY)?;
    let before = old.and_then(|old| find(&old.conditions, READY));
    if before.is_some_and(|before| (&before.status, &before.reason) == (&ready.status, &ready.reason)) {
        return None;
    }
    if ready.status == "True" {
        return Some(EventNote::normal("Ready", &ready.message));
    }
    let refusals = [ReadyReason::PolicyRefused, ReadyReason::InvalidSpec];
    let is_refused = refusals.into_iter().any(|reason| <&str>::from(reason) == ready.reason);
    Some(EventNote {
        is_warning: ready.reason != <&str>::from(ReadyReason::TargetNotRunning),
        reason: if is_refused {
            "Refused".to_owned()
        } else {
            ready.reason.clone()
        },
        message: ready.message.clone(),
    })
}

fn closed(reason: CloseReason) -> EventNote {
    EventNote {
        is_warning: !is_planned(reason),
        reason: "Closed".to_owned(),
        message: format!("{}: {}", reason.as_str(), close_message(reason)),
    }
}

#[cfg(test)]
mod tests;
