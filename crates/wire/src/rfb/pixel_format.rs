//! How long pixels are on the wire, as far as that is the same for every server.

/// Bytes of a pixel format, in `ServerInit` and `SetPixelFormat` (rfbproto 7.4).
pub const PIXEL_FORMAT_BYTES: usize = 16;

/// What a pixel format says about lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelLength {
    /// Bytes of a pixel: 1, 2 or 4.
    pub bytes: u8,
    /// Bytes of a pixel in Tight rectangles. `None` where servers disagree about it.
    pub tight: Option<u8>,
}

impl PixelLength {
    /// The lengths of a format. `None` when it is none of those that servers agree about: `QEMU` makes one byte of every
    /// pixel without true colour.
    #[must_use]
    pub const fn of_format(format: [u8; PIXEL_FORMAT_BYTES]) -> Option<Self> {
        let [bits, depth, _, true_colour, maxima @ ..] = format;
        let bytes = match bits {
            8 => 1,
            16 => 2,
            32 => 4,
            _ => return None,
        };
        if true_colour == 0 && bytes != 1 {
            return None;
        }
        let has_full_colours = matches!(maxima, [0, 255, 0, 255, 0, 255, ..]);
        let tight = match bytes {
            4 if depth == 24 && has_full_colours => Some(3),
            // Three bytes for some servers: QEMU does not look at the depth, and takes a maximum of 0 for 255.
            4 => None,
            // libvncserver looks at the depth alone.
            _ if depth > bits => None,
            bytes => Some(bytes),
        };
        Some(Self { bytes, tight })
    }
}

/// In which format pictures come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureFormat {
    /// The viewer has set a format, and nobody has asked for a picture since.
    Undecided,
    /// In that of `ServerInit`.
    Server,
    /// In the one that the viewer has set.
    Viewer(PixelLength),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bits: u8, depth: u8, true_colour: u8, maximum: u8) -> Option<PixelLength> {
        PixelLength::of_format([
            bits,
            depth,
            0,
            true_colour,
            0,
            maximum,
            0,
            maximum,
            0,
            maximum,
            16,
            8,
            0,
            0,
            0,
            0,
        ])
    }

    #[test]
    fn formats_have_one_length_for_all_servers_or_none() {
        let length = |bytes, tight| Some(PixelLength { bytes, tight });
        assert_eq!(of(32, 24, 1, 255), length(4, Some(3)));
        assert_eq!(of(32, 32, 1, 255), length(4, None));
        assert_eq!(of(32, 24, 1, 0), length(4, None));
        assert_eq!(of(16, 16, 1, 31), length(2, Some(2)));
        assert_eq!(of(16, 24, 1, 255), length(2, None));
        assert_eq!(of(8, 8, 1, 3), length(1, Some(1)));
        assert_eq!(of(8, 8, 0, 0), length(1, Some(1)));
        assert_eq!(of(32, 24, 0, 255), None);
        assert_eq!(of(24, 24, 1, 255), None);
        assert_eq!(of(0, 0, 0, 0), None);
    }
}
