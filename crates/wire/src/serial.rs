//! Serial consoles: bytes that a terminal sends to the guest, and which of them a person typed.

use crate::rules::Rules;

/// Passes or drops what a terminal sends, and tells typing from the answers that terminals give by themselves.
///
/// A serial line has no messages, so there is nothing to refuse: it passes all or nothing.
#[derive(Debug)]
pub struct SerialFilter {
    pass: bool,
    at: At,
}

/// Where in the input the next byte is (ECMA-48 control functions, as xterm.js and other terminals send them).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Ground,
    Escape,
    Sequence {
        parameters: bool,
        separator: bool,
    },
    /// In a string, after so many bytes of it.
    Text(usize),
    TextEscape,
}

/// The longest string that is taken for a terminal's, in bytes; answers to questions for colours and settings have a few dozen.
const STRING_BYTES_LIMIT: usize = 1024;

impl SerialFilter {
    /// A filter for one stream.
    #[must_use]
    pub const fn new(rules: &Rules) -> Self {
        Self {
            pass: rules.input,
            at: At::Ground,
        }
    }

    /// Whether what is typed passes.
    #[must_use]
    pub const fn passes_input(&self) -> bool {
        self.pass
    }

    /// Takes what the terminal sent, appends what may pass to `output`, and says whether a person typed some of it.
    pub fn push(&mut self, input: &[u8], output: &mut Vec<u8>) -> bool {
        if self.pass {
            output.extend_from_slice(input);
        }
        // The state has to follow all bytes, so this does not stop at the first.
        let mut human = false;
        for &byte in input {
            human |= self.typed(byte);
        }
        human
    }

    fn typed(&mut self, byte: u8) -> bool {
        let (next, human) = match (self.at, byte) {
            (At::Ground, 0x1b) => (At::Escape, false),
            (At::Escape, b'[') => (
                At::Sequence {
                    parameters: false,
                    separator: false,
                },
                false,
            ),
            // Strings (OSC, DCS, PM, APC) come from terminals, but people type their first two bytes as well: ESC P in vi, Alt+_.
            (At::Escape | At::TextEscape, b']' | b'P' | b'^' | b'_') => (At::Text(0), false),
            (At::Escape, 0x1b) => (At::Escape, true),
            (At::Sequence { separator, .. }, 0x20..=0x3f) => (
                At::Sequence {
                    parameters: true,
                    separator: separator || byte == b';',
                },
                false,
            ),
            (At::Sequence { parameters, separator }, _) => (At::Ground, !is_reply(byte, parameters, separator)),
            (At::Text(_), 0x07) | (At::TextEscape, _) => (At::Ground, false),
            (At::Text(_), 0x1b) => (At::TextEscape, false),
            (At::Text(length), _) if length < STRING_BYTES_LIMIT && !matches!(byte, b'\r' | b'\n') => {
                (At::Text(length + 1), false)
            }
            (At::Ground | At::Escape | At::Text(_), _) => (At::Ground, true),
        };
        self.at = next;
        human
    }
}

/// Whether a control sequence that ends in `last` is a report: cursor position (R), device attributes (c), status (n),
/// window (t), mode (y), terminal parameters (x), or the focus coming (I) or going (O).
const fn is_reply(last: u8, parameters: bool, separator: bool) -> bool {
    match last {
        b'R' => separator,
        b'c' | b'n' | b't' | b'y' | b'x' => parameters,
        b'I' | b'O' => !parameters,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn human(input: &[u8]) -> bool {
        SerialFilter::new(&Rules::CONTROL).push(input, &mut Vec::new())
    }

    #[test]
    fn keys_are_human() {
        for input in [
            &b"a"[..],
            b"\r",
            b"\x03",
            b"\x1b[A",
            b"\x1bOP",
            b"\x1b[15~",
            b"\x1b[1;5C",
            b"\x1bx",
            b"\x1b\x1b",
        ] {
            assert!(human(input), "{input:?}");
        }
    }

    #[test]
    fn reports_of_the_terminal_are_not() {
        for input in [
            &b""[..],
            b"\x1b[24;80R",
            b"\x1b[?1;2c",
            b"\x1b[>0;276;0c",
            b"\x1b[0n",
            b"\x1b[I",
            b"\x1b[O",
            b"\x1b[8;24;80t",
            b"\x1b[?2026;2$y",
            b"\x1b]11;rgb:0000/0000/0000\x1b\\",
            b"\x1b]11;rgb:0000/0000/0000\x07",
            b"\x1bP1$r0m\x1b\\",
        ] {
            assert!(!human(input), "{input:?}");
        }
    }

    #[test]
    fn who_types_what_begins_a_string_is_heard_again() {
        for begin in [&b"\x1bP"[..], b"\x1b]", b"\x1b^", b"\x1b_"] {
            for end in [&b"\r"[..], b"\n"] {
                let mut filter = SerialFilter::new(&Rules::CONTROL);
                assert!(!filter.push(begin, &mut Vec::new()));
                assert!(!filter.push(b"jjj", &mut Vec::new()));
                assert!(filter.push(end, &mut Vec::new()), "{begin:?} {end:?}");
                assert!(filter.push(b"x", &mut Vec::new()), "{begin:?} {end:?}");
            }
            let mut filter = SerialFilter::new(&Rules::CONTROL);
            filter.push(begin, &mut Vec::new());
            assert!(!filter.push(&[b'j'; STRING_BYTES_LIMIT], &mut Vec::new()));
            assert!(filter.push(b"j", &mut Vec::new()), "{begin:?}");
        }
    }

    #[test]
    fn a_viewer_who_only_views_types_nothing_but_is_seen() {
        let mut output = Vec::new();
        assert!(SerialFilter::new(&Rules::VIEW_ONLY).push(b"reboot\n", &mut output));
        assert_eq!(output, b"");
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(input: Vec<u8>, cut in 0usize..64) {
            let cut = cut.min(input.len());
            let (mut whole, mut pieces) = (SerialFilter::new(&Rules::CONTROL), SerialFilter::new(&Rules::CONTROL));
            let (mut one, mut two) = (Vec::new(), Vec::new());
            let human = whole.push(&input, &mut one);
            let first = pieces.push(&input[..cut], &mut two);
            let second = pieces.push(&input[cut..], &mut two);
            prop_assert_eq!(human, first || second);
            prop_assert_eq!(whole.at, pieces.at);
            prop_assert_eq!(&one, &input);
            prop_assert_eq!(one, two);
        }
    }
}
