//! Who may enter a session: the token or the user, the session, its target, the user's rights, and one optimistic write that
//! claims the place.

use std::{net::IpAddr, sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::ResourceExt as _;
use novasphere_core::console_session::{
    close::close_reason,
    connection::NewConnection,
    desktop,
    grant::{IssueError, NewGrant},
    policy::SessionPolicy,
    references::References,
    resume::withdraw,
    start::StartVerdict,
    status::{Observed, status},
    target_state::TargetState,
    validate::{ValidatedSession, validate},
};
use novasphere_crd::{
    CloseReason, ConsoleInput, ConsoleProtocol, ConsoleSession, ConsoleSessionStatus, ResumePlace, Takeover,
};
use novasphere_dataplane::{
    admission::{Admitted, ConnectionSlot, ResumeOffer},
    registry::{Protocol, SessionId, Transport},
};
use novasphere_runtime::{
    access::UserInfo,
    optimistic::{Decide, UpdateError},
};
use novasphere_wire::{
    close::{EndReason, StreamEnd},
    rules::Rules,
};
use tokio::time::Instant;
use tracing::Instrument;

use crate::{
    active::ActiveStream,
    admit::{
        authorized::{AuthorizedViewer, check_running},
        claim::{Displaced, PlaceClaim},
        entry::{
            Credential, EntryRequest, check_policy, close_of_error, nothing_kept, refuse, rules, target_name, unknown,
            user_of,
        },
        grant::GrantDecision,
        resume::own_place,
        start::{PendingStart, starts, undecided},
    },
    enforce::end_reason,
    locate::{LocatedTarget, desktops::asleep},
    plane::SessionPlane,
    view::{OpenStream, session_id},
    write::{Departure, StatusDecision},
};

/// Lets viewers into sessions. Clones are the same.
#[derive(Clone)]
pub struct SessionAdmission(pub(super) Arc<SessionPlane>);

/// A viewer who was authorized and may enter, once the claim is written.
struct PendingEntry {
    live: ActiveStream,
    /// Its session begins with it, if it may.
    start: Option<PendingStart>,
    rules: Rules,
    policy: SessionPolicy,
    found: LocatedTarget,
    /// Connections of other viewers that make room.
    displaced: Vec<String>,
    /// The viewer's own stream until now.
    moved: Option<String>,
}

/// What is to be done once a claim is written.
enum ClaimOutcome {
    Enter(Box<PendingEntry>),
    /// The credential of this place was used twice.
    Withdraw(ResumePlace),
}

/// A claim that is being written.
struct EntryClaim<'a> {
    admission: &'a SessionAdmission,
    request: EntryRequest,
    outcome: Option<ClaimOutcome>,
}

impl Decide<ConsoleSession> for EntryClaim<'_> {
    type Refusal = StreamEnd;

    async fn decide(&mut self, session: &ConsoleSession) -> Result<StatusDecision, StreamEnd> {
        let now = Timestamp::now();
        if let Some(place) = self.admission.used_twice(session, &self.request, now) {
            let before = session.status.clone().unwrap_or_default();
            let after = withdraw(&before, &place, now);
            self.outcome = Some(ClaimOutcome::Withdraw(place));
            // It is written on what the API server has: a cache that does not know the newest secret yet is told by a conflict.
            return Ok(StatusDecision::Write(Box::new(after)));
        }
        let (entry, status) = self.admission.authorize(session, &self.request, now).await?;
        self.outcome = Some(ClaimOutcome::Enter(Box::new(entry)));
        Ok(StatusDecision::Write(Box::new(status)))
    }
}

impl SessionAdmission {
    pub(crate) const fn new(plane: Arc<SessionPlane>) -> Self {
        Self(plane)
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
        let id = session_id(session);
        // It was just read or made, and may be newer than what the watch has shown.
        self.0.view.insert_own_write(session.clone());
        // Before the turn at the session is taken: those who connect while the watch is late would wait one after the other.
        if matches!(self.room(session).await, Ok(StartVerdict::Undecided)) {
            return Err(undecided());
        }
        let arrival = Arrival {
            client,
            transport,
            offer: None,
        };
        self.enter(id, Credential::User(user.clone()), arrival).await
    }

    /// Adds a grant. `session` was just read, and may be newer than the watch cache.
    pub(crate) async fn grant(
        &self,
        session: &ConsoleSession,
        grant: &NewGrant,
    ) -> Result<Arc<ConsoleSession>, UpdateError<IssueError>> {
        self.0.view.insert_own_write(session.clone());
        // Before the turn at the session is taken: those who ask while the watch is late would wait one after the other.
        if matches!(self.room(session).await, Ok(StartVerdict::Undecided)) {
            return Err(UpdateError::Refused(IssueError::Undecided));
        }
        self.0
            .writer
            .update(&session_id(session), &mut GrantDecision { admission: self, grant })
            .await
    }

