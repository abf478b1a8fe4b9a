//! What was found → the status of a session.

use std::{collections::HashSet, time::Duration};

use jiff::Timestamp;
use novasphere_crd::{
    CloseReason, Condition, ConsoleInput, ConsoleSession, ConsoleSessionStatus, SessionEndpoints, SessionPhase,
    SessionTargetKind, condition as types,
};

use super::{
    close::close_reason,
    connection::with_viewer_count,
    desktop,
    endpoints::Endpoints,
    grant::without_unusable,
    policy::SessionPolicy,
    reason::{ClosedReason, ReadyReason, TargetReason, close_message, is_planned},
    references::References,
    resume::keep,
    session::{absolute_end, is_started},
    single_use,
    target_state::TargetState,
    validate::{SessionError, ValidatedSession},
};
use crate::{
    condition::{NewCondition, STALLED, conditions},
    time::{after, kubernetes_time},
};

/// Everything that a status is worked out from.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The session, with the status that it has.
    pub session: &'a ConsoleSession,
    /// The outcome of [`validate`](super::validate::validate).
    pub validated: Result<&'a ValidatedSession, &'a SessionError>,
    /// What the session refers to.
    pub references: &'a References,
    /// Where viewers connect.
    pub endpoints: &'a Endpoints,
    /// Gateways that are gone, by the name that connections carry. Their streams ended with them.
    pub dead_gateways: &'a HashSet<String>,
    /// The present time.
    pub now: Timestamp,
}

/// A status, and what comes next.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The status to write, when it differs from the present one.
    pub status: ConsoleSessionStatus,
    /// The next known deadline; before it, only a change in the cluster makes a difference.
    pub next: Option<Timestamp>,
    /// The session has been over for as long as it was to be kept: it is to be deleted.
    pub delete: bool,
}

/// The status of a session.
#[must_use]
pub fn status(observed: &Observed<'_>) -> Outcome {
    let session = observed.session;
    let old = session.status.clone().unwrap_or_default();
    let new = match close_reason(session, observed.references, observed.now) {
        Some(_) if old.closed_at.is_some() => still_closed(observed, old.clone()),
        Some(reason) => closed(observed, old.clone(), reason),
        None => open(observed, old.clone()),
    };
    let new = without_dead_gateways(new, observed.dead_gateways, observed.now);
    // To forget a grant that opens nothing any more is not worth a write of its own.
    let new = if new == old {
        new
    } else {
        without_unusable(new, observed.now)
    };
    let remove_at = remove_at(session, &new);
    let is_leaving = session.metadata.deletion_timestamp.is_some();
    Outcome {
        delete: !is_leaving && remove_at.is_some_and(|remove| remove <= observed.now),
        next: if is_leaving {
            None
        } else if new.closed_at.is_some() {
            remove_at
        } else {
            next(observed, &new)
        },
        status: new,
    }
}

/// When a session that is over is to be deleted; `None` while it is not over, and for one that is kept.
fn remove_at(session: &ConsoleSession, status: &ConsoleSessionStatus) -> Option<Timestamp> {
    let closed = status.closed_at.as_ref()?.0;
    Some(after(closed, session.spec.ttl_after_finished.get()?.get()))
}

/// The status of a session that ends now for a reason that its object does not show, as when the one connection that it was
/// made for is over.
#[must_use]
pub fn close(session: &ConsoleSession, reason: CloseReason, now: Timestamp) -> ConsoleSessionStatus {
    let old = session.status.clone().unwrap_or_default();
    if old.closed_at.is_some() {
        return old;
    }
    let target = crate::condition::find(&old.conditions, types::TARGET_READY).cloned();
    let mut new = over(session, old, reason, now);
    before_closed(&mut new.conditions, target);
    without_unusable(new, now)
}

fn next(observed: &Observed<'_>, new: &ConsoleSessionStatus) -> Option<Timestamp> {
    let expires = new.expires_at.as_ref().map(|expires| expires.0);
    let start = single_use::start_deadline(observed.session, observed.now);
    [expires, start, absolute_end(observed.session)]
        .into_iter()
        .flatten()
        .min()
}

