//! Who was let in can come back: the places of a session, what opens them again, and how long they are kept.
//!
//! Who enters a session gets a place. When their stream breaks, the place is kept for them for a window, and counts as taken. A browser comes
//! back with a credential of two parts: one that names the place and stays, and a secret that is replaced at each use. Of both only the
//! SHA-256 is known here. A secret that was used is good until one that was given out for it is used: the answer with it may have got lost.
//! After that, its use means that two hold the credential.

use std::time::Duration;

use jiff::Timestamp;
use novasphere_crd::{ConsoleInput, ConsoleSessionStatus, Grant, LastDisconnect, ResumePlace, Time};
use subtle::ConstantTimeEq as _;

use super::connection::{ClaimError, NewConnection, connect, disconnect};
use crate::time::{after, kubernetes_time};

/// How long a place is kept when nothing else is said.
pub const DEFAULT_RESUME_WINDOW: Duration = Duration::from_mins(5);

/// How many places a session has at most; the limit of the schema.
pub const PLACES_LIMIT: usize = 256;

/// How many secrets that were given out for the same one are good at once; the limit of the schema. Each but one is an answer that got lost,
/// or a tab that asked at the same moment.
pub const SUCCESSORS_LIMIT: usize = 4;

/// Reason of the end of a stream whose viewer has come back elsewhere; gateways tell viewers the same word.
pub const MOVED: &str = "Moved";

/// Reason of the end of a stream whose credential was used twice; gateways tell viewers the same word.
pub const CREDENTIAL_REUSED: &str = "CredentialReused";

/// The hashes of both parts of a credential, in lower-case hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialHashes {
    /// Of the part that names the place.
    pub place: String,
    /// Of the secret.
    pub secret: String,
}

/// What a credential is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresentedCredential<'a> {
    /// It opens nothing, or nothing any more.
    Unknown,
    /// Who shows it may come back to this place.
    Good(&'a ResumePlace),
    /// It was good until one that was given out for it was used: two hold it.
    UsedBefore(&'a ResumePlace),
}

/// What a new place is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewPlace {
    /// For who shows this credential, as the user of this grant.
    Credential {
        /// The grant whose token lets the viewer in.
        grant: String,
        /// What the viewer is given.
        hashes: CredentialHashes,
    },
    /// For the user of the stream, whom kube-apiserver knows.
    User,
}

/// Who wants a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newcomer<'a> {
    /// The user.
    pub user: &'a str,
    /// Whether they may control the console.
    pub has_control: bool,
}

/// The place of a credential, by the hash of the part that names it. All are compared, each in constant time.
#[must_use]
pub fn find<'a>(status: &'a ConsoleSessionStatus, place_sha256: &str) -> Option<&'a ResumePlace> {
    position(status, place_sha256).and_then(|position| status.resumes.get(position))
}

fn position(status: &ConsoleSessionStatus, place_sha256: &str) -> Option<usize> {
    let mut found = None;
    for (position, place) in status.resumes.iter().enumerate() {
        if place
            .sha256
            .as_deref()
            .is_some_and(|known| is_same(known, place_sha256))
        {
            found = Some(position);
        }
    }
    found
}

fn is_same(known: &str, shown: &str) -> bool {
    bool::from(known.as_bytes().ct_eq(shown.as_bytes()))
}

/// What a credential is worth now.
#[must_use]
pub fn presented<'a>(
    status: &'a ConsoleSessionStatus,
    shown: &CredentialHashes,
    window: Duration,
    now: Timestamp,
) -> PresentedCredential<'a> {
    let place = find(status, &shown.place).filter(|place| !is_lapsed(status, place, window, now));
    match place {
        None => PresentedCredential::Unknown,
        Some(place) if is_good(place, &shown.secret) => PresentedCredential::Good(place),
        Some(place) => PresentedCredential::UsedBefore(place),
    }
}

fn is_good(place: &ResumePlace, secret_sha256: &str) -> bool {
    let good = place.used.iter().chain(&place.successors);
    // All are compared.
    good.filter(|known| is_same(known, secret_sha256)).count() > 0
}

