//! `vmaccesses/console`, `vncworkspaces/console` and `consolesessions/connect`: a console over a `WebSocket` through kube-apiserver.
//!
//! Everything that can be refused is refused before the `WebSocket` opens, so that a client gets an HTTP status with a sentence.
//! What happens later (the console cannot be reached, the session ends) has a close code.

mod made_session;
mod options;
mod refusal;

use std::net::IpAddr;

use http::{HeaderMap, Request, Response};
use hyper::{body::Incoming, upgrade};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use kube::{Api, Client, ResourceExt};
use novasphere_core::console_session::{
    access::{ConsoleRight, console_right, token_right},
    session::is_started,
    single_use::{SESSIONS_PER_USER_LIMIT, is_made_for},
};
use novasphere_crd::{ConsoleInput, ConsoleProtocol, ConsoleSession, SessionTargetKind, VmAccess, VncWorkspace};
use novasphere_dataplane::{
    admission::Admitted,
    audit::{AuditEvent, AuditRecord},
    registry::Transport,
};
use novasphere_runtime::{
    access::UserInfo,
    apply::{ApiReason, Applier, WriteError},
    namespaced::Namespaced,
    serve::status::{ResponseBody, StatusError},
    shares::Shares,
};
use novasphere_sessions::{SessionGateway, admit::too_many_of_user};
use novasphere_wire::{close::StreamEnd, websocket::opening::Handshake};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Duration, timeout},
};
use tracing::Instrument;

pub use self::options::ConsoleOptions;
use self::{made_session::session_for, refusal::refused};
use crate::{
    FIELD_MANAGER, REVIEW_MAX_AGE,
    token::{ready, waiting_places},
};

/// The time from the answer until the connection is a `WebSocket`.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// The time that the watch may take to see a target that was just created.
const TARGET_SYNC_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens consoles. Clones share all of it.
#[derive(Clone)]
pub struct ConsoleHandler {
    client: Client,
    applier: Applier,
    gateway: SessionGateway,
    waiting: Shares,
}

/// Who asks, and from where.
#[derive(Clone, Copy, Debug)]
pub struct ApiCaller<'a> {
    /// The user.
    pub user: &'a UserInfo,
    /// Where the user's client connects from, as kube-apiserver says.
    pub client: IpAddr,
}

impl ConsoleHandler {
    /// A handler whose streams this gateway carries.
    #[must_use]
    pub fn new(gateway: SessionGateway) -> Self {
        Self {
            client: gateway.client().clone(),
            applier: gateway.applier().with_field_manager(FIELD_MANAGER),
            gateway,
            waiting: waiting_places(),
        }
    }

    /// Refuses a user without this right, in the audit log too.
    async fn require(&self, caller: ApiCaller<'_>, right: &ResourceAttributes) -> Result<(), StatusError> {
        let has = self.has(caller, right).await;
        if let Err(error @ StatusError::Forbidden(detail)) = &has {
            let part = |part: &Option<String>| part.clone().unwrap_or_default();
            self.gateway.audit().record(
                AuditEvent::Refused,
                &AuditRecord {
                    target: Some(format!(
                        "{}/{}/{}",
                        part(&right.resource),
                        part(&right.namespace),
                        part(&right.name)
                    )),
                    user: Some(&caller.user.name),
                    client: Some(caller.client),
                    transport: Some(Transport::KubeApiserver),
                    reason: Some(error.reason()),
                    detail: Some(detail),
                    ..AuditRecord::default()
                },
            );
        }
        has
    }

    async fn has(&self, caller: ApiCaller<'_>, right: &ResourceAttributes) -> Result<(), StatusError> {
        let reviewer = self.gateway.access();
        Ok(reviewer.require(caller.user, right, REVIEW_MAX_AGE).await?)
    }

    /// `vmaccesses/console`, `vncworkspaces/console`: creates a session for the caller, and opens its console.
    ///
    /// # Errors
    ///
    /// [`StatusError`] when the caller may not, or there is no such console now.
    pub async fn console<S>(
        &self,
        caller: ApiCaller<'_>,
        kind: SessionTargetKind,
        namespace: &str,
        name: &str,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, StatusError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let options = ConsoleOptions::read(request.uri().query().unwrap_or_default())?;
        let protocol = options.protocol.unwrap_or(ConsoleProtocol::Vnc);
        let view = console_right(kind, protocol, namespace, name, ConsoleRight::View);
        self.require(caller, &view).await?;
        let handshake = handshake(&request)?;
        let options = self.narrowed(caller, kind, namespace, name, options).await?;
        let wanted = session_for(caller.user, kind, namespace, name, options);
        self.target(&wanted, namespace, name).await?;
        self.within_limit(caller.user, &wanted, namespace)?;
        let session = self.create(&wanted).await?;
        match self.admit(&session, caller).await {
            Ok(admitted) => Ok(self.open::<S>(request, &handshake, admitted, caller.client)),
            Err(refusal) => {
                self.remove(&session).await;
                Err(refused(&refusal, name, false))
            }
        }
    }

