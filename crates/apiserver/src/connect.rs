//! `vmaccesses/console`, `vncworkspaces/console` and `consolesessions/connect`: a console over a `WebSocket` through kube-apiserver.
//!
//! Everything that can be refused is refused before the `WebSocket` opens, so that a client gets an HTTP status with a sentence.
//! What happens later (the console cannot be reached, the session ends) is told by the close code.

use std::net::IpAddr;

use http::{HeaderMap, Request, Response};
use hyper::{body::Incoming, upgrade};
use hyper_util::rt::TokioIo;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ObjectMeta, PostParams, Preconditions},
};
use novasphere_core::console_session::{
    access::{ConsoleRight, console_right},
    session::is_started,
    single_use,
};
use novasphere_crd::{
    ConsoleInput, ConsoleProtocol, ConsoleSession, ConsoleSessionSpec, SessionTargetKind, SessionTargetRef, Takeover,
    VmAccess, VncWorkspace,
};
use novasphere_dataplane::{admission::Admitted, registry::Transport};
use novasphere_runtime::namespaced::Namespaced;
use novasphere_sessions::{SessionGateway, access::User};
use novasphere_wire::{
    close::{EndReason, StreamEnd},
    front_proxy::Identity,
    websocket::opening::Handshake,
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Duration, timeout},
};

use crate::{
    access::{Access, connect_right},
    status::{ApiError, Body},
    token::read,
};

/// How long it may take from the answer until the connection is a `WebSocket`.
const UPGRADE: Duration = Duration::from_secs(10);

/// How long a target that was just made is waited for, and how often the watch cache is looked at.
const SEEN: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);

/// Characters of the target's name in the name of a session that is made for it; a name has at most 63 with what is added.
const NAME_PART: usize = 40;

/// What `vmaccesses/console` and `vncworkspaces/console` can be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsoleOptions {
    /// Which console. Default: the target's `defaultProtocol`.
    pub protocol: Option<ConsoleProtocol>,
    /// Whether keyboard and pointer reach the guest. Default: the target's.
    pub input: Option<ConsoleInput>,
    /// What happens to a present viewer. Default `Refuse`.
    pub takeover: Option<Takeover>,
}

impl ConsoleOptions {
    /// Reads a query such as `protocol=serial&takeover=Replace`.
    ///
    /// # Errors
    ///
    /// 400 for a parameter that there is not or that has another value: a misspelt `input` must not give more than was meant.
    pub fn read(query: &str) -> Result<Self, ApiError> {
        let mut options = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "protocol" => options.protocol = Some(word(name, value, "vnc, serial or ssh")?),
                "input" => options.input = Some(word(name, value, "Control or ViewOnly")?),
                "takeover" => options.takeover = Some(word(name, value, "Refuse or Replace")?),
                _ => {
                    return Err(ApiError::BadRequest(format!(
                        "there is no query parameter {name:?}; there are protocol, input and takeover"
                    )));
                }
            }
        }
        Ok(options)
    }
}

fn word<T: DeserializeOwned>(name: &str, value: &str, allowed: &str) -> Result<T, ApiError> {
    serde_json::from_value(json!(value))
        .map_err(|_| ApiError::BadRequest(format!("the query parameter {name} is {value:?}; it may be {allowed}")))
}

/// Opens consoles. Clones share all of it.
#[derive(Clone)]
pub struct Consoles {
    client: Client,
    access: Access,
    gateway: SessionGateway,
}

/// Who asks, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The user.
    pub who: &'a Identity,
    /// Where the user's client connects from, as kube-apiserver says.
    pub client: IpAddr,
}

impl Consoles {
    /// One whose streams this gateway carries. `client` makes and deletes sessions.
    #[must_use]
    pub fn new(client: Client, access: Access, gateway: SessionGateway) -> Self {
        Self {
            client,
            access,
            gateway,
        }
    }

