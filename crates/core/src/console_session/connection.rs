//! Streams of a session: they begin with a token or a Kubernetes identity, are counted, and end.

use jiff::Timestamp;
use novasphere_crd::{
    Connection, ConsoleInput, ConsoleSessionStatus, LastDisconnect, ResumePlace, SessionPhase, Time, Transport,
};

use super::grant::{SessionAvailability, availability, has_place, is_usable, position, without_unusable};
use crate::time::kubernetes_time;

/// A stream that is to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewConnection {
    /// The stream's name, unique in the session.
    pub id: String,
    /// Who connects. [`claim`] takes the user of the grant in its place.
    pub user: String,
    /// The process that carries it, as its Lease names it.
    pub gateway: String,
    /// Where the client connects from.
    pub client_address: String,
    /// How the client connects.
    pub transport: Transport,
    /// What the viewer may do.
    pub input: ConsoleInput,
}

/// Why no stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The session has no such token.
    #[error("the session has no such token")]
    UnknownToken,
    /// The token's window is over.
    #[error("the token's time is over")]
    TokenExpired,
    /// The token has opened as many streams as it may.
    #[error("the token was used already")]
    TokenUsed,
    /// The session is over.
    #[error("the session is over")]
    Over,
    /// The session waits for its target, or was refused.
    #[error("the session is not ready")]
    NotReady,
    /// The session has as many streams as it may have.
    #[error("the session has as many viewers as it may have")]
    TooManyViewers,
    /// A stream of this name is there already.
    #[error("the session has a stream of this name already")]
    Duplicate,
}

impl ClaimError {
    /// One word for logs and metrics.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::UnknownToken => "UnknownToken",
            Self::TokenExpired => "TokenExpired",
            Self::TokenUsed => "TokenUsed",
            Self::Over => "SessionOver",
            Self::NotReady => "SessionNotReady",
            Self::TooManyViewers => "TooManyViewers",
            Self::Duplicate => "Duplicate",
        }
    }
}

/// The status after one use of the token with this hash (lower-case hex) has opened a stream.
///
/// # Errors
///
/// When the token opens no stream now.
pub fn claim(
    status: &ConsoleSessionStatus,
    sha256_hex: &str,
    new: NewConnection,
    max_viewers: u16,
    now: Timestamp,
) -> Result<ConsoleSessionStatus, ClaimError> {
    let position = position(status, sha256_hex).ok_or(ClaimError::UnknownToken)?;
    let mut status = status.clone();
    let grant = status.grants.get_mut(position).ok_or(ClaimError::UnknownToken)?;
    if !is_usable(grant, now) {
        return Err(if grant.uses_left == 0 {
            ClaimError::TokenUsed
        } else {
            ClaimError::TokenExpired
        });
    }
    grant.uses_left -= 1;
    let user = grant.user.clone();
    connect(&status, NewConnection { user, ..new }, max_viewers, now)
}

/// The status after a stream has begun without a token, for a user whom kube-apiserver knows.
///
/// # Errors
///
/// When no stream begins now.
pub fn connect(
    status: &ConsoleSessionStatus,
    new: NewConnection,
    max_viewers: u16,
    now: Timestamp,
) -> Result<ConsoleSessionStatus, ClaimError> {
    match availability(status, now) {
        SessionAvailability::Over => return Err(ClaimError::Over),
        SessionAvailability::NotReady => return Err(ClaimError::NotReady),
        SessionAvailability::Available { .. } => {}
    }
    if status.connections.iter().any(|connection| connection.id == new.id) {
        return Err(ClaimError::Duplicate);
    }
    if status.connections.len() >= usize::from(max_viewers) {
        return Err(ClaimError::TooManyViewers);
    }
    let mut status = status.clone();
    if new.transport == Transport::KubeApiserver {
        // Who comes this way has no token that would name the user.
        status.user = Some(new.user.clone());
    }
    status.connections.push(Connection {
        id: new.id,
        user: new.user,
        gateway: new.gateway,
        client_address: new.client_address,
        transport: new.transport,
        connected_at: kubernetes_time(now),
        input: Some(new.input),
        last_input_at: None,
        bytes_sent: 0,
        bytes_received: 0,
    });
    // A stream that is put back into its session has its place back.
    let own = |place: &&mut ResumePlace| status.connections.last().is_some_and(|own| own.id == place.connection);
    if let Some(place) = status.resumes.iter_mut().find(own) {
        place.left_at = None;
    }
    Ok(with_viewer_count(without_expired(status, now)))
}

