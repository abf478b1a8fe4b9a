//! SSH's identification lines, all that is read of an SSH stream: both sides send one in clear before anything else (RFC 4253
//! section 4.2). They show that both ends speak SSH, so that a session of SSH is no way to some other service.

/// The longest line, with its end (RFC 4253 section 4.2).
pub const LINE_BYTES_LIMIT: usize = 255;

/// Lines that a server may send before its identification. The RFC sets no bound; servers send one or two, when they refuse.
pub const LINES_BEFORE_LIMIT: usize = 32;

/// What an identification begins with: SSH 2, or a server that knows SSH 1 as well (RFC 4253 section 5.1).
const VERSIONS: [&[u8]; 2] = [b"SSH-2.0-", b"SSH-1.99-"];

/// Who sends the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Its first line is its identification.
    Client,
    /// It may send other lines first.
    Server,
}

/// What a byte has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The line goes on.
    More,
    /// A line that is not the identification has ended; there are more to come.
    Line,
    /// The identification has ended. What follows is for the other end alone.
    Done,
}

/// Why somebody does not speak SSH.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentificationError {
    /// It does not begin as SSH does, or is of version 1.
    #[error("the first line is no identification of SSH 2; connect with an SSH client")]
    NotSsh,
    /// A character that may not be in it.
    #[error("the identification has a character that is not printable ASCII")]
    Character,
    /// It does not end.
    #[error("a line before the key exchange is longer than {LINE_BYTES_LIMIT} bytes")]
    LineTooLong,
    /// There are too many lines before it.
    #[error("no identification within {LINES_BEFORE_LIMIT} lines")]
    TooManyLines,
}

impl IdentificationError {
    /// One word for logs.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotSsh => "NotSsh",
            Self::Character => "IdentificationMalformed",
            Self::LineTooLong => "LineTooLong",
            Self::TooManyLines => "TooManyLines",
        }
    }
}

/// Reads the lines of one side, byte by byte, up to its identification. Holds at most [`LINE_BYTES_LIMIT`] bytes.
#[derive(Debug)]
pub struct Identification {
    side: Side,
    line: Vec<u8>,
    ended: bool,
    before: usize,
}

impl Identification {
    /// For the lines of this side.
    #[must_use]
    pub const fn new(side: Side) -> Self {
        Self {
            side,
            line: Vec::new(),
            ended: false,
            before: 0,
        }
    }

    /// Takes the next byte.
    ///
    /// # Errors
    ///
    /// [`IdentificationError`] as soon as what has come cannot become an identification.
    pub fn push(&mut self, byte: u8) -> Result<Progress, IdentificationError> {
        if self.ended {
            self.line.clear();
            self.ended = false;
        }
        self.line.push(byte);
        self.check()?;
        if byte != b'\n' {
            return if self.line.len() < LINE_BYTES_LIMIT {
                Ok(Progress::More)
            } else {
                Err(IdentificationError::LineTooLong)
            };
        }
        self.ended = true;
        if self.line.starts_with(b"SSH-") {
            return Ok(Progress::Done);
        }
        self.before += 1;
        if self.before > LINES_BEFORE_LIMIT {
            return Err(IdentificationError::TooManyLines);
        }
        Ok(Progress::Line)
    }

