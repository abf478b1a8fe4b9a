//! A token that is given out: its hash goes into the session's status.

use jiff::Timestamp;
use novasphere_core::console_session::{
    grant::{IssueError, NewGrant, issue},
    start::StartVerdict,
};
use novasphere_crd::ConsoleSession;
use novasphere_runtime::optimistic::Decide;

use super::SessionAdmission;
use crate::write::StatusDecision;

/// A grant to be added.
pub(super) struct GrantDecision<'a> {
    pub(super) admission: &'a SessionAdmission,
    pub(super) grant: &'a NewGrant,
}

impl Decide<ConsoleSession> for GrantDecision<'_> {
    type Refusal = IssueError;

    async fn decide(&mut self, session: &ConsoleSession) -> Result<StatusDecision, IssueError> {
        match self.admission.room(session).await {
            Ok(StartVerdict::Begins) => {}
            // With a token the session would count as entered, and nobody would look any more whether there is room for it.
            Err(_) => return Err(IssueError::NotReady),
            Ok(StartVerdict::Full { .. }) => return Err(IssueError::TooManySessions),
            Ok(StartVerdict::Undecided) => return Err(IssueError::Undecided),
        }
        let before = session.status.clone().unwrap_or_default();
        let after = issue(&before, self.grant.clone(), Timestamp::now())?;
        Ok(StatusDecision::Write(Box::new(after)))
    }
}
