//! The status of a session: computed in `core`, and written at the version of the session that it was computed from.

use std::sync::Arc;

use jiff::Timestamp;
use kube::{Api, Resource, ResourceExt, api::PostParams};
use novasphere_core::console_session::{
    status::{Observed, Outcome, status},
    transition::transition,
    validate::validate,
};
use novasphere_crd::{ConsoleSession, ConsoleSessionStatus};
use novasphere_runtime::apply::{ApiReason, WriteError};

use super::Context;
use crate::status::emit;

/// How often a session is read again because somebody else wrote it meanwhile. Gateways write when viewers come and go.
const ATTEMPTS_LIMIT: usize = 5;

/// A session whose status is as it should be.
pub(super) struct Settled {
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
pub(super) async fn write(session: &ConsoleSession, context: &Context) -> Result<Option<Settled>, WriteError> {
    let mut session = Arc::new(session.clone());
    let mut conflict = None;
    for _ in 0..ATTEMPTS_LIMIT {
        let decided = decide(&session, context);
        let settled = |session| Settled {
            session,
            next: decided.next,
            delete: decided.outcome.delete,
        };
        let new = decided.outcome.status;
        if session.status.as_ref() == Some(&new) {
            return Ok(Some(settled(session)));
        }
        match replace(&session, &new, context).await {
            Ok(written) => {
                context.caches.console_sessions.written(written.clone());
                let events = transition(session.status.as_ref(), &new).events;
                emit(&context.reporter, &session.object_ref(&()), events).await;
                return Ok(Some(settled(Arc::new(written))));
            }
            Err(error) if error.is(ApiReason::NotFound) => return Ok(None),
            Err(error) if error.is(ApiReason::Conflict) => conflict = Some(error),
            Err(error) => return Err(error),
        }
        match read(&session, context).await? {
            Some(newer) => session = Arc::new(newer),
            None => return Ok(None),
        }
    }
    Err(conflict.unwrap_or_else(|| WriteError::Internal("no attempt was made".to_owned())))
}

struct Decided {
    outcome: Outcome,
    next: Option<Timestamp>,
}

fn decide(session: &ConsoleSession, context: &Context) -> Decided {
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
        now: Timestamp::now(),
    });
    Decided {
        next: [outcome.next, gateways.next].into_iter().flatten().min(),
        outcome,
    }
}

/// With the resource version that it was worked out from, so that nothing of what somebody else wrote meanwhile is lost.
async fn replace(
    session: &ConsoleSession,
    status: &ConsoleSessionStatus,
    context: &Context,
) -> Result<ConsoleSession, WriteError> {
    let mut new = session.clone();
    new.status = Some(status.clone());
    let mut written = api(session, context)
        .replace_status(&session.name_any(), &PostParams::default(), &new)
        .await?;
    written.metadata.managed_fields = None;
    Ok(written)
}

async fn read(session: &ConsoleSession, context: &Context) -> Result<Option<ConsoleSession>, WriteError> {
    let read = api(session, context).get_opt(&session.name_any()).await?;
    Ok(read.filter(|read| read.uid() == session.uid()).map(|mut read| {
        read.metadata.managed_fields = None;
        read
    }))
}

fn api(session: &ConsoleSession, context: &Context) -> Api<ConsoleSession> {
    Api::namespaced(context.client.clone(), &session.namespace().unwrap_or_default())
}
