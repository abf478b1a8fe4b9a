//! The pure part of a claim: the status of a session once a viewer has entered it or has come back to it.

use std::time::Duration;

use jiff::Timestamp;
use novasphere_core::console_session::{
    connection::{ClaimError, NewConnection, claim, connect, disconnect, view_to_displace},
    grant,
    policy::SessionPolicy,
    resume::{
        NewPlace, Newcomer, PresentedCredential, TakenBack, find, free_places, kept, make_room, presented, take_back,
        with_place, without_place,
    },
    single_use::is_single_use,
};
use novasphere_crd::{ConsoleInput, ConsoleProtocol, ConsoleSession, ConsoleSessionStatus, LastDisconnect, Time};
use novasphere_dataplane::registry::Transport;
use novasphere_wire::close::{EndReason, StreamEnd};

use super::entry::{Credential, EntryRequest, hashes, refuse};

/// Those who have to go for a newcomer to a console that carries one viewer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Displaced {
    /// Connections, of whichever session.
    pub(crate) connections: Vec<String>,
    /// Places of the session itself that are kept for nobody any more.
    pub(crate) places: Vec<String>,
}

/// A claim of a viewer who may enter.
pub(crate) struct PlaceClaim<'a> {
    pub(crate) session: &'a ConsoleSession,
    /// Its status, as if it was started.
    pub(crate) before: &'a ConsoleSessionStatus,
    pub(crate) request: &'a EntryRequest,
    /// The stream that begins.
    pub(crate) connection: &'a NewConnection,
    pub(crate) policy: &'a SessionPolicy,
    pub(crate) displaced: Displaced,
    /// How long places are kept.
    pub(crate) window: Duration,
    pub(crate) now: Timestamp,
}

/// What a claim comes to once it is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClaimedPlace {
    pub(crate) status: ConsoleSessionStatus,
    /// Connections of others that make room.
    pub(crate) displaced: Vec<String>,
    /// The viewer's own stream until now.
    pub(crate) moved: Option<String>,
    /// The place that the viewer can come back to.
    pub(crate) place: Option<String>,
}

