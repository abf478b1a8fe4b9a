//! The PROXY protocol of `HAProxy`, versions 1 and 2 (proxy-protocol.txt of haproxy.org): the header by which a proxy says whose connection it
//! passes on. It comes before everything else, also before TLS.
//!
//! The crate `proxy-header` decodes it. What is here bounds it, and asks for no byte beyond it: what follows belongs to TLS, HTTP or RFB. Whether a
//! header comes is never guessed from the bytes (section 2 of the specification); who uses this knows it from where the connection is from.

use std::net::IpAddr;

use proxy_header::{ParseConfig, Protocol, ProxyHeader};

/// Bytes of the longest header of version 2 that is read. The specification allows 65551; addresses take 52, and what proxies add about TLS, networks
/// of clouds or padding some hundred.
pub const HEADER_BYTES_LIMIT: usize = 4096;

/// What both versions have at least: the signature of version 2.
const START_BYTES: usize = 12;

/// How version 2 begins (section 2.2).
const SIGNATURE: [u8; START_BYTES] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of version 2 up to the length of the rest, with it.
const FIXED_BYTES: usize = 16;

/// Version 2 with the command LOCAL: the proxy speaks for itself.
const LOCAL: u8 = 0x20;

/// How version 1 begins (section 2.1).
const LINE_START: &[u8] = b"PROXY ";

/// The longest line of version 1, with its end (section 2.1).
const LINE_BYTES_LIMIT: usize = 107;

/// What to tell of a header where none is expected: from an address that is no proxy's, or behind another header.
pub const UNEXPECTED_HEADER: &str = "a header of the PROXY protocol came where none is read; when it is the first of the connection, set \
                                     proxyProtocol for this port and name the proxy in console.trustedProxies; when two proxies stand in a \
                                     row, have only the one that novasphere sees as its client send a header";

/// Why this is no header that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyHeaderError {
    /// Something else comes first.
    #[error("the connection does not begin with a header of the PROXY protocol; have the proxy send one")]
    Missing,
    /// It is larger than [`HEADER_BYTES_LIMIT`].
    #[error(
        "the header of the PROXY protocol has {0} bytes; at most {HEADER_BYTES_LIMIT} are read, so have the proxy add less to it"
    )]
    TooLong(usize),
    /// It is not as the specification has it, or is not about TCP.
    #[error("the header of the PROXY protocol is malformed, or of another protocol than TCP")]
    Malformed,
}

/// What a part of a header has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeaderProgress {
    /// There is more to come.
    More,
    /// The header is over; the connection is a client's.
    Client(IpAddr),
    /// The header is over; the proxy looks whether somebody answers, or does not know whose connection it is.
    Proxy,
}

/// Reads the header of one connection.
#[derive(Debug, Default)]
pub struct ProxyHeaderReader {
    bytes: Vec<u8>,
}

impl ProxyHeaderReader {
    /// How many bytes to hand in next. They belong to the header, or there is none.
    #[must_use]
    pub fn want(&self) -> usize {
        match self.bytes.len() {
            have if have < START_BYTES => START_BYTES - have,
            // A line ends where it says so.
            _ if !self.bytes.starts_with(&SIGNATURE) => 1,
            have => self.length().unwrap_or(FIXED_BYTES).saturating_sub(have),
        }
    }

    /// Takes as many bytes as were wanted.
    ///
    /// # Errors
    ///
    /// [`ProxyHeaderError`], as soon as it is known. The connection is to be closed.
    pub fn receive(&mut self, input: &[u8]) -> Result<ProxyHeaderProgress, ProxyHeaderError> {
        self.bytes.extend_from_slice(input);
        if self.bytes.len() < START_BYTES {
            return Ok(ProxyHeaderProgress::More);
        }
        if self.bytes.starts_with(&SIGNATURE) {
            self.receive_binary()
        } else if self.bytes.starts_with(LINE_START) {
            self.receive_line()
        } else {
            Err(ProxyHeaderError::Missing)
        }
    }

    /// The bytes of the whole header of version 2, once its fixed part is there.
    fn length(&self) -> Option<usize> {
        let rest = self.bytes.get(FIXED_BYTES - 2..FIXED_BYTES)?;
        let rest = u16::from_be_bytes(rest.try_into().ok()?);
        Some(FIXED_BYTES + usize::from(rest))
    }