    /// The line so far, after [`Progress::Line`] and [`Progress::Done`] with its end as it came.
    #[must_use]
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// Whether the line so far can become one that this side may send.
    fn check(&self) -> Result<(), IdentificationError> {
        let is_identification = self.line.starts_with(b"SSH-");
        if !is_identification && self.side == Side::Server {
            return if self.line.last() == Some(&0) {
                Err(IdentificationError::Character)
            } else {
                Ok(())
            };
        }
        let begins = |version: &&[u8]| self.line.starts_with(version) || version.starts_with(&self.line);
        let Some(version) = VERSIONS.iter().find(|version| begins(version)) else {
            return Err(IdentificationError::NotSsh);
        };
        match self.line.as_slice() {
            [.., b'\n'] if self.line.trim_ascii_end().len() <= version.len() => Err(IdentificationError::NotSsh),
            // The end is CR LF; some send LF alone (RFC 4253 section 5.1).
            [.., b'\n'] => Ok(()),
            [.., b'\r', _] => Err(IdentificationError::Character),
            [.., b'\r' | b' '..=b'~'] => Ok(()),
            _ => Err(IdentificationError::Character),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is passed on, and how it ended: `Ok` with what was left behind the identification.
    fn read(side: Side, input: &[u8]) -> (Vec<u8>, Result<Option<&[u8]>, IdentificationError>) {
        let (mut identification, mut passed) = (Identification::new(side), Vec::new());
        for (position, byte) in input.iter().enumerate() {
            match identification.push(*byte) {
                Ok(Progress::More) => {}
                Ok(Progress::Line) => passed.extend_from_slice(identification.line()),
                Ok(Progress::Done) => {
                    passed.extend_from_slice(identification.line());
                    return (passed, Ok(Some(&input[position + 1..])));
                }
                Err(error) => return (passed, Err(error)),
            }
        }
        (passed, Ok(None))
    }

    #[test]
    fn identifications_of_real_programs_are_passed_as_they_are() {
        for line in [
            &b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"[..],
            b"SSH-2.0-dropbear_2022.83\r\n",
            b"SSH-2.0-PuTTY_Release_0.78\r\n",
            b"SSH-2.0-Go\r\n",
            b"SSH-1.99-Cisco-1.25\n",
        ] {
            let input = [line, b"\0\0\x05\xdc"].concat();
            for side in [Side::Client, Side::Server] {
                assert_eq!(
                    read(side, &input),
                    (line.to_vec(), Ok(Some(&b"\0\0\x05\xdc"[..]))),
                    "{line:?}"
                );
            }
        }
    }

    #[test]
    fn a_server_may_say_something_first_and_a_client_may_not() {
        let input = b"Not allowed at this time\r\nSSH-2.0-x\r\n";
        assert_eq!(read(Side::Server, input), (input.to_vec(), Ok(Some(&b""[..]))));
        assert_eq!(
            read(Side::Client, input),
            (Vec::new(), Err(IdentificationError::NotSsh))
        );
        let lines = b"x\n".repeat(LINES_BEFORE_LIMIT);
        assert_eq!(read(Side::Server, &lines).1, Ok(None));
        let lines = b"x\n".repeat(LINES_BEFORE_LIMIT + 1);
        assert_eq!(read(Side::Server, &lines).1, Err(IdentificationError::TooManyLines));
    }

    #[test]
    fn other_protocols_are_refused_at_their_first_byte_or_line() {
        for input in [
            &b"G"[..],
            b"\x16",
            b"\0",
            b"EHLO",
            b"SSH-1.5-old\r\n",
            b"SSH-2.0-\r\n",
            b"SSH-2.0\n",
            b"SSH2\r\n",
        ] {
            assert_eq!(
                read(Side::Client, input),
                (Vec::new(), Err(IdentificationError::NotSsh)),
                "{input:?}"
            );
        }
        for input in [
            &b"SSH-2.0-a\0b\r\n"[..],
            b"SSH-2.0-\xc3\xa4\r\n",
            b"SSH-2.0-a\rb\r\n",
            b"SSH-2.0-a\r\r\n",
        ] {
            for side in [Side::Client, Side::Server] {
                assert_eq!(
                    read(side, input),
                    (Vec::new(), Err(IdentificationError::Character)),
                    "{input:?}"
                );
            }
        }
        assert_eq!(
            read(Side::Server, b"RFB 003.008\n\0").1,
            Err(IdentificationError::Character)
        );
        assert_eq!(
            read(Side::Server, b"SSH-1.5-old\r\n").1,
            Err(IdentificationError::NotSsh)
        );
    }

    #[test]
    fn a_line_has_an_end() {
        let longest = [&b"SSH-2.0-"[..], &b"x".repeat(LINE_BYTES_LIMIT - 10), b"\r\n"].concat();
        assert_eq!(longest.len(), LINE_BYTES_LIMIT);
        assert_eq!(read(Side::Client, &longest), (longest.clone(), Ok(Some(&b""[..]))));
        let longer = [&b"SSH-2.0-"[..], &b"x".repeat(LINE_BYTES_LIMIT)].concat();
        assert_eq!(read(Side::Client, &longer).1, Err(IdentificationError::LineTooLong));
        assert_eq!(
            read(Side::Server, &b"x".repeat(LINE_BYTES_LIMIT)).1,
            Err(IdentificationError::LineTooLong)
        );
    }

    proptest! {
        #[test]
        fn what_passes_is_what_came(before in proptest::collection::vec("[ -RT-~][ -~]{0,40}\r\n", 0..4), name in "[!-~]{1,60}", rest: Vec<u8>) {
            let lines = format!("{}SSH-2.0-{name}\r\n", before.concat()).into_bytes();
            let input = [&lines[..], &rest].concat();
            prop_assert_eq!(read(Side::Server, &input), (lines, Ok(Some(&rest[..]))));
        }

        #[test]
        fn arbitrary_bytes_are_answered_within_bounds(input: Vec<u8>) {
            for side in [Side::Client, Side::Server] {
                let (passed, _) = read(side, &input);
                prop_assert!(input.starts_with(&passed));
                prop_assert!(passed.len() <= LINE_BYTES_LIMIT * (LINES_BEFORE_LIMIT + 1));
            }
        }
    }
}
