//! The handshake as the client, towards a VNC server.
//!
//! No IO, as in [`server`](super::server). It ends before `ClientInit`, which is sent when a viewer has sent its own.

use super::{
    security::{
        self,
        vnc_auth::{CHALLENGE_BYTES, VncPassword},
    },
    version::{self, NotRfb, Version},
};

/// `ClientInit` with the shared flag set: without it `QEMU` and others disconnect the present viewer.
pub const CLIENT_INIT_SHARED: [u8; 1] = [1];

/// How to authenticate to the server. What the server offers beside it is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// None, as KubeVirt's consoles.
    None,
    /// VNC authentication with this password.
    Password(VncPassword),
}

/// What the caller does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Send, then read on.
    Continue,
    /// Send; the server has let us in and waits for `ClientInit`.
    Done,
}

/// Why the handshake with a server fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The first bytes are not RFB.
    #[error(transparent)]
    NotRfb(#[from] NotRfb),
    /// The server does not offer the way to authenticate that is set for it.
    #[error("the VNC server offers security types {offered:?} and {wanted} is set for it")]
    NotOffered {
        /// What is set.
        wanted: u8,
        /// What it offers.
        offered: Vec<u8>,
    },
    /// The server refuses, with its own words (which may come from a guest: they are foreign text).
    #[error("the VNC server refuses: {0:?}")]
    Refused(String),
    /// The server refuses the password.
    #[error("the VNC server refuses the password")]
    Password,
    /// A reason text is longer than any that is read.
    #[error("the VNC server sends a reason of {0} bytes; at most {max} are read", max = security::REASON_BYTES_LIMIT)]
    ReasonTooLong(u32),
    /// The caller did not hand in the bytes that are wanted.
    #[error("the handshake was driven wrongly; this is a bug")]
    Driver,
}

/// The handshake with one server.
#[derive(Debug)]
pub struct ClientHandshake {
    authentication: Authentication,
    version: Version,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Version,
    SecurityType,
    Count,
    Types(u8),
    Challenge,
    Result,
    ReasonLength,
    Reason(usize),
    Over,
}

impl ClientHandshake {
    /// Waits for the server's version: the server speaks first.
    #[must_use]
    pub const fn new(authentication: Authentication) -> Self {
        Self {
            authentication,
            version: Version::V3_8,
            state: State::Version,
        }
    }

    /// How many bytes to read next. 0 when none are to be read.
    #[must_use]
    pub fn want(&self) -> usize {
        match self.state {
            State::Version => version::VERSION_BYTES,
            State::Count => 1,
            State::Types(count) => usize::from(count),
            State::Challenge => CHALLENGE_BYTES,
            State::SecurityType | State::Result | State::ReasonLength => 4,
            State::Reason(length) => length,
            State::Over => 0,
        }
    }

