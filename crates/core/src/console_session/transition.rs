//! When a changed status is written, and the event that goes with it. The process that wrote the status emits the event, and no
//! other does.

use novasphere_crd::{CloseReason, ConsoleSessionStatus, condition::READY};

use super::reason::{ReadyReason, close_message, is_planned};
use crate::{
    condition::find,
    transition::{EventNote, Transition, WritePriority},
};

/// Compares the status that a session has with the one that it should have.
#[must_use]
pub fn transition(old: Option<&ConsoleSessionStatus>, new: &ConsoleSessionStatus) -> Transition {
    if old == Some(new) {
        return Transition::none();
    }
    Transition {
        priority: WritePriority::Now,
        events: event(old, new).into_iter().collect(),
    }
}

/// Whether the session is now ready, closed, refused, or waits for something. Streams and tokens have events of their own.
fn event(old: Option<&ConsoleSessionStatus>, new: &ConsoleSessionStatus) -> Option<EventNote> {
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
