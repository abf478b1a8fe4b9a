//! A token that is given out: its hash goes into the session's status.

use jiff::Timestamp;
use novasphere_core::console_session::grant::{IssueError, NewGrant, issue};
use novasphere_crd::ConsoleSession;

use super::status::{Decide, Decision};

/// A grant to be added.
pub(super) struct Granting<'a>(pub(super) &'a NewGrant);

impl Decide for Granting<'_> {
    type Refusal = IssueError;

    async fn decide(&mut self, session: &ConsoleSession) -> Result<Decision, IssueError> {
        let before = session.status.clone().unwrap_or_default();
        let after = issue(&before, self.0.clone(), Timestamp::now())?;
        Ok(Decision::Write(Box::new(after)))
    }
}
