//! Sessions for one connection, which the aggregated API makes and which are closed with the connection.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use novasphere_crd::ConsoleSession;

use super::session::is_started;
use crate::time::after;

/// The label of a session for one connection, with the value [`MADE_FOR_CONSOLE`].
pub const KEY_MADE_FOR: &str = "novasphere.io/made-for";

/// The value of [`KEY_MADE_FOR`] for sessions that the aggregated API's `console` subresource makes.
pub const MADE_FOR_CONSOLE: &str = "console";

/// Within this time after its creation the aggregated API starts the session; a session that is not started by then is closed.
pub const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Whether the session was made for one connection.
#[must_use]
pub fn is_single_use(session: &ConsoleSession) -> bool {
    session
        .labels()
        .get(KEY_MADE_FOR)
        .is_some_and(|value| value == MADE_FOR_CONSOLE)
}

/// Sessions for connections of one user to one target, those that are over and not deleted yet included.
pub const SESSIONS_PER_USER_LIMIT: usize = 32;

/// Whether the session was made for one connection of this user.
#[must_use]
pub fn is_made_for(session: &ConsoleSession, user: &str) -> bool {
    is_single_use(session) && matches!(session.spec.users.as_slice(), [only] if only == user)
}

/// Until when the controller leaves the session alone, because the aggregated API starts it and connects with one write.
#[must_use]
pub fn start_deadline(session: &ConsoleSession, now: Timestamp) -> Option<Timestamp> {
    if !is_single_use(session) || is_started(session) {
        return None;
    }
    let created = session.metadata.creation_timestamp.as_ref()?.0;
    Some(after(created, START_TIMEOUT)).filter(|until| now < *until)
}

/// Whether such a session has no connection any more, or never got one.
pub(super) fn is_finished(session: &ConsoleSession, now: Timestamp) -> bool {
    if !is_single_use(session) {
        return false;
    }
    if is_started(session) {
        let status = session.status.as_ref();
        return status.is_none_or(|status| status.connections.is_empty());
    }
    let created = session.metadata.creation_timestamp.as_ref();
    created.is_some_and(|created| after(created.0, START_TIMEOUT) <= now)
}
