//! A token that is given out: its hash goes into the session's status.

use jiff::Timestamp;
use novasphere_core::console_session::grant::{IssueError, NewGrant, issue};
use novasphere_crd::ConsoleSession;
use novasphere_runtime::optimistic::Decide;

use crate::write::StatusDecision;

/// A grant to be added.
pub(super) struct GrantDecision<'a>(pub(super) &'a NewGrant);

impl Decide<ConsoleSession> for GrantDecision<'_> {
    type Refusal = IssueError;

    async fn decide(&mut self, session: &ConsoleSession) -> Result<StatusDecision, IssueError> {
        let before = session.status.clone().unwrap_or_default();
        let after = issue(&before, self.0.clone(), Timestamp::now())?;
        Ok(StatusDecision::Write(Box::new(after)))
    }
}