    /// Takes the bytes that were wanted and appends the answer to `output`.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`]: close the connection.
    pub fn receive(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<Progress, HandshakeError> {
        if input.len() != self.want() {
            return Err(HandshakeError::Driver);
        }
        match (self.state, input) {
            (State::Version, _) => {
                self.version = Version::parse(input)?;
                output.extend_from_slice(self.version.message());
                Ok(self.next(if self.version == Version::V3_3 {
                    State::SecurityType
                } else {
                    State::Count
                }))
            }
            (State::SecurityType, _) => match number(input)? {
                0 => Ok(self.next(State::ReasonLength)),
                // RFB 3.3 has one-byte types in four bytes.
                other => self.use_type(&[u8::try_from(other).unwrap_or(u8::MAX)], output),
            },
            (State::Count, [0]) => Ok(self.next(State::ReasonLength)),
            (State::Count, &[count]) => Ok(self.next(State::Types(count))),
            (State::Types(_), _) => self.use_type(input, output),
            (State::Challenge, _) => self.challenge(input, output),
            (State::Result, _) => self.result(number(input)?),
            (State::ReasonLength, _) => self.reason_length(number(input)?),
            (State::Reason(_), _) => Err(HandshakeError::Refused(String::from_utf8_lossy(input).into_owned())),
            _ => Err(HandshakeError::Driver),
        }
    }

    const fn next(&mut self, state: State) -> Progress {
        self.state = state;
        match state {
            State::Over => Progress::Done,
            _ => Progress::Continue,
        }
    }

    fn use_type(&mut self, offered: &[u8], output: &mut Vec<u8>) -> Result<Progress, HandshakeError> {
        let wanted = match self.authentication {
            Authentication::None => security::NONE,
            Authentication::Password(_) => security::VNC_AUTH,
        };
        if !offered.contains(&wanted) {
            return Err(HandshakeError::NotOffered {
                wanted,
                offered: offered.to_vec(),
            });
        }
        if self.version != Version::V3_3 {
            output.push(wanted);
        }
        Ok(self.next(match (wanted, self.version) {
            (security::VNC_AUTH, _) => State::Challenge,
            (_, Version::V3_8) => State::Result,
            _ => State::Over,
        }))
    }

    fn challenge(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<Progress, HandshakeError> {
        let Authentication::Password(password) = &self.authentication else {
            return Err(HandshakeError::Driver);
        };
        let challenge = input.try_into().map_err(|_| HandshakeError::Driver)?;
        output.extend_from_slice(&password.answer(challenge));
        Ok(self.next(State::Result))
    }

    fn result(&mut self, result: u32) -> Result<Progress, HandshakeError> {
        match (result, self.version) {
            (0, _) => Ok(self.next(State::Over)),
            (_, Version::V3_8) => Ok(self.next(State::ReasonLength)),
            _ => Err(HandshakeError::Password),
        }
    }

    fn reason_length(&mut self, length: u32) -> Result<Progress, HandshakeError> {
        match usize::try_from(length) {
            Ok(0) => Err(HandshakeError::Refused(String::new())),
            Ok(length) if length <= security::REASON_BYTES_LIMIT => Ok(self.next(State::Reason(length))),
            _ => Err(HandshakeError::ReasonTooLong(length)),
        }
    }
}

fn number(input: &[u8]) -> Result<u32, HandshakeError> {
    Ok(u32::from_be_bytes(
        input.try_into().map_err(|_| HandshakeError::Driver)?,
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn play(authentication: Authentication, mut input: &[u8]) -> (Vec<u8>, Result<Progress, HandshakeError>) {
        let mut output = Vec::new();
        let mut handshake = ClientHandshake::new(authentication);
        let mut last = Ok(Progress::Continue);
        while handshake.want() > 0
            && let Some((now, later)) = input.split_at_checked(handshake.want())
        {
            input = later;
            last = handshake.receive(now, &mut output);
            if last.is_err() {
                break;
            }
        }
        (output, last)
    }

    fn password() -> Authentication {
        Authentication::Password(VncPassword::new(b"password"))
    }

    #[test]
    fn kubevirt_asks_for_nothing() {
        let (output, last) = play(Authentication::None, b"RFB 003.008\n\x01\x01\0\0\0\0");
        assert_eq!(output, b"RFB 003.008\n\x01");
        assert_eq!(last, Ok(Progress::Done));
    }

    #[test]
    fn older_servers_are_followed() {
        let (output, last) = play(Authentication::None, b"RFB 003.007\n\x02\x01\x02");
        assert_eq!(
            (output.as_slice(), last),
            (&b"RFB 003.007\n\x01"[..], Ok(Progress::Done))
        );
        let (output, last) = play(Authentication::None, b"RFB 003.003\n\0\0\0\x01");
        assert_eq!((output.as_slice(), last), (&b"RFB 003.003\n"[..], Ok(Progress::Done)));
    }

    #[test]
    fn a_password_answers_the_challenge() {
        let (output, last) = play(password(), b"RFB 003.008\n\x02\x13\x020123456789abcdef\0\0\0\0");
        assert_eq!(output.len(), 12 + 1 + 16);
        assert_eq!(last, Ok(Progress::Done));
        let (output, last) = play(password(), b"RFB 003.003\n\0\0\0\x020123456789abcdef\0\0\0\0");
        assert_eq!((output.len(), last), (12 + 16, Ok(Progress::Done)));
    }

    #[test]
    fn a_wrong_password_is_told() {
        let (_, last) = play(
            password(),
            b"RFB 003.008\n\x01\x020123456789abcdef\0\0\0\x01\0\0\0\x02no",
        );
        assert_eq!(last, Err(HandshakeError::Refused("no".to_owned())));
        let (_, last) = play(password(), b"RFB 003.007\n\x01\x020123456789abcdef\0\0\0\x01");
        assert_eq!(last, Err(HandshakeError::Password));
    }

    #[test]
    fn another_way_in_is_not_taken() {
        let (_, last) = play(password(), b"RFB 003.008\n\x02\x01\x13");
        assert_eq!(
            last,
            Err(HandshakeError::NotOffered {
                wanted: 2,
                offered: vec![1, 19]
            })
        );
        let (_, last) = play(Authentication::None, b"RFB 003.003\n\0\0\0\x02");
        assert_eq!(
            last,
            Err(HandshakeError::NotOffered {
                wanted: 1,
                offered: vec![2]
            })
        );
    }

    #[test]
    fn a_refusal_is_read_up_to_a_limit() {
        let (_, last) = play(Authentication::None, b"RFB 003.008\n\0\0\0\0\x08too many");
        assert_eq!(last, Err(HandshakeError::Refused("too many".to_owned())));
        let (_, last) = play(Authentication::None, b"RFB 003.008\n\0\0\0\0\0");
        assert_eq!(last, Err(HandshakeError::Refused(String::new())));
        let (_, last) = play(Authentication::None, b"RFB 003.008\n\0\xff\0\0\0");
        assert_eq!(last, Err(HandshakeError::ReasonTooLong(0xff00_0000)));
    }

    proptest! {
        #[test]
        fn arbitrary_servers_are_answered_briefly(
            with_password: bool,
            start in proptest::sample::select(vec![&b""[..], b"RFB 003.008\n", b"RFB 003.003\n", b"RFB 003.008\n\x01\x02"]),
            rest in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let authentication = if with_password { password() } else { Authentication::None };
            let (output, _) = play(authentication, &[start, &rest].concat());
            prop_assert!(output.len() <= 12 + 1 + 16);
        }
    }
}
