//! Who has the places of a target, as far as the watch of sessions has come.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt as _;
use novasphere_core::console_session::{
    references::is_queued_ahead_of,
    start::{StartCheck, StartVerdict, places_of_target, places_of_user},
    validate::{SessionError, validate},
};
use novasphere_crd::{ConsoleInput, ConsoleSession};

use super::SessionView;

impl SessionView {
    /// Those that have a place of its target beside a session or want one, when the watch has come as far as this state of it.
    pub(crate) fn start_check(&self, session: &ConsoleSession, input: ConsoleInput) -> StartCheck {
        // First: what is looked at after it is as new or newer.
        if !self.0.caches.sessions.has_shown(session) {
            return StartCheck::Unseen;
        }
        let others = self.sessions_beside(session);
        places_of_target(session, others.iter().map(Arc::as_ref), input, Timestamp::now())
    }

    /// The same of the sessions for connections of one user to the target.
    pub(crate) fn start_check_of_user(&self, session: &ConsoleSession, user: &str) -> StartCheck {
        if !self.0.caches.sessions.has_shown(session) {
            return StartCheck::Unseen;
        }
        let others = self.sessions_beside(session);
        places_of_user(session, user, others.iter().map(Arc::as_ref), Timestamp::now())
    }

    /// Whether there is room for a session that was started and into which nobody was let yet.
    ///
    /// # Errors
    ///
    /// Something else is wrong with it or its target, as the watches have it: they may not have shown the target yet.
    pub(crate) fn room(&self, session: &ConsoleSession) -> Result<StartVerdict, SessionError> {
        let references = self.references(session);
        match validate(session, &references) {
            Ok(valid) => Ok(references.start.verdict(usize::from(valid.session_limit))),
            Err(SessionError::TooManySessions { open, .. }) => Ok(StartVerdict::Full { open }),
            Err(error) => Err(error),
        }
    }

    /// All sessions of the target of one.
    fn sessions_beside(&self, session: &ConsoleSession) -> Vec<Arc<ConsoleSession>> {
        let target = &session.spec.target_ref;
        self.sessions_of(&session.namespace().unwrap_or_default(), target.kind, &target.name)
    }

    pub(super) fn sessions_before(&self, session: &ConsoleSession, input: ConsoleInput) -> usize {
        self.sessions_beside(session)
            .iter()
            .filter(|other| is_queued_ahead_of(other, session, input))
            .count()
    }
}
