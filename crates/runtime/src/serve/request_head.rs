//! What RFC 9112 asks of the head of a request and hyper does not look at.
//!
//! Where a proxy stands in front, both have to agree on where a line and a request end, or one of them takes for a header what was
//! part of a value for the other. So what is not written as the standard has it is answered by 400.

use std::{
    io::{IoSlice, Result},
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Version, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What stands in a head for a lone line feed. No part of a request may contain it (RFC 9110, section 5.5; RFC 9112, section 3), so hyper answers
/// the request by 400.
const NOT_ALLOWED: u8 = 0;

/// A connection whose first request has to end its lines by CR and LF. RFC 9112, section 2.2, lets a server take a lone LF for
/// the end of a line, which hyper does; not every proxy does. What follows that head passes unread.
#[derive(Debug)]
pub struct StrictHead<S> {
    stream: S,
    lines: HeadLines,
}

impl<S> StrictHead<S> {
    /// A connection that has just been accepted.
    #[must_use]
    pub const fn new(stream: S) -> Self {
        Self {
            stream,
            lines: HeadLines::BEGIN,
        }
    }

    /// The connection itself.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.stream
    }
}

/// How far the head has been read.
#[derive(Clone, Copy, Debug)]
struct HeadLines {
    /// Bytes of the line, without those that end it.
    line_bytes: usize,
    was_return: bool,
    /// The request line has come. Empty lines before it are to be passed over (RFC 9112, section 2.2).
    has_begun: bool,
    is_over: bool,
}

impl HeadLines {
    const BEGIN: Self = Self {
        line_bytes: 0,
        was_return: false,
        has_begun: false,
        is_over: false,
    };

    /// Reads on, and replaces each lone line feed of the head.
    fn read(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.is_over {
                return;
            }
            let was_return = std::mem::replace(&mut self.was_return, *byte == b'\r');
            match *byte {
                b'\n' if was_return => {
                    self.is_over = self.has_begun && self.line_bytes == 0;
                    self.has_begun |= self.line_bytes > 0;
                    self.line_bytes = 0;
                }
                b'\n' => *byte = NOT_ALLOWED,
                b'\r' => {}
                _ => self.line_bytes = self.line_bytes.saturating_add(1),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StrictHead<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = buffer.filled_mut().get_mut(before..).unwrap_or_default();
        self.lines.read(read);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StrictHead<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Why a request has to be answered by 400 for its `Host`: one of HTTP/1.1 has it, and has it once (RFC 9112, section 3.2).
#[must_use]
pub fn host_refusal<B>(request: &Request<B>) -> Option<&'static str> {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    match hosts {
        0 if request.version() >= Version::HTTP_11 => {
            Some("the request has no Host header, which HTTP/1.1 asks for; send the name that you connect to")
        }
        0 | 1 => None,
        _ => Some("the request has more than one Host header; send one"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// What hyper reads of it, in parts of this size.
    fn read(sent: &[u8], size: usize) -> Vec<u8> {
        let (mut bytes, mut lines) = (sent.to_vec(), HeadLines::BEGIN);
        bytes.chunks_mut(size).for_each(|part| lines.read(part));
        bytes
    }

    #[test]
    fn a_lone_line_feed_of_a_head_is_read_as_what_no_head_may_have() {
        let cases: [(&[u8], &[u8]); 5] = [
            (b"GET / HTTP/1.1\nhost: x\r\n\r\n", b"GET / HTTP/1.1\0host: x\r\n\r\n"),
            (b"GET / HTTP/1.1\r\nhost: x\n\r\n", b"GET / HTTP/1.1\r\nhost: x\0\r\n"),
            (b"GET / HTTP/1.1\r\nhost: x\r\n\n", b"GET / HTTP/1.1\r\nhost: x\r\n\0"),
            (b"\nGET / HTTP/1.1\r\n", b"\0GET / HTTP/1.1\r\n"),
            (b"a: b\r\r\n\n", b"a: b\r\r\n\0"),
        ];
        for (sent, expected) in cases {
            for size in 1..=sent.len() {
                assert_eq!(read(sent, size), expected, "{:?}", String::from_utf8_lossy(sent));
            }
        }
    }

    #[test]
    fn what_follows_the_head_passes_unread() {
        for head in [
            &b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..],
            b"\r\n\r\nGET / HTTP/1.0\r\n\r\n",
        ] {
            let sent = [head, b"\n\nRFB\n\0\r\n\n"].concat();
            for size in 1..=sent.len() {
                assert_eq!(read(&sent, size), sent);
            }
        }
    }

    proptest! {
        /// However it comes, and whatever it is: nothing is lost, and only a lone line feed is changed.
        #[test]
        fn parts_of_any_size_are_read_alike(sent in "[a\\r\\n]{0,40}", size in 1_usize..40) {
            let sent = sent.into_bytes();
            let whole = read(&sent, sent.len().max(1));
            prop_assert_eq!(&read(&sent, size), &whole);
            for (before, after) in sent.iter().zip(&whole) {
                prop_assert!(before == after || (*before, *after) == (b'\n', NOT_ALLOWED));
            }
        }
    }

    #[tokio::test]
    async fn a_connection_is_written_to_as_it_is() {
        let (near, mut far) = duplex(64);
        let mut strict = StrictHead::new(near);
        far.write_all(b"GET /\n").await.unwrap();
        let mut got = [0; 6];
        strict.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"GET /\0");
        strict.write_all(b"a\nb").await.unwrap();
        drop(strict.into_inner());
        let mut answer = Vec::new();
        far.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"a\nb");
    }

    #[test]
    fn a_request_names_one_host() {
        let refused = |version: Version, hosts: &[&str]| {
            let mut request = Request::builder().version(version);
            for host in hosts {
                request = request.header(header::HOST, *host);
            }
            host_refusal(&request.body(()).unwrap()).is_some()
        };
        assert!(refused(Version::HTTP_11, &[]));
        assert!(!refused(Version::HTTP_11, &["a"]));
        assert!(refused(Version::HTTP_11, &["a", "a"]));
        assert!(!refused(Version::HTTP_10, &[]), "it may leave it out");
        assert!(refused(Version::HTTP_10, &["a", "b"]));
    }
}
