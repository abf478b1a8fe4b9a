//! What a change of a status is worth: when it is written, and the events that go with it.
//!
//! Every kind has a function `transition` that compares the status that an object has with the one that it should have. The
//! controller alone writes what it says, by one writer for all kinds.

/// When a changed status is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WritePriority {
    /// Nothing has changed.
    Never,
    /// Only details have: a little later, together with what else changes until then. Each write costs every watcher of the
    /// object a message.
    Soon,
    /// Something has that users and programs wait for.
    Now,
}

/// An event about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventNote {
    /// `Warning` rather than `Normal`.
    pub is_warning: bool,
    /// The event's reason.
    pub reason: String,
    /// A sentence for users.
    pub message: String,
}

/// What a change of a status is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// When the status is written.
    pub priority: WritePriority,
    /// The events to emit once it is written.
    pub events: Vec<EventNote>,
}

impl EventNote {
    /// Of type `Normal`.
    #[must_use]
    pub fn normal(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            is_warning: false,
            reason: reason.into(),
            message: message.into(),
        }
    }

    /// Of type `Warning`.
    #[must_use]
    pub fn warning(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            is_warning: true,
            ..Self::normal(reason, message)
        }
    }
}

impl Transition {
    /// Of a status that is written at once, with an event.
    #[must_use]
    pub fn now(event: EventNote) -> Self {
        Self {
            priority: WritePriority::Now,
            events: vec![event],
        }
    }

    /// Of a status that stays as it is.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            priority: WritePriority::Never,
            events: Vec::new(),
        }
    }
}
