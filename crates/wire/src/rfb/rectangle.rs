//! How long the rectangles of an update are (rfbproto 7.6.1, 7.7 and 7.8), for the encodings of
//! [`encoding::has_known_length`].
//!
//! A rectangle is a row of parts: a few bytes that tell how long the next part is, and that part.

use super::{encoding, pixel_format::PixelLength, server_filter::ServerViolation};

/// What a rectangle's head says, and how long its pixels are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rectangle {
    /// In pixels.
    pub width: u16,
    /// In pixels.
    pub height: u16,
    /// Its pixels.
    pub pixel: PixelLength,
}

/// Bytes without a meaning for the bounds, and what tells how it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body {
    /// How many bytes.
    pub length: u64,
    /// What comes then; `None` at the end of the rectangle.
    pub then: Option<Step>,
}

/// Bytes that tell how long the next part of a rectangle is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The number of rectangles of RRE.
    Subrectangles,
    /// A length of four bytes.
    Length,
    /// The number of screens, and three bytes of padding.
    Screens,
    /// The encoding of a cursor with alpha.
    AlphaCursor,
    /// The kind of `VMware`'s cursor and a byte of padding.
    VmwareCursor,
    /// What the Hextile tile of this number begins with.
    Tile(u32),
    /// The number of rectangles in the tile of this number, with this many bytes each.
    TileSubrectangles(u32, u8),
    /// The compression of Tight.
    Tight {
        /// Whether it is Tight PNG.
        png: bool,
    },
    /// The filter of Tight.
    TightFilter,
    /// The number of colours of Tight's palette, less one.
    TightPalette,
    /// A byte of Tight's compact length: its number, and the length so far.
    TightLength(u8, u32),
}

impl Step {
    /// How many bytes it takes; at most 4.
    #[must_use]
    pub const fn length(self) -> usize {
        match self {
            Self::Subrectangles | Self::Length | Self::Screens | Self::AlphaCursor => 4,
            Self::VmwareCursor => 2,
            Self::Tile(_)
            | Self::TileSubrectangles(..)
            | Self::Tight { .. }
            | Self::TightFilter
            | Self::TightPalette
            | Self::TightLength(..) => 1,
        }
    }
}

/// Tight leaves shorter data as it is, without a length.
const TIGHT_COMPRESSED_BYTES: u64 = 12;

/// The edge of a Hextile tile, in pixels.
const TILE: u16 = 16;

const fn end(length: u64) -> Body {
    Body { length, then: None }
}

const fn step(length: u64, then: Step) -> Body {
    Body {
        length,
        then: Some(then),
    }
}

impl Rectangle {
    /// What follows the head of a rectangle in this encoding.
    ///
    /// # Errors
    ///
    /// [`ServerViolation`] when its length cannot be told.
    pub fn start(self, encoding: i32) -> Result<Body, ServerViolation> {
        let pixels = self.pixels();
        let bytes = u64::from(self.pixel.bytes);
        Ok(match encoding {
            encoding::RAW => end(pixels * bytes),
            encoding::COPY_RECT | encoding::VMWARE_LED_STATE => end(4),
            encoding::RRE => step(0, Step::Subrectangles),
            encoding::HEXTILE | encoding::X_CURSOR if pixels == 0 => end(0),
            encoding::HEXTILE => step(0, Step::Tile(0)),
            encoding::ZLIB | encoding::ZRLE | encoding::ZYWRLE | encoding::DESKTOP_NAME => step(0, Step::Length),
            encoding::TIGHT => step(0, Step::Tight { png: false }),
            encoding::TIGHT_PNG => step(0, Step::Tight { png: true }),
            encoding::DESKTOP_SIZE
            | encoding::POINTER_POSITION
            | encoding::QEMU_POINTER_MOTION
            | encoding::QEMU_EXTENDED_KEY => end(0),
            encoding::CURSOR => end(pixels * bytes + self.mask()),
            encoding::X_CURSOR => end(6 + 2 * self.mask()),
            encoding::ALPHA_CURSOR => step(0, Step::AlphaCursor),
            encoding::VMWARE_CURSOR => step(0, Step::VmwareCursor),
            encoding::QEMU_LED_STATE => end(1),
            encoding::EXTENDED_DESKTOP_SIZE => step(0, Step::Screens),
            _ => return Err(ServerViolation::Encoding(encoding)),
        })
    }

