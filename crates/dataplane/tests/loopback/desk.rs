//! An admission in memory, and an observer that remembers.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use novasphere_dataplane::{
    admission::{Admission, AdmissionRequest, Admitted, ConnectionSlot, EntryRejected, Observer, ResumeRequest},
    registry::{Protocol, SessionId, Stream, StreamInfo, Transport},
    upstream::Upstream,
};
use novasphere_wire::{
    close::{EndReason, StreamEnd},
    resume::ResumeHash,
    rules::Rules,
    token::TokenHash,
};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

/// Gives out tokens and knows how often they may still be used.
#[derive(Clone, Default)]
pub(crate) struct Desk(Arc<Inner>);

#[derive(Default)]
struct Inner {
    grants: Mutex<HashMap<String, (u32, Admitted)>>,
    explanation: Mutex<Option<EndReason>>,
    /// What the observer was told, in words.
    log: Mutex<Vec<String>>,
    requests: Mutex<Vec<AdmissionRequest>>,
    /// Who can come back: by the hash of the part that stays, with that of the other one.
    places: Mutex<HashMap<String, (String, Admitted)>>,
    views: Mutex<HashMap<String, Value>>,
}

/// A session named `team/<name>`, valid for an hour, for one use.
pub(crate) fn session(name: &str, target: Upstream) -> Admitted {
    Admitted {
        session: SessionId {
            namespace: "team".into(),
            name: name.into(),
            uid: format!("uid-{name}"),
        },
        user: "ann".into(),
        target_name: "VmAccess/web".into(),
        protocol: Protocol::Vnc,
        rules: Rules::CONTROL,
        target,
        expires: Instant::now() + Duration::from_hours(1),
        idle_timeout: None,
        slot: ConnectionSlot::default(),
        is_resumable: false,
    }
}

impl Desk {
    /// A token that opens a session this many times.
    pub(crate) fn token(&self, uses: u32, admitted: Admitted) -> String {
        let token: String = (0..43).map(|_| char::from(b'A' + rand::random::<u8>() % 26)).collect();
        let hash = TokenHash::of_token(token.as_bytes()).unwrap().to_hex();
        self.0.grants.lock().insert(hash, (uses, admitted));
        token
    }

    /// What to tell a client that asks with this token how its target is.
    pub(crate) fn show(&self, token: &str, view: Value) {
        let hash = TokenHash::of_token(token.as_bytes()).unwrap().to_hex();
        self.0.views.lock().insert(hash, view);
    }

    /// What to answer when a target has gone.
    pub(crate) fn explain_by(&self, why: EndReason) {
        *self.0.explanation.lock() = Some(why);
    }

    pub(crate) fn requests(&self) -> Vec<AdmissionRequest> {
        self.0.requests.lock().clone()
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.0.log.lock().clone()
    }

    fn note(&self, line: String) {
        self.0.log.lock().push(line);
    }
}

fn refuse(detail: &str) -> StreamEnd {
    StreamEnd::new(EndReason::TokenRefused, detail)
}

impl Admission for Desk {
    type TargetView = Value;

    async fn admit(&self, request: &AdmissionRequest) -> Result<Admitted, StreamEnd> {
        self.0.requests.lock().push(request.clone());
        let mut grants = self.0.grants.lock();
        let (uses, admitted) = grants
            .get_mut(&request.token.to_hex())
            .ok_or_else(|| refuse("nobody has this token"))?;
        if request
            .session
            .as_ref()
            .is_some_and(|named| *named != admitted.session.to_string())
        {
            return Err(refuse("the token is of another session"));
        }
        *uses = uses.checked_sub(1).ok_or_else(|| refuse("the token is used up"))?;
        if let Some(offer) = request.resume.filter(|_| admitted.is_resumable) {
            let place = (offer.credential.secret.to_hex(), admitted.clone());
            self.0.places.lock().insert(offer.credential.place.to_hex(), place);
        }
        Ok(admitted.clone())
    }

    async fn resume(&self, request: &ResumeRequest) -> Result<Admitted, StreamEnd> {
        let mut places = self.0.places.lock();
        let found = places.get_mut(&request.presented.place.to_hex());
        let (secret, admitted) = found.ok_or(EndReason::ResumeRefused)?;
        if admitted.session.to_string() != request.session {
            return Err(EndReason::ResumeRefused.into());
        }
        if *secret != request.presented.secret.to_hex() {
            return Err(EndReason::CredentialReused.into());
        }
        *secret = request.successor.secret.to_hex();
        Ok(admitted.clone())
    }

    fn resumable_view(&self, session: &str, presented: &ResumeHash, client: IpAddr) -> Option<Value> {
        let places = self.0.places.lock();
        let (_, admitted) = places.get(&presented.place.to_hex())?;
        let is_of = admitted.session.to_string() == session && client.is_loopback();
        is_of.then(|| serde_json::json!({"name": admitted.target_name}))
    }

    fn target_view(&self, token: &TokenHash, client: IpAddr) -> Option<Value> {
        let views = self.0.views.lock();
        views.get(&token.to_hex()).filter(|_| client.is_loopback()).cloned()
    }

    async fn explain(&self, _: &StreamInfo) -> Option<StreamEnd> {
        self.0.explanation.lock().map(StreamEnd::from)
    }
}

impl Observer for Desk {
    fn on_resumed(&self, _: Transport) {
        self.note("resumed".to_owned());
    }

    fn on_opened(&self, stream: &Stream) {
        self.note(format!("opened {}", stream.info.session));
    }

    fn on_closed(&self, stream: &Stream, end: &StreamEnd) {
        self.note(format!("closed {} {}", stream.info.session, end.reason.reason()));
    }

    fn on_rejected(&self, refused: &EntryRejected) {
        let session = refused.session.as_deref().unwrap_or("-");
        self.note(format!("refused {session} {}", refused.end.reason.reason()));
    }
}
