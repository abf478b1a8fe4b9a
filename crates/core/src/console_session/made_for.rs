//! Sessions that novasphere makes for one connection, and closes with it.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use novasphere_crd::ConsoleSession;

use super::end::is_started;
use crate::time::after;

/// The label of a session that was made for one connection. It goes with [`CONSOLE`].
pub const LABEL: &str = "novasphere.io/made-for";

/// The value of [`LABEL`] for sessions that the aggregated API's `console` subresource makes.
pub const CONSOLE: &str = "console";

/// How long the maker has to start the session. After that it is taken for dead.
pub const TIME_TO_START: Duration = Duration::from_secs(30);

/// Whether the session was made for one connection.
#[must_use]
pub fn is_made_for_connection(session: &ConsoleSession) -> bool {
    session.labels().get(LABEL).is_some_and(|value| value == CONSOLE)
}

/// Until when the controller leaves the session to its maker, which starts it and connects in one write.
#[must_use]
pub fn left_to_maker_until(session: &ConsoleSession, now: Timestamp) -> Option<Timestamp> {
    if !is_made_for_connection(session) || is_started(session) {
        return None;
    }
    let created = session.metadata.creation_timestamp.as_ref()?.0;
    Some(after(created, TIME_TO_START)).filter(|until| now < *until)
}

/// Whether such a session has no connection any more, or never got one.
pub(super) fn is_finished(session: &ConsoleSession, now: Timestamp) -> bool {
    if !is_made_for_connection(session) {
        return false;
    }
    if is_started(session) {
        let status = session.status.as_ref();
        return status.is_none_or(|status| status.connections.is_empty());
    }
    let created = session.metadata.creation_timestamp.as_ref();
    created.is_some_and(|created| after(created.0, TIME_TO_START) <= now)
}