    /// `consolesessions/connect`: joins a session.
    ///
    /// # Errors
    ///
    /// As [`ConsoleHandler::console`].
    pub async fn connect<S>(
        &self,
        caller: ApiCaller<'_>,
        namespace: &str,
        name: &str,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, StatusError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if let Some(query) = request.uri().query().filter(|query| !query.is_empty()) {
            return Err(StatusError::BadRequest(format!(
                "this takes no query parameters: the session's spec says what its streams may do; remove {query:?}"
            )));
        }
        self.require(caller, &connect_right(namespace, name)).await?;
        let handshake = handshake(&request)?;
        let sessions: Api<ConsoleSession> = Api::namespaced(self.client.clone(), namespace);
        let session = ready(&sessions, name, &caller.user.name, &self.waiting).await?;
        let admitted = self.admit(&session, caller).await;
        let target = &session.spec.target_ref.name;
        let admitted = admitted.map_err(|refusal| refused(&refusal, target, is_started(&session)))?;
        Ok(self.open::<S>(request, &handshake, admitted, caller.client))
    }

    async fn admit(&self, session: &ConsoleSession, caller: ApiCaller<'_>) -> Result<Admitted, StreamEnd> {
        self.gateway
            .admit_user(session, caller.user, caller.client, Transport::KubeApiserver)
            .await
    }

    /// Answers with 101, and carries the stream in its own task.
    fn open<S>(
        &self,
        mut request: Request<Incoming>,
        handshake: &Handshake,
        admitted: Admitted,
        client: IpAddr,
    ) -> Response<ResponseBody>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let gateway = self.gateway.gateway().clone();
        let upgraded = upgrade::on(&mut request);
        let carried = async move {
            // A client that is gone before gives its place back by dropping the admission.
            let Ok(Ok(upgraded)) = timeout(UPGRADE_TIMEOUT, upgraded).await else {
                return;
            };
            // It is always S: that is what the connection was made of.
            let Ok(parts) = upgraded.downcast::<TokioIo<S>>() else {
                return;
            };
            let io = parts.io.into_inner();
            gateway
                .serve_admitted(io, parts.read_buf, admitted, client, Transport::KubeApiserver)
                .await;
        };
        // The request's trace goes on in its stream.
        tokio::spawn(carried.in_current_span());
        handshake.response()
    }

    /// What a user gets who may view the console and not control it: a session that says so, and so holds no place before one with
    /// control. SSH cannot be view-only, so its session is refused as it is.
    async fn narrowed(
        &self,
        caller: ApiCaller<'_>,
        kind: SessionTargetKind,
        namespace: &str,
        name: &str,
        options: ConsoleOptions,
    ) -> Result<ConsoleOptions, StatusError> {
        let protocol = options.protocol.unwrap_or_default();
        if options.input == Some(ConsoleInput::ViewOnly) || protocol == ConsoleProtocol::Ssh {
            return Ok(options);
        }
        let control = console_right(kind, protocol, namespace, name, ConsoleRight::Control);
        match self.has(caller, &control).await {
            Ok(()) => Ok(options),
            Err(StatusError::Forbidden(_)) => Ok(ConsoleOptions {
                input: Some(ConsoleInput::ViewOnly),
                ..options
            }),
            Err(error) => Err(error),
        }
    }

    /// Refuses a user who has as many sessions for connections to the target as they may have, those that are over and not deleted yet
    /// included: each is an object that every process caches. Other replicas may make some at the same moment, so they are counted again
    /// before the console opens.
    fn within_limit(&self, user: &UserInfo, wanted: &ConsoleSession, namespace: &str) -> Result<(), StatusError> {
        let target = &wanted.spec.target_ref;
        let sessions = self
            .gateway
            .sessions()
            .sessions_of(namespace, target.kind, &target.name);
        let own = sessions
            .iter()
            .filter(|session| is_made_for(session, &user.name))
            .count();
        if own < SESSIONS_PER_USER_LIMIT {
            return Ok(());
        }
        Err(StatusError::TooManyRequests(too_many_of_user(wanted, &user.name, own)))
    }

    /// Returns when the watch has seen the target, which may just have been created.
    async fn target(&self, wanted: &ConsoleSession, namespace: &str, name: &str) -> Result<(), StatusError> {
        let sessions = self.gateway.sessions();
        let is_seen = || {
            let references = sessions.references(wanted);
            references.vm_access.is_some() || references.vnc_workspace.is_some()
        };
        // Before the first look, so that no change is missed.
        let mut changes = sessions.target_changes();
        if is_seen() {
            return Ok(());
        }
        let kind = wanted.spec.target_ref.kind;
        match kind {
            SessionTargetKind::VncWorkspace => {
                self.ensure_exists::<VncWorkspace>(namespace, "vncworkspaces", name)
                    .await?;
            }
            SessionTargetKind::VmAccess
            | SessionTargetKind::VirtualMachine
            | SessionTargetKind::VirtualMachineInstance => {
                self.ensure_exists::<VmAccess>(namespace, "vmaccesses", name).await?;
            }
        }
        // The channel closes with the process.
        let seen = timeout(TARGET_SYNC_TIMEOUT, changes.wait_for(|_| is_seen())).await;
        let kind = kind.as_str();
        match seen {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(StatusError::Unavailable(format!(
                "{kind} {name} is not watched here yet; try again"
            ))),
        }
    }

    async fn ensure_exists<K: Namespaced>(
        &self,
        namespace: &str,
        resource: &'static str,
        name: &str,
    ) -> Result<(), StatusError> {
        let targets: Api<K> = Api::namespaced(self.client.clone(), namespace);
        match targets.get_opt(name).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(StatusError::NotFound {
                group: "novasphere.io",
                resource,
                name: name.to_owned(),
            }),
            Err(error) => Err(StatusError::Unavailable(format!(
                "cannot read {} {name}: {error}",
                K::kind(&())
            ))),
        }
    }

    async fn create(&self, session: &ConsoleSession) -> Result<ConsoleSession, StatusError> {
        self.applier.create_unowned(session).await.map_err(|error| match error {
            WriteError::Api {
                reason: ApiReason::Timeout | ApiReason::Unavailable,
                message,
                ..
            } => StatusError::Unavailable(format!("no ConsoleSession can be created now: {message}")),
            // The namespace is gone or going, or a policy or a quota of it says no.
            WriteError::Api { message, .. } => {
                StatusError::Conflict(format!("no ConsoleSession can be created: {message}"))
            }
            error => StatusError::Unavailable(format!("no ConsoleSession can be created now: {error}")),
        })
    }

    /// Takes back a session that nobody has entered.
    async fn remove(&self, session: &ConsoleSession) {
        if let Err(error) = self.applier.delete(session).await {
            // The controller closes it, and removes it later.
            tracing::info!(
                session = session.name_any(),
                "a session that nobody entered is left: {error}"
            );
        }
    }
}

