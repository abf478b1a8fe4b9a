//! The filter of what a VNC server sends: it leaves the text of the server's clipboard out.
//!
//! Servers send `ServerCutText` whether a viewer asked for it or not, so it has to be found among the pictures. For that the
//! filter follows the bounds of messages and rectangles. It decodes nothing and keeps at most one head. The viewer's
//! [`Filter`](super::filter::Filter) makes that possible: it announces no encoding whose length is not told here, and keeps the
//! length of pixels.

use super::{
    clipboard::{ClipboardActions, FLAGS_BYTES},
    encoding,
    message::FENCE_BYTES_LIMIT,
    pixel_format::{PictureFormat, PixelLength},
    rectangle::{Body, Rectangle, Step},
};

/// Why the bounds of a server's messages are lost. Nothing of what follows may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerViolation {
    /// A message type that is not known.
    #[error("the VNC server sent a message of the unknown type {0}, so its clipboard cannot be held back")]
    UnknownType(u8),
    /// An encoding that was not announced.
    #[error("the VNC server sent a picture in the encoding {0}, which was not announced")]
    Encoding(i32),
    /// A Tight rectangle that is malformed, or in a pixel format for which its length cannot be told.
    #[error("the VNC server sent a Tight picture of unknown length (byte {0})")]
    Tight(u8),
    /// A picture that nobody asked for, in an unknown pixel format.
    #[error("the VNC server sent a picture that nobody had asked for")]
    Unasked,
    /// The server's own pixel format has no known length.
    #[error("the VNC server's own pixel format is malformed, so its clipboard cannot be held back")]
    PixelFormat,
    /// A fence that is too long.
    #[error("the VNC server sent a fence of {0} bytes; at most {FENCE_BYTES_LIMIT} are allowed")]
    Fence(u8),
}

/// `ServerInit` up to the name: size, pixel format, length of the name (rfbproto 7.3.2).
const SERVER_INIT_BYTES: usize = 24;

/// `ServerCutText` after its type: a padding and the length.
const CUT_TEXT_BYTES: usize = 7;

/// The filter of one stream, from the first byte of `ServerInit`.
#[derive(Debug)]
pub struct ServerFilter {
    /// Whether the viewer may give text by the extended clipboard: then what the server says about that passes.
    extended: bool,
    own: Option<PixelLength>,
    head: [u8; SERVER_INIT_BYTES],
    have: usize,
    state: State,
    /// Rectangles of the update that are to come, this one included.
    rectangles: u16,
}

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    ServerInit,
    /// The type of a message.
    Type,
    Update,
    ColourMap,
    CutText,
    /// The same with the flags of the extended clipboard.
    ExtendedCutText,
    Fence,
    Rectangle,
    /// A part of a rectangle that tells how long the next part is.
    Inside(Rectangle, Step),
    /// This many bytes whose meaning does not matter.
    Body {
        left: u64,
        pass: bool,
        then: Then,
    },
}

/// What comes after a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Message,
    Rectangle,
    Inside(Rectangle, Step),
}

impl State {
    /// How many bytes tell what follows.
    const fn head_length(self) -> usize {
        match self {
            Self::ServerInit => SERVER_INIT_BYTES,
            Self::Type => 1,
            Self::Update => 3,
            Self::ColourMap => 5,
            Self::CutText => CUT_TEXT_BYTES,
            Self::ExtendedCutText => CUT_TEXT_BYTES + FLAGS_BYTES as usize,
            Self::Fence => 8,
            Self::Rectangle => 12,
            Self::Inside(_, step) => step.length(),
            Self::Body { .. } => 0,
        }
    }
}

impl ServerFilter {
    /// A filter for one stream. `extended` is whether the viewer may give text by the extended clipboard.
    #[must_use]
    pub const fn new(extended: bool) -> Self {
        Self {
            extended,
            own: None,
            head: [0; SERVER_INIT_BYTES],
            have: 0,
            state: State::ServerInit,
            rectangles: 0,
        }
    }

    /// Takes what the server sent and appends what may pass to `output`. `format` is that of the viewer's filter.
    ///
    /// # Errors
    ///
    /// [`ServerViolation`]: the stream ends, and the filter is not to be used again.
    pub fn push(
        &mut self,
        mut input: &[u8],
        format: PictureFormat,
        output: &mut Vec<u8>,
    ) -> Result<(), ServerViolation> {
        while !input.is_empty() {
            let taken = match self.state {
                State::Body { left, pass, then } => self.body(left, pass, then, input, output),
                state => self.collect(state.head_length(), input),
            };
            input = input.get(taken..).unwrap_or_default();
            if self.have > 0 && self.have == self.state.head_length() {
                self.head_complete(format, output)?;
            }
        }
        Ok(())
    }

    fn body(&mut self, left: u64, pass: bool, then: Then, input: &[u8], output: &mut Vec<u8>) -> usize {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        if pass {
            output.extend_from_slice(input.get(..taken).unwrap_or_default());
        }
        self.body_then(left - taken as u64, pass, then);
        taken
    }

    fn collect(&mut self, length: usize, input: &[u8]) -> usize {
        let room = self.head.get_mut(self.have..length).unwrap_or_default();
        let taken = room.len().min(input.len());
        for (place, &byte) in room.iter_mut().zip(input) {
            *place = byte;
        }
        self.have += taken;
        taken
    }