    /// In a task of its own: a claim that was sent must be given back when the viewer has left meanwhile.
    pub(super) async fn enter(
        &self,
        id: SessionId,
        credential: Credential,
        arrival: Arrival,
    ) -> Result<Admitted, StreamEnd> {
        let Arrival {
            client,
            transport,
            offer,
        } = arrival;
        let request = EntryRequest {
            credential,
            client,
            transport,
            offer,
            connection: format!("{:032x}", rand::random::<u128>()),
        };
        let this = self.clone();
        let span = tracing::info_span!("admission", session = %id, connection = request.connection, client = %client);
        let entering = tokio::spawn(async move { this.claim(&id, request).await }.instrument(span));
        entering
            .await
            .unwrap_or_else(|_| Err(refuse(EndReason::Internal, "the admission failed")))
    }

    async fn claim(&self, id: &SessionId, request: EntryRequest) -> Result<Admitted, StreamEnd> {
        let mut claiming = EntryClaim {
            admission: self,
            request,
            outcome: None,
        };
        let written = self.0.writer.update(id, &mut claiming).await;
        let EntryClaim { request, outcome, .. } = claiming;
        let written = written.map_err(|error| match error {
            UpdateError::Refused(refusal) => refusal,
            UpdateError::Gone if matches!(request.credential, Credential::Resume { .. }) => nothing_kept(),
            UpdateError::Gone => unknown("the session is gone"),
            UpdateError::Contended | UpdateError::Write(_) => {
                refuse(EndReason::Unavailable, "the claim of the token's use cannot be written")
            }
        });
        match (written, outcome) {
            (Ok(session), Some(ClaimOutcome::Enter(entry))) => {
                if let Some(start) = entry.start {
                    self.begin(&session, &entry.live, start).await?;
                }
                Ok(self.admitted(id, &session, *entry))
            }
            (Ok(session), Some(ClaimOutcome::Withdraw(place))) => Err(self.withdrawn(&session, &place, &request)),
            (Ok(_), None) => Err(refuse(EndReason::Internal, "a claim without an entry")),
            (Err(refusal), _) => Err(refusal),
        }
    }

    /// Whether the viewer may enter a session that looks like this, and its status once they have.
    async fn authorize(
        &self,
        session: &ConsoleSession,
        request: &EntryRequest,
        now: Timestamp,
    ) -> Result<(PendingEntry, ConsoleSessionStatus), StreamEnd> {
        let user = user_of(session, &request.credential, self.0.times.resume_window, now)?;
        let name = user.name.clone();
        let authorized = self.authorize_user(session, request, user, now).await;
        authorized.inspect_err(|refusal| {
            if !matches!(
                refusal.reason,
                EndReason::TokenRefused | EndReason::ResumeRefused | EndReason::Unavailable | EndReason::Restarting
            ) {
                self.0.reporter.rejected(&session_id(session), &name, refusal);
            }
        })
    }

    async fn authorize_user(
        &self,
        session: &ConsoleSession,
        request: &EntryRequest,
        user: UserInfo,
        now: Timestamp,
    ) -> Result<(PendingEntry, ConsoleSessionStatus), StreamEnd> {
        let references = self.0.target_reader.references(session).await?;
        let (valid, before) = self.effective_status(session, &references, &request.credential, now)?;
        check_policy(&valid.policy, request)?;
        self.check_room(session, valid.session_limit).await?;
        check_running(&valid, &references)?;
        let has_control = self.rights(&valid, &user, &session_id(session).namespace).await?;
        let workspace = references.vnc_workspace.as_deref();
        let may_wake = has_control || workspace.is_some_and(desktop::wakes_on_view);
        if valid.target.state == TargetState::Asleep && !may_wake {
            return Err(asleep());
        }
        let own = own_place(session, request);
        let displaced = self.displaced(session, &valid, &user, has_control, own)?;
        let found = self.0.targets.find(&valid.target, &user.name, may_wake).await?;
        let connection = self.connection(request, &user, has_control);
        let claim = PlaceClaim {
            session,
            before: &before,
            request,
            connection: &connection,
            policy: &valid.policy,
            displaced,
            window: self.0.times.resume_window,
            now,
        };
        let claimed = claim.claimed()?;
        let after = claimed.status;
        let expires = after.expires_at.as_ref().map_or(now, |expires| expires.0);
        let viewer = AuthorizedViewer {
            session,
            request,
            references: &references,
            valid: &valid,
            user,
            has_control,
            now,
        };
        let entry = PendingEntry {
            live: viewer.stream(connection, claimed.place, expires),
            start: starts(session, &request.credential).then(|| PendingStart::of(&valid, &references)),
            rules: rules(&valid.policy, has_control),
            policy: valid.policy,
            found,
            displaced: claimed.displaced,
            moved: claimed.moved,
        };
        Ok((entry, after))
    }