/// The right to join a session.
fn connect_right(namespace: &str, name: &str) -> ResourceAttributes {
    ResourceAttributes {
        verb: Some("get".to_owned()),
        subresource: Some("connect".to_owned()),
        ..token_right(namespace, name)
    }
}

fn handshake(request: &Request<Incoming>) -> Result<Handshake, StatusError> {
    Handshake::read(request).map_err(|error| StatusError::BadRequest(error.to_string()))
}

/// Where the user's client connects from: kube-apiserver appends its own peer to `X-Forwarded-For`, and what stands before is
/// the client's word.
#[must_use]
pub fn client_address(headers: &HeaderMap, peer: IpAddr) -> IpAddr {
    let last = headers.get_all("x-forwarded-for").iter().next_back();
    let last = last.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse::<IpAddr>().ok());
    last.unwrap_or(peer).to_canonical()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn joining_a_session_is_a_right_of_its_own() {
        let right = connect_right("team", "web");
        let parts = [
            &right.verb,
            &right.resource,
            &right.subresource,
            &right.namespace,
            &right.name,
        ];
        assert_eq!(
            parts.map(|part| part.as_deref().unwrap()),
            ["get", "consolesessions", "connect", "team", "web"]
        );
    }

    #[test]
    fn the_last_forwarded_address_is_kube_apiservers() {
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        let address = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-forwarded-for", HeaderValue::from_static(value));
            }
            client_address(&headers, peer).to_string()
        };
        assert_eq!(address(&[]), "10.0.0.1");
        assert_eq!(address(&["203.0.113.9, 198.51.100.7"]), "198.51.100.7");
        assert_eq!(address(&["203.0.113.9", "::ffff:198.51.100.8"]), "198.51.100.8");
        assert_eq!(address(&["nonsense"]), "10.0.0.1");
    }
}