/// The status after the streams `ids` have ended. Without any of them it stays as it is. Their places go with them, but for those that
/// were [kept](super::resume::keep) before.
#[must_use]
pub fn disconnect(
    status: &ConsoleSessionStatus,
    ids: &[&str],
    last: LastDisconnect,
    now: Timestamp,
) -> ConsoleSessionStatus {
    let mut status = status.clone();
    let (left, stay): (Vec<_>, Vec<_>) = std::mem::take(&mut status.connections)
        .into_iter()
        .partition(|connection| ids.contains(&connection.id.as_str()));
    status.connections = stay;
    if left.is_empty() {
        return status;
    }
    status
        .resumes
        .retain(|place| place.left_at.is_some() || !ids.contains(&place.connection.as_str()));
    let input = if left.iter().all(only_views) {
        ConsoleInput::ViewOnly
    } else {
        ConsoleInput::Control
    };
    status.last_disconnect = Some(LastDisconnect {
        at: kubernetes_time(last.at.0),
        input: Some(input),
        ..last
    });
    with_viewer_count(without_unusable(status, now))
}

/// Whether a viewer may view and not control. One whose record does not say it counts as one who may control.
#[must_use]
pub fn only_views(connection: &Connection) -> bool {
    connection.input == Some(ConsoleInput::ViewOnly)
}

/// The viewer who makes room in a session with as many viewers as it may have, when one comes who may control: the newest of those who
/// only view. `leaving` make room already.
#[must_use]
pub fn view_to_displace(status: &ConsoleSessionStatus, leaving: &[String], max_viewers: u16) -> Option<String> {
    let staying = || {
        status
            .connections
            .iter()
            .filter(|connection| !leaving.contains(&connection.id))
    };
    if staying().count() < usize::from(max_viewers) {
        return None;
    }
    staying()
        .rfind(|connection| only_views(connection))
        .map(|connection| connection.id.clone())
}

/// The status with what the stream `id` has carried so far. To be written at most once a minute.
#[must_use]
pub fn record_usage(
    status: &ConsoleSessionStatus,
    id: &str,
    bytes_sent: u64,
    bytes_received: u64,
    last_input_at: Option<Timestamp>,
) -> ConsoleSessionStatus {
    let mut status = status.clone();
    if let Some(connection) = status.connections.iter_mut().find(|connection| connection.id == id) {
        connection.bytes_sent = i64::try_from(bytes_sent).unwrap_or(i64::MAX);
        connection.bytes_received = i64::try_from(bytes_received).unwrap_or(i64::MAX);
        let last: Option<Time> = last_input_at.map(kubernetes_time);
        connection.last_input_at = last.or_else(|| connection.last_input_at.take());
    }
    status
}

/// Used grants stay until they expire, so that the log tells a second use from an unknown token.
fn without_expired(mut status: ConsoleSessionStatus, now: Timestamp) -> ConsoleSessionStatus {
    let places = &status.resumes;
    status
        .grants
        .retain(|grant| now < grant.not_after.0 || has_place(grant, places));
    status
}

/// The number of viewers, and the phase that goes with it.
pub(super) fn with_viewer_count(mut status: ConsoleSessionStatus) -> ConsoleSessionStatus {
    status.viewers = Some(u32::try_from(status.connections.len()).unwrap_or(u32::MAX));
    if matches!(status.phase, Some(SessionPhase::Ready | SessionPhase::Active)) {
        status.phase = Some(if status.connections.is_empty() {
            SessionPhase::Ready
        } else {
            SessionPhase::Active
        });
    }
    status
}

#[cfg(test)]
mod tests;
