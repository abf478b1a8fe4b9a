//! Frames: a decoder that works in place, and headers to send. No IO.
//!
//! No extension is ever negotiated, so the reserved bits are always 0.

use std::fmt;

use crate::close::EndReason;

/// Bytes of the longest header: two, a length of eight, a mask of four.
pub const HEADER_BYTES_LIMIT: usize = 14;

/// Bytes of the longest payload of a control frame.
pub const CONTROL_BYTES_LIMIT: usize = 125;

/// A kind of frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// More of the message before.
    Continuation,
    /// Text.
    Text,
    /// Bytes.
    Binary,
    /// The end of the connection.
    Close,
    /// The peer wants a pong.
    Ping,
    /// The answer to a ping.
    Pong,
}

impl Opcode {
    const fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Which side of the connection we are. Clients mask what they send, servers do not (RFC 6455 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameRole {
    /// We accepted the connection.
    Server,
    /// We opened the connection.
    Client,
}

/// The payload of a control frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ControlPayload {
    bytes: [u8; CONTROL_BYTES_LIMIT],
    length: u8,
}

impl ControlPayload {
    /// Nothing.
    pub const EMPTY: Self = Self {
        bytes: [0; CONTROL_BYTES_LIMIT],
        length: 0,
    };

    /// The payload of a close frame: code and reason word.
    #[must_use]
    pub fn close(close: EndReason) -> Self {
        let mut payload = Self::EMPTY;
        for &byte in close.code().to_be_bytes().iter().chain(close.reason().as_bytes()) {
            payload.push(byte);
        }
        payload
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(usize::from(self.length)) {
            *place = byte;
            self.length += 1;
        }
    }
}

impl fmt::Debug for ControlPayload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ControlPayload({} bytes)", self.length)
    }
}

/// Control frames that arrived. Of several pings only the last needs an answer (RFC 6455 section 5.5.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// A ping to answer with this payload.
    pub ping: Option<ControlPayload>,
    /// The peer closes, with this code if it gave one. Whatever follows is not looked at.
    pub close: Option<Option<u16>>,
}

/// Why a peer's frames cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A reserved bit is set: the peer uses an extension that was not negotiated.
    #[error("a WebSocket frame uses an extension that was not agreed on")]
    Reserved,
    /// An operation that does not exist.
    #[error("a WebSocket frame has the unknown operation {0}")]
    Opcode(u8),
    /// Masked when it must not be, or not masked when it must.
    #[error("a WebSocket frame is masked by the wrong side")]
    Mask,
    /// A control frame is too long or in pieces.
    #[error("a WebSocket control frame is too long or in pieces")]
    Control,
    /// Pieces of messages are mixed up.
    #[error("WebSocket frames are out of order")]
    Order,
    /// The length is not written in the shortest form or is beyond 2^63.
    #[error("a WebSocket frame has a malformed length")]
    Length,
    /// Text where only bytes are spoken.
    #[error("a WebSocket message is text; consoles send binary messages")]
    Text,
}

/// Reads the frames of one peer.
#[derive(Debug)]
pub struct Decoder {
    role: FrameRole,
    text: bool,
    header: [u8; HEADER_BYTES_LIMIT],
    have: u8,
    /// What is left of the payload of the frame under way.
    left: u64,
    /// The mask, turned so that its first byte is for the next byte of the payload.
    mask: [u8; 4],
    /// The control frame under way.
    control: Option<(Opcode, ControlPayload)>,
    in_message: bool,
    closed: bool,
}

impl Decoder {
    /// A decoder for what reaches us in this role. `text` is whether text messages are taken as bytes or refused.
    #[must_use]
    pub const fn new(role: FrameRole, text: bool) -> Self {
        Self {
            role,
            text,
            header: [0; HEADER_BYTES_LIMIT],
            have: 0,
            left: 0,
            mask: [0; 4],
            control: None,
            in_message: false,
            closed: false,
        }
    }

    /// From now on text messages are taken as bytes.
    pub const fn accept_text(&mut self) {
        self.text = true;
    }

