//! A viewer who comes to nothing.

use std::{io, net::IpAddr};

use novasphere_wire::{close::Close, rfb::server::HandshakeError};

use crate::{
    admission::{Admitted, Place, Refusal, Refused, Whose},
    registry::Transport,
};

/// Why a viewer gets no stream, and who he is as far as it is known.
pub(crate) struct Failure {
    pub(crate) refusal: Refusal,
    reason: &'static str,
    known: Box<Known>,
    place: Place,
}

#[derive(Default)]
struct Known {
    session: Option<String>,
    user: Option<String>,
    target: Option<String>,
}

impl Failure {
    pub(crate) fn new(why: Close, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            refusal: Refusal { why, detail },
            reason: why.reason(),
            known: Box::default(),
            place: Place::default(),
        }
    }

    /// Of a viewer for whom no time is left.
    pub(crate) fn late() -> Self {
        Self::new(Close::HandshakeTimeout, "no time left")
    }

    /// The same, with a more exact word for metrics.
    pub(crate) fn counted_as(self, reason: &'static str) -> Self {
        Self { reason, ..self }
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
    pub(crate) fn of_known(self, whose: Whose) -> Self {
        let Whose { session, user, target } = whose;
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
        let whose = Whose {
            session: admitted.session.to_string(),
            user: admitted.user.clone(),
            target: admitted.target_name.clone(),
        };
        Self {
            place: admitted.place.clone(),
            ..self.of_known(whose)
        }
    }

    /// What is told of it.
    pub(super) fn told(self, client: IpAddr, transport: Transport) -> Refused {
        let Known { session, user, target } = *self.known;
        Refused {
            refusal: self.refusal,
            reason: self.reason,
            client,
            transport,
            session,
            user,
            target,
            place: self.place,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let why = if error.kind() == io::ErrorKind::InvalidData {
            Close::ProtocolError
        } else {
            Close::ViewerLost
        };
        Self::new(why, error.to_string())
    }
}

impl From<HandshakeError> for Failure {
    fn from(error: HandshakeError) -> Self {
        Self::new(error.close(), error.to_string())
    }
}

/// Whether it can be what it was typed for. A token typed in the wrong place is not, and gets into no log.
fn is_session_name(text: &str) -> bool {
    const LONGEST_NAMESPACE: usize = 63;
    const LONGEST_NAME: usize = 253;
    let is_name = |name: &str, longest: usize| {
        let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        !name.is_empty() && name.len() <= longest && name.bytes().all(is_allowed)
    };
    let parts = text.split_once('/');
    parts.is_some_and(|(namespace, name)| is_name(namespace, LONGEST_NAMESPACE) && is_name(name, LONGEST_NAME))
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
            let failure = Failure::new(Close::TokenRefused, "").of_named(typed);
            let refused = failure.told([192, 0, 2, 1].into(), Transport::Rfb);
            assert_eq!(refused.session.as_deref(), told, "{typed:?}");
        }
    }
}
