//! The grammar of what a viewer sends after the handshake: message types and lengths (rfbproto 7.5 and the extensions).

/// A message that the filter knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// The pixel format.
    SetPixelFormat,
    /// What the viewer can read.
    SetEncodings,
    /// The viewer asks for a part of the screen.
    FramebufferUpdateRequest,
    /// A key was pressed or released.
    KeyEvent,
    /// The pointer was moved or a button used.
    PointerEvent,
    /// Text for the guest's clipboard.
    ClientCutText,
    /// The viewer wants updates unasked.
    EnableContinuousUpdates,
    /// A mark in the stream.
    ClientFence,
    /// Shutdown, reboot, reset.
    Xvp,
    /// Another screen size.
    SetDesktopSize,
    /// QEMU's messages: a key event with scan code is the only one that is let through.
    Qemu,
}

/// The longest head of a message: what has to be known before its length and its fate are.
pub const HEAD_BYTES_LIMIT: usize = 20;

/// The most encodings in one `SetEncodings`. Viewers send some 40.
pub const ENCODINGS_LIMIT: u16 = 1024;

/// The longest payload of a fence, by definition of the extension.
pub const FENCE_BYTES_LIMIT: u8 = 64;

/// The longest text that is passed to a guest, in bytes, as `QEMU` has it. Longer text is left out.
pub const CUT_TEXT_BYTES_LIMIT: u32 = 1024 * 1024;

/// The longest text that is read at all. Longer ones are taken for a broken stream.
pub const CUT_TEXT_READ_BYTES_LIMIT: u32 = 64 * 1024 * 1024;

/// Bytes of the head of a message of the extended clipboard, its flags included.
pub const EXTENDED_CUT_TEXT_BYTES: usize = 12;

/// Sub-type of a QEMU message: key event with scan code.
pub const QEMU_KEY: u8 = 0;

/// Bytes of a QEMU key event.
pub const QEMU_KEY_BYTES: usize = 12;

impl Message {
    /// The message of a type byte.
    #[must_use]
    pub const fn of_type(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::SetPixelFormat,
            2 => Self::SetEncodings,
            3 => Self::FramebufferUpdateRequest,
            4 => Self::KeyEvent,
            5 => Self::PointerEvent,
            6 => Self::ClientCutText,
            150 => Self::EnableContinuousUpdates,
            248 => Self::ClientFence,
            250 => Self::Xvp,
            251 => Self::SetDesktopSize,
            255 => Self::Qemu,
            _ => return None,
        })
    }

    /// Bytes of its head, type included. For messages of fixed length that is all of it; QEMU's is longer once the sub-type
    /// is known.
    #[must_use]
    pub const fn head_length(self) -> usize {
        match self {
            Self::SetPixelFormat => 20,
            Self::SetEncodings | Self::Xvp => 4,
            Self::FramebufferUpdateRequest | Self::EnableContinuousUpdates => 10,
            Self::KeyEvent | Self::ClientCutText | Self::SetDesktopSize => 8,
            Self::PointerEvent => 6,
            Self::ClientFence => 9,
            Self::Qemu => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_head_is_longer_than_the_limit() {
        for message in (0..=u8::MAX).filter_map(Message::of_type) {
            assert!((2..=HEAD_BYTES_LIMIT).contains(&message.head_length()), "{message:?}");
        }
    }

    #[test]
    fn vendors_own_messages_are_unknown() {
        // UltraVNC's file transfer (7), text chat (11); gii (253), whose extension is never negotiated.
        for byte in (7..=21).chain([1, 80, 127, 249, 252, 253, 254]) {
            assert_eq!(Message::of_type(byte), None, "{byte}");
        }
    }
}
