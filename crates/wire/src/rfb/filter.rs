//! The filter of what a viewer sends: it drops what the rules forbid and ends the stream at what the grammar does not know.
//!
//! No message that is dropped has an answer that the viewer waits for, so dropping never stalls a stream.

use super::{
    clipboard::{ClipboardActions, FLAGS_BYTES},
    encoding::{self, Extension, Verdict},
    message::{
        CUT_TEXT_BYTES_LIMIT, CUT_TEXT_READ_BYTES_LIMIT, ENCODINGS_LIMIT, EXTENDED_CUT_TEXT_BYTES, FENCE_BYTES_LIMIT,
        HEAD_BYTES_LIMIT, Message, QEMU_KEY, QEMU_KEY_BYTES,
    },
    pixel_format::{PictureFormat, PixelLength},
    server_filter::ServerFilter,
};
use crate::{close::EndReason, rules::Rules};

/// Why a viewer's stream is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A message type that is not known.
    #[error("the viewer sent a message of the unknown type {0}")]
    UnknownType(u8),
    /// A message of an extension that was not negotiated.
    #[error("the viewer sent a message of the extension {0}, which was not agreed on")]
    NotNegotiated(Extension),
    /// A QEMU message other than a key event.
    #[error("the viewer sent a QEMU message of the sub-type {0}, which was not agreed on")]
    QemuSubtype(u8),
    /// A power message other than shutdown, reboot and reset.
    #[error("the viewer sent a malformed power message")]
    Xvp,
    /// Too many encodings at once.
    #[error("the viewer sent {0} encodings at once; at most {ENCODINGS_LIMIT} are read")]
    Encodings(u16),
    /// A fence that is too long.
    #[error("the viewer sent a fence of {0} bytes; at most {FENCE_BYTES_LIMIT} are allowed")]
    Fence(u8),
    /// Clipboard text that is too long.
    #[error("the viewer sent clipboard text of {0} bytes; at most {CUT_TEXT_READ_BYTES_LIMIT} are read")]
    CutText(u32),
    /// A pixel format that would make the bounds of the server's messages unsure.
    #[error(
        "the viewer set a pixel format of another length after it had asked for a picture; where the clipboard is held back, it \
         has to set the format first"
    )]
    PixelFormat,
}

impl Violation {
    /// The end that this means.
    #[must_use]
    pub const fn close(self) -> EndReason {
        match self {
            Self::UnknownType(_) | Self::NotNegotiated(_) | Self::QemuSubtype(_) | Self::PixelFormat => {
                EndReason::MessageNotAllowed
            }
            Self::Encodings(_) | Self::CutText(_) => EndReason::MessageTooLarge,
            Self::Xvp | Self::Fence(_) => EndReason::ProtocolError,
        }
    }
}

/// The filter of one stream, from the first byte after `ClientInit`.
#[derive(Debug)]
pub struct Filter {
    rules: Rules,
    /// Extensions that the server may have learned of, so that their messages can be told from broken streams.
    negotiated: [bool; EXTENSIONS],
    head: [u8; HEAD_BYTES_LIMIT],
    have: usize,
    state: State,
    /// Encodings of a `SetEncodings` that is not complete; empty otherwise.
    encodings: Vec<u8>,
    pointer: [u8; 5],
    /// The pixel format that was set last; followed only where the server's clipboard is held back.
    pixels: Option<PixelLength>,
    pictures: PictureFormat,
}

const EXTENSIONS: usize = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Collecting a head of this many bytes.
    Head(usize),
    /// This many bytes of a body are to come.
    Body { left: u64, pass: bool },
    /// This many bytes of encodings are to come.
    Encodings(usize),
}

/// A type byte tells how long the head is.
const START: State = State::Head(1);

impl Filter {
    /// A filter for one stream.
    #[must_use]
    pub const fn new(rules: Rules) -> Self {
        Self {
            rules,
            negotiated: [false; EXTENSIONS],
            head: [0; HEAD_BYTES_LIMIT],
            have: 0,
            state: START,
            encodings: Vec::new(),
            pointer: [0; 5],
            pixels: None,
            pictures: PictureFormat::Undecided,
        }
    }

