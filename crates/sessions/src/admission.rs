//! Who may enter a session: the token or the user, the session, its target, the user's rights, and one optimistic write that
//! claims the place.

use std::{net::IpAddr, sync::Arc, time::Duration};

use jiff::Timestamp;
use novasphere_core::console_session::{
    access::{ConsoleRight, console_right},
    close::close_reason,
    connection::NewConnection,
    desktop,
    endpoints::Endpoints,
    grant::{self, IssueError, NewGrant},
    policy::SessionPolicy,
    references::{References, machine_name},
    session::is_started,
    single_use::is_single_use,
    status::{Observed, status},
    validate::{ValidatedSession, validate},
};
use novasphere_crd::{CloseReason, ConsoleInput, ConsoleProtocol, ConsoleSession, ConsoleSessionStatus, Takeover};
use novasphere_dataplane::{
    admission::{Admission, AdmissionRequest, Admitted, ConnectionSlot, TokenSubject},
    registry::{Protocol, Registry, SessionId, StreamInfo, Transport},
};
use novasphere_runtime::access::{AccessReviewer, FRESH_TTL, UserInfo, missing_right};
use novasphere_wire::{
    close::{EndReason, StreamEnd},
    rules::Rules,
    token::TokenHash,
};
use tokio::time::Instant;

use super::{
    claim::{
        Caller, Way, check_way, claimed, close_of_error, refuse, rules, subject_of, target_name, unknown, user_of,
    },
    desktops::stopped,
    enforcer::close_of,
    grant::Granting,
    live::{Live, LiveStreams},
    report::{Report, id_of},
    sessions::Sessions,
    status::{Decide, Decision, StatusWriter, WriteError},
    target_view::TargetView,
    upstream::{Consoles, Found, run_of},
};

/// Lets viewers into sessions. Clones are the same.
#[derive(Clone)]
pub struct SessionAdmission(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) holder: String,
    pub(crate) endpoints: Endpoints,
    pub(crate) sessions: Sessions,
    pub(crate) writer: StatusWriter,
    pub(crate) access: AccessReviewer,
    pub(crate) consoles: Consoles,
    pub(crate) live: LiveStreams,
    pub(crate) registry: Registry,
    pub(crate) report: Report,
}

/// A viewer who was weighed and may enter, once the claim is written.
struct Ticket {
    live: Live,
    rules: Rules,
    policy: SessionPolicy,
    found: Found,
    /// Connections of other viewers that make room.
    replaced: Vec<String>,
}

/// A claim under way.
struct Claiming<'a> {
    admission: &'a SessionAdmission,
    caller: Caller,
    ticket: Option<Ticket>,
}

impl Decide for Claiming<'_> {
    type Refusal = StreamEnd;

    async fn decide(&mut self, session: &ConsoleSession) -> Result<Decision, StreamEnd> {
        let now = Timestamp::now();
        let (ticket, status) = self.admission.weigh(session, &self.caller, now).await?;
        self.ticket = Some(ticket);
        Ok(Decision::Write(Box::new(status)))
    }
}

impl SessionAdmission {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Lets a user in whom kube-apiserver has authenticated. A session that was made for this one connection is started with
    /// the same write.
    pub(crate) async fn admit_user(
        &self,
        session: &ConsoleSession,
        user: &UserInfo,
        client: IpAddr,
        transport: Transport,
    ) -> Result<Admitted, StreamEnd> {
        let id = id_of(session);
        if self.0.sessions.of(&id).is_none() {
            self.0.sessions.written(session.clone());
        }
        self.enter(id, Way::User(user.clone()), client, transport).await
    }

    /// Adds a grant. `session` was just read, and may be newer than the watch cache.
    pub(crate) async fn grant(
        &self,
        session: &ConsoleSession,
        grant: &NewGrant,
    ) -> Result<Arc<ConsoleSession>, WriteError<IssueError>> {
        self.0.sessions.written(session.clone());
        self.0.writer.update(&id_of(session), &mut Granting(grant)).await
    }

    /// In a task of its own: a claim that was sent must be given back when the viewer has left meanwhile.
    async fn enter(
        &self,
        id: SessionId,
        way: Way,
        client: IpAddr,
        transport: Transport,
    ) -> Result<Admitted, StreamEnd> {
        let caller = Caller {
            way,
            client,
            transport,
            connection: format!("{:032x}", rand::random::<u128>()),
        };
        let this = self.clone();
        let entering = tokio::spawn(async move { this.claim(&id, caller).await });
        entering
            .await
            .unwrap_or_else(|_| Err(refuse(EndReason::Internal, "the admission failed")))
    }

    async fn claim(&self, id: &SessionId, caller: Caller) -> Result<Admitted, StreamEnd> {
        let mut claiming = Claiming {
            admission: self,
            caller,
            ticket: None,
        };
        let written = self.0.writer.update(id, &mut claiming).await;
        let ticket = claiming.ticket;
        let written = written.map_err(|error| match error {
            WriteError::Refused(refusal) => refusal,
            WriteError::Gone => unknown("the session is gone"),
            WriteError::Contended | WriteError::Api(_) | WriteError::Timeout => {
                refuse(EndReason::Unavailable, "the claim of the token's use cannot be written")
            }
        });
        match (written, ticket) {
            (Ok(session), Some(ticket)) => Ok(self.admitted(id, &session, ticket)),
            (Ok(_), None) => Err(refuse(EndReason::Internal, "a claim without a ticket")),
            (Err(refusal), _) => Err(refusal),
        }
    }