fn open(observed: &Observed<'_>, mut status: ConsoleSessionStatus) -> ConsoleSessionStatus {
    let ready = ready(observed);
    let is_ready = ready.is_true();
    if let Ok(valid) = observed.validated {
        status.protocol = Some(valid.policy.protocol);
        if is_ready || is_started(observed.session) {
            let started = status.started_at.get_or_insert_with(|| kubernetes_time(observed.now)).0;
            let policy = until_absolute_end(&valid.policy, started, absolute_end(observed.session));
            status.expires_at = Some(kubernetes_time(after(started, policy.duration)));
            status.target_uid = Some(valid.target.uid.clone());
            status.policy = Some(policy.granted());
            status.endpoints =
                Some(observed.endpoints.session(&valid.policy)).filter(|some| *some != SessionEndpoints::default());
        }
    }
    if let Err(SessionError::TooManySessions { .. }) = observed.validated {
        status = without_start(status);
    }
    let refusal = observed.validated.err().filter(|error| error.is_terminal());
    status.phase = Some(match refusal {
        _ if is_ready => SessionPhase::Ready,
        Some(_) => SessionPhase::Failed,
        None => SessionPhase::Pending,
    });
    let closed = NewCondition::new_false(types::CLOSED, ClosedReason::NotOver, "The session is not over.");
    let stalled = refusal.map(|error| NewCondition::new_true(STALLED, error.reason(), error.to_string()));
    let findings = [ready, target(observed), closed].into_iter().chain(stalled).collect();
    written(observed.session, with_viewer_count(status), findings, observed.now)
}

/// Others were started first, and nobody was let into this one: it waits like one that was not started.
fn without_start(status: ConsoleSessionStatus) -> ConsoleSessionStatus {
    ConsoleSessionStatus {
        started_at: None,
        expires_at: None,
        target_uid: None,
        policy: None,
        endpoints: None,
        ..status
    }
}

/// The policy of a session that started then, with a duration that ends at the absolute end.
fn until_absolute_end(policy: &SessionPolicy, started: Timestamp, end: Option<Timestamp>) -> SessionPolicy {
    let left = end.map(|end| Duration::try_from(end.duration_since(started)).unwrap_or_default());
    SessionPolicy {
        duration: left.map_or(policy.duration, |left| left.min(policy.duration)),
        ..policy.clone()
    }
}

fn ready(observed: &Observed<'_>) -> NewCondition {
    let type_ = types::READY;
    match observed.validated {
        Err(error) => NewCondition::new_false(type_, error.reason(), error.to_string()),
        Ok(valid) if !valid.target.state.admits_viewers() => {
            NewCondition::new_false(type_, ReadyReason::TargetNotRunning, not_running(observed))
        }
        Ok(valid) => NewCondition::new_true(
            type_,
            ReadyReason::Open,
            format!(
                "A token opens the {} console of {} {}.{}",
                valid.policy.protocol.as_str(),
                valid.target.kind.as_str(),
                valid.target.name,
                if valid.wants_more_viewers {
                    " KubeVirt carries one viewer of it at a time, so maxViewers is 1; more share the screen of a VNC server in the guest \
                     (vncServer of a VmAccess)."
                } else {
                    ""
                }
            ),
        ),
    }
}

fn target(observed: &Observed<'_>) -> NewCondition {
    let type_ = types::TARGET_READY;
    match observed.validated {
        Ok(valid) => match valid.target.state {
            TargetState::Running => NewCondition::new_true(type_, TargetReason::Running, running(valid.target.kind)),
            // One reason for both, so that a session's status is not written again with each step of a desktop.
            TargetState::Starting | TargetState::Asleep => {
                NewCondition::new_true(type_, TargetReason::WakesOnConnect, woken_by(observed, valid))
            }
            TargetState::Stopped => {
                NewCondition::new_false(type_, TargetReason::TargetNotRunning, not_running(observed))
            }
        },
        Err(error) => match error.target_reason() {
            Some(reason) => NewCondition::new_false(type_, reason, error.to_string()),
            None => NewCondition::new_unknown(
                type_,
                TargetReason::NotChecked,
                "The target's console was not checked, because the session may not open it.",
            ),
        },
    }
}

const fn running(kind: SessionTargetKind) -> &'static str {
    match kind {
        SessionTargetKind::VmAccess | SessionTargetKind::VirtualMachine | SessionTargetKind::VirtualMachineInstance => {
            "The target's machine runs."
        }
        SessionTargetKind::VncWorkspace => "The desktop answers.",
    }
}