/// The grant by which the user of a place was let in.
#[must_use]
pub fn grant_of<'a>(status: &'a ConsoleSessionStatus, place: &ResumePlace) -> Option<&'a Grant> {
    let id = place.grant.as_deref()?;
    status.grants.iter().find(|grant| grant.id == id)
}

fn is_connected(status: &ConsoleSessionStatus, place: &ResumePlace) -> bool {
    status
        .connections
        .iter()
        .any(|connection| connection.id == place.connection)
}

/// Whether nobody can come back to a place any more.
fn is_lapsed(status: &ConsoleSessionStatus, place: &ResumePlace, window: Duration, now: Timestamp) -> bool {
    if window.is_zero() {
        return true;
    }
    // A time in a status is up to a second less than what it stands for.
    let until = |left: &Time| after(left.0, window.saturating_add(Duration::from_secs(1)));
    !is_connected(status, place) && place.left_at.as_ref().is_none_or(|left| until(left) <= now)
}

/// The places that are kept for viewers who are not connected now.
#[must_use]
pub fn kept(
    status: &ConsoleSessionStatus,
    window: Duration,
    now: Timestamp,
) -> impl DoubleEndedIterator<Item = &ResumePlace> {
    status
        .resumes
        .iter()
        .filter(move |place| !is_connected(status, place) && !is_lapsed(status, place, window, now))
}

/// How many viewers may be connected at once beside those for whom a place is kept.
#[must_use]
pub fn free_places(status: &ConsoleSessionStatus, max_viewers: u16, window: Duration, now: Timestamp) -> u16 {
    let kept = u16::try_from(kept(status, window, now).count()).unwrap_or(u16::MAX);
    max_viewers.saturating_sub(kept)
}

/// Without the places to which nobody can come back any more.
#[must_use]
pub fn without_lapsed(status: &ConsoleSessionStatus, window: Duration, now: Timestamp) -> ConsoleSessionStatus {
    let mut resumes = status.resumes.clone();
    resumes.retain(|place| !is_lapsed(status, place, window, now));
    ConsoleSessionStatus {
        resumes,
        ..status.clone()
    }
}

/// Without a place; a stream that it has goes on.
#[must_use]
pub fn without_place(status: &ConsoleSessionStatus, id: &str) -> ConsoleSessionStatus {
    let mut status = status.clone();
    status.resumes.retain(|place| place.id != id);
    status
}

/// Makes room for a newcomer among the places that are kept, as far as they may have it: their own, and for one who may control that of
/// one who only views. The connections `leaving` make room already.
#[must_use]
pub fn make_room(
    status: &ConsoleSessionStatus,
    newcomer: Newcomer<'_>,
    leaving: &[String],
    max_viewers: u16,
    window: Duration,
    now: Timestamp,
) -> ConsoleSessionStatus {
    let mut status = without_lapsed(status, window, now);
    loop {
        let connections = status.connections.iter();
        let staying = connections
            .filter(|connection| !leaving.contains(&connection.id))
            .count();
        if staying < usize::from(free_places(&status, max_viewers, window, now)) {
            return status;
        }
        let own = kept(&status, window, now).find(|place| place.user == newcomer.user);
        let views = || kept(&status, window, now).rfind(|place| place.input == ConsoleInput::ViewOnly);
        let given_up = own.or_else(|| views().filter(|_| newcomer.has_control));
        let Some(id) = given_up.map(|place| place.id.clone()) else {
            return status;
        };
        status.resumes.retain(|place| place.id != id);
    }
}

