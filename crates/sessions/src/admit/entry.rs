//! The pure part of an admission: whose a token or a kept place is, and how that user may enter.

use std::{net::IpAddr, time::Duration};

use jiff::Timestamp;
use novasphere_core::console_session::{
    access::may_have_token,
    connection::ClaimError,
    grant,
    policy::SessionPolicy,
    resume::{self, CredentialHashes, PresentedCredential, grant_of},
    validate::SessionError,
};
use novasphere_crd::{Clipboard, ConsoleProtocol, ConsoleSession, Grant};
use novasphere_dataplane::{
    admission::{ResumeOffer, TokenSubject},
    registry::Transport,
};
use novasphere_runtime::access::UserInfo;
use novasphere_wire::{
    close::{EndReason, StreamEnd},
    resume::ResumeHash,
    rules::Rules,
    token::TokenHash,
};

use crate::view::session_id;

/// By what a viewer enters.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    Token(TokenHash),
    /// What a browser was given when it entered, and what it is given for the next time.
    Resume {
        presented: ResumeHash,
        successor: ResumeHash,
    },
    User(UserInfo),
}

/// A viewer at the door.
#[derive(Clone, Debug)]
pub(crate) struct EntryRequest {
    pub(crate) credential: Credential,
    pub(crate) client: IpAddr,
    pub(crate) transport: Transport,
    /// What the viewer can come back with when a token has let them in.
    pub(crate) offer: Option<ResumeOffer>,
    /// The name that the stream is going to have, and its place if it gets a new one.
    pub(crate) connection: String,
}

pub(crate) fn refuse(why: EndReason, detail: impl Into<String>) -> StreamEnd {
    StreamEnd::new(why, detail)
}

pub(crate) fn unknown(detail: impl Into<String>) -> StreamEnd {
    refuse(EndReason::TokenRefused, detail)
}

pub(crate) fn nothing_kept() -> StreamEnd {
    refuse(EndReason::ResumeRefused, "the session keeps no such place")
}

/// As the status of a session has them.
pub(crate) fn hashes(hash: &ResumeHash) -> CredentialHashes {
    CredentialHashes {
        place: hash.place.to_hex(),
        secret: hash.secret.to_hex(),
    }
}

/// What the log says of somebody who was turned away.
pub(crate) fn subject_of(session: &ConsoleSession, user: &str) -> TokenSubject {
    TokenSubject {
        session: session_id(session).to_string(),
        user: user.to_owned(),
        target: target_name(session),
    }
}

pub(crate) fn target_name(session: &ConsoleSession) -> String {
    let target = &session.spec.target_ref;
    format!("{}/{}", target.kind.as_str(), target.name)
}

/// Who it is, by a token that is good now, by a place that is kept for them, or by kube-apiserver's word.
pub(crate) fn user_of(
    session: &ConsoleSession,
    credential: &Credential,
    window: Duration,
    now: Timestamp,
) -> Result<UserInfo, StreamEnd> {
    match credential {
        Credential::User(user) if may_have_token(&session.spec, &user.name, &user.groups) => Ok(user.clone()),
        Credential::User(user) => Err(refuse(
            EndReason::AccessWithdrawn,
            format!("spec.users and spec.groups do not name {}", user.name),
        )),
        Credential::Token(hash) => {
            let status = session.status.as_ref();
            let grant = status.and_then(|status| grant::find(status, &hash.to_hex()));
            let grant = grant.ok_or_else(|| unknown("the session no longer knows the token"))?;
            if !grant::is_usable(grant, now) {
                let error = if grant.uses_left == 0 {
                    ClaimError::TokenUsed
                } else {
                    ClaimError::TokenExpired
                };
                return Err(unknown(error.to_string()));
            }
            Ok(user_of_grant(grant))
        }
        Credential::Resume { presented, .. } => {
            let status = session.status.as_ref().ok_or_else(nothing_kept)?;
            let found = match resume::presented(status, &hashes(presented), window, now) {
                PresentedCredential::Good(place) => grant_of(status, place),
                PresentedCredential::Unknown | PresentedCredential::UsedBefore(_) => None,
            };
            found.map(user_of_grant).ok_or_else(nothing_kept)
        }
    }
}

fn user_of_grant(grant: &Grant) -> UserInfo {
    UserInfo {
        name: grant.user.clone(),
        uid: grant.uid.clone(),
        extra: grant::extra_of(grant),
        groups: grant.groups.clone(),
    }
}

