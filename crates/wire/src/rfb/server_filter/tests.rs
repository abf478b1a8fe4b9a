use proptest::prelude::*;

use super::*;

const FULL_COLOUR: PixelLength = PixelLength {
    bytes: 4,
    tight: Some(3),
};

/// A screen of 8 x 4 pixels named `test`.
const SERVER_INIT: &[u8] = b"\0\x08\0\x04\x20\x18\0\x01\0\xff\0\xff\0\xff\x10\x08\0\0\0\0\0\0\0\x04test";

fn filtered(messages: &[&[u8]], format: PictureFormat, cut: usize) -> Result<Vec<u8>, ServerViolation> {
    let (mut filter, mut output) = (ServerFilter::new(false), Vec::new());
    for piece in [&[SERVER_INIT][..], messages].concat().concat().chunks(cut) {
        filter.push(piece, format, &mut output)?;
    }
    Ok(output.split_off(SERVER_INIT.len()))
}

fn text(text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&[3, 0, 0, 0][..], &length, text].concat()
}

fn rectangle(width: u16, height: u16, encoding: i32, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 0];
    bytes.extend_from_slice(&width.to_be_bytes());
    bytes.extend_from_slice(&height.to_be_bytes());
    bytes.extend_from_slice(&encoding.to_be_bytes());
    bytes.extend_from_slice(data);
    bytes
}

fn update(rectangles: &[Vec<u8>]) -> Vec<u8> {
    let count = u16::try_from(rectangles.len()).unwrap().to_be_bytes();
    [&[0, 0][..], &count, &rectangles.concat()].concat()
}

/// Data with its compact length, as Tight has it.
fn compact(data: &[u8]) -> Vec<u8> {
    let length = data.len();
    let [low, middle, high] =
        [length & 0x7f, (length >> 7) & 0x7f, length >> 14].map(|part| u8::try_from(part).unwrap());
    let mut bytes = match length {
        0..0x80 => vec![low],
        0x80..0x4000 => vec![low | 0x80, middle],
        _ => vec![low | 0x80, middle | 0x80, high],
    };
    bytes.extend_from_slice(data);
    bytes
}

/// Rectangles of every kind that is let through, in 32 bits of colour, written by hand. Their data looks like text messages.
fn rectangles() -> Vec<Vec<u8>> {
    let decoy = |length: usize| {
        b"\x03\0\0\0\0\0\0\x02hi"
            .iter()
            .copied()
            .cycle()
            .take(length)
            .collect::<Vec<_>>()
    };
    let counted = |data: &[u8]| [&u32::try_from(data.len()).unwrap().to_be_bytes()[..], data].concat();
    let palette =
        |colours: u8, data: &[u8]| [&[0x40, 1, colours - 1][..], &decoy(usize::from(colours) * 3), data].concat();
    vec![
        rectangle(5, 3, encoding::RAW, &decoy(60)),
        rectangle(0, 0, encoding::RAW, &[]),
        rectangle(5, 3, encoding::COPY_RECT, &decoy(4)),
        rectangle(5, 3, encoding::RRE, &[&[0, 0, 0, 2][..], &decoy(4 + 2 * 12)].concat()),
        rectangle(5, 3, encoding::ZRLE, &counted(&decoy(300))),
        rectangle(5, 3, encoding::ZLIB, &counted(&decoy(7))),
        rectangle(5, 3, encoding::ZYWRLE, &counted(&[])),
        // Tiles of 16x16 and 4x16, 16x2 and 4x2: raw; background alone; both colours and two plain rectangles; one coloured.
        rectangle(
            20,
            18,
            encoding::HEXTILE,
            &[
                &[1][..],
                &decoy(16 * 16 * 4),
                &[2],
                &decoy(4),
                &[14],
                &decoy(8),
                &[2],
                &decoy(4),
                &[24, 1],
                &decoy(6),
            ]
            .concat(),
        ),
        rectangle(20, 0, encoding::HEXTILE, &[]),
        rectangle(20, 18, encoding::TIGHT, &[&[0x8f][..], &decoy(3)].concat()),
        rectangle(20, 18, encoding::TIGHT, &[vec![0x90], compact(&decoy(20_000))].concat()),
        rectangle(20, 18, encoding::TIGHT, &[vec![0x10], compact(&decoy(200))].concat()),
        rectangle(1, 3, encoding::TIGHT, &[vec![0x00], decoy(9)].concat()),
        rectangle(20, 18, encoding::TIGHT, &[vec![0x70, 2], compact(&decoy(9))].concat()),
        rectangle(20, 18, encoding::TIGHT, &palette(2, &compact(&decoy(30)))),
        rectangle(8, 4, encoding::TIGHT, &palette(2, &decoy(4))),
        rectangle(20, 18, encoding::TIGHT, &palette(200, &compact(&decoy(130)))),
        rectangle(2, 2, encoding::TIGHT, &palette(3, &decoy(4))),
        rectangle(
            20,
            18,
            encoding::TIGHT_PNG,
            &[vec![0xa0], compact(&decoy(129))].concat(),
        ),
        rectangle(9, 2, encoding::CURSOR, &decoy(9 * 2 * 4 + 4)),
        rectangle(9, 2, encoding::X_CURSOR, &decoy(6 + 8)),
        rectangle(0, 0, encoding::X_CURSOR, &[]),
        rectangle(9, 2, encoding::ALPHA_CURSOR, &[vec![0; 4], decoy(72)].concat()),
        rectangle(9, 2, encoding::VMWARE_CURSOR, &[vec![0, 0], decoy(144)].concat()),
        rectangle(9, 2, encoding::VMWARE_CURSOR, &[vec![1, 0], decoy(72)].concat()),
        rectangle(800, 600, encoding::DESKTOP_SIZE, &[]),
        rectangle(
            800,
            600,
            encoding::EXTENDED_DESKTOP_SIZE,
            &[vec![2, 0, 0, 0], decoy(32)].concat(),
        ),
        rectangle(3, 0, encoding::POINTER_POSITION, &[]),
        rectangle(1, 0, encoding::QEMU_POINTER_MOTION, &[]),
        rectangle(0, 0, encoding::QEMU_EXTENDED_KEY, &[]),
        rectangle(0, 0, encoding::QEMU_LED_STATE, &[3]),
        rectangle(0, 0, encoding::VMWARE_LED_STATE, &decoy(4)),
        rectangle(0, 0, encoding::DESKTOP_NAME, &counted(b"\x03\0\0\0")),
    ]
}