    fn receive_binary(&self) -> Result<ProxyHeaderProgress, ProxyHeaderError> {
        match self.length() {
            None => Ok(ProxyHeaderProgress::More),
            Some(length) if length > HEADER_BYTES_LIMIT => Err(ProxyHeaderError::TooLong(length)),
            Some(length) if length > self.bytes.len() => Ok(ProxyHeaderProgress::More),
            // Whatever is said of addresses then is to be ignored (section 2.2).
            Some(_) if self.bytes.get(START_BYTES) == Some(&LOCAL) => Ok(ProxyHeaderProgress::Proxy),
            Some(_) => self.decode(),
        }
    }

    fn receive_line(&self) -> Result<ProxyHeaderProgress, ProxyHeaderError> {
        match self.bytes.last() {
            Some(b'\n') => self.decode(),
            _ if self.bytes.len() >= LINE_BYTES_LIMIT => Err(ProxyHeaderError::Malformed),
            _ => Ok(ProxyHeaderProgress::More),
        }
    }

    /// What the whole header says.
    fn decode(&self) -> Result<ProxyHeaderProgress, ProxyHeaderError> {
        let config = ParseConfig {
            include_tlvs: false,
            allow_v1: true,
            allow_v2: true,
        };
        let (header, length) = ProxyHeader::parse(&self.bytes, config).map_err(|_| ProxyHeaderError::Malformed)?;
        match header.proxied_address() {
            _ if length != self.bytes.len() => Err(ProxyHeaderError::Malformed),
            None => Ok(ProxyHeaderProgress::Proxy),
            Some(address) if address.protocol == Protocol::Stream => {
                Ok(ProxyHeaderProgress::Client(address.source.ip().to_canonical()))
            }
            Some(_) => Err(ProxyHeaderError::Malformed),
        }
    }
}