/// The status in which the stream `connection`, which has just begun, has a place to come back to. Without a place for another one it stays
/// as it is.
#[must_use]
pub fn with_place(status: &ConsoleSessionStatus, id: &str, connection: &str, new: NewPlace) -> ConsoleSessionStatus {
    let mut status = status.clone();
    let stream = status.connections.iter().find(|stream| stream.id == connection);
    let Some(stream) = stream.filter(|_| status.resumes.len() < PLACES_LIMIT) else {
        return status;
    };
    let (grant, sha256, successors) = match new {
        NewPlace::Credential { grant, hashes } => (Some(grant), Some(hashes.place), vec![hashes.secret]),
        NewPlace::User => (None, None, Vec::new()),
    };
    let place = ResumePlace {
        id: id.to_owned(),
        user: stream.user.clone(),
        input: stream.input.unwrap_or(ConsoleInput::Control),
        connection: connection.to_owned(),
        grant,
        sha256,
        used: None,
        successors,
        left_at: None,
    };
    status.resumes.push(place);
    status
}

/// A viewer who has come back.
#[derive(Clone, Debug, PartialEq)]
pub struct TakenBack {
    /// The session's status after that.
    pub status: ConsoleSessionStatus,
    /// The stream that the place had until now: it is over.
    pub moved: Option<String>,
}

/// The status after a viewer has come back with a credential that [`presented`] calls good, and was given `successor` for the next time.
///
/// # Errors
///
/// When no stream begins now.
pub fn take_back(
    status: &ConsoleSessionStatus,
    shown: &CredentialHashes,
    successor: &str,
    new: NewConnection,
    max_viewers: u16,
    window: Duration,
    now: Timestamp,
) -> Result<TakenBack, ClaimError> {
    let mut status = without_lapsed(status, window, now);
    let known = find(&status, &shown.place).ok_or(ClaimError::UnknownToken)?;
    let moved = is_connected(&status, known).then(|| known.connection.clone());
    let (id, user) = (known.id.clone(), known.user.clone());
    // Before its stream ends, with which it would go.
    for place in status.resumes.iter_mut().filter(|place| place.id == id) {
        use_up(place, &shown.secret, successor)?;
        place.connection.clone_from(&new.id);
        place.input = new.input;
        place.left_at = None;
    }
    if let Some(moved) = &moved {
        status = ended(&status, moved, &user, MOVED, now);
    }
    let free = free_places(&status, max_viewers, window, now);
    let status = connect(&status, new, free, now)?;
    Ok(TakenBack { status, moved })
}

/// Notes in a place that a secret was used and another one was given out for it.
fn use_up(place: &mut ResumePlace, secret: &str, successor: &str) -> Result<(), ClaimError> {
    if !is_good(place, secret) {
        return Err(ClaimError::TokenUsed);
    }
    if !place.used.as_deref().is_some_and(|used| is_same(used, secret)) {
        place.used = Some(secret.to_owned());
        place.successors.clear();
    } else if place.successors.len() >= SUCCESSORS_LIMIT {
        // The answer got lost, or another tab asked at the same moment: whichever successor was kept is good.
        place.successors.remove(0);
    }
    place.successors.push(successor.to_owned());
    Ok(())
}

/// The status after a credential was used twice: its place is gone, and the stream that it had.
#[must_use]
pub fn withdraw(status: &ConsoleSessionStatus, place: &ResumePlace, now: Timestamp) -> ConsoleSessionStatus {
    let status = ended(status, &place.connection, &place.user, CREDENTIAL_REUSED, now);
    without_place(&status, &place.id)
}

fn ended(
    status: &ConsoleSessionStatus,
    connection: &str,
    user: &str,
    reason: &str,
    now: Timestamp,
) -> ConsoleSessionStatus {
    let last = LastDisconnect {
        user: user.to_owned(),
        reason: reason.to_owned(),
        at: kubernetes_time(now),
        input: None,
    };
    disconnect(status, &[connection], last, now)
}

/// Notes that the streams `ids` end now and that their places are kept. The streams themselves are taken out by
/// [`disconnect`].
#[must_use]
pub fn keep(mut status: ConsoleSessionStatus, ids: &[&str], now: Timestamp) -> ConsoleSessionStatus {
    for place in &mut status.resumes {
        if ids.contains(&place.connection.as_str()) && place.left_at.is_none() {
            place.left_at = Some(kubernetes_time(now));
        }
    }
    status
}

#[cfg(test)]
mod tests;