/// What is no picture and passes.
fn others() -> Vec<Vec<u8>> {
    vec![
        vec![2],
        vec![150],
        vec![1, 0, 0, 0, 0, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3],
        vec![248, 0, 0, 0, 0x80, 0, 0, 0, 3, 3, 3, 3],
        vec![250, 0, 1, 1],
        update(&[]),
    ]
}

const VIEWER: PictureFormat = PictureFormat::Viewer(FULL_COLOUR);

#[test]
fn text_is_left_out_wherever_it_stands_and_however_it_is_cut() {
    let extended = [&[3, 0, 0, 0, 0xff, 0xff, 0xff, 0xfc][..], &[1, 0, 0, 1]].concat();
    let mut last = rectangles();
    last.push(rectangle(0, 0, encoding::LAST_RECT, &[]));
    let mut unbounded = update(&last);
    unbounded[2..4].copy_from_slice(&[0xff, 0xff]);
    let pictures = rectangles().into_iter().map(|one| update(&[one]));
    let pass: Vec<Vec<u8>> = pictures
        .chain([update(&rectangles()), unbounded])
        .chain(others())
        .collect();
    let long = vec![b'x'; 100_000];
    let texts = [text(b"correct-horse-battery"), text(b""), extended, text(&long)];
    let mut sent = Vec::new();
    for (index, message) in pass.iter().enumerate() {
        sent.extend_from_slice(&texts[index % texts.len()]);
        sent.extend_from_slice(message);
    }
    sent.extend_from_slice(&text(b"the end"));
    for cut in [1, 2, 3, 7, 64, 1021, sent.len() + SERVER_INIT.len()] {
        let passed = filtered(&[&sent], VIEWER, cut).unwrap();
        assert!(passed == pass.concat(), "cut into pieces of {cut}");
    }
}

#[test]
fn of_the_extended_clipboard_passes_what_gives_no_text() {
    let message = |action: u8| {
        [
            &[3, 0, 0, 0][..],
            &(-6_i32).to_be_bytes(),
            &[action, 0, 0, 1, b'h', b'i'],
        ]
        .concat()
    };
    let (abilities, asks) = (message(0x1f), [message(2), message(4)].concat());
    let short = [&[3, 0, 0, 0][..], &(-3_i32).to_be_bytes(), b"abc"].concat();
    let sent = [
        &abilities[..],
        &message(8),
        &asks,
        &message(16),
        &short,
        &text(b"plain"),
        &[2],
    ]
    .concat();
    for cut in [1, 5, 1000] {
        for (extended, expected) in [(true, [&abilities[..], &asks, &[2]].concat()), (false, vec![2])] {
            let (mut filter, mut output) = (ServerFilter::new(extended), Vec::new());
            for piece in [SERVER_INIT, &sent].concat().chunks(cut) {
                filter.push(piece, VIEWER, &mut output).unwrap();
            }
            assert_eq!(output.split_off(SERVER_INIT.len()), expected, "{extended} {cut}");
        }
    }
}