/// Whether a connection that should not begin with a header does: for a message that helps. These may be its first bytes alone.
#[must_use]
pub fn begins_with_header(bytes: &[u8]) -> bool {
    [SIGNATURE.as_slice(), LINE_START].into_iter().any(|start| {
        let compared = bytes.len().min(start.len());
        // Not less than what no request of HTTP begins with.
        compared >= LINE_START.len() && bytes.get(..compared) == start.get(..compared)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Version 2: its command, family and what follows the length.
    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    const V4: [u8; 12] = [198, 51, 100, 7, 192, 0, 2, 1, 0x30, 0x39, 0x17, 0x0c];

    fn v6(client: &str) -> Vec<u8> {
        let address: std::net::Ipv6Addr = client.parse().unwrap();
        [&address.octets()[..], &[0; 16], &[0x30, 0x39, 0x17, 0x0c]].concat()
    }

    /// What a connection that begins with these bytes leads to, and how many of them were read.
    fn read(bytes: &[u8]) -> (Result<ProxyHeaderProgress, ProxyHeaderError>, usize) {
        let (mut reader, mut taken) = (ProxyHeaderReader::default(), 0);
        loop {
            let want = reader.want();
            assert!(want > 0, "it waits for nothing");
            let Some(part) = bytes.get(taken..taken + want) else {
                return (Ok(ProxyHeaderProgress::More), taken);
            };
            taken += want;
            match reader.receive(part) {
                Ok(ProxyHeaderProgress::More) => {}
                other => return (other, taken),
            }
        }
    }

    fn client(address: &str) -> ProxyHeaderProgress {
        ProxyHeaderProgress::Client(address.parse().unwrap())
    }

    #[test]
    fn the_client_is_known_and_no_byte_of_what_follows_is_read() {
        let padded = [&V4[..], &[4, 0, 3, 0, 0, 0]].concat();
        for (header, told) in [
            (binary(0x21, 0x11, &V4), client("198.51.100.7")),
            (binary(0x21, 0x11, &padded), client("198.51.100.7")),
            (binary(0x21, 0x21, &v6("2001:db8::7")), client("2001:db8::7")),
            (binary(0x21, 0x21, &v6("::ffff:198.51.100.7")), client("198.51.100.7")),
            (
                b"PROXY TCP4 198.51.100.7 192.0.2.1 12345 5900\r\n".to_vec(),
                client("198.51.100.7"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 2001:db8::1 12345 5900\r\n".to_vec(),
                client("2001:db8::7"),
            ),
        ] {
            let followed = [&header[..], b"RFB 003.008\nPROXY \r\n\r\n\0\r\nQUIT\n"].concat();
            assert_eq!(read(&followed), (Ok(told), header.len()), "{header:?}");
            for cut in 0..header.len() {
                let told = read(header.get(..cut).unwrap()).0;
                assert_eq!(told, Ok(ProxyHeaderProgress::More), "{cut} of {header:?}");
            }
        }
    }

    #[test]
    fn a_proxy_may_speak_for_itself() {
        let unix = [0; 216];
        for header in [
            binary(0x20, 0, &[]),
            // Whatever the rest is.
            binary(0x20, 0x11, &V4),
            binary(0x20, 0x11, &[1]),
            binary(0x20, 0x77, &[0; 40]),
            // It does not know whose the connection is.
            binary(0x21, 0, &[]),
            binary(0x21, 0x31, &unix),
            b"PROXY UNKNOWN\r\n".to_vec(),
            b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
        ] {
            let length = header.len();
            assert_eq!(read(&header), (Ok(ProxyHeaderProgress::Proxy), length), "{header:?}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused_as_soon_as_it_is_known() {
        let missing = (Err(ProxyHeaderError::Missing), START_BYTES);
        assert_eq!(read(b"RFB 003.008\n"), missing);
        assert_eq!(read(b"GET / HTTP/1.1\r\n\r\n"), missing);
        assert_eq!(
            read(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03rest of a greeting of TLS"),
            missing
        );
        assert_eq!(read(b"PROXYTCP4 198.51.100.7 "), missing);
        let malformed = |bytes: &[u8]| assert_eq!(read(bytes).0, Err(ProxyHeaderError::Malformed), "{bytes:?}");
        // Another version, another command, UDP, too few bytes for its addresses.
        malformed(&binary(0x11, 0x11, &V4));
        malformed(&binary(0x22, 0x11, &V4));
        malformed(&binary(0x21, 0x12, &V4));
        malformed(&binary(0x21, 0x41, &V4));
        malformed(&binary(0x21, 0x11, &[1, 2, 3]));
        malformed(&binary(0x21, 0x21, &V4));
        malformed(b"PROXY TCP4 198.51.100.7\r\n");
        malformed(b"PROXY TCP4 2001:db8::7 192.0.2.1 1 2\r\n");
        malformed(b"PROXY TCP4 198.51.100.7 192.0.2.1 12345 65536\r\n");
        malformed(b"PROXY TCP4 198.51.100.7 192.0.2.1 12345 5900\n");
        malformed(b"PROXY UDP4 198.51.100.7 192.0.2.1 12345 5900\r\n");
    }

    #[test]
    fn no_header_costs_more_than_its_limit() {
        let full = binary(
            0x21,
            0x11,
            &[&V4[..], &[0; HEADER_BYTES_LIMIT - FIXED_BYTES - 12]].concat(),
        );
        assert_eq!(full.len(), HEADER_BYTES_LIMIT);
        assert_eq!(read(&full), (Ok(client("198.51.100.7")), HEADER_BYTES_LIMIT));
        let longer = binary(0x21, 0x11, &[0; HEADER_BYTES_LIMIT]);
        let told = Err(ProxyHeaderError::TooLong(HEADER_BYTES_LIMIT + FIXED_BYTES));
        assert_eq!(read(&longer), (told, FIXED_BYTES), "it is refused before it is read");
        let endless = [LINE_START, &[b'x'; 1000]].concat();
        assert_eq!(read(&endless), (Err(ProxyHeaderError::Malformed), LINE_BYTES_LIMIT));
    }

    #[test]
    fn a_header_that_nobody_expects_is_recognised() {
        for bytes in [&SIGNATURE[..], b"\r\n\r\n\0\r\nQ", b"PROXY TCP4 1", b"PROXY "] {
            assert!(begins_with_header(bytes), "{bytes:?}");
        }
        for bytes in [
            &b"RFB 003.008\n"[..],
            b"",
            b"P",
            b"PRO",
            b"\r\n",
            b"GET / HTTP/1",
            b"PROPFIND / H",
        ] {
            assert!(!begins_with_header(bytes), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end_within_the_limit(rest in prop::collection::vec(any::<u8>(), 0..300), command: u8, family: u8) {
            for bytes in [binary(command, family, &rest), [LINE_START, rest.as_slice()].concat(), rest.clone()] {
                let (told, taken) = read(&bytes);
                prop_assert!(taken <= bytes.len().min(HEADER_BYTES_LIMIT));
                prop_assert!(told != Ok(ProxyHeaderProgress::More) || taken < START_BYTES || bytes.starts_with(LINE_START), "{told:?}");
            }
        }
    }
}