impl PlaceClaim<'_> {
    /// The status after the claim.
    pub(crate) fn claimed(self) -> Result<ClaimedPlace, StreamEnd> {
        let told = |error: ClaimError| refuse(self.reason(error), error.to_string());
        match &self.request.credential {
            Credential::Resume { presented, successor } => {
                let made_room = self.without_displaced(self.before, &self.displaced.connections);
                let (shown, next) = (hashes(presented), successor.secret.to_hex());
                let TakenBack { status, moved } = take_back(
                    &made_room,
                    &shown,
                    &next,
                    self.connection.clone(),
                    self.policy.max_viewers,
                    self.window,
                    self.now,
                )
                .map_err(told)?;
                Ok(ClaimedPlace {
                    place: find(&status, &shown.place).map(|place| place.id.clone()),
                    status,
                    displaced: self.displaced.connections.clone(),
                    moved,
                })
            }
            Credential::Token(_) | Credential::User(_) => self.entered().map_err(told),
        }
    }

    fn entered(&self) -> Result<ClaimedPlace, ClaimError> {
        let (window, now) = (self.window, self.now);
        let given_up = self.displaced.places.iter().map(String::as_str);
        let before = given_up
            .chain(self.superseded())
            .chain(self.returned())
            .fold(self.before.clone(), |status, place| without_place(&status, place));
        let has_control = self.connection.input == ConsoleInput::Control;
        let newcomer = Newcomer {
            user: &self.connection.user,
            has_control,
        };
        let mut displaced = self.displaced.connections.clone();
        let before = make_room(&before, newcomer, &displaced, self.policy.max_viewers, window, now);
        let free = free_places(&before, self.policy.max_viewers, window, now);
        if has_control {
            displaced.extend(view_to_displace(&before, &displaced, free));
        }
        let made_room = self.without_displaced(&before, &displaced);
        let connection = self.connection.clone();
        let status = match &self.request.credential {
            Credential::Token(hash) => claim(&made_room, &hash.to_hex(), connection, free, now)?,
            Credential::Resume { .. } | Credential::User(_) => connect(&made_room, connection, free, now)?,
        };
        let id = &self.request.connection;
        let status = match self.new_place() {
            Some(new) => with_place(&status, id, id, new),
            None => status,
        };
        Ok(ClaimedPlace {
            place: status.resumes.iter().any(|place| place.id == *id).then(|| id.clone()),
            status,
            displaced,
            moved: None,
        })
    }

    /// The place of a browser that has brought a token all the same: it forgets what it could come back with.
    fn superseded(&self) -> Option<&str> {
        let before = self.request.offer.as_ref()?.superseded.as_ref()?;
        match presented(self.before, &hashes(before), self.window, self.now) {
            PresentedCredential::Good(place) => Some(&place.id),
            PresentedCredential::Unknown | PresentedCredential::UsedBefore(_) => None,
        }
    }

    /// The place that is kept for a user whom kube-apiserver knows: they come back to it by connecting again.
    fn returned(&self) -> Option<&str> {
        let Credential::User(_) = &self.request.credential else {
            return None;
        };
        let mut theirs = kept(self.before, self.window, self.now).filter(|place| place.grant.is_none());
        let own = theirs.find(|place| place.user == self.connection.user);
        own.map(|place| place.id.as_str())
    }

    /// Nobody comes back to an SSH connection: its two ends have a key between them that goes with it.
    fn new_place(&self) -> Option<NewPlace> {
        if self.window.is_zero() || self.policy.protocol == ConsoleProtocol::Ssh {
            return None;
        }
        match (&self.request.credential, &self.request.offer) {
            (Credential::Token(token), Some(offer)) => Some(NewPlace::Credential {
                grant: grant::find(self.before, &token.to_hex())?.id.clone(),
                hashes: hashes(&offer.credential),
            }),
            (Credential::User(_), _) => {
                let joins = self.request.transport == Transport::KubeApiserver && !is_single_use(self.session);
                joins.then_some(NewPlace::User)
            }
            (Credential::Token(_) | Credential::Resume { .. }, _) => None,
        }
    }

    /// Without the session's own streams that are displaced: their gateways see by the reason that they were not forgotten.
    fn without_displaced(&self, before: &ConsoleSessionStatus, displaced: &[String]) -> ConsoleSessionStatus {
        let own = before
            .connections
            .iter()
            .find(|connection| displaced.contains(&connection.id));
        let Some(own) = own else { return before.clone() };
        let ids: Vec<&str> = displaced.iter().map(String::as_str).collect();
        let last = LastDisconnect {
            user: own.user.clone(),
            reason: EndReason::Replaced.reason().to_owned(),
            at: Time(self.now),
            input: None,
        };
        let mut after = disconnect(before, &ids, last, self.now);
        // It forgets grants that are used up; the one that is being used is not.
        after.grants.clone_from(&before.grants);
        after
    }

    fn reason(&self, error: ClaimError) -> EndReason {
        match error {
            ClaimError::UnknownToken | ClaimError::TokenExpired | ClaimError::TokenUsed | ClaimError::Over => {
                match self.request.credential {
                    Credential::Resume { .. } => EndReason::ResumeRefused,
                    Credential::Token(_) | Credential::User(_) => EndReason::TokenRefused,
                }
            }
            ClaimError::TooManyViewers => EndReason::TooManyViewers,
            ClaimError::NotReady => EndReason::TargetNotRunning,
            ClaimError::Duplicate => EndReason::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use novasphere_crd::Connection;
    use novasphere_runtime::access::UserInfo;
    use serde_json::json;

    use super::*;

    const WINDOW: Duration = Duration::from_mins(5);

    fn connection(id: &str) -> Connection {
        Connection {
            id: id.into(),
            user: "ann".into(),
            gateway: "g1".into(),
            client_address: "192.0.2.1".into(),
            transport: novasphere_crd::Transport::WebSocket,
            connected_at: Time(Timestamp::now()),
            input: None,
            last_input_at: None,
            bytes_sent: 0,
            bytes_received: 0,
        }
    }

    fn started(connections: &[&str]) -> ConsoleSession {
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
        let mut session: ConsoleSession = serde_json::from_value(json!({
            "metadata": {"name": "look", "namespace": "team", "uid": "s1"},
            "spec": {"targetRef": {"name": "web"}},
            "status": {
                "phase": "Ready", "protocol": "vnc", "startedAt": now, "expiresAt": now + Duration::from_hours(1),
                "policy": {
                    "duration": "1h", "maxViewers": 1, "takeover": "Refuse", "input": "Control", "clipboard": "Both", "power": false,
                    "resize": true, "native": true,
                },
            },
        }))
        .unwrap();
        let status = session.status.as_mut().unwrap();
        status.connections = connections.iter().map(|id| connection(id)).collect();
        session
    }

    fn new(id: &str, user: &str) -> NewConnection {
        NewConnection {
            id: id.into(),
            user: user.into(),
            gateway: "g1".into(),
            client_address: "192.0.2.1".into(),
            transport: novasphere_crd::Transport::KubeApiserver,
            input: ConsoleInput::Control,
        }
    }

    /// A user enters whom kube-apiserver knows.
    fn enters(session: &ConsoleSession, id: &str, user: &str, displaced: Displaced) -> Result<ClaimedPlace, StreamEnd> {
        let before = session.status.clone().unwrap();
        let protocol = before.protocol.unwrap();
        let policy = SessionPolicy::of_granted(before.policy.as_ref().unwrap(), protocol);
        let request = EntryRequest {
            credential: Credential::User(UserInfo::default()),
            client: [192, 0, 2, 1].into(),
            transport: Transport::KubeApiserver,
            offer: None,
            connection: id.into(),
        };
        let claim = PlaceClaim {
            session,
            before: &before,
            request: &request,
            connection: &new(id, user),
            policy: &policy,
            displaced,
            window: WINDOW,
            now: Timestamp::now(),
        };
        claim.claimed()
    }

    #[test]
    fn a_viewer_who_is_displaced_makes_room() {
        let session = started(&["old"]);
        let full = enters(&session, "new", "ben", Displaced::default()).unwrap_err();
        assert_eq!(full.reason, EndReason::TooManyViewers);
        let displaced = Displaced {
            connections: vec!["old".into(), "elsewhere".into()],
            ..Displaced::default()
        };
        let claimed = enters(&session, "new", "ben", displaced).unwrap();
        assert_eq!(claimed.status.connections.len(), 1);
        assert_eq!(claimed.status.last_disconnect.unwrap().reason, "Replaced");
        assert_eq!(claimed.displaced, ["old", "elsewhere"]);
    }

    #[test]
    fn the_place_of_a_user_whom_kube_apiserver_knows_is_kept_for_them_alone() {
        let mut session = started(&[]);
        let claimed = enters(&session, "a", "ann", Displaced::default()).unwrap();
        assert_eq!(claimed.place.as_deref(), Some("a"));
        let now = Timestamp::now();
        let kept = novasphere_core::console_session::resume::keep(claimed.status, &["a"], now);
        let last = LastDisconnect {
            user: "ann".into(),
            reason: EndReason::Restarting.reason().into(),
            at: Time(now),
            input: None,
        };
        session.status = Some(disconnect(&kept, &["a"], last, now));
        let other = enters(&session, "b", "ben", Displaced::default()).unwrap_err();
        assert_eq!(other.reason, EndReason::TooManyViewers);
        let back = enters(&session, "c", "ann", Displaced::default()).unwrap();
        let places: Vec<_> = back.status.resumes.iter().map(|place| place.id.as_str()).collect();
        assert_eq!(places, ["c"], "the old place is theirs no longer");
        let given_up = Displaced {
            places: vec!["a".into()],
            ..Displaced::default()
        };
        assert!(enters(&session, "b", "ben", given_up).is_ok());
    }

    #[test]
    fn a_session_for_one_connection_keeps_no_place() {
        let mut session = started(&[]);
        let labels = session.metadata.labels.get_or_insert_default();
        labels.insert("novasphere.io/made-for".into(), "console".into());
        let claimed = enters(&session, "a", "ann", Displaced::default()).unwrap();
        assert_eq!((claimed.place, claimed.status.resumes.len()), (None, 0));
    }
}
