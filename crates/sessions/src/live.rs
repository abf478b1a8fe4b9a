//! The streams of this process, as far as the end of one can come from the cluster.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use novasphere_core::console_session::{
    access::{ConsoleRight, console_right},
    connection::NewConnection,
    target::Console,
};
use novasphere_crd::{ConsoleProtocol, SessionTargetKind};
use novasphere_dataplane::registry::SessionId;
use novasphere_runtime::access::UserInfo;
use novasphere_wire::token::TokenHash;
use parking_lot::{Mutex, MutexGuard};

use super::desktops::WorkspaceId;

/// A stream that has a place in its session; whether its handshakes are over does not matter.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) session: SessionId,
    /// What the session's status says of it.
    pub(crate) connection: NewConnection,
    pub(crate) user: UserInfo,
    pub(crate) kind: SessionTargetKind,
    pub(crate) target: String,
    pub(crate) target_uid: String,
    /// The token that opened it; none when kube-apiserver knows the user.
    pub(crate) token: Option<TokenHash>,
    pub(crate) console: Console,
    /// The name of the machine, in the session's namespace.
    pub(crate) machine: Option<String>,
    pub(crate) protocol: ConsoleProtocol,
    /// Whether keyboard and pointer pass.
    pub(crate) has_control: bool,
    pub(crate) opened_at: Timestamp,
    /// When the session ends, as it was known then.
    pub(crate) expires: Timestamp,
    /// The run and the node of the machine when the stream was opened.
    pub(crate) run: Option<Run>,
}

/// One run of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) uid: String,
    pub(crate) node: Option<String>,
}

impl Live {
    pub(crate) fn id(&self) -> &str {
        &self.connection.id
    }

    /// The target, when it is a workspace.
    pub(crate) fn workspace(&self) -> WorkspaceId {
        WorkspaceId {
            namespace: self.session.namespace.clone(),
            name: self.target.clone(),
            uid: self.target_uid.clone(),
        }
    }

    /// The rights without which the stream ends.
    pub(crate) fn rights(&self) -> Vec<ResourceAttributes> {
        rights(
            self.kind,
            &self.target,
            self.protocol,
            &self.session.namespace,
            self.has_control,
        )
    }
}

/// To look, and to drive if it does.
fn rights(
    kind: SessionTargetKind,
    target: &str,
    protocol: ConsoleProtocol,
    namespace: &str,
    has_control: bool,
) -> Vec<ResourceAttributes> {
    let right = |right| console_right(kind, protocol, namespace, target, right);
    let mut rights = vec![right(ConsoleRight::View)];
    if has_control && !rights.contains(&right(ConsoleRight::Control)) {
        rights.push(right(ConsoleRight::Control));
    }
    rights
}

/// All of them. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct LiveStreams(Arc<Mutex<HashMap<SessionId, Vec<Arc<Live>>>>>);

impl LiveStreams {
    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Vec<Arc<Live>>>> {
        self.0.lock()
    }

    pub(crate) fn add(&self, live: Live) {
        let mut streams = self.lock();
        streams.entry(live.session.clone()).or_default().push(Arc::new(live));
    }

    /// Takes one out and returns it.
    pub(crate) fn remove(&self, session: &SessionId, connection: &str) -> Option<Arc<Live>> {
        let mut streams = self.lock();
        let of_session = streams.get_mut(session)?;
        let position = of_session.iter().position(|live| live.id() == connection)?;
        let live = of_session.swap_remove(position);
        if of_session.is_empty() {
            streams.remove(session);
        }
        Some(live)
    }

    pub(crate) fn get(&self, session: &SessionId, connection: &str) -> Option<Arc<Live>> {
        let streams = self.lock();
        streams
            .get(session)?
            .iter()
            .find(|live| live.id() == connection)
            .cloned()
    }

    /// The stream of this name, whichever session it belongs to.
    pub(crate) fn find(&self, connection: &str) -> Option<Arc<Live>> {
        if connection.is_empty() {
            return None;
        }
        self.lock()
            .values()
            .flatten()
            .find(|live| live.id() == connection)
            .cloned()
    }

    /// A stream that this token has opened.
    pub(crate) fn of_token(&self, token: &TokenHash) -> Option<Arc<Live>> {
        let is_it = |live: &&Arc<Live>| live.token.as_ref().is_some_and(|of_live| of_live.is(token));
        self.lock().values().flatten().find(is_it).cloned()
    }

    pub(crate) fn of_session(&self, session: &SessionId) -> Vec<Arc<Live>> {
        self.lock().get(session).cloned().unwrap_or_default()
    }

    /// The sessions that have a stream here and for which `which` holds.
    pub(crate) fn sessions(&self, which: impl Fn(&SessionId) -> bool) -> Vec<SessionId> {
        self.lock().keys().filter(|id| which(id)).cloned().collect()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Live>> {
        self.lock().values().flatten().cloned().collect()
    }
}