    /// Whether the session may be entered by anybody now.
    fn effective_status(
        &self,
        session: &ConsoleSession,
        references: &References,
        credential: &Credential,
        now: Timestamp,
    ) -> Result<(ValidatedSession, ConsoleSessionStatus), StreamEnd> {
        let is_to_be_started = starts(session, credential);
        if let Some(reason) = close_reason(session, references, now).filter(|_| !is_to_be_started) {
            return Err(match (reason, credential) {
                (CloseReason::Expired, Credential::Token(_)) => unknown("the session's time is over"),
                _ => refuse(end_reason(reason), "the session is over"),
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

    /// The viewers who have to go first: KubeVirt carries one stream of each kind per machine, and does not say no to a
    /// second one of the serial kind. A place that is kept for somebody counts as one; `own` is that of the viewer.
    ///
    /// A viewer who may control the console replaces those who only view, whatever `takeover` says. Who only views replaces nobody but
    /// themselves.
    fn displaced(
        &self,
        session: &ConsoleSession,
        valid: &ValidatedSession,
        user: &UserInfo,
        has_control: bool,
        own: Option<&ResumePlace>,
    ) -> Result<Displaced, StreamEnd> {
        let (console, protocol) = (&valid.target.console, valid.policy.protocol);
        let mut others = self.0.view.streams_of(console, protocol);
        others.extend(
            self.0
                .view
                .kept_places_of(console, protocol, self.0.times.resume_window),
        );
        others.retain(|other| own.is_none_or(|own| own.connection != other.connection));
        let is_replace = valid.policy.takeover == Takeover::Replace;
        let makes_room = |other: &OpenStream| {
            let is_own = other.user == user.name;
            if has_control {
                is_replace || !other.has_control || (is_own && other.kept_place.is_some())
            } else {
                is_own && (other.kept_place.is_some() || (is_replace && !other.has_control))
            }
        };
        if let Some(other) = others.iter().find(|other| !makes_room(other)) {
            let (who, session) = (&other.user, &other.session);
            return Err(refuse(
                EndReason::InUse,
                if other.kept_place.is_some() {
                    format!("the place of {who} in the session {session} is kept for them, because their line broke")
                } else {
                    format!("{who} is connected by the session {session}")
                },
            ));
        }
        let name = session.name_any();
        let mut displaced = Displaced::default();
        for other in others {
            match other.kept_place {
                None => displaced.connections.push(other.connection),
                Some(place) if other.session == name => displaced.places.push(place),
                // It is not the place that goes first in its own session; its viewer finds the console in use.
                Some(_) => {}
            }
        }
        Ok(displaced)
    }

    fn connection(&self, request: &EntryRequest, user: &UserInfo, has_control: bool) -> NewConnection {
        NewConnection {
            id: request.connection.clone(),
            user: user.name.clone(),
            gateway: self.0.holder.clone(),
            client_address: request.client.to_string(),
            transport: match request.transport {
                Transport::WebSocket => novasphere_crd::Transport::WebSocket,
                Transport::Rfb => novasphere_crd::Transport::Rfb,
                Transport::KubeApiserver => novasphere_crd::Transport::KubeApiserver,
            },
            input: if has_control {
                ConsoleInput::Control
            } else {
                ConsoleInput::ViewOnly
            },
        }
    }

    fn admitted(&self, id: &SessionId, session: &ConsoleSession, entry: PendingEntry) -> Admitted {
        let PendingEntry {
            live,
            start: _,
            rules,
            policy,
            found,
            displaced,
            moved,
        } = entry;
        let is_replace = live.has_control && policy.takeover == Takeover::Replace;
        let takes_over = is_replace || !displaced.is_empty() || moved.is_some();
        for connection in displaced {
            self.0.cut(&connection, EndReason::Replaced);
        }
        if let Some(moved) = &moved {
            self.0.cut(moved, EndReason::Moved);
        }
        self.tell_of_return(&live, moved.as_deref());
        let target = self.0.targets.target(found, &live, takes_over);
        let (reporter, of_session) = (self.0.reporter.clone(), id.clone());
        let slot = ConnectionSlot::new(live.id(), move |connection| {
            // A stream that was open has told its end already.
            reporter.closed(
                &of_session,
                connection,
                EndReason::HandshakeTimeout,
                Departure::MayReturn,
            );
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
            is_resumable: live.place.is_some(),
        };
        self.0.active.add(live);
        admitted
    }
}

/// How somebody comes.
pub(super) struct Arrival {
    pub(super) client: IpAddr,
    pub(super) transport: Transport,
    /// What they can come back with when a token has let them in.
    pub(super) offer: Option<ResumeOffer>,
}