    /// `vmaccesses/console`, `vncworkspaces/console`: makes a session for the caller, and opens its console.
    ///
    /// # Errors
    ///
    /// [`ApiError`] when the caller may not, or the console is not to be had.
    pub async fn console<S>(
        &self,
        caller: Caller<'_>,
        kind: SessionTargetKind,
        namespace: &str,
        name: &str,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, ApiError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let options = ConsoleOptions::read(request.uri().query().unwrap_or_default())?;
        let protocol = options.protocol.unwrap_or(ConsoleProtocol::Vnc);
        let view = console_right(kind, protocol, namespace, name, ConsoleRight::View);
        self.access.require(caller.who, view).await?;
        let handshake = handshake(&request)?;
        let wanted = session_for(caller.who, kind, namespace, name, options);
        self.target(&wanted, namespace, name).await?;
        let session = self.make(&wanted, namespace).await?;
        match self.admit(&session, caller).await {
            Ok(admitted) => Ok(self.open::<S>(request, &handshake, admitted, caller.client)),
            Err(refusal) => {
                self.remove(&session).await;
                Err(refused(refusal, name, false))
            }
        }
    }

    /// `consolesessions/connect`: joins a session.
    ///
    /// # Errors
    ///
    /// As [`Consoles::console`].
    pub async fn connect<S>(
        &self,
        caller: Caller<'_>,
        namespace: &str,
        name: &str,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, ApiError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if let Some(query) = request.uri().query().filter(|query| !query.is_empty()) {
            return Err(ApiError::BadRequest(format!(
                "this takes no query parameters: the session's spec says what its streams may do; remove {query:?}"
            )));
        }
        self.access.require(caller.who, connect_right(namespace, name)).await?;
        let handshake = handshake(&request)?;
        let sessions: Api<ConsoleSession> = Api::namespaced(self.client.clone(), namespace);
        let session = read(&sessions, name).await?;
        let admitted = self.admit(&session, caller).await;
        let target = &session.spec.target_ref.name;
        let admitted = admitted.map_err(|refusal| refused(refusal, target, is_started(&session)))?;
        Ok(self.open::<S>(request, &handshake, admitted, caller.client))
    }

    async fn admit(&self, session: &ConsoleSession, caller: Caller<'_>) -> Result<Admitted, StreamEnd> {
        let user = User {
            name: caller.who.user.clone(),
            groups: caller.who.groups.clone(),
        };
        let admitted = self
            .gateway
            .admit_user(session, &user, caller.client, Transport::KubeApiserver);
        admitted.await
    }

    /// Answers with 101, and carries the stream in a task of its own.
    fn open<S>(
        &self,
        mut request: Request<Incoming>,
        handshake: &Handshake,
        admitted: Admitted,
        client: IpAddr,
    ) -> Response<Body>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let gateway = self.gateway.gateway().clone();
        let upgraded = upgrade::on(&mut request);
        tokio::spawn(async move {
            // A client that is gone before gives its place back by dropping the admission.
            let Ok(Ok(upgraded)) = timeout(UPGRADE, upgraded).await else {
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
        });
        handshake.response()
    }

    /// Goes on when the watch has seen the target: it may just have been made.
    async fn target(&self, wanted: &ConsoleSession, namespace: &str, name: &str) -> Result<(), ApiError> {
        let is_seen = || {
            let references = self.gateway.sessions().references(wanted);
            references.vm_access.is_some() || references.vnc_workspace.is_some()
        };
        if is_seen() {
            return Ok(());
        }
        let kind = wanted.spec.target_ref.kind;
        match kind {
            SessionTargetKind::VncWorkspace => self.is_there::<VncWorkspace>(namespace, "vncworkspaces", name).await?,
            SessionTargetKind::VmAccess | SessionTargetKind::VirtualMachine => {
                self.is_there::<VmAccess>(namespace, "vmaccesses", name).await?;
            }
        }
        let seen = async {
            while !is_seen() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let seen = timeout(SEEN, seen).await;
        let kind = kind.as_str();
        seen.map_err(|_| ApiError::Unavailable(format!("{kind} {name} is not watched here yet; try again")))
    }

    async fn is_there<K: Namespaced>(
        &self,
        namespace: &str,
        resource: &'static str,
        name: &str,
    ) -> Result<(), ApiError> {
        let targets: Api<K> = Api::namespaced(self.client.clone(), namespace);
        match targets.get_opt(name).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(ApiError::NotFound {
                group: "novasphere.io",
                resource,
                name: name.to_owned(),
            }),
            Err(error) => Err(ApiError::Unavailable(format!(
                "cannot read {} {name}: {error}",
                K::kind(&())
            ))),
        }
    }

