//! The last step: replaces the session's status, at the version of the session from which it was decided. Gateways write it too, when
//! viewers come and go.

use std::{convert::Infallible, sync::Arc};

use jiff::Timestamp;
use kube::Resource;
use novasphere_core::{
    console_session::{
        pause::paused,
        status::{Observed, status},
        transition::transition,
        validate::validate,
    },
    pause::pause_of,
    transition::EventNote,
};
use novasphere_crd::{ConsoleSession, ConsoleSessionStatus};
use novasphere_runtime::{
    apply::{ApiReason, WriteError},
    optimistic::{Decide, Decision, ObjectKey, UpdateError, Updated},
};

use super::Context;
use crate::status::emit;

/// A session whose status is as it should be.
pub(super) struct Written {
    pub(super) session: Arc<ConsoleSession>,
    /// When it has to be looked at again.
    pub(super) next: Option<Timestamp>,
    /// It is to be deleted.
    pub(super) delete: bool,
}

/// Writes the session's status when it differs, and an event for what is new. `None` when the session has gone.
///
/// # Errors
///
/// When the write was refused or did not come through.
pub(super) async fn write(session: &ConsoleSession, context: &Context) -> Result<Option<Written>, WriteError> {
    let Some(key) = ObjectKey::of(session) else {
        return Ok(None);
    };
    let mut deciding = Deciding { context, last: None };
    let updated = context
        .updater
        .update(&key, &context.caches.console_sessions, &mut deciding)
        .await;
    let updated = match updated {
        Ok(updated) => updated,
        Err(UpdateError::Gone) => return Ok(None),
        Err(UpdateError::Write(error)) => return Err(error),
        Err(error @ UpdateError::Contended) => return Err(WriteError::api(ApiReason::Conflict, error.to_string())),
        Err(UpdateError::Refused(never)) => match never {},
    };
    let Some(Decided {
        next, delete, events, ..
    }) = deciding.last
    else {
        return Ok(None);
    };
    if let Updated::Written(session) = &updated {
        emit(&context.reporter, &session.object_ref(&()), events).await;
    }
    Ok(Some(Written {
        session: updated.into_object(),
        next,
        delete,
    }))
}

struct Deciding<'a> {
    context: &'a Context,
    /// What the last decision says beside the status.
    last: Option<Decided>,
}

struct Decided {
    status: ConsoleSessionStatus,
    next: Option<Timestamp>,
    delete: bool,
    events: Vec<EventNote>,
}

impl Decide<ConsoleSession> for Deciding<'_> {
    type Refusal = Infallible;

    async fn decide(&mut self, session: &ConsoleSession) -> Result<Decision<ConsoleSessionStatus>, Infallible> {
        let decided = outcome(session, self.context);
        let status = decided.status.clone();
        self.last = Some(decided);
        Ok(if session.status.as_ref() == Some(&status) {
            Decision::Keep
        } else {
            Decision::Write(Box::new(status))
        })
    }
}

/// What the session should be, and when to look at it again.
fn outcome(session: &ConsoleSession, context: &Context) -> Decided {
    let now = Timestamp::now();
    let references = context.view.references(session);
    let validated = validate(session, &references);
    let connections = session.status.iter().flat_map(|status| &status.connections);
    let gateways = context.gateways.assess(
        connections.map(|connection| connection.gateway.as_str()),
        &context.caches,
    );
    let outcome = status(&Observed {
        session,
        validated: validated.as_ref(),
        references: &references,
        endpoints: &context.endpoints,
        dead_gateways: &gateways.dead,
        now,
    });
    let (outcome, told) = match pause_of(&session.metadata, context.paused) {
        Some(pause) => paused(session, outcome, pause, now),
        None => (outcome, None),
    };
    let mut events = transition(session, &outcome.status).events;
    events.extend(told);
    Decided {
        next: [outcome.next, gateways.next].into_iter().flatten().min(),
        delete: outcome.delete,
        status: outcome.status,
        events,
    }
}