    /// Whether the viewer may enter a session that looks like this, and its status once he has.
    async fn weigh(
        &self,
        session: &ConsoleSession,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<(Ticket, ConsoleSessionStatus), StreamEnd> {
        let user = user_of(session, &caller.way, now)?;
        let name = user.name.clone();
        let weighed = self.weigh_user(session, caller, user, now).await;
        weighed.inspect_err(|refusal| {
            if !matches!(refusal.reason, EndReason::TokenRefused | EndReason::Unavailable) {
                self.0.report.turned_away(&id_of(session), &name, refusal.reason);
            }
        })
    }

    async fn weigh_user(
        &self,
        session: &ConsoleSession,
        caller: &Caller,
        user: UserInfo,
        now: Timestamp,
    ) -> Result<(Ticket, ConsoleSessionStatus), StreamEnd> {
        let references = self.0.sessions.references(session);
        let (valid, before) = self.open(session, &references, &caller.way, now)?;
        let policy = &valid.policy;
        check_way(policy, caller)?;
        if !valid.target.state.admits_viewers() {
            return Err(match &references.vnc_workspace {
                Some(workspace) => stopped(workspace),
                None => refuse(EndReason::TargetNotRunning, "the machine does not run"),
            });
        }
        let namespace = &id_of(session).namespace;
        let has_control = self.rights(&valid, &user, namespace).await?;
        if policy.protocol == ConsoleProtocol::Ssh && !has_control {
            let control = console_right(
                valid.target.kind,
                policy.protocol,
                namespace,
                &valid.target.name,
                ConsoleRight::Control,
            );
            return Err(refuse(EndReason::InputNotAllowed, missing_right(&user.name, &control)));
        }
        let replaced = self.room(&valid)?;
        let found = self.0.consoles.find(&valid.target).await?;
        let connection = self.connection(caller, &user);
        let after = claimed(&before, caller, &connection, policy, &replaced, now)?;
        let expires = after.expires_at.as_ref().map_or(now, |expires| expires.0);
        let ticket = Ticket {
            live: Live {
                session: id_of(session),
                connection,
                user,
                kind: valid.target.kind,
                target: valid.target.name.clone(),
                target_uid: valid.target.uid.clone(),
                token: match &caller.way {
                    Way::Token(token) => Some(*token),
                    Way::User(_) => None,
                },
                console: valid.target.console.clone(),
                machine: machine_name(session, references.vm_access.as_deref()),
                protocol: policy.protocol,
                has_control,
                opened_at: now,
                expires,
                run: references.virtual_machine_instance.as_deref().and_then(run_of),
            },
            rules: rules(policy, has_control),
            policy: valid.policy,
            found,
            replaced,
        };
        Ok((ticket, after))
    }

    /// Whether the session may be entered by anybody now.
    fn open(
        &self,
        session: &ConsoleSession,
        references: &References,
        way: &Way,
        now: Timestamp,
    ) -> Result<(ValidatedSession, ConsoleSessionStatus), StreamEnd> {
        let is_to_be_started = matches!(way, Way::User(_)) && is_single_use(session) && !is_started(session);
        if let Some(reason) = close_reason(session, references, now).filter(|_| !is_to_be_started) {
            return Err(match (reason, way) {
                (CloseReason::Expired, Way::Token(_)) => unknown("the session's time is over"),
                _ => refuse(close_of(reason), "the session is over"),
            });
        }
        let validated = validate(session, references);
        let status = if is_to_be_started {
            status(&Observed {
                session,
                validated: validated.as_ref(),
                references,
                endpoints: &self.0.endpoints,
                dead_gateways: &std::collections::HashSet::new(),
                now,
            })
            .status
        } else {
            session.status.clone().unwrap_or_default()
        };
        let valid = validated.map_err(|error| refuse(close_of_error(&error), error.to_string()))?;
        Ok((valid, status))
    }

    /// Whether the user may drive, when he may look.
    async fn rights(&self, valid: &ValidatedSession, user: &UserInfo, namespace: &str) -> Result<bool, StreamEnd> {
        let target = &valid.target;
        let right = |right| console_right(target.kind, valid.policy.protocol, namespace, &target.name, right);
        let allows = async |attributes| {
            let allowed = self.0.access.allows(user, attributes, FRESH_TTL).await;
            allowed.map_err(|error| refuse(EndReason::Unavailable, error.to_string()))
        };
        let view = right(ConsoleRight::View);
        if !allows(&view).await? {
            return Err(refuse(EndReason::AccessWithdrawn, missing_right(&user.name, &view)));
        }
        if valid.policy.input == ConsoleInput::ViewOnly {
            return Ok(false);
        }
        allows(&right(ConsoleRight::Control)).await
    }

    /// The viewers who have to go first: KubeVirt carries one stream of each kind per machine, and does not say no to a
    /// second one of the serial kind.
    fn room(&self, valid: &ValidatedSession) -> Result<Vec<String>, StreamEnd> {
        let others = self.0.sessions.streams_of(&valid.target.console, valid.policy.protocol);
        match (others.first(), valid.policy.takeover) {
            (Some(other), Takeover::Refuse) => Err(refuse(
                EndReason::InUse,
                format!("{} is connected by the session {}", other.user, other.session),
            )),
            _ => Ok(others.into_iter().map(|stream| stream.connection).collect()),
        }
    }

    fn connection(&self, caller: &Caller, user: &UserInfo) -> NewConnection {
        NewConnection {
            id: caller.connection.clone(),
            user: user.name.clone(),
            gateway: self.0.holder.clone(),
            client_address: caller.client.to_string(),
            transport: match caller.transport {
                Transport::WebSocket => novasphere_crd::Transport::WebSocket,
                Transport::Rfb => novasphere_crd::Transport::Rfb,
                Transport::KubeApiserver => novasphere_crd::Transport::KubeApiserver,
            },
        }
    }

    fn admitted(&self, id: &SessionId, session: &ConsoleSession, ticket: Ticket) -> Admitted {
        let Ticket {
            live,
            rules,
            policy,
            found,
            replaced,
        } = ticket;
        for connection in replaced {
            let is_it = |stream: &novasphere_dataplane::registry::Stream| stream.info.connection == connection;
            self.0.registry.end_where(is_it, EndReason::Replaced);
        }
        let target = self.0.consoles.target(found, &live, policy.takeover);
        let (report, session_id) = (self.0.report.clone(), id.clone());
        let slot = ConnectionSlot::new(live.id(), move |connection| {
            // A stream that was open has told its end already.
            report.over(&session_id, connection, EndReason::HandshakeTimeout);
        });
        let left = live.expires.duration_since(Timestamp::now());
        let admitted = Admitted {
            session: id.clone(),
            user: live.user.name.clone(),
            target_name: target_name(session),
            protocol: match live.protocol {
                ConsoleProtocol::Vnc => Protocol::Vnc,
                ConsoleProtocol::Serial => Protocol::Serial,
                ConsoleProtocol::Ssh => Protocol::Ssh,
            },
            rules,
            target,
            expires: Instant::now() + Duration::try_from(left).unwrap_or_default(),
            idle_timeout: policy.idle_timeout,
            slot,
        };
        self.0.live.add(live);
        admitted
    }
}

/// The target as its viewers may know it.
fn view(valid: &ValidatedSession, references: &References) -> TargetView {
    let target = &valid.target;
    let workspace = references.vnc_workspace.as_deref();
    let sleeps = workspace.and_then(desktop::next_hibernation);
    TargetView {
        kind: target.kind.as_str(),
        name: target.name.clone(),
        state: target.state,
        message: workspace.map(desktop::message).unwrap_or_default(),
        sleeps_at: sleeps.map(|(at, _)| at),
        sleeps_because: sleeps.map(|(_, reason)| reason),
        input: valid.policy.input,
    }
}

impl Admission for SessionAdmission {
    type TargetView = TargetView;

