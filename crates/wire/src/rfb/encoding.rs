//! Encodings of `SetEncodings`, and which of them may reach the server.
//!
//! A pseudo-encoding is how an extension is negotiated. Only known ones pass: an unknown one could bring messages of a
//! length that nobody here knows, and the filter would lose its place.

use crate::rules::Rules;

/// An extension that brings messages from the viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
pub enum Extension {
    /// `EnableContinuousUpdates`.
    ContinuousUpdates,
    /// `ClientFence`.
    Fence,
    /// Power control of the guest.
    Xvp,
    /// `SetDesktopSize`.
    ExtendedDesktopSize,
    /// Key events with scan codes.
    QemuExtendedKey,
    /// `ClientCutText` with formats and flags.
    ExtendedClipboard,
}

/// What becomes of one encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server may know that the viewer can read it.
    Keep,
    /// The same, and the viewer may send the extension's messages from now on.
    Negotiate(Extension),
    /// The server does not learn of it.
    Strip,
}

/// Pixels as they are. Servers may send it unannounced.
pub const RAW: i32 = 0;
/// A copy of another part of the screen.
pub const COPY_RECT: i32 = 1;
/// Rectangles of one colour.
pub const RRE: i32 = 2;
/// Tiles of RRE.
pub const HEXTILE: i32 = 5;
/// zlib.
pub const ZLIB: i32 = 6;
/// Tight.
pub const TIGHT: i32 = 7;
/// Tiles in zlib.
pub const ZRLE: i32 = 16;
/// The same with loss.
pub const ZYWRLE: i32 = 17;
/// Tight with PNG.
pub const TIGHT_PNG: i32 = -260;
/// Another size of the screen.
pub const DESKTOP_SIZE: i32 = -223;
/// The last rectangle of an update.
pub const LAST_RECT: i32 = -224;
/// Where the pointer is.
pub const POINTER_POSITION: i32 = -232;
/// The pointer's picture.
pub const CURSOR: i32 = -239;
/// The pointer's picture in two colours.
pub const X_CURSOR: i32 = -240;
/// Whether the pointer is absolute.
pub const QEMU_POINTER_MOTION: i32 = -257;
/// Lights of the keyboard.
pub const QEMU_LED_STATE: i32 = -261;
/// The desktop's name.
pub const DESKTOP_NAME: i32 = -307;
/// The pointer's picture with transparency.
pub const ALPHA_CURSOR: i32 = -314;
/// The pointer's picture, as `VMware` has it.
pub const VMWARE_CURSOR: i32 = 0x574d_5664;
/// Lights of the keyboard, as `VMware` has them.
pub const VMWARE_LED_STATE: i32 = 0x574d_5668;
/// Continuous updates.
pub const CONTINUOUS_UPDATES: i32 = -313;
/// Fence.
pub const FENCE: i32 = -312;
/// Power control.
pub const XVP: i32 = -309;
/// Extended desktop size.
pub const EXTENDED_DESKTOP_SIZE: i32 = -308;
/// Key events with scan codes, which KubeVirt's keyboard layouts need.
pub const QEMU_EXTENDED_KEY: i32 = -258;
/// Extended clipboard, 0xC0A1E5CE.
pub const EXTENDED_CLIPBOARD: i32 = -1_063_131_698;

/// What becomes of an encoding under these rules.
///
/// Always stripped, beside all unknown ones: -316 (extended mouse buttons: whether a `PointerEvent` then has 6 or 7 bytes
/// depends on what the server answered, which is not read), -305 (gii) and -259 (QEMU audio).
#[must_use]
pub const fn verdict(encoding: i32, rules: &Rules) -> Verdict {
    let (extension, allowed) = match encoding {
        CONTINUOUS_UPDATES => (Extension::ContinuousUpdates, true),
        FENCE => (Extension::Fence, true),
        QEMU_EXTENDED_KEY => (Extension::QemuExtendedKey, true),
        XVP => (Extension::Xvp, rules.power_messages()),
        EXTENDED_DESKTOP_SIZE => (Extension::ExtendedDesktopSize, rules.resize_messages()),
        EXTENDED_CLIPBOARD => (Extension::ExtendedClipboard, rules.extended_clipboard()),
        _ if only_server_to_client(encoding) && (rules.text_from_guest() || has_known_length(encoding)) => {
            return Verdict::Keep;
        }
        _ => return Verdict::Strip,
    };
    if allowed {
        Verdict::Negotiate(extension)
    } else {
        Verdict::Strip
    }
}