    /// The filter of what the server sends, when it has to have one.
    #[must_use]
    pub fn server_filter(&self) -> Option<ServerFilter> {
        (!self.rules.text_from_guest()).then(|| ServerFilter::new(self.rules.extended_clipboard()))
    }

    /// The format of pictures, as far as the [`server_filter`](Self::server_filter) needs it. One that comes unasked, while the
    /// viewer has set no format, can only be in the server's own.
    #[must_use]
    pub const fn pictures(&self) -> PictureFormat {
        match (self.pictures, self.pixels) {
            (PictureFormat::Undecided, None) => PictureFormat::Server,
            (pictures, _) => pictures,
        }
    }

    /// Whether keys and pointer pass.
    #[must_use]
    pub const fn passes_input(&self) -> bool {
        self.rules.input
    }

    /// Takes what the viewer sent, appends what may pass to `output`, and says whether a person did something.
    ///
    /// Human input is a key pressed and a pointer that moved or changed a button, also while only looking is allowed.
    /// Clipboard text is not: viewers send it by themselves when the clipboard of their desktop changes.
    ///
    /// # Errors
    ///
    /// [`Violation`]: what is in `output` may still pass, then the stream ends. The filter is not to be used again.
    pub fn push(&mut self, mut input: &[u8], output: &mut Vec<u8>) -> Result<bool, Violation> {
        let mut human = false;
        while !input.is_empty() {
            let taken = match self.state {
                State::Head(length) => self.collect_head(length, input),
                State::Body { left, pass } => self.body(left, pass, input, output),
                State::Encodings(left) => self.collect_encodings(left, input, output),
            };
            input = input.get(taken..).unwrap_or_default();
            if let State::Head(length) = self.state
                && self.have == length
                && length > 0
            {
                human |= self.head_complete(output)?;
            }
        }
        Ok(human)
    }

    fn collect_head(&mut self, length: usize, input: &[u8]) -> usize {
        let room = self.head.get_mut(self.have..length).unwrap_or_default();
        let taken = room.len().min(input.len());
        for (place, &byte) in room.iter_mut().zip(input) {
            *place = byte;
        }
        self.have += taken;
        taken
    }

    fn body(&mut self, left: u64, pass: bool, input: &[u8], output: &mut Vec<u8>) -> usize {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        if pass {
            output.extend_from_slice(input.get(..taken).unwrap_or_default());
        }
        self.then_body(left - taken as u64, pass);
        taken
    }

    fn collect_encodings(&mut self, left: usize, input: &[u8], output: &mut Vec<u8>) -> usize {
        let taken = left.min(input.len());
        self.encodings.extend_from_slice(input.get(..taken).unwrap_or_default());
        if taken < left {
            self.state = State::Encodings(left - taken);
        } else {
            self.rewrite_encodings(output);
        }
        taken
    }

    /// Decides about a message whose head is complete, and says whether a person sent it.
    fn head_complete(&mut self, output: &mut Vec<u8>) -> Result<bool, Violation> {
        let [kind, ..] = self.head;
        let message = Message::of_type(kind).ok_or(Violation::UnknownType(kind))?;
        if self.have < message.head_length() {
            self.state = State::Head(message.head_length());
            return Ok(false);
        }
        match message {
            Message::SetPixelFormat => self.pixel_format(output)?,
            Message::FramebufferUpdateRequest => {
                self.fix_format();
                self.whole(true, output);
            }
            Message::SetEncodings => self.start_encodings(output)?,
            Message::KeyEvent => return Ok(self.key(output)),
            Message::PointerEvent => return Ok(self.pointer(output)),
            Message::ClientCutText => self.cut_text(output)?,
            Message::EnableContinuousUpdates => {
                self.needs(Extension::ContinuousUpdates)?;
                self.fix_format();
                self.whole(true, output);
            }
            Message::ClientFence => self.fence(output)?,
            Message::Xvp => self.xvp(output)?,
            Message::SetDesktopSize => self.desktop_size(output)?,
            Message::Qemu => return self.qemu(output),
        }
        Ok(false)
    }