    async fn admit(&self, request: &AdmissionRequest) -> Result<Admitted, StreamEnd> {
        let session = self.0.sessions.of_token(&request.token).await;
        let id = id_of(&*session.ok_or_else(|| unknown("no session has given out this token"))?);
        if request.session.as_ref().is_some_and(|named| *named != id.to_string()) {
            return Err(unknown(format!("the token is of the session {id}")));
        }
        let way = Way::Token(request.token);
        self.enter(id, way, request.client, request.transport).await
    }

    fn subject_of(&self, token: &TokenHash) -> Option<TokenSubject> {
        let hash = token.to_hex();
        let session = self.0.sessions.known_token(&hash)?;
        let grant = grant::find(session.status.as_ref()?, &hash)?;
        Some(subject_of(&session, &grant.user))
    }

    fn target_view(&self, token: &TokenHash, client: IpAddr) -> Option<TargetView> {
        let now = Timestamp::now();
        let session = if let Some(live) = self.0.live.of_token(token) {
            self.0.sessions.of(&live.session)?
        } else {
            let hash = token.to_hex();
            let is_good = |session: &Arc<ConsoleSession>| {
                let grant = session.status.as_ref().and_then(|status| grant::find(status, &hash));
                grant.is_some_and(|grant| grant::is_usable(grant, now))
            };
            let unused = self.0.sessions.known_token(&hash).filter(is_good);
            // Its stream may be on another replica.
            unused.or_else(|| self.0.sessions.used_token(&hash))?
        };
        let references = self.0.sessions.references(&session);
        if close_reason(&session, &references, now).is_some() {
            return None;
        }
        let valid = validate(&session, &references).ok()?;
        valid.policy.allows_address(client).then(|| view(&valid, &references))
    }

    async fn explain(&self, stream: &StreamInfo) -> Option<StreamEnd> {
        let live = self.0.live.get(&stream.session, &stream.connection)?;
        self.0.consoles.explain(&live).await
    }
}
