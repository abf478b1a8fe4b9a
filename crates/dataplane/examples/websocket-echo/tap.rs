//! The raw connection below a WebSocket: notes where messages end, and gives answers the type of their message.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Bits of a frame's first byte (RFC 6455 section 5.2): the last of its message, an operation, a control frame.
const LAST: u8 = 0x80;
const OPERATION: u8 = 0x0f;
const CONTROL: u8 = 0x08;
const CONTINUATION: u8 = 0;

/// What tap and echo both know of the message under way. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Borders(Arc<Mutex<Message>>);

#[derive(Default)]
struct Message {
    /// Text or binary, from the first frame.
    operation: u8,
    is_over: bool,
    /// A frame that is sent before all else: the answer to an empty message, which a stream of bytes does not have.
    empty_answer: Option<[u8; 2]>,
}

impl Borders {
    /// Whether a message has arrived in whole. Until [`Borders::answer`] nothing more is read.
    pub(crate) fn message_is_over(&self) -> bool {
        self.0.lock().is_over
    }

    /// From now on the answer is written, and then the next message is read.
    pub(crate) fn answer(&self, is_empty: bool) {
        let mut message = self.0.lock();
        message.is_over = false;
        message.empty_answer = is_empty.then_some([LAST | message.operation, 0]);
    }
}

/// Where a stream of frames stands. It only follows the frames and checks nothing.
#[derive(Default)]
struct Frames {
    header: Vec<u8>,
    /// Of the payload.
    left: u64,
}

impl Frames {
    const fn is_between(&self) -> bool {
        self.header.is_empty() && self.left == 0
    }

    /// Goes on by at most these bytes, to the end of the frame. Returns how many it took, and the frame's first byte if it is over.
    fn advance(&mut self, bytes: &[u8]) -> (usize, Option<u8>) {
        let mut taken = 0;
        while self.left == 0 {
            let Some(&byte) = bytes.get(taken) else {
                return (taken, None);
            };
            taken += 1;
            self.header.push(byte);
            match self.payload_length() {
                Some(0) => return (taken, Some(self.end())),
                Some(length) => self.left = length,
                None => {}
            }
        }
        let now = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(bytes.len() - taken);
        self.left -= now as u64;
        taken += now;
        (taken, (self.left == 0).then(|| self.end()))
    }

    fn end(&mut self) -> u8 {
        let first = self.header.first().copied().unwrap_or_default();
        self.header.clear();
        first
    }

    /// When the header is there in whole.
    fn payload_length(&self) -> Option<u64> {
        let second = *self.header.get(1)?;
        let length_bytes = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask_bytes = if second & 0x80 == 0 { 0 } else { 4 };
        if self.header.len() < 2 + length_bytes + mask_bytes {
            return None;
        }
        if length_bytes == 0 {
            return Some(u64::from(second & 0x7f));
        }
        let digits = self.header.get(2..2 + length_bytes)?;
        Some(digits.iter().fold(0, |length, byte| (length << 8) | u64::from(*byte)))
    }
}

/// A connection that [`Borders`] know.
pub(crate) struct Tap {
    stream: TcpStream,
    /// What was read and not yet handed on.
    ahead: Bytes,
    borders: Borders,
    incoming: Frames,
    outgoing: Frames,
}

impl Tap {
    pub(crate) fn new(stream: TcpStream, early: Bytes, borders: Borders) -> Self {
        Self {
            stream,
            ahead: early,
            borders,
            incoming: Frames::default(),
            outgoing: Frames::default(),
        }
    }

    fn poll_empty_answer(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(frame) = self.borders.0.lock().empty_answer else {
            return Poll::Ready(Ok(()));
        };
        // Two bytes go together or not at all but for a full socket, which an echo of these cases never has.
        ready!(Pin::new(&mut self.stream).poll_write(context, &frame))?;
        self.borders.0.lock().empty_answer = None;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Tap {
    /// Hands on at most to the end of a frame.
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.borders.message_is_over() {
            // The echo knows, and polls again when it has answered.
            return Poll::Pending;
        }
        if this.ahead.is_empty() {
            let mut bytes = vec![0; super::READ_BYTES];
            let mut read = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut read))?;
            let length = read.filled().len();
            bytes.truncate(length);
            this.ahead = bytes.into();
        }
        let within = this.ahead.len().min(buffer.remaining());
        let (taken, over) = this.incoming.advance(this.ahead.get(..within).unwrap_or_default());
        buffer.put_slice(this.ahead.get(..taken).unwrap_or_default());
        this.ahead.advance(taken);
        if let Some(first) = over
            && first & CONTROL == 0
        {
            let mut message = this.borders.0.lock();
            if first & OPERATION != CONTINUATION {
                message.operation = first & OPERATION;
            }
            message.is_over = first & LAST != 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tap {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_empty_answer(context))?;
        let written = match bytes.first() {
            Some(&first) if this.outgoing.is_between() && first & CONTROL == 0 => {
                let typed = [LAST | this.borders.0.lock().operation];
                ready!(Pin::new(&mut this.stream).poll_write(context, &typed))?
            }
            _ => ready!(Pin::new(&mut this.stream).poll_write(context, bytes))?,
        };
        let mut rest = bytes.get(..written).unwrap_or_default();
        while !rest.is_empty() {
            let (taken, _) = this.outgoing.advance(rest);
            rest = rest.get(taken..).unwrap_or_default();
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_empty_answer(context))?;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
