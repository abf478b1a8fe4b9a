//! The reconcile of a `ConsoleSession`: its references, validate, status; and its removal in the end.
//!
//! It creates no objects. It writes the session's status, which gateways and the aggregated API write as well, so
//! every write names the version that it was computed from, and is computed again after a conflict.

mod gateways;
mod status;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::runtime::controller::Action;
use novasphere_core::console_session::{endpoints::Endpoints, single_use::start_deadline};
use novasphere_crd::ConsoleSession;
use novasphere_runtime::{
    apply::{Applier, Deleted},
    cache::Cache,
    events::Reporter,
    optimistic::Updater,
    read_your_writes::MAX_LAG,
};

use novasphere_sessions::view::SessionView;

pub(crate) use self::gateways::{GatewayLiveness, reap_expired_leases};
use crate::{
    caches::Caches,
    reconciler::{ReconcileError, Reconciler},
};

/// Field manager of what this controller writes, and the name under which it emits events.
pub const CONSOLE_SESSION_MANAGER: &str = "novasphere/consolesession";

/// What all reconciles share.
pub(crate) struct Context {
    pub(crate) view: SessionView,
    pub(crate) caches: Arc<Caches>,
    pub(crate) applier: Applier,
    pub(crate) updater: Updater<ConsoleSession>,
    pub(crate) reporter: Reporter,
    pub(crate) endpoints: Endpoints,
    pub(crate) gateways: Arc<GatewayLiveness>,
    /// Nothing but ends is written for any session.
    pub(crate) paused: bool,
}

impl Reconciler for Context {
    type Kind = ConsoleSession;

    const NAME: &'static str = "consolesession";

    fn cache(&self) -> &Cache<ConsoleSession> {
        &self.caches.console_sessions
    }

    async fn reconcile(&self, session: &ConsoleSession) -> Result<Action, ReconcileError> {
        let now = Timestamp::now();
        if let Some(until) = start_deadline(session, now) {
            return Ok(Action::requeue(left(now, until)));
        }
        let Some(written) = status::write(session, self).await? else {
            return Ok(Action::await_change());
        };
        if written.delete {
            return self.delete(&written.session).await;
        }
        let now = Timestamp::now();
        let next = written.next.map(|next| left(now, next));
        Ok(next.map_or_else(Action::await_change, Action::requeue))
    }
}

impl Context {
    async fn delete(&self, session: &ConsoleSession) -> Result<Action, ReconcileError> {
        match self.applier.delete(session).await? {
            Deleted::Requested | Deleted::AlreadyGone => self.caches.console_sessions.deleted(session),
            Deleted::Underway => {}
        }
        // The watch shows the deletion. Should it have missed it, the cache counts again after a while.
        Ok(Action::requeue(MAX_LAG + Duration::from_secs(1)))
    }
}

fn left(now: Timestamp, until: Timestamp) -> Duration {
    Duration::try_from(until.duration_since(now)).unwrap_or_default()
}
