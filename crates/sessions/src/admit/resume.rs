//! Viewers who come back without a token: which place is theirs, and what is told of it.

use jiff::Timestamp;
use novasphere_core::console_session::resume::{self, PresentedCredential};
use novasphere_crd::{ConsoleSession, ResumePlace};
use novasphere_dataplane::audit::{AuditEvent, AuditRecord};
use novasphere_wire::close::{EndReason, StreamEnd};

use super::{
    SessionAdmission,
    entry::{Credential, EntryRequest, hashes, refuse, target_name},
};
use crate::{active::ActiveStream, view::session_id};

impl SessionAdmission {
    /// The place that the credential of a viewer was good for, if it was good until its successor was used.
    pub(super) fn used_twice(
        &self,
        session: &ConsoleSession,
        request: &EntryRequest,
        now: Timestamp,
    ) -> Option<ResumePlace> {
        let (Credential::Resume { presented, .. }, Some(status)) = (&request.credential, &session.status) else {
            return None;
        };
        match resume::presented(status, &hashes(presented), self.0.times.resume_window, now) {
            PresentedCredential::UsedBefore(place) if status.closed_at.is_none() => Some(place.clone()),
            PresentedCredential::UsedBefore(_) | PresentedCredential::Good(_) | PresentedCredential::Unknown => None,
        }
    }

    /// Ends the stream of a place whose credential was used twice. Which of the two may have it cannot be known.
    pub(super) fn withdrawn(&self, session: &ConsoleSession, place: &ResumePlace, request: &EntryRequest) -> StreamEnd {
        let id = session_id(session);
        let detail = format!(
            "what lets {} come back to the place {} was used twice",
            place.user, place.id
        );
        let refusal = refuse(EndReason::CredentialReused, detail);
        self.0.audit.record(
            AuditEvent::CredentialReused,
            &AuditRecord {
                session: Some(id.to_string()),
                session_uid: Some(&id.uid),
                target: Some(target_name(session)),
                user: Some(&place.user),
                client: Some(request.client),
                transport: Some(request.transport),
                reason: Some(refusal.reason.reason()),
                detail: Some(refusal.detail()),
            },
        );
        self.0.cut(&place.connection, EndReason::CredentialReused);
        self.0.reporter.rejected(&id, &place.user, &refusal);
        refusal
    }

    /// Notes a viewer who has come back without a token.
    pub(super) fn tell_of_return(&self, live: &ActiveStream, moved: Option<&str>) {
        let Some(place) = live.place.as_ref().filter(|place| *place != live.id()) else {
            return;
        };
        let detail = match moved {
            Some(moved) => format!("to the place {place}, from the stream {moved}"),
            None => format!("to the place {place}"),
        };
        self.0.audit.record(
            AuditEvent::Resumed,
            &AuditRecord {
                detail: Some(&detail),
                ..live.audit_record()
            },
        );
    }
}

/// The place of a viewer who comes back.
pub(super) fn own_place<'a>(session: &'a ConsoleSession, request: &EntryRequest) -> Option<&'a ResumePlace> {
    let Credential::Resume { presented, .. } = &request.credential else {
        return None;
    };
    resume::find(session.status.as_ref()?, &presented.place.to_hex())
}
