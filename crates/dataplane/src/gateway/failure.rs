//! Why a viewer gets no stream.

use std::{io, net::IpAddr};

use novasphere_wire::{
    close::{EndReason, StreamEnd},
    proxy_protocol::ProxyHeaderError,
    rfb::server::HandshakeError,
};

use crate::{
    admission::{Admitted, ConnectionSlot, EntryRejected, TokenSubject},
    registry::Transport,
};

/// How metrics count connections without the header of the PROXY protocol that they need, or with one that they may not have.
pub(crate) const PROXY_HEADER_REASON: &str = "ProxyHeader";

/// Why a viewer gets no stream, and who they are as far as it is known.
pub(crate) struct EntryFailure {
    pub(crate) end: StreamEnd,
    counted_as: &'static str,
    known: Box<Known>,
    slot: ConnectionSlot,
}

#[derive(Default)]
struct Known {
    session: Option<String>,
    user: Option<String>,
    target: Option<String>,
}

impl From<StreamEnd> for EntryFailure {
    fn from(end: StreamEnd) -> Self {
        Self {
            counted_as: end.reason.reason(),
            end,
            known: Box::default(),
            slot: ConnectionSlot::default(),
        }
    }
}

impl EntryFailure {
    pub(crate) fn new(reason: EndReason, detail: impl Into<String>) -> Self {
        StreamEnd::new(reason, detail).into()
    }

    /// Of a viewer for whom no time is left.
    pub(crate) fn late() -> Self {
        Self::new(EndReason::HandshakeTimeout, "no time left")
    }

    /// The same, with a more exact word for metrics.
    pub(crate) fn counted_as(self, counted_as: &'static str) -> Self {
        Self { counted_as, ..self }
    }

    /// The same, of somebody who said this for a session.
    pub(super) fn of_named(self, session: Option<&str>) -> Self {
        let session = session.filter(|named| is_session_name(named));
        let known = Known {
            session: session.map(str::to_owned),
            ..Known::default()
        };
        Self {
            known: Box::new(known),
            ..self
        }
    }

    /// The same, of somebody who is known.
    pub(crate) fn of_known(self, subject: TokenSubject) -> Self {
        let TokenSubject { session, user, target } = subject;
        let known = Known {
            session: Some(session),
            user: Some(user),
            target: Some(target),
        };
        Self {
            known: Box::new(known),
            ..self
        }
    }

    /// The same, of a viewer who was admitted.
    pub(crate) fn of(self, admitted: &Admitted) -> Self {
        let subject = TokenSubject {
            session: admitted.session.to_string(),
            user: admitted.user.clone(),
            target: admitted.target_name.clone(),
        };
        Self {
            slot: admitted.slot.clone(),
            ..self.of_known(subject)
        }
    }

    /// What observers learn of it.
    pub(super) fn rejected(self, client: IpAddr, transport: Transport) -> EntryRejected {
        let Known { session, user, target } = *self.known;
        EntryRejected {
            end: self.end,
            counted_as: self.counted_as,
            client,
            transport,
            session,
            user,
            target,
            slot: self.slot,
        }
    }
}

impl From<io::Error> for EntryFailure {
    fn from(error: io::Error) -> Self {
        let why = if error.kind() == io::ErrorKind::InvalidData {
            EndReason::ProtocolError
        } else {
            EndReason::ViewerLost
        };
        Self::new(why, error.to_string())
    }
}

impl From<HandshakeError> for EntryFailure {
    fn from(error: HandshakeError) -> Self {
        let failure = Self::new(error.close(), error.to_string());
        match error {
            HandshakeError::ProxyHeader => failure.counted_as(PROXY_HEADER_REASON),
            _ => failure,
        }
    }
}

impl From<ProxyHeaderError> for EntryFailure {
    fn from(error: ProxyHeaderError) -> Self {
        Self::new(EndReason::ProtocolError, error.to_string()).counted_as(PROXY_HEADER_REASON)
    }
}

/// Whether it can be what it was typed for. A token typed in the wrong place is not, and gets into no log.
fn is_session_name(text: &str) -> bool {
    const NAMESPACE_BYTES_LIMIT: usize = 63;
    const NAME_BYTES_LIMIT: usize = 253;
    let is_name = |name: &str, longest: usize| {
        let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        !name.is_empty() && name.len() <= longest && name.bytes().all(is_allowed)
    };
    let parts = text.split_once('/');
    parts.is_some_and(|(namespace, name)| is_name(namespace, NAMESPACE_BYTES_LIMIT) && is_name(name, NAME_BYTES_LIMIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_for_a_session_is_told_when_it_can_be_one() {
        let token = "A".repeat(43);
        for (typed, told) in [
            (Some("team/a"), Some("team/a")),
            (Some("team/a.b"), Some("team/a.b")),
            (Some(token.as_str()), None),
            (Some("abcdefghijklmnopqrstuvwxyzabcdefghijklmnopq"), None),
            (Some("team/A"), None),
            (Some("team/a/b"), None),
            (Some("team/a\nb"), None),
            (Some(""), None),
            (None, None),
        ] {
            let failure = EntryFailure::new(EndReason::TokenRefused, "").of_named(typed);
            let refused = failure.rejected([192, 0, 2, 1].into(), Transport::Rfb);
            assert_eq!(refused.session.as_deref(), told, "{typed:?}");
        }
    }
}