    /// The message is complete with its head: it passes or not.
    fn whole(&mut self, pass: bool, output: &mut Vec<u8>) {
        self.head_then(pass, 0, output);
    }

    /// The head passes or not, and so does a body of `length` bytes.
    fn head_then(&mut self, pass: bool, length: u64, output: &mut Vec<u8>) {
        if pass {
            output.extend_from_slice(self.head.get(..self.have).unwrap_or_default());
        }
        self.then_body(length, pass);
    }

    const fn then_body(&mut self, left: u64, pass: bool) {
        self.have = 0;
        self.state = if left == 0 { START } else { State::Body { left, pass } };
    }

    const fn needs(&self, extension: Extension) -> Result<(), Violation> {
        let [updates, fence, xvp, size, key, clipboard] = self.negotiated;
        let negotiated = match extension {
            Extension::ContinuousUpdates => updates,
            Extension::Fence => fence,
            Extension::Xvp => xvp,
            Extension::ExtendedDesktopSize => size,
            Extension::QemuExtendedKey => key,
            Extension::ExtendedClipboard => clipboard,
        };
        if negotiated {
            Ok(())
        } else {
            Err(Violation::NotNegotiated(extension))
        }
    }

    fn key(&mut self, output: &mut Vec<u8>) -> bool {
        let [_, down, ..] = self.head;
        self.whole(self.rules.input, output);
        down != 0
    }

    fn pointer(&mut self, output: &mut Vec<u8>) -> bool {
        let [_, mask, x1, x2, y1, y2, ..] = self.head;
        let now = [mask, x1, x2, y1, y2];
        let moved = now != self.pointer;
        self.pointer = now;
        self.whole(self.rules.input, output);
        moved
    }

    fn cut_text(&mut self, output: &mut Vec<u8>) -> Result<(), Violation> {
        let [_, _, _, _, a, b, c, d, rest @ ..] = self.head;
        let signed = i32::from_be_bytes([a, b, c, d]);
        let length = signed.unsigned_abs();
        if length > CUT_TEXT_READ_BYTES_LIMIT {
            return Err(Violation::CutText(length));
        }
        let is_short = length <= CUT_TEXT_BYTES_LIMIT;
        if signed >= 0 {
            self.head_then(self.rules.text_to_guest() && is_short, u64::from(length), output);
            return Ok(());
        }
        // The extended clipboard marks its messages by a negative length.
        self.needs(Extension::ExtendedClipboard)?;
        if length < FLAGS_BYTES {
            self.head_then(false, u64::from(length), output);
        } else if self.have < EXTENDED_CUT_TEXT_BYTES {
            self.state = State::Head(EXTENDED_CUT_TEXT_BYTES);
        } else {
            let [flags @ .., _, _, _, _, _, _, _, _] = rest;
            let actions = ClipboardActions::of(flags);
            let is_allowed = (!actions.gives_text() || self.rules.text_to_guest())
                && (!actions.asks_for_text() || self.rules.text_from_guest());
            self.head_then(is_allowed && is_short, u64::from(length - FLAGS_BYTES), output);
        }
        Ok(())
    }

    fn fence(&mut self, output: &mut Vec<u8>) -> Result<(), Violation> {
        self.needs(Extension::Fence)?;
        let [_, _, _, _, _, _, _, _, length, ..] = self.head;
        if length > FENCE_BYTES_LIMIT {
            return Err(Violation::Fence(length));
        }
        self.head_then(true, u64::from(length), output);
        Ok(())
    }

    fn xvp(&mut self, output: &mut Vec<u8>) -> Result<(), Violation> {
        self.needs(Extension::Xvp)?;
        let [_, _, version, code, ..] = self.head;
        // Version 1; shutdown, reboot, reset.
        if version != 1 || !matches!(code, 2..=4) {
            return Err(Violation::Xvp);
        }
        self.whole(self.rules.power_messages(), output);
        Ok(())
    }

    fn desktop_size(&mut self, output: &mut Vec<u8>) -> Result<(), Violation> {
        self.needs(Extension::ExtendedDesktopSize)?;
        let [_, _, _, _, _, _, screens, ..] = self.head;
        self.head_then(self.rules.resize_messages(), u64::from(screens) * 16, output);
        Ok(())
    }