#[test]
fn the_servers_own_pixel_format_is_read_where_the_viewer_sets_none() {
    // SERVER_INIT has 32 bits and full colours.
    let pictures = update(&rectangles());
    let sent = [&pictures[..], &text(b"secret")].concat();
    assert_eq!(filtered(&[&sent], PictureFormat::Server, 5).unwrap(), pictures);
}

#[test]
fn pixels_have_the_length_that_was_agreed_on() {
    for (bytes, length) in [(1, 15), (2, 30), (4, 60)] {
        let format = PictureFormat::Viewer(PixelLength { bytes, tight: None });
        let picture = update(&[rectangle(5, 3, encoding::RAW, &vec![3; length])]);
        let sent = [&picture[..], &text(b"secret"), &[2]].concat();
        assert_eq!(filtered(&[&sent], format, 4).unwrap(), [&picture[..], &[2]].concat());
    }
}

#[test]
fn what_has_no_known_length_ends_the_stream() {
    let one = |encoding: i32, data: &[u8]| update(&[rectangle(5, 3, encoding, data)]);
    for (sent, format, violation) in [
        (vec![4], VIEWER, ServerViolation::UnknownType(4)),
        (vec![255, 1], VIEWER, ServerViolation::UnknownType(255)),
        (one(15, &[]), VIEWER, ServerViolation::Encoding(15)),
        (one(encoding::TIGHT, &[0xa0]), VIEWER, ServerViolation::Tight(0xa0)),
        (one(encoding::TIGHT, &[0x40, 3]), VIEWER, ServerViolation::Tight(3)),
        (one(encoding::TIGHT, &[0x40, 1, 0]), VIEWER, ServerViolation::Tight(0)),
        (
            one(encoding::TIGHT, &[0x80]),
            PictureFormat::Viewer(PixelLength { bytes: 4, tight: None }),
            ServerViolation::Tight(0x80),
        ),
        (
            one(encoding::ALPHA_CURSOR, &[0, 0, 0, 16]),
            VIEWER,
            ServerViolation::Encoding(encoding::ALPHA_CURSOR),
        ),
        (
            one(encoding::VMWARE_CURSOR, &[2, 0]),
            VIEWER,
            ServerViolation::Encoding(encoding::VMWARE_CURSOR),
        ),
        (
            one(encoding::RAW, &[]),
            PictureFormat::Undecided,
            ServerViolation::Unasked,
        ),
        (vec![248, 0, 0, 0, 0, 0, 0, 0, 65], VIEWER, ServerViolation::Fence(65)),
    ] {
        assert_eq!(filtered(&[&sent], format, 3), Err(violation));
    }
    let mut filter = ServerFilter::new(false);
    let mut odd = SERVER_INIT.to_vec();
    odd[4] = 24;
    let sent = [odd, one(encoding::RAW, &[])].concat();
    let result = filter.push(&sent, PictureFormat::Server, &mut Vec::new());
    assert_eq!(result, Err(ServerViolation::PixelFormat));
}

#[test]
fn every_announced_encoding_can_be_followed() {
    let rectangle = Rectangle {
        width: 5,
        height: 3,
        pixel: FULL_COLOUR,
    };
    let brings_nothing = |encoding: i32| matches!(encoding, -32..=-23 | -256..=-247 | -512..=-412 | -768..=-763);
    let known = (-1000..1000).chain(0x574d_5660..0x574d_5670);
    for encoding in known.filter(|&encoding| encoding::has_known_length(encoding)) {
        let is_followed = rectangle.start(encoding).is_ok() || encoding == encoding::LAST_RECT;
        assert_eq!(is_followed, !brings_nothing(encoding), "{encoding}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_grow_and_pieces_do_not_matter(
        input in proptest::collection::vec(prop_oneof![Just(0_u8), Just(3), any::<u8>()], 0..4096),
        cut in 1_usize..50,
    ) {
        let whole = filtered(&[&input], VIEWER, usize::MAX);
        prop_assert_eq!(&whole, &filtered(&[&input], VIEWER, cut));
        prop_assert!(whole.is_err() || whole.is_ok_and(|passed| passed.len() <= input.len()));
    }
}