pub(crate) fn check_policy(policy: &SessionPolicy, request: &EntryRequest) -> Result<(), StreamEnd> {
    if !policy.allows_address(request.client) {
        return Err(refuse(
            EndReason::AddressNotAllowed,
            format!("{} is in no allowed source range", request.client),
        ));
    }
    if request.transport != Transport::Rfb {
        return Ok(());
    }
    if policy.protocol != ConsoleProtocol::Vnc {
        return Err(refuse(
            EndReason::TransportNotAllowed,
            "the console is not a screen, so it does not speak RFB",
        ));
    }
    if policy.native {
        Ok(())
    } else {
        Err(refuse(
            EndReason::TransportNotAllowed,
            "console.native is false: browsers only",
        ))
    }
}

pub(crate) fn close_of_error(error: &SessionError) -> EndReason {
    match error {
        SessionError::TargetNotFound { .. } | SessionError::InstanceAlone { .. } | SessionError::TargetReplaced => {
            EndReason::TargetGone
        }
        SessionError::Policy(_) => EndReason::PolicyChanged,
        SessionError::KubeVirtNotInstalled | SessionError::VncServer { .. } => EndReason::TargetUnreachable,
        SessionError::NoIdentity
        | SessionError::NoSuchConsole { .. }
        | SessionError::ConsoleMissing { .. }
        | SessionError::TooManySessions { .. } => EndReason::TargetRefused,
    }
}

/// What a viewer may do: the policy; for a user who may only look without what changes the guest, and without its clipboard, which
/// holds more than the screen shows ([`Rules::text_from_guest`]).
pub(crate) const fn rules(policy: &SessionPolicy, has_control: bool) -> Rules {
    Rules {
        input: has_control,
        clipboard_to_guest: matches!(policy.clipboard, Clipboard::Both | Clipboard::ToGuest),
        clipboard_from_guest: matches!(policy.clipboard, Clipboard::Both | Clipboard::FromGuest),
        power: policy.power,
        resize: policy.resize,
    }
}

#[cfg(test)]
mod tests {
    use novasphere_crd::{ConsoleInput, Takeover};

    use super::*;

    fn policy() -> SessionPolicy {
        SessionPolicy {
            protocol: ConsoleProtocol::Vnc,
            duration: Duration::from_hours(1),
            idle_timeout: None,
            max_viewers: 1,
            takeover: Takeover::Refuse,
            input: ConsoleInput::Control,
            clipboard: Clipboard::FromGuest,
            power: true,
            resize: true,
            native: true,
            allowed_source_ranges: vec!["192.0.2.0/24".parse().unwrap()],
        }
    }

    fn told(policy: &SessionPolicy, client: &str, transport: Transport) -> Option<EndReason> {
        let request = EntryRequest {
            credential: Credential::User(UserInfo::default()),
            client: client.parse().unwrap(),
            transport,
            offer: None,
            connection: "c".into(),
        };
        check_policy(policy, &request).err().map(|refusal| refusal.reason)
    }

    #[test]
    fn addresses_and_ways_in_are_the_policys() {
        assert_eq!(told(&policy(), "192.0.2.9", Transport::Rfb), None);
        assert_eq!(told(&policy(), "::ffff:192.0.2.9", Transport::WebSocket), None);
        assert_eq!(
            told(&policy(), "198.51.100.1", Transport::WebSocket),
            Some(EndReason::AddressNotAllowed)
        );
        let browsers = SessionPolicy {
            native: false,
            ..policy()
        };
        assert_eq!(
            told(&browsers, "192.0.2.9", Transport::Rfb),
            Some(EndReason::TransportNotAllowed)
        );
        assert_eq!(told(&browsers, "192.0.2.9", Transport::KubeApiserver), None);
        let serial = SessionPolicy {
            protocol: ConsoleProtocol::Serial,
            ..policy()
        };
        assert_eq!(
            told(&serial, "192.0.2.9", Transport::Rfb),
            Some(EndReason::TransportNotAllowed)
        );
    }

    #[test]
    fn who_may_only_look_changes_nothing_in_the_guest_and_gets_no_text() {
        let has_control = rules(&policy(), true);
        assert!(has_control.input && has_control.power_messages() && has_control.resize_messages());
        assert!(!has_control.text_to_guest() && has_control.text_from_guest());
        let looks = rules(&policy(), false);
        assert!(!looks.input && !looks.power_messages() && !looks.resize_messages() && !looks.text_to_guest());
        assert!(!looks.text_from_guest(), "the policy has FromGuest");
    }
}