    fn qemu(&mut self, output: &mut Vec<u8>) -> Result<bool, Violation> {
        let [_, subtype, _, down, ..] = self.head;
        if subtype != QEMU_KEY {
            return Err(Violation::QemuSubtype(subtype));
        }
        self.needs(Extension::QemuExtendedKey)?;
        if self.have < QEMU_KEY_BYTES {
            self.state = State::Head(QEMU_KEY_BYTES);
            return Ok(false);
        }
        self.whole(self.rules.input, output);
        Ok(down != 0)
    }

    /// The length of pixels stays what it was when the first picture could be asked for: pictures of the former format may be
    /// under way, and nothing in the stream says which is the first of the new one.
    fn pixel_format(&mut self, output: &mut Vec<u8>) -> Result<(), Violation> {
        if !self.rules.text_from_guest() {
            let [_, _, _, _, format @ ..] = self.head;
            let length = PixelLength::of_format(format).ok_or(Violation::PixelFormat)?;
            match self.pictures {
                PictureFormat::Undecided => self.pixels = Some(length),
                PictureFormat::Viewer(before) if before == length => {}
                PictureFormat::Viewer(_) | PictureFormat::Server => return Err(Violation::PixelFormat),
            }
        }
        self.whole(true, output);
        Ok(())
    }

    /// The server may send pictures from here on: `QEMU` sends the pointer's as soon as it knows the encodings.
    const fn fix_format(&mut self) {
        if let PictureFormat::Undecided = self.pictures {
            self.pictures = match self.pixels {
                Some(length) => PictureFormat::Viewer(length),
                None => PictureFormat::Server,
            };
        }
    }

    fn start_encodings(&mut self, output: &mut Vec<u8>) -> Result<(), Violation> {
        let [_, _, high, low, ..] = self.head;
        let count = u16::from_be_bytes([high, low]);
        if count > ENCODINGS_LIMIT {
            return Err(Violation::Encodings(count));
        }
        self.fix_format();
        self.have = 0;
        if count == 0 {
            self.rewrite_encodings(output);
        } else {
            self.state = State::Encodings(usize::from(count) * 4);
        }
        Ok(())
    }

    fn rewrite_encodings(&mut self, output: &mut Vec<u8>) {
        let encodings = std::mem::take(&mut self.encodings);
        let mut kept: Vec<[u8; 4]> = Vec::with_capacity(encodings.len() / 4);
        for &bytes in encodings.as_chunks::<4>().0 {
            let encoding = i32::from_be_bytes(bytes);
            match encoding::verdict(encoding, &self.rules) {
                Verdict::Keep if self.is_tight_of_unknown_length(encoding) => {}
                Verdict::Keep => kept.push(bytes),
                Verdict::Negotiate(extension) => {
                    kept.push(bytes);
                    self.negotiate(extension);
                }
                Verdict::Strip => {}
            }
        }
        // The count fits: no more are kept than came in.
        let [high, low] = u16::try_from(kept.len()).unwrap_or(ENCODINGS_LIMIT).to_be_bytes();
        output.extend_from_slice(&[2, 0, high, low]);
        output.extend_from_slice(kept.as_flattened());
        self.state = START;
    }

    fn is_tight_of_unknown_length(&self, encoding: i32) -> bool {
        let is_known = matches!(self.pictures, PictureFormat::Viewer(PixelLength { tight: Some(_), .. }));
        let is_tight = matches!(encoding, encoding::TIGHT | encoding::TIGHT_PNG);
        is_tight && !is_known && !self.rules.text_from_guest()
    }

    /// Once negotiated, always: messages may be under way when a viewer changes its mind, and servers ignore them.
    const fn negotiate(&mut self, extension: Extension) {
        let [updates, fence, xvp, size, key, clipboard] = &mut self.negotiated;
        *match extension {
            Extension::ContinuousUpdates => updates,
            Extension::Fence => fence,
            Extension::Xvp => xvp,
            Extension::ExtendedDesktopSize => size,
            Extension::QemuExtendedKey => key,
            Extension::ExtendedClipboard => clipboard,
        } = true;
    }
}

#[cfg(test)]
mod tests;
