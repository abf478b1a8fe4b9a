//! Protocol versions.

/// Bytes of a version message: `RFB 003.008` and a line feed.
pub const VERSION_BYTES: usize = 12;

/// A version whose handshake is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 3.3: the server decides the security type.
    V3_3,
    /// 3.7: the client chooses the security type; failures carry no text.
    V3_7,
    /// 3.8.
    V3_8,
}

/// Why twelve bytes are no version message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected \"RFB xxx.yyy\", which starts an RFB connection, and got something else")]
pub struct NotRfb;

impl Version {
    /// The version message.
    #[must_use]
    pub const fn message(self) -> &'static [u8; VERSION_BYTES] {
        match self {
            Self::V3_3 => b"RFB 003.003\n",
            Self::V3_7 => b"RFB 003.007\n",
            Self::V3_8 => b"RFB 003.008\n",
        }
    }

    /// The version to speak with a peer that sent this message.
    ///
    /// Unknown minor versions below 7 are 3.3 (rfbproto 7.1.1); above 8, as Apple's 3.889, and higher major versions, as
    /// `RealVNC`'s, are 3.8, which such peers accept.
    ///
    /// # Errors
    ///
    /// [`NotRfb`] when it is no version message or a version below 3.3.
    pub fn parse(message: &[u8]) -> Result<Self, NotRfb> {
        let &[b'R', b'F', b'B', b' ', ref numbers @ .., b'\n'] = message else {
            return Err(NotRfb);
        };
        let (major, rest) = numbers.split_first_chunk().ok_or(NotRfb)?;
        let [b'.', minor @ ..] = rest else { return Err(NotRfb) };
        let minor = minor.try_into().map_err(|_| NotRfb)?;
        match (number(*major).ok_or(NotRfb)?, number(minor).ok_or(NotRfb)?) {
            (3, 3..=6) => Ok(Self::V3_3),
            (3, 7) => Ok(Self::V3_7),
            (3, 8..) | (4.., _) => Ok(Self::V3_8),
            _ => Err(NotRfb),
        }
    }
}

fn number(digits: [u8; 3]) -> Option<u16> {
    digits.iter().try_fold(0, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + u16::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_are_what_peers_mean() {
        for (message, version) in [
            ("RFB 003.003\n", Version::V3_3),
            ("RFB 003.005\n", Version::V3_3),
            ("RFB 003.007\n", Version::V3_7),
            ("RFB 003.008\n", Version::V3_8),
            ("RFB 003.889\n", Version::V3_8),
            ("RFB 005.000\n", Version::V3_8),
        ] {
            assert_eq!(Version::parse(message.as_bytes()), Ok(version), "{message}");
        }
    }

    #[test]
    fn other_bytes_are_not() {
        for message in [
            "",
            "RFB 003.008",
            "RFB 003.008\r",
            "RFB 002.008\n",
            "RFB 003.002\n",
            "rfb 003.008\n",
            "GET / HTTP/1",
        ] {
            assert_eq!(Version::parse(message.as_bytes()), Err(NotRfb), "{message}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_answered(message in proptest::collection::vec(any::<u8>(), 0..16)) {
            if let Ok(version) = Version::parse(&message) {
                prop_assert_eq!(Version::parse(version.message()), Ok(version));
            }
        }
    }
}