    /// Decodes all of `bytes` in place: the payload of data frames is moved to the front, and its length returned.
    ///
    /// # Errors
    ///
    /// [`FrameError`]: close the connection. The decoder is not to be used again.
    pub fn decode(&mut self, bytes: &mut [u8], arrived: &mut Arrived) -> Result<usize, FrameError> {
        let (mut read, mut written) = (0, 0);
        while !self.closed
            && let Some(&byte) = bytes.get(read)
        {
            if self.left == 0 {
                read += 1;
                self.header_byte(byte)?;
                if self.left == 0 {
                    self.frame_complete(arrived);
                }
                continue;
            }
            let now = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - read);
            let Some(payload) = bytes.get_mut(read..read + now) else {
                break;
            };
            if self.role == FrameRole::Server {
                unmask(payload, &mut self.mask);
            }
            if let Some((_, control)) = &mut self.control {
                for &byte in &*payload {
                    control.push(byte);
                }
            } else {
                bytes.copy_within(read..read + now, written);
                written += now;
            }
            read += now;
            self.left -= now as u64;
            if self.left == 0 {
                self.frame_complete(arrived);
            }
        }
        Ok(written)
    }

    /// Takes one byte of a header. The frame has begun when `left` is above 0, and is already over when `have` is 0 again.
    fn header_byte(&mut self, byte: u8) -> Result<(), FrameError> {
        if let Some(place) = self.header.get_mut(usize::from(self.have)) {
            *place = byte;
        }
        self.have += 1;
        match self.have {
            1 => self.first_byte(byte),
            2 if (byte & 0x80 != 0) != (self.role == FrameRole::Server) => Err(FrameError::Mask),
            2 if self.control.is_some() && byte & 0x7f > 125 => Err(FrameError::Control),
            have if have == self.header_length() => self.begin(),
            _ => Ok(()),
        }
    }

    fn first_byte(&mut self, byte: u8) -> Result<(), FrameError> {
        let last = byte & 0x80 != 0;
        if byte & 0x70 != 0 {
            return Err(FrameError::Reserved);
        }
        let opcode = Opcode::of(byte & 0x0f).ok_or(FrameError::Opcode(byte & 0x0f))?;
        if opcode.is_control() {
            self.control = Some((opcode, ControlPayload::EMPTY));
            return if last { Ok(()) } else { Err(FrameError::Control) };
        }
        if opcode == Opcode::Text && !self.text {
            return Err(FrameError::Text);
        }
        if (opcode == Opcode::Continuation) != self.in_message {
            return Err(FrameError::Order);
        }
        self.in_message = !last;
        Ok(())
    }

    /// Bytes of the header under way, of which the first two are known.
    const fn header_length(&self) -> u8 {
        let [_, second, ..] = self.header;
        let length = match second & 0x7f {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        if second & 0x80 != 0 { length + 4 } else { length }
    }

    fn begin(&mut self) -> Result<(), FrameError> {
        let [_, second, length @ ..] = self.header;
        let (Some(medium), Some(long)) = (length.first_chunk(), length.first_chunk()) else {
            return Err(FrameError::Length);
        };
        self.left = match second & 0x7f {
            126 => match u64::from(u16::from_be_bytes(*medium)) {
                ..=125 => return Err(FrameError::Length),
                length => length,
            },
            127 => match u64::from_be_bytes(*long) {
                ..=0xffff | 0x8000_0000_0000_0000.. => return Err(FrameError::Length),
                length => length,
            },
            length => u64::from(length),
        };
        if second & 0x80 != 0
            && let Some(mask) = self.header.get(..usize::from(self.have)).and_then(<[u8]>::last_chunk)
        {
            self.mask = *mask;
        }
        self.have = 0;
        Ok(())
    }

    /// Called whenever nothing of a payload is left; a header under way has `have` above 0.
    fn frame_complete(&mut self, arrived: &mut Arrived) {
        if self.have > 0 {
            return;
        }
        match self.control.take() {
            Some((Opcode::Ping, payload)) => arrived.ping = Some(payload),
            Some((Opcode::Close, payload)) => {
                arrived.close = Some(payload.as_bytes().first_chunk().map(|code| u16::from_be_bytes(*code)));
                self.closed = true;
            }
            _ => {}
        }
    }
}

/// Unmasks (or masks, which is the same) bytes and turns the mask to fit the byte after them.
pub fn unmask(bytes: &mut [u8], mask: &mut [u8; 4]) {
    let (words, rest) = bytes.as_chunks_mut::<4>();
    let word_mask = u32::from_ne_bytes(*mask);
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ word_mask).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(*mask) {
        *byte ^= key;
    }
    mask.rotate_left(rest.len());
}

/// A header to send.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    bytes: [u8; HEADER_BYTES_LIMIT],
    length: u8,
}

impl Header {
    /// The header of a whole message or control frame of `length` bytes, masked if there is a mask.
    #[must_use]
    pub fn new(opcode: Opcode, length: u64, mask: Option<[u8; 4]>) -> Self {
        let mut header = Self {
            bytes: [0; HEADER_BYTES_LIMIT],
            length: 0,
        };
        header.put(&[0x80 | opcode.bits()]);
        let masked: u8 = if mask.is_some() { 0x80 } else { 0 };
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ ..=125), _) => header.put(&[masked | short]),
            (_, Ok(medium)) => {
                header.put(&[masked | 0x7e]);
                header.put(&medium.to_be_bytes());
            }
            _ => {
                header.put(&[masked | 0x7f]);
                header.put(&length.to_be_bytes());
            }
        }
        header.put(mask.as_ref().map_or(&[], |mask| mask.as_slice()));
        header
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    fn put(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if let Some(place) = self.bytes.get_mut(usize::from(self.length)) {
                *place = byte;
                self.length += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
