//! The handshake as the server, towards a viewer.
//!
//! No IO: the caller reads exactly [`want`](ServerHandshake::want) bytes, hands them in, and sends what was appended. So
//! nothing is read beyond the handshake, which matters where TLS starts inside it.

use super::{
    security::{
        self,
        vencrypt::{self, Credentials},
    },
    version::{self, NotRfb, Version},
};
use crate::{
    close::EndReason,
    proxy_protocol::{UNEXPECTED_HEADER, begins_with_header},
};

/// What is offered to the viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// No authentication: it was done before, at the WebSocket.
    None,
    /// `VeNCrypt` with `X509Plain` and nothing else.
    X509Plain,
}

/// What the caller does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Send, then read on.
    Continue,
    /// Send, then go on inside TLS.
    StartTls,
    /// Decide about these credentials, then [`accept`](ServerHandshake::accept) or [`refuse`](ServerHandshake::refuse).
    Check(Credentials),
    /// Nothing to check; accept or refuse.
    Admit,
    /// The viewer has sent `ClientInit`: the handshake is over.
    Done,
}

/// Why a viewer's handshake fails. What was appended to the output is still to be sent: it tells the viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The first bytes are not RFB.
    #[error(transparent)]
    NotRfb(#[from] NotRfb),
    /// The first bytes are a proxy's, from where none is expected.
    #[error("{UNEXPECTED_HEADER}")]
    ProxyHeader,
    /// RFB 3.3 cannot choose `VeNCrypt`.
    #[error("the viewer speaks RFB 3.3, which knows no encryption; use one that speaks 3.7 or later")]
    VersionTooOld,
    /// The viewer chose a security type that was not offered.
    #[error("the viewer chose security type {0}, which was not offered")]
    SecurityType(u8),
    /// The viewer speaks another `VeNCrypt` version.
    #[error("the viewer speaks VeNCrypt {0}.{1}; only 0.2 is spoken")]
    VeNCryptVersion(u8, u8),
    /// The viewer chose a `VeNCrypt` sub-type that was not offered.
    #[error("the viewer chose VeNCrypt type {0}, which was not offered")]
    VeNCryptType(u32),
    /// The credentials are longer than any that are valid.
    #[error(transparent)]
    Credentials(#[from] vencrypt::TooLong),
    /// The caller did not hand in the bytes that are wanted.
    #[error("the handshake was driven wrongly; this is a bug")]
    Driver,
}

impl HandshakeError {
    /// The end that this means.
    #[must_use]
    pub const fn close(&self) -> EndReason {
        match self {
            Self::Credentials(_) => EndReason::TokenRefused,
            Self::Driver => EndReason::Internal,
            _ => EndReason::ProtocolError,
        }
    }
}

/// The handshake with one viewer.
#[derive(Debug)]
pub struct ServerHandshake {
    offer: Offer,
    version: Version,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Version,
    SecurityType,
    VeNCryptVersion,
    VeNCryptType,
    Lengths,
    Credentials { user: usize, password: usize },
    Decision,
    ClientInit,
    Over,
}

impl ServerHandshake {
    /// Starts by appending the server's version to `output`.
    #[must_use]
    pub fn start(offer: Offer, output: &mut Vec<u8>) -> Self {
        output.extend_from_slice(Version::V3_8.message());
        Self {
            offer,
            version: Version::V3_8,
            state: State::Version,
        }
    }

    /// How many bytes to read next. 0 when none are to be read.
    #[must_use]
    pub const fn want(&self) -> usize {
        match self.state {
            State::Version => version::VERSION_BYTES,
            State::SecurityType | State::ClientInit => 1,
            State::VeNCryptVersion => 2,
            State::VeNCryptType => 4,
            State::Lengths => vencrypt::LENGTHS,
            State::Credentials { user, password } => user + password,
            State::Decision | State::Over => 0,
        }
    }

    /// Takes the bytes that were wanted and appends the answer to `output`.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`]: send `output` and close.
    pub fn receive(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<Progress, HandshakeError> {
        match (self.state, input) {
            (State::Version, _) => self.version(input, output),
            (State::SecurityType, &[chosen]) => self.security_type(chosen, output),
            (State::VeNCryptVersion, &[major, minor]) => self.vencrypt_version([major, minor], output),
            (State::VeNCryptType, &[a, b, c, d]) => self.vencrypt_type(u32::from_be_bytes([a, b, c, d]), output),
            (State::Lengths, _) => self.lengths(input, output),
            (State::Credentials { user, .. }, _) => self.credentials(input, user),
            // The flag is whether the viewer would share the console. It always does, so that it evicts nobody.
            (State::ClientInit, &[_shared]) => {
                self.state = State::Over;
                Ok(Progress::Done)
            }
            _ => Err(HandshakeError::Driver),
        }
    }

    /// Tells the viewer that it may enter.
    pub fn accept(&mut self, output: &mut Vec<u8>) {
        // Before 3.8 a viewer that chose None gets no result (rfbproto 7.1.3).
        if self.version == Version::V3_8 || self.offer != Offer::None {
            output.extend_from_slice(&security::RESULT_OK);
        }
        self.state = State::ClientInit;
    }

    /// Tells the viewer that it may not, and why, in the place where it expects to hear it.
    ///
    /// There is none while a `VeNCrypt` negotiation is under way and none after `ClientInit`; then nothing is said.
    pub fn refuse(&mut self, reason: &str, output: &mut Vec<u8>) {
        match self.state {
            State::SecurityType => security::put_no_types(self.version, reason, output),
            State::Lengths | State::Credentials { .. } | State::Decision
                // In 3.3 and 3.7 a viewer without authentication waits for no result.
                if self.version == Version::V3_8 || self.offer != Offer::None =>
            {
                security::put_failure(self.version, reason, output);
            }
            _ => {}
        }
        self.state = State::Over;
    }

    fn version(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<Progress, HandshakeError> {
        self.version = Version::parse(input).map_err(|error| {
            if begins_with_header(input) {
                HandshakeError::ProxyHeader
            } else {
                error.into()
            }
        })?;
        match (self.offer, self.version) {
            (Offer::X509Plain, Version::V3_3) => {
                let error = HandshakeError::VersionTooOld;
                security::put_no_types(self.version, &error.to_string(), output);
                self.state = State::Over;
                return Err(error);
            }
            (Offer::X509Plain, _) => output.extend_from_slice(&[1, security::VENCRYPT]),
            (Offer::None, Version::V3_3) => {
                output.extend_from_slice(&u32::from(security::NONE).to_be_bytes());
                self.state = State::Decision;
                return Ok(Progress::Admit);
            }
            (Offer::None, _) => output.extend_from_slice(&[1, security::NONE]),
        }
        self.state = State::SecurityType;
        Ok(Progress::Continue)
    }

    fn security_type(&mut self, chosen: u8, output: &mut Vec<u8>) -> Result<Progress, HandshakeError> {
        match (self.offer, chosen) {
            (Offer::None, security::NONE) => {
                self.state = State::Decision;
                Ok(Progress::Admit)
            }
            (Offer::X509Plain, security::VENCRYPT) => {
                output.extend_from_slice(&vencrypt::VERSION);
                self.state = State::VeNCryptVersion;
                Ok(Progress::Continue)
            }
            _ => {
                let error = HandshakeError::SecurityType(chosen);
                security::put_failure(self.version, &error.to_string(), output);
                self.state = State::Over;
                Err(error)
            }
        }
    }

    fn vencrypt_version(&mut self, version: [u8; 2], output: &mut Vec<u8>) -> Result<Progress, HandshakeError> {
        if version != vencrypt::VERSION {
            output.push(1);
            self.state = State::Over;
            return Err(HandshakeError::VeNCryptVersion(version[0], version[1]));
        }
        // 0 accepts the version; then the number of sub-types and the sub-types.
        output.extend_from_slice(&[0, 1]);
        output.extend_from_slice(&vencrypt::X509_PLAIN.to_be_bytes());
        self.state = State::VeNCryptType;
        Ok(Progress::Continue)
    }

    fn vencrypt_type(&mut self, chosen: u32, output: &mut Vec<u8>) -> Result<Progress, HandshakeError> {
        // Here 1 accepts and 0 refuses, the other way round from the version.
        if chosen != vencrypt::X509_PLAIN {
            output.push(0);
            self.state = State::Over;
            return Err(HandshakeError::VeNCryptType(chosen));
        }
        output.push(1);
        self.state = State::Lengths;
        Ok(Progress::StartTls)
    }

    fn lengths(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<Progress, HandshakeError> {
        let lengths = input.try_into().map_err(|_| HandshakeError::Driver)?;
        match vencrypt::lengths(lengths) {
            Ok((0, 0)) => self.credentials(&[], 0),
            Ok((user, password)) => {
                self.state = State::Credentials { user, password };
                Ok(Progress::Continue)
            }
            Err(error) => {
                self.refuse(EndReason::TokenRefused.sentence(), output);
                Err(error.into())
            }
        }
    }

    fn credentials(&mut self, input: &[u8], user: usize) -> Result<Progress, HandshakeError> {
        let (user, password) = input.split_at_checked(user).ok_or(HandshakeError::Driver)?;
        self.state = State::Decision;
        Ok(Progress::Check(Credentials {
            user: user.to_vec(),
            password: password.to_vec(),
        }))
    }
}

#[cfg(test)]
mod tests;
