//! Whether a session that was started for a connection begins: every replica starts some, and together they begin no more than may. See
//! [`novasphere_core::console_session::start`].

use novasphere_core::console_session::{
    references::{References, target_input},
    session::is_started,
    single_use::{SESSIONS_PER_USER_LIMIT, is_single_use},
    start::{START_CHECK_TIMEOUT, StartVerdict, awaits_entry},
    validate::{SessionError, ValidatedSession},
};
use novasphere_crd::{ConsoleInput, ConsoleSession};
use novasphere_wire::close::{EndReason, StreamEnd};
use tokio::time::timeout;

use super::{
    SessionAdmission,
    entry::{Credential, close_of_error, refuse},
};
use crate::{active::ActiveStream, view::session_id, write::Departure};

/// The start of a session together with its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingStart {
    /// How many sessions of the target may run.
    limit: u16,
    /// What viewers may do at the target.
    input: ConsoleInput,
}

/// Whether the connection starts its session.
pub(super) fn starts(session: &ConsoleSession, credential: &Credential) -> bool {
    matches!(credential, Credential::User(_)) && is_single_use(session) && !is_started(session)
}

impl PendingStart {
    pub(super) fn of(valid: &ValidatedSession, references: &References) -> Self {
        Self {
            limit: valid.session_limit,
            input: target_input(references.vm_access.as_deref(), references.vnc_workspace.as_deref()),
        }
    }
}

impl SessionAdmission {
    /// Whether there is room for a session that the controller started, if nobody was let in yet; waits until that is known, but not for long.
    ///
    /// # Errors
    ///
    /// Something else is wrong with it or its target.
    pub(super) async fn room(&self, session: &ConsoleSession) -> Result<StartVerdict, SessionError> {
        if !awaits_entry(session) {
            return Ok(StartVerdict::Begins);
        }
        timeout(START_CHECK_TIMEOUT, self.decided_room(session))
            .await
            .unwrap_or(Ok(StartVerdict::Undecided))
    }

    async fn decided_room(&self, session: &ConsoleSession) -> Result<StartVerdict, SessionError> {
        // Before the first look, so that no change is missed.
        let (mut sessions, mut targets) = self.0.view.changes();
        loop {
            let verdict = match self.0.view.room(session) {
                // A target that is there and that no watch has shown is waited for.
                Err(_) if self.0.target_reader.references(session).await.is_ok() => self.0.view.room(session)?,
                Err(_) => StartVerdict::Undecided,
                Ok(verdict) => verdict,
            };
            if verdict != StartVerdict::Undecided {
                return Ok(verdict);
            }
            let changed = tokio::select! {
                changed = sessions.changed() => changed,
                changed = targets.changed() => changed,
            };
            if changed.is_err() {
                return Ok(StartVerdict::Undecided);
            }
        }
    }

    /// Refuses a session for which there is no room.
    pub(super) async fn check_room(&self, session: &ConsoleSession, limit: u16) -> Result<(), StreamEnd> {
        match self.room(session).await {
            Ok(StartVerdict::Begins) => Ok(()),
            Ok(StartVerdict::Full { open }) => Err(full(limit, open)),
            Ok(StartVerdict::Undecided) => Err(undecided()),
            Err(error) => Err(refuse(close_of_error(&error), error.to_string())),
        }
    }

    /// Waits until it is known whether a session begins that was started with this state of it. What was claimed for its stream is given
    /// back when it does not.
    pub(super) async fn begin(
        &self,
        session: &ConsoleSession,
        live: &ActiveStream,
        start: PendingStart,
    ) -> Result<(), StreamEnd> {
        let begun = timeout(START_CHECK_TIMEOUT, self.decided(session, &live.user.name, start)).await;
        let begun = begun.unwrap_or_else(|_| Err(undecided()));
        if let Err(refusal) = &begun {
            let id = session_id(session);
            self.0.active.add(live.clone());
            self.0
                .reporter
                .closed(&id, live.id(), refusal.reason, Departure::ForGood);
            // Neither is a refusal: the same user may come in a moment later.
            if !matches!(refusal.reason, EndReason::Unavailable | EndReason::Restarting) {
                self.0.reporter.rejected(&id, &live.user.name, refusal);
            }
        }
        begun
    }

    async fn decided(&self, session: &ConsoleSession, user: &str, start: PendingStart) -> Result<(), StreamEnd> {
        // Before the first look, so that no change is missed.
        let (mut changes, _) = self.0.view.changes();
        loop {
            if let Some(decided) = self.look(session, user, start) {
                return decided;
            }
            if changes.changed().await.is_err() {
                return Err(EndReason::Restarting.into());
            }
        }
    }

    /// `None` while it is not known.
    fn look(&self, session: &ConsoleSession, user: &str, start: PendingStart) -> Option<Result<(), StreamEnd>> {
        let of_target = self.0.view.start_check(session, start.input);
        let of_user = self.0.view.start_check_of_user(session, user);
        let verdicts = (
            of_target.verdict(usize::from(start.limit)),
            of_user.verdict(SESSIONS_PER_USER_LIMIT),
        );
        match verdicts {
            (StartVerdict::Full { open }, _) => Some(Err(full(start.limit, open))),
            (_, StartVerdict::Full { open }) => Some(Err(refuse(
                EndReason::TooManyAttempts,
                too_many_of_user(session, user, open),
            ))),
            (StartVerdict::Begins, StartVerdict::Begins) => Some(Ok(())),
            (StartVerdict::Undecided | StartVerdict::Begins, _) => None,
        }
    }
}

fn full(limit: u16, open: usize) -> StreamEnd {
    let error = SessionError::TooManySessions { limit, open };
    refuse(close_of_error(&error), error.to_string())
}

pub(super) fn undecided() -> StreamEnd {
    refuse(
        EndReason::Unavailable,
        "the watch has not shown in time whether the target has room for another session",
    )
}

/// What is told to a user who has as many sessions for connections to a target as they may have.
#[must_use]
pub fn too_many_of_user(session: &ConsoleSession, user: &str, own: usize) -> String {
    let target = &session.spec.target_ref;
    format!(
        "user {user:?} has opened {} {} {own} times within about a minute or has as many consoles of it open; at most \
         {SESSIONS_PER_USER_LIMIT} are allowed. Close some, or try again in a minute",
        target.kind.as_str(),
        target.name
    )
}