/// How a desktop that does not run comes to run.
fn woken_by(observed: &Observed<'_>, valid: &ValidatedSession) -> &'static str {
    let workspace = observed.references.vnc_workspace.as_deref();
    if valid.policy.input == ConsoleInput::ViewOnly && !workspace.is_some_and(desktop::wakes_on_view) {
        "The desktop does not run now. This session only views it, so it shows the desktop when a viewer with control has woken it."
    } else {
        "The desktop does not run now. A viewer who may control it wakes it by connecting."
    }
}

fn not_running(observed: &Observed<'_>) -> String {
    let target = &observed.session.spec.target_ref;
    if let Some(workspace) = &observed.references.vnc_workspace {
        return format!(
            "The desktop of {} {} does not start: {}",
            target.kind.as_str(),
            target.name,
            desktop::message(workspace)
        );
    }
    format!(
        "The machine of {} {} is not running. Start it; the session becomes ready by itself then.",
        target.kind.as_str(),
        target.name
    )
}

fn closed(observed: &Observed<'_>, old: ConsoleSessionStatus, reason: CloseReason) -> ConsoleSessionStatus {
    let mut status = over(observed.session, old, reason, observed.now);
    let old = observed.session.status.as_ref();
    let known = old.map(|old| old.conditions.as_slice()).unwrap_or_default();
    let generation = observed.session.metadata.generation;
    let target = conditions(vec![target(observed)], generation, known, observed.now);
    before_closed(&mut status.conditions, target);
    status
}

fn before_closed(conditions: &mut Vec<Condition>, target: impl IntoIterator<Item = Condition>) {
    let place = conditions.iter().position(|condition| condition.type_ == types::CLOSED);
    let place = place.unwrap_or_default();
    conditions.splice(place..place, target);
}

/// `Closed`, and of a session that did not end as it was meant to `Ready` and `Stalled`, without `TargetReady`. A session that ended as it
/// was meant to has neither: kstatus waits for `Ready`, and calls an object failed that is `Stalled`.
fn over(
    session: &ConsoleSession,
    mut status: ConsoleSessionStatus,
    reason: CloseReason,
    now: Timestamp,
) -> ConsoleSessionStatus {
    status.close_reason = Some(reason);
    status.closed_at = Some(kubernetes_time(now));
    status.phase = Some(match reason {
        CloseReason::Expired => SessionPhase::Expired,
        _ => SessionPhase::Closed,
    });
    status.endpoints = None;
    status.grants.clear();
    status.resumes.clear();
    let (word, sentence) = (reason.as_str(), close_message(reason));
    let closed = NewCondition::new_true(types::CLOSED, word, sentence);
    let findings = if is_planned(reason) {
        vec![closed]
    } else {
        // Only a new session helps, so programs should not wait for this one.
        vec![
            NewCondition::new_false(types::READY, word, sentence),
            closed,
            NewCondition::new_true(STALLED, word, sentence),
        ]
    };
    written(session, with_viewer_count(status), findings, now)
}

/// A session that is over stays as it was; only the generation that was looked at may be a newer one.
fn still_closed(observed: &Observed<'_>, mut status: ConsoleSessionStatus) -> ConsoleSessionStatus {
    let generation = observed.session.metadata.generation;
    status.observed_generation = generation;
    for condition in &mut status.conditions {
        condition.observed_generation = generation;
    }
    with_viewer_count(status)
}

fn written(
    session: &ConsoleSession,
    mut status: ConsoleSessionStatus,
    findings: Vec<NewCondition>,
    now: Timestamp,
) -> ConsoleSessionStatus {
    let generation = session.metadata.generation;
    let old = std::mem::take(&mut status.conditions);
    status.observed_generation = generation;
    status.conditions = conditions(findings, generation, &old, now);
    status
}

fn without_dead_gateways(
    mut status: ConsoleSessionStatus,
    dead: &HashSet<String>,
    now: Timestamp,
) -> ConsoleSessionStatus {
    let gone = status
        .connections
        .iter()
        .rfind(|connection| dead.contains(&connection.gateway));
    let Some(user) = gone.map(|connection| connection.user.clone()) else {
        return status;
    };
    let (lost, stay): (Vec<_>, Vec<_>) = std::mem::take(&mut status.connections)
        .into_iter()
        .partition(|connection| dead.contains(&connection.gateway));
    let lost: Vec<&str> = lost.iter().map(|connection| connection.id.as_str()).collect();
    status.connections = stay;
    // Who was connected there can come back by another gateway.
    let mut status = keep(status, &lost, now);
    status.last_disconnect = Some(novasphere_crd::LastDisconnect {
        user,
        reason: GATEWAY_LOST.to_owned(),
        at: kubernetes_time(now),
        input: None,
    });
    with_viewer_count(status)
}

/// Reason of the end of a stream whose gateway is gone; the controller writes it.
pub const GATEWAY_LOST: &str = "GatewayLost";

#[cfg(test)]
mod tests;