    /// What follows the bytes of a step: the first of `said`.
    ///
    /// # Errors
    ///
    /// [`ServerViolation`] when the length of what follows cannot be told.
    pub fn next(self, told: Step, said: [u8; 4]) -> Result<Body, ServerViolation> {
        let bytes = u64::from(self.pixel.bytes);
        let [first, ..] = said;
        let number = u32::from_be_bytes(said);
        Ok(match told {
            Step::Subrectangles => end(bytes + u64::from(number) * (bytes + 8)),
            Step::Length => end(u64::from(number)),
            Step::Screens => end(u64::from(first) * 16),
            // rfbproto lets it have any encoding; TigerVNC and QEMU send raw ones.
            Step::AlphaCursor if number == 0 => end(self.pixels() * 4),
            Step::AlphaCursor => return Err(ServerViolation::Encoding(encoding::ALPHA_CURSOR)),
            Step::VmwareCursor => match first {
                0 => end(self.pixels() * bytes * 2),
                1 => end(self.pixels() * 4),
                _ => return Err(ServerViolation::Encoding(encoding::VMWARE_CURSOR)),
            },
            Step::Tile(number) => self.tile(number, first),
            Step::TileSubrectangles(number, each) => Body {
                length: u64::from(first) * u64::from(each),
                then: self.tile_after(number),
            },
            Step::Tight { png } => self.tight(png, first)?,
            Step::TightFilter => match first {
                // Copy, gradient.
                0 | 2 => tight_data(self.pixels() * self.tight_pixel(first)?),
                1 => step(0, Step::TightPalette),
                _ => return Err(ServerViolation::Tight(first)),
            },
            Step::TightPalette => self.palette(first)?,
            Step::TightLength(at, so_far) => compact(at, so_far, first),
        })
    }

    fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Bytes of a bitmap of its size.
    fn mask(self) -> u64 {
        u64::from(self.width.div_ceil(8)) * u64::from(self.height)
    }

    fn tile(self, number: u32, head: u8) -> Body {
        let bytes = self.pixel.bytes;
        let [is_raw, background, foreground, any, coloured] = [1, 2, 4, 8, 16].map(|bit| head & bit != 0);
        if is_raw {
            return Body {
                length: self.tile_pixels(number) * u64::from(bytes),
                then: self.tile_after(number),
            };
        }
        let colours = u64::from(bytes) * (u64::from(background) + u64::from(foreground));
        let each = if coloured { bytes + 2 } else { 2 };
        let then = if any {
            Some(Step::TileSubrectangles(number, each))
        } else {
            self.tile_after(number)
        };
        Body { length: colours, then }
    }

    fn tiles_across(self) -> u32 {
        u32::from(self.width.div_ceil(TILE)).max(1)
    }

    fn tile_after(self, number: u32) -> Option<Step> {
        let next = number.saturating_add(1);
        let count = self.tiles_across() * u32::from(self.height.div_ceil(TILE));
        (next < count).then_some(Step::Tile(next))
    }

    /// The last tiles of a row and a column are smaller.
    fn tile_pixels(self, number: u32) -> u64 {
        let (column, row) = (number % self.tiles_across(), number / self.tiles_across());
        let edge = |length: u16, at: u32| {
            u32::from(length)
                .saturating_sub(at * u32::from(TILE))
                .min(u32::from(TILE))
        };
        u64::from(edge(self.width, column)) * u64::from(edge(self.height, row))
    }

    fn tight(self, png: bool, control: u8) -> Result<Body, ServerViolation> {
        // The lower four bits reset streams.
        match control >> 4 {
            8 => Ok(end(self.tight_pixel(control)?)),
            9 => Ok(step(0, Step::TightLength(0, 0))),
            10 if png => Ok(step(0, Step::TightLength(0, 0))),
            0..=3 => Ok(tight_data(self.pixels() * self.tight_pixel(control)?)),
            4..=7 => Ok(step(0, Step::TightFilter)),
            _ => Err(ServerViolation::Tight(control)),
        }
    }

    fn palette(self, less_one: u8) -> Result<Body, ServerViolation> {
        let data = match less_one {
            // Readers disagree about a palette of one colour, and no server sends one.
            0 => return Err(ServerViolation::Tight(less_one)),
            1 => self.mask(),
            _ => self.pixels(),
        };
        let palette = (u64::from(less_one) + 1) * self.tight_pixel(less_one)?;
        let Body { length, then } = tight_data(data);
        Ok(Body {
            length: palette + length,
            then,
        })
    }

    fn tight_pixel(self, at: u8) -> Result<u64, ServerViolation> {
        self.pixel.tight.map(u64::from).ok_or(ServerViolation::Tight(at))
    }
}

const fn tight_data(length: u64) -> Body {
    if length < TIGHT_COMPRESSED_BYTES {
        end(length)
    } else {
        step(0, Step::TightLength(0, 0))
    }
}

/// One to three bytes: seven bits, seven bits, eight bits, the lowest first.
fn compact(at: u8, so_far: u32, byte: u8) -> Body {
    let (more, bits) = match at {
        0 | 1 => (byte & 0x80 != 0, u32::from(byte & 0x7f)),
        _ => (false, u32::from(byte)),
    };
    let length = so_far | (bits << (7 * u32::from(at.min(2))));
    if more {
        step(0, Step::TightLength(at + 1, length))
    } else {
        end(u64::from(length))
    }
}