/// Picture encodings and pseudo-encodings that change only what the server sends (rfbproto 7.7 and 7.8).
const fn only_server_to_client(encoding: i32) -> bool {
    matches!(
        encoding,
        // Raw, CopyRect, RRE, CoRRE, Hextile, zlib, Tight, zlibhex, Ultra, Ultra2, TRLE, ZRLE, ZYWRLE, JPEG, JRLE, ZRLE2.
        0 | 1 | 2 | 4..=10 | 15..=17 | 21 | 22 | 24
        // Open H.264; Tight PNG; Tight without zlib.
        | 50 | -260 | -317
        // JPEG quality and compression levels: coarse, fine, subsampling.
        | -32..=-23 | -256..=-247 | -512..=-412 | -768..=-763
        // DesktopSize, LastRect, pointer position, rich cursor, X cursor, cursor with alpha.
        | -223 | -224 | -232 | -239 | -240 | -314
        // QEMU: pointer motion change, LED state. DesktopName.
        | -257 | -261 | -307
        // VMware: cursor, its state and position, typematic, LED state, display mode, machine state.
        | 0x574d_5664..=0x574d_566a
    )
}

/// Whether the length of what this brings from the server can be told without decoding it, in the same way for all servers.
/// Only these pass where the server's clipboard is held back: it has to be found among them.
///
/// Left out: what is delimited by its own contents (TRLE, zlibhex, JPEG, H.264), what changes other encodings (Tight without
/// zlib), and `VMware`'s display modes, which change the pixel format unasked.
#[must_use]
pub const fn has_known_length(encoding: i32) -> bool {
    matches!(
        encoding,
        RAW | COPY_RECT | RRE | HEXTILE | ZLIB | TIGHT | ZRLE | ZYWRLE | TIGHT_PNG
        | DESKTOP_SIZE | LAST_RECT | POINTER_POSITION | CURSOR | X_CURSOR | ALPHA_CURSOR | VMWARE_CURSOR
        | QEMU_POINTER_MOTION | QEMU_LED_STATE | VMWARE_LED_STATE | DESKTOP_NAME
        // These two bring rectangles as well: an empty one, and the screens.
        | QEMU_EXTENDED_KEY | EXTENDED_DESKTOP_SIZE
        // JPEG quality and compression levels bring nothing.
        | -32..=-23 | -256..=-247 | -512..=-412 | -768..=-763
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_rules_forbid_is_never_negotiated() {
        for encoding in [XVP, EXTENDED_DESKTOP_SIZE, EXTENDED_CLIPBOARD] {
            assert!(
                matches!(verdict(encoding, &Rules::CONTROL), Verdict::Negotiate(_)),
                "{encoding}"
            );
            assert_eq!(verdict(encoding, &Rules::VIEW_ONLY), Verdict::Strip, "{encoding}");
        }
        let one_way = Rules {
            clipboard_from_guest: false,
            ..Rules::CONTROL
        };
        assert!(matches!(verdict(EXTENDED_CLIPBOARD, &one_way), Verdict::Negotiate(_)));
        let no_way = Rules {
            clipboard_to_guest: false,
            ..one_way
        };
        assert_eq!(verdict(EXTENDED_CLIPBOARD, &no_way), Verdict::Strip);
    }

    #[test]
    fn what_would_change_the_grammar_is_stripped_for_everybody() {
        // gii, QEMU audio, extended mouse buttons, UltraVNC's extensions, an unknown one.
        for encoding in [-305, -259, -316, -32768, 0x0c0f_fee0, i32::MIN, i32::MAX] {
            assert_eq!(verdict(encoding, &Rules::CONTROL), Verdict::Strip, "{encoding}");
        }
    }

    #[test]
    fn where_text_is_held_back_only_known_lengths_are_announced() {
        let one_way = Rules {
            clipboard_from_guest: false,
            ..Rules::CONTROL
        };
        for rules in [one_way, Rules::VIEW_ONLY] {
            for encoding in (-1000..1000).chain(0x574d_5660..0x574d_5670) {
                let kept = verdict(encoding, &rules) == Verdict::Keep;
                assert!(!kept || has_known_length(encoding), "{encoding}");
            }
        }
        for encoding in [4, 8, 15, 21, 50, -317, 0x574d_5669] {
            assert_eq!(verdict(encoding, &Rules::CONTROL), Verdict::Keep, "{encoding}");
        }
    }

    #[test]
    fn the_clipboard_encoding_is_the_one_of_rfbproto() {
        assert_eq!(EXTENDED_CLIPBOARD.to_be_bytes(), 0xC0A1_E5CE_u32.to_be_bytes());
    }
}