    /// Passes the head on, unless it belongs to text, and finds out what follows it.
    fn head_complete(&mut self, format: PictureFormat, output: &mut Vec<u8>) -> Result<(), ServerViolation> {
        let is_text = matches!(
            (self.state, self.head),
            (State::Type, [SERVER_CUT_TEXT, ..]) | (State::CutText | State::ExtendedCutText, _)
        );
        if !is_text {
            output.extend_from_slice(self.head.get(..self.have).unwrap_or_default());
        }
        self.have = 0;
        match self.state {
            State::ServerInit => self.server_init(),
            State::Type => return self.message_type(),
            State::Update => {
                let [_, high, low, ..] = self.head;
                self.rectangles = u16::from_be_bytes([high, low]);
                self.next_rectangle();
            }
            State::ColourMap => {
                let [_, _, _, high, low, ..] = self.head;
                self.body_then(u64::from(u16::from_be_bytes([high, low])) * 6, true, Then::Message);
            }
            State::CutText => self.cut_text(),
            State::ExtendedCutText => self.extended_cut_text(output),
            State::Fence => {
                let [_, _, _, _, _, _, _, length, ..] = self.head;
                if length > FENCE_BYTES_LIMIT {
                    return Err(ServerViolation::Fence(length));
                }
                self.body_then(u64::from(length), true, Then::Message);
            }
            State::Rectangle => return self.rectangle(format),
            State::Inside(rectangle, step) => {
                let [a, b, c, d, ..] = self.head;
                self.inside(rectangle, rectangle.next(step, [a, b, c, d])?);
            }
            // It has no head.
            State::Body { .. } => {}
        }
        Ok(())
    }

    fn server_init(&mut self) {
        let [_, _, _, _, format @ .., a, b, c, d] = self.head;
        self.own = PixelLength::of_format(format);
        self.body_then(u64::from(u32::from_be_bytes([a, b, c, d])), true, Then::Message);
    }

    fn message_type(&mut self) -> Result<(), ServerViolation> {
        let [kind, ..] = self.head;
        self.state = match kind {
            0 => State::Update,
            1 => State::ColourMap,
            // Bell; EndOfContinuousUpdates.
            2 | 150 => State::Type,
            SERVER_CUT_TEXT => State::CutText,
            248 => State::Fence,
            // Power control: a padding, a version and a code.
            250 => State::Body {
                left: 3,
                pass: true,
                then: Then::Message,
            },
            _ => return Err(ServerViolation::UnknownType(kind)),
        };
        Ok(())
    }

    fn cut_text(&mut self) {
        let length = self.cut_text_length();
        if self.extended && length < 0 && length.unsigned_abs() >= FLAGS_BYTES {
            // The head is kept, for it may pass.
            self.have = CUT_TEXT_BYTES;
            self.state = State::ExtendedCutText;
        } else {
            self.body_then(u64::from(length.unsigned_abs()), false, Then::Message);
        }
    }

    /// The extended clipboard marks its messages by a negative length.
    const fn cut_text_length(&self) -> i32 {
        let [_, _, _, a, b, c, d, ..] = self.head;
        i32::from_be_bytes([a, b, c, d])
    }

    /// What the server can do and its requests for the viewer's text pass; its own text and the notice of it do not.
    fn extended_cut_text(&mut self, output: &mut Vec<u8>) {
        let [_, _, _, _, _, _, _, a, b, c, d, ..] = self.head;
        let pass = !ClipboardActions::of([a, b, c, d]).gives_text();
        if pass {
            output.push(SERVER_CUT_TEXT);
            let head = self.head.get(..State::ExtendedCutText.head_length());
            output.extend_from_slice(head.unwrap_or_default());
        }
        let left = self.cut_text_length().unsigned_abs().saturating_sub(FLAGS_BYTES);
        self.body_then(u64::from(left), pass, Then::Message);
    }

    fn rectangle(&mut self, format: PictureFormat) -> Result<(), ServerViolation> {
        let [_, _, _, _, w1, w2, h1, h2, a, b, c, d, ..] = self.head;
        let encoding = i32::from_be_bytes([a, b, c, d]);
        if encoding == encoding::LAST_RECT {
            self.rectangles = 0;
            self.next_rectangle();
            return Ok(());
        }
        let pixel = match format {
            PictureFormat::Viewer(length) => length,
            PictureFormat::Server => self.own.ok_or(ServerViolation::PixelFormat)?,
            PictureFormat::Undecided => return Err(ServerViolation::Unasked),
        };
        let rectangle = Rectangle {
            width: u16::from_be_bytes([w1, w2]),
            height: u16::from_be_bytes([h1, h2]),
            pixel,
        };
        self.inside(rectangle, rectangle.start(encoding)?);
        Ok(())
    }

    /// Goes on inside a rectangle.
    fn inside(&mut self, rectangle: Rectangle, body: Body) {
        let then = body.then.map_or(Then::Rectangle, |step| Then::Inside(rectangle, step));
        self.body_then(body.length, true, then);
    }

    fn body_then(&mut self, left: u64, pass: bool, then: Then) {
        if left > 0 {
            self.state = State::Body { left, pass, then };
            return;
        }
        match then {
            Then::Message => self.state = State::Type,
            Then::Inside(rectangle, step) => self.state = State::Inside(rectangle, step),
            Then::Rectangle => {
                self.rectangles = self.rectangles.saturating_sub(1);
                self.next_rectangle();
            }
        }
    }

    const fn next_rectangle(&mut self) {
        self.state = if self.rectangles == 0 {
            State::Type
        } else {
            State::Rectangle
        };
    }
}

const SERVER_CUT_TEXT: u8 = 3;

#[cfg(test)]
mod tests;
