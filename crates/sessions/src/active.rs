//! The streams of this process, as far as the end of one can come from the cluster.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use novasphere_core::console_session::{
    access::{ConsoleRight, console_right},
    connection::NewConnection,
    target::Console,
};
use novasphere_crd::{ConsoleProtocol, ConsoleSession, SessionTargetKind};
use novasphere_dataplane::{audit::AuditRecord, registry::SessionId};
use novasphere_runtime::{access::UserInfo, optimistic::ObjectKey};
use novasphere_wire::{close::EndReason, token::TokenHash};
use parking_lot::{Mutex, MutexGuard};

/// A stream that has a place in its session; whether its handshakes are over does not matter.
#[derive(Clone, Debug)]
pub(crate) struct ActiveStream {
    pub(crate) session: SessionId,
    /// What the session's status says of it.
    pub(crate) connection: NewConnection,
    pub(crate) user: UserInfo,
    pub(crate) kind: SessionTargetKind,
    pub(crate) target: String,
    pub(crate) target_uid: String,
    /// The token that opened it; none when kube-apiserver knows the user.
    pub(crate) token: Option<TokenHash>,
    /// The place that its viewer can come back to.
    pub(crate) place: Option<String>,
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
    pub(crate) run: Option<InstanceRef>,
}

/// One run of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InstanceRef {
    pub(crate) uid: String,
    pub(crate) node: Option<String>,
}

impl ActiveStream {
    pub(crate) fn id(&self) -> &str {
        &self.connection.id
    }

    /// The target, when it is a workspace.
    pub(crate) fn workspace(&self) -> ObjectKey {
        ObjectKey {
            namespace: self.session.namespace.clone(),
            name: self.target.clone(),
            uid: self.target_uid.clone(),
        }
    }

    /// Whom and what a decision about the stream is about, for the audit log.
    pub(crate) fn audit_record(&self) -> AuditRecord<'_> {
        AuditRecord {
            session: Some(self.session.to_string()),
            session_uid: Some(&self.session.uid),
            target: Some(format!("{}/{}", self.kind.as_str(), self.target)),
            user: Some(&self.user.name),
            client: self.connection.client_address.parse().ok(),
            ..AuditRecord::default()
        }
    }

    /// Why the stream is over, when its session, which looks like this, does not have it any more. `None` when somebody took this process
    /// for dead.
    pub(crate) fn superseded(&self, session: &ConsoleSession) -> Option<EndReason> {
        let status = session.status.as_ref()?;
        let place = self.place.as_ref();
        let place = place.and_then(|id| status.resumes.iter().find(|place| place.id == *id));
        if place.is_some_and(|place| place.connection != self.id()) {
            return Some(EndReason::Moved);
        }
        let last = status.last_disconnect.as_ref()?;
        // Times in a status are whole seconds.
        let is_since = last.at.0.as_second() >= self.opened_at.as_second();
        let is_last = |why: &EndReason| is_since && last.reason == why.reason();
        let lost_place = self.place.is_some() && place.is_none();
        let reused = Some(EndReason::CredentialReused).filter(|why| lost_place && is_last(why));
        reused.or_else(|| Some(EndReason::Replaced).filter(is_last))
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
///
/// The registry of the data plane has the streams that carry bytes; here is also what waits for its handshake, with what the cluster can take
/// away from it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ActiveStreams(Arc<Mutex<StreamIndex>>);

#[derive(Debug, Default)]
struct StreamIndex {
    /// By connection.
    streams: HashMap<String, Arc<ActiveStream>>,
    of_sessions: HashMap<SessionId, Vec<Arc<ActiveStream>>>,
    /// By the hash of the token that opened each, in hexadecimal.
    of_tokens: HashMap<String, Vec<Arc<ActiveStream>>>,
}

impl StreamIndex {
    fn add(&mut self, stream: &Arc<ActiveStream>) {
        self.streams.insert(stream.id().to_owned(), Arc::clone(stream));
        let of_session = self.of_sessions.entry(stream.session.clone()).or_default();
        of_session.push(Arc::clone(stream));
        if let Some(token) = &stream.token {
            let of_token = self.of_tokens.entry(token.to_hex()).or_default();
            of_token.push(Arc::clone(stream));
        }
    }

    fn remove(&mut self, session: &SessionId, connection: &str) -> Option<Arc<ActiveStream>> {
        let found = self.streams.get(connection);
        found.filter(|stream| stream.session == *session)?;
        let stream = self.streams.remove(connection)?;
        take_out(&mut self.of_sessions, session, connection);
        if let Some(token) = &stream.token {
            take_out(&mut self.of_tokens, &token.to_hex(), connection);
        }
        Some(stream)
    }
}

fn take_out<K: Eq + Hash>(index: &mut HashMap<K, Vec<Arc<ActiveStream>>>, key: &K, connection: &str) {
    if let Some(streams) = index.get_mut(key) {
        streams.retain(|stream| stream.id() != connection);
        if streams.is_empty() {
            index.remove(key);
        }
    }
}

impl ActiveStreams {
    fn lock(&self) -> MutexGuard<'_, StreamIndex> {
        self.0.lock()
    }

    pub(crate) fn add(&self, stream: ActiveStream) {
        self.lock().add(&Arc::new(stream));
    }

    /// Takes one out and returns it.
    pub(crate) fn remove(&self, session: &SessionId, connection: &str) -> Option<Arc<ActiveStream>> {
        self.lock().remove(session, connection)
    }

    pub(crate) fn get(&self, session: &SessionId, connection: &str) -> Option<Arc<ActiveStream>> {
        self.find(connection).filter(|stream| stream.session == *session)
    }

    /// The stream of this name, in any session.
    pub(crate) fn find(&self, connection: &str) -> Option<Arc<ActiveStream>> {
        self.lock().streams.get(connection).cloned()
    }

    /// A stream that this token has opened.
    pub(crate) fn of_token(&self, token: &TokenHash) -> Option<Arc<ActiveStream>> {
        let streams = self.lock();
        streams.of_tokens.get(&token.to_hex())?.first().cloned()
    }

    pub(crate) fn of_session(&self, session: &SessionId) -> Vec<Arc<ActiveStream>> {
        self.lock().of_sessions.get(session).cloned().unwrap_or_default()
    }

    /// The sessions that have a stream here and for which `which` holds.
    pub(crate) fn sessions(&self, which: impl Fn(&SessionId) -> bool) -> Vec<SessionId> {
        self.lock().of_sessions.keys().filter(|id| which(id)).cloned().collect()
    }

    pub(crate) fn all(&self) -> Vec<Arc<ActiveStream>> {
        self.lock().streams.values().cloned().collect()
    }
}
