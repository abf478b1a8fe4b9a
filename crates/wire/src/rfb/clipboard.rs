//! What the messages of the extended clipboard do (rfbproto, "Extended Clipboard Pseudo-encoding"): the first four bytes after the
//! head, the same both ways. The plain clipboard has Latin-1 alone, so this is the only way for all other text.

/// Bytes of the flags.
pub const FLAGS_BYTES: u32 = 4;

const CAPS: u32 = 1 << 24;
const REQUEST: u32 = 1 << 25;
const PEEK: u32 = 1 << 26;
const NOTIFY: u32 = 1 << 27;
const PROVIDE: u32 = 1 << 28;

/// What one message does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClipboardActions(u32);

impl ClipboardActions {
    /// The actions of these flags.
    #[must_use]
    pub const fn of(flags: [u8; FLAGS_BYTES as usize]) -> Self {
        Self(u32::from_be_bytes(flags))
    }

    /// It says that its sender has text, or brings it.
    #[must_use]
    pub const fn gives_text(self) -> bool {
        !self.tells_abilities() && self.0 & (NOTIFY | PROVIDE) != 0
    }

    /// It asks for the other side's text, or whether there is any.
    #[must_use]
    pub const fn asks_for_text(self) -> bool {
        !self.tells_abilities() && self.0 & (REQUEST | PEEK) != 0
    }

    /// It says what its sender can do: the flags of actions mean that they are known. Readers look for this one first.
    const fn tells_abilities(self) -> bool {
        self.0 & CAPS != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_told_apart() {
        let of = |bits: u32| {
            let actions = ClipboardActions::of((bits | 1).to_be_bytes());
            (actions.gives_text(), actions.asks_for_text())
        };
        assert_eq!(of(REQUEST), (false, true));
        assert_eq!(of(PEEK), (false, true));
        assert_eq!(of(NOTIFY), (true, false));
        assert_eq!(of(PROVIDE), (true, false));
        assert_eq!(of(REQUEST | PROVIDE), (true, true));
        assert_eq!(of(CAPS | REQUEST | PEEK | NOTIFY | PROVIDE), (false, false));
        assert_eq!(of(0), (false, false));
    }
}