    async fn make(&self, session: &ConsoleSession, namespace: &str) -> Result<ConsoleSession, ApiError> {
        let sessions: Api<ConsoleSession> = Api::namespaced(self.client.clone(), namespace);
        let parameters = PostParams {
            field_manager: Some("novasphere/apiserver".to_owned()),
            ..PostParams::default()
        };
        sessions
            .create(&parameters, session)
            .await
            .map_err(|error| match error {
                // The namespace is gone or going, or a policy or a quota of it says no.
                kube::Error::Api(status) if (400..500).contains(&status.code) => {
                    ApiError::Conflict(format!("no ConsoleSession can be made: {}", status.message))
                }
                error => ApiError::Unavailable(format!("no ConsoleSession can be made now: {error}")),
            })
    }

    /// Takes back a session that nobody has entered.
    async fn remove(&self, session: &ConsoleSession) {
        let namespace = session.namespace().unwrap_or_default();
        let sessions: Api<ConsoleSession> = Api::namespaced(self.client.clone(), &namespace);
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: session.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        if let Err(error) = sessions.delete(&session.name_any(), &parameters).await {
            // The controller closes it, and removes it later.
            tracing::info!(
                session = session.name_any(),
                "a session that nobody entered is left: {error}"
            );
        }
    }
}

fn session_for(
    who: &Identity,
    kind: SessionTargetKind,
    namespace: &str,
    name: &str,
    options: ConsoleOptions,
) -> ConsoleSession {
    let part: String = name.chars().take(NAME_PART).collect();
    let metadata = ObjectMeta {
        generate_name: Some(format!("{}-", part.trim_end_matches(['-', '.']))),
        namespace: Some(namespace.to_owned()),
        labels: Some(
            [(
                single_use::KEY_MADE_FOR.to_owned(),
                single_use::MADE_FOR_CONSOLE.to_owned(),
            )]
            .into(),
        ),
        ..ObjectMeta::default()
    };
    let spec = ConsoleSessionSpec {
        target_ref: SessionTargetRef {
            kind,
            name: name.to_owned(),
        },
        protocol: options.protocol,
        input: options.input,
        takeover: options.takeover,
        max_viewers: Some(1),
        users: vec![who.user.clone()],
        ..ConsoleSessionSpec::default()
    };
    ConsoleSession {
        metadata,
        spec,
        status: None,
    }
}

fn handshake(request: &Request<Incoming>) -> Result<Handshake, ApiError> {
    Handshake::read(request).map_err(|error| ApiError::BadRequest(error.to_string()))
}

/// Where the user's client connects from: kube-apiserver appends its own peer to `X-Forwarded-For`, and what stands before is
/// the client's word.
#[must_use]
pub fn client_address(headers: &HeaderMap, peer: IpAddr) -> IpAddr {
    let last = headers.get_all("x-forwarded-for").iter().next_back();
    let last = last.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse::<IpAddr>().ok());
    last.unwrap_or(peer).to_canonical()
}

