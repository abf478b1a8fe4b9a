//! What the data plane asks: who may enter, who may come back, whose a token is, and how the target is.

use std::{net::IpAddr, sync::Arc};

use jiff::Timestamp;
use novasphere_core::console_session::{
    close::close_reason,
    desktop, grant,
    references::References,
    resume::{self, PresentedCredential},
    validate::{ValidatedSession, validate},
};
use novasphere_crd::ConsoleSession;
use novasphere_dataplane::{
    admission::{Admission, AdmissionRequest, Admitted, ResumeRequest, TokenSubject},
    registry::{StreamInfo, Transport},
};
use novasphere_wire::{close::StreamEnd, resume::ResumeHash, token::TokenHash};
use tokio::time::Instant;

use super::{
    SessionAdmission, TargetView,
    admission::Arrival,
    entry::{Credential, hashes, subject_of, unknown},
};
use crate::view::session_id;

/// The target as its viewers may know it.
fn view(valid: &ValidatedSession, references: &References) -> TargetView {
    let target = &valid.target;
    let workspace = references.vnc_workspace.as_deref();
    let sleeps = workspace.and_then(desktop::next_hibernation);
    let keys_only = target.takes_keys_only(valid.policy.protocol);
    let vm_access = references.vm_access.as_deref().filter(|_| keys_only);
    TargetView {
        kind: target.kind.as_str(),
        name: target.name.clone(),
        state: target.state,
        message: workspace.map(desktop::message).unwrap_or_default(),
        sleeps_at: sleeps.map(|(at, _)| at),
        sleeps_because: sleeps.map(|(_, reason)| reason),
        input: valid.policy.input,
        keys_only,
        keyboard: vm_access.and_then(|vm_access| vm_access.spec.keyboard),
    }
}

impl Admission for SessionAdmission {
    type TargetView = TargetView;

    async fn admit(&self, request: &AdmissionRequest) -> Result<Admitted, StreamEnd> {
        let id = session_id(&*self.0.tokens.session(request).await?);
        if request.session.as_ref().is_some_and(|named| *named != id.to_string()) {
            return Err(unknown(format!("the token is of the session {id}")));
        }
        // A browser keeps it for the session that its page named.
        let is_named = request
            .session_hint
            .as_ref()
            .is_some_and(|named| *named == id.to_string());
        let arrival = Arrival {
            client: request.client,
            transport: request.transport,
            offer: request.resume.filter(|_| is_named),
        };
        self.enter(id, Credential::Token(request.token), arrival).await
    }

    async fn resume(&self, request: &ResumeRequest) -> Result<Admitted, StreamEnd> {
        let id = session_id(&*self.0.tokens.session_of_place(request).await?);
        // Without an event, which would be a write, too.
        self.0.resume_budget.take(&request.presented, Instant::now())?;
        let credential = Credential::Resume {
            presented: request.presented,
            successor: request.successor,
        };
        let arrival = Arrival {
            client: request.client,
            transport: Transport::WebSocket,
            offer: None,
        };
        self.enter(id, credential, arrival).await
    }

    fn subject_of(&self, token: &TokenHash) -> Option<TokenSubject> {
        let hash = token.to_hex();
        let session = self.0.view.known_token(&hash)?;
        let grant = grant::find(session.status.as_ref()?, &hash)?;
        Some(subject_of(&session, &grant.user))
    }

    fn target_view(&self, token: &TokenHash, client: IpAddr) -> Option<TargetView> {
        let now = Timestamp::now();
        let session = if let Some(live) = self.0.active.of_token(token) {
            self.0.view.of(&live.session)?
        } else {
            let hash = token.to_hex();
            let is_good = |session: &Arc<ConsoleSession>| {
                let grant = session.status.as_ref().and_then(|status| grant::find(status, &hash));
                grant.is_some_and(|grant| grant::is_usable(grant, now))
            };
            let unused = self.0.view.known_token(&hash).filter(is_good);
            // Its stream may be on another replica.
            unused.or_else(|| self.0.view.used_token(&hash))?
        };
        self.view_of(&session, client)
    }

    fn resumable_view(&self, session: &str, presented: &ResumeHash, client: IpAddr) -> Option<TargetView> {
        let (namespace, name) = session.split_once('/')?;
        let session = self.0.view.get(namespace, name)?;
        let window = self.0.times.resume_window;
        let worth = resume::presented(session.status.as_ref()?, &hashes(presented), window, Timestamp::now());
        if !matches!(worth, PresentedCredential::Good(_)) {
            return None;
        }
        self.view_of(&session, client)
    }

    async fn explain(&self, stream: &StreamInfo) -> Option<StreamEnd> {
        let live = self.0.active.get(&stream.session, &stream.connection)?;
        self.0.targets.explainer.explain(&live).await
    }
}

impl SessionAdmission {
    /// How the target of an open session is, if its viewers may connect from this address.
    fn view_of(&self, session: &ConsoleSession, client: IpAddr) -> Option<TargetView> {
        let references = self.0.view.references(session);
        if close_reason(session, &references, Timestamp::now()).is_some() {
            return None;
        }
        let valid = validate(session, &references).ok()?;
        valid.policy.allows_address(client).then(|| view(&valid, &references))
    }
}
