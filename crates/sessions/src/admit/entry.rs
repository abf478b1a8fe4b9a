//! The pure part of an admission: whose a token is, how that user may enter, and the status once they have.

use std::net::IpAddr;

use jiff::Timestamp;
use novasphere_core::console_session::{
    access::may_have_token,
    connection::{ClaimError, NewConnection, claim, connect, disconnect},
    grant,
    policy::SessionPolicy,
    validate::SessionError,
};
use novasphere_crd::{Clipboard, ConsoleProtocol, ConsoleSession, ConsoleSessionStatus, LastDisconnect, Time};
use novasphere_dataplane::{admission::TokenSubject, registry::Transport};
use novasphere_runtime::access::UserInfo;
use novasphere_wire::{
    close::{EndReason, StreamEnd},
    rules::Rules,
    token::TokenHash,
};

use crate::view::session_id;

/// By what a viewer enters.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    Token(TokenHash),
    User(UserInfo),
}

/// A viewer at the door.
#[derive(Clone, Debug)]
pub(crate) struct EntryRequest {
    pub(crate) credential: Credential,
    pub(crate) client: IpAddr,
    pub(crate) transport: Transport,
    /// The name that the stream is going to have.
    pub(crate) connection: String,
}

pub(crate) fn refuse(why: EndReason, detail: impl Into<String>) -> StreamEnd {
    StreamEnd::new(why, detail)
}

pub(crate) fn unknown(detail: impl Into<String>) -> StreamEnd {
    refuse(EndReason::TokenRefused, detail)
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

/// Who it is, by a token that is good now or by kube-apiserver's word.
pub(crate) fn user_of(
    session: &ConsoleSession,
    credential: &Credential,
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
            Ok(UserInfo {
                name: grant.user.clone(),
                uid: grant.uid.clone(),
                extra: grant::extra_of(grant),
                groups: grant.groups.clone(),
            })
        }
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

pub(crate) fn claimed(
    before: &ConsoleSessionStatus,
    request: &EntryRequest,
    connection: &NewConnection,
    policy: &SessionPolicy,
    displaced: &[String],
    now: Timestamp,
) -> Result<ConsoleSessionStatus, StreamEnd> {
    let made_room = without_displaced(before, displaced, now);
    let claimed = match &request.credential {
        Credential::Token(hash) => claim(&made_room, &hash.to_hex(), connection.clone(), policy.max_viewers, now),
        Credential::User(_) => connect(&made_room, connection.clone(), policy.max_viewers, now),
    };
    claimed.map_err(|error| {
        let why = match error {
            ClaimError::UnknownToken | ClaimError::TokenExpired | ClaimError::TokenUsed | ClaimError::Over => {
                EndReason::TokenRefused
            }
            ClaimError::TooManyViewers => EndReason::TooManyViewers,
            ClaimError::NotReady => EndReason::TargetNotRunning,
            ClaimError::Duplicate => EndReason::Internal,
        };
        refuse(why, error.to_string())
    })
}

/// Without the session's own streams that are displaced: their gateways see by the reason that they were not forgotten.
fn without_displaced(before: &ConsoleSessionStatus, displaced: &[String], now: Timestamp) -> ConsoleSessionStatus {
    let own = before
        .connections
        .iter()
        .find(|connection| displaced.contains(&connection.id));
    let Some(own) = own else { return before.clone() };
    let ids: Vec<&str> = displaced.iter().map(String::as_str).collect();
    let last = LastDisconnect {
        user: own.user.clone(),
        reason: EndReason::Replaced.reason().to_owned(),
        at: Time(now),
        input: None,
    };
    let mut after = disconnect(before, &ids, last, now);
    // It forgets grants that are used up; the one that is being used is not.
    after.grants.clone_from(&before.grants);
    after
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
    use std::time::Duration;

    use novasphere_crd::{Connection, ConsoleInput, Takeover};

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

    #[test]
    fn a_viewer_who_is_displaced_makes_room_and_the_token_stays_good() {
        let now = Timestamp::now();
        let connection = |id: &str| Connection {
            id: id.into(),
            user: "ann".into(),
            gateway: "g1".into(),
            client_address: "192.0.2.1".into(),
            transport: novasphere_crd::Transport::WebSocket,
            connected_at: Time(now),
            input: None,
            last_input_at: None,
            bytes_sent: 0,
            bytes_received: 0,
        };
        let before = ConsoleSessionStatus {
            connections: vec![connection("old"), connection("other")],
            ..ConsoleSessionStatus::default()
        };
        assert_eq!(without_displaced(&before, &["elsewhere".into()], now), before);
        let after = without_displaced(&before, &["old".into(), "elsewhere".into()], now);
        assert_eq!(after.connections.len(), 1);
        assert_eq!(after.last_disconnect.unwrap().reason, "Replaced");
    }
}