/// What a refusal means over HTTP. The user is known and may look, so he may know why. The policy of a target can have changed
/// only for a session that `was_ready`.
fn refused(refusal: StreamEnd, target: &str, was_ready: bool) -> ApiError {
    let detail = refusal.detail().to_owned();
    let why = refusal.reason;
    let sentence = format!("{} ({target}: {detail})", why.sentence());
    match why {
        // It names the verb and the resource that are missing.
        EndReason::AccessWithdrawn | EndReason::InputNotAllowed => ApiError::Forbidden(detail),
        EndReason::AddressNotAllowed | EndReason::TransportNotAllowed => ApiError::Forbidden(sentence),
        EndReason::Unavailable | EndReason::Restarting | EndReason::TargetUnreachable => {
            ApiError::Unavailable(sentence)
        }
        EndReason::Internal => ApiError::Internal(detail),
        EndReason::TooManyWaiting => ApiError::TooManyRequests(sentence),
        // It says to ask for a token, of which there is none here.
        EndReason::TokenRefused => ApiError::Conflict(format!("the session cannot be joined: {detail}")),
        // Nobody has asked the machine yet: the target has no such console, or no place for another session.
        EndReason::TargetRefused => ApiError::Conflict(detail),
        EndReason::PolicyChanged if !was_ready => ApiError::Conflict(detail),
        _ => ApiError::Conflict(sentence),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn options_are_read_strictly() {
        assert_eq!(ConsoleOptions::read("").unwrap(), ConsoleOptions::default());
        let options = ConsoleOptions::read("protocol=serial&input=ViewOnly&takeover=Replace&").unwrap();
        assert_eq!(options.protocol, Some(ConsoleProtocol::Serial));
        assert_eq!(options.input, Some(ConsoleInput::ViewOnly));
        assert_eq!(options.takeover, Some(Takeover::Replace));
        for query in [
            "input=viewonly",
            "inputs=ViewOnly",
            "protocol=",
            "protocol",
            "takeover=Share",
        ] {
            let error = ConsoleOptions::read(query).unwrap_err();
            assert_eq!(error.code(), 400, "{query}");
        }
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

    #[test]
    fn a_session_is_made_for_the_caller_alone() {
        let who = Identity {
            user: "jane".into(),
            ..Identity::default()
        };
        let long = format!("{}-web", "a".repeat(NAME_PART - 1));
        let session = session_for(
            &who,
            SessionTargetKind::VncWorkspace,
            "team",
            &long,
            ConsoleOptions::default(),
        );
        assert_eq!(session.spec.target_ref.kind, SessionTargetKind::VncWorkspace);
        assert_eq!(session.spec.users, ["jane"]);
        assert!(single_use::is_single_use(&session));
        let prefix = session.metadata.generate_name.unwrap();
        assert_eq!(prefix, format!("{}-", "a".repeat(NAME_PART - 1)));
    }

    #[test]
    fn refusals_have_the_code_of_their_kind() {
        let code = |why| {
            let refusal = StreamEnd {
                reason: why,
                detail: Some("x".into()),
            };
            refused(refusal, "web", true).code().as_u16()
        };
        assert_eq!(code(EndReason::AccessWithdrawn), 403);
        assert_eq!(code(EndReason::InputNotAllowed), 403);
        assert_eq!(code(EndReason::AddressNotAllowed), 403);
        assert_eq!(code(EndReason::InUse), 409);
        assert_eq!(code(EndReason::TargetNotRunning), 409);
        assert_eq!(code(EndReason::TargetFailed), 409);
        assert_eq!(code(EndReason::TooManyWaiting), 429);
        assert_eq!(code(EndReason::TokenRefused), 409);
        assert_eq!(code(EndReason::Unavailable), 503);
        assert_eq!(code(EndReason::Internal), 500);
    }

    #[test]
    fn what_is_said_is_true_of_a_console_that_never_opened() {
        let said = |why, was_ready| {
            let refusal = StreamEnd {
                reason: why,
                detail: Some("spec.input: ask for less".into()),
            };
            let error = refused(refusal, "web", was_ready);
            (error.code().as_u16(), error.to_string())
        };
        let plain = (409, "spec.input: ask for less".to_owned());
        assert_eq!(said(EndReason::PolicyChanged, false), plain);
        assert_eq!(said(EndReason::TargetRefused, false), plain);
        assert_eq!(said(EndReason::TargetRefused, true), plain);
        assert_eq!(said(EndReason::InputNotAllowed, false), (403, plain.1));
        let (code, changed) = said(EndReason::PolicyChanged, true);
        assert!(
            code == 409 && changed.contains(EndReason::PolicyChanged.sentence()),
            "{changed}"
        );
    }
}
