use proptest::prelude::*;

use super::*;

/// The encodings of `TigerVNC` 1.15 that negotiate something, and a picture encoding.
const TIGERVNC: [i32; 6] = [7, -308, encoding::EXTENDED_CLIPBOARD, -313, -312, -258];

fn set_encodings(encodings: &[i32]) -> Vec<u8> {
    let mut message = vec![2, 0];
    message.extend_from_slice(&u16::try_from(encodings.len()).unwrap().to_be_bytes());
    message.extend(encodings.iter().flat_map(|encoding| encoding.to_be_bytes()));
    message
}

fn run(rules: Rules, messages: &[&[u8]]) -> (Vec<u8>, Result<bool, Violation>) {
    let mut output = Vec::new();
    let result = Filter::new(rules).push(&messages.concat(), &mut output);
    (output, result)
}

#[test]
fn what_is_allowed_passes_unchanged() {
    let messages: [&[u8]; 8] = [
        &[0; 20],
        &set_encodings(&TIGERVNC),
        &[3; 10],
        &[4, 1, 0, 0, 0, 0, 0xff, 0x0d],
        &[5, 0x80, 0, 1, 0, 2],
        &[6, 0, 0, 0, 0, 0, 0, 2, b'h', b'i'],
        &[248, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2],
        &[255, 0, 0, 1, 0, 0, 0, 65, 0, 0, 0, 30],
    ];
    assert_eq!(run(Rules::CONTROL, &messages), (messages.concat(), Ok(true)));
}

#[test]
fn a_viewer_who_only_views_sends_nothing_that_changes_the_guest() {
    let (output, result) = run(
        Rules::VIEW_ONLY,
        &[
            &set_encodings(&[16, -258, -312, -308, -309]),
            &[4, 1, 0, 0, 0, 0, 0, 65],
            &[5, 1, 0, 1, 0, 2],
            &[6, 0, 0, 0, 0, 0, 0, 2, b'h', b'i'],
            &[255, 0, 0, 1, 0, 0, 0, 65, 0, 0, 0, 30],
            &[3; 10],
        ],
    );
    assert_eq!(output, [set_encodings(&[16, -258, -312]), vec![3; 10]].concat());
    assert_eq!(result, Ok(true), "a person is there all the same");
}

#[test]
fn human_input_is_keys_pressed_and_pointers_moved() {
    let mut filter = Filter::new(Rules::CONTROL);
    let mut human = |message: &[u8]| filter.push(message, &mut Vec::new()).unwrap();
    assert!(!human(&set_encodings(&TIGERVNC)));
    assert!(!human(&[3; 10]));
    assert!(human(&[4, 1, 0, 0, 0, 0, 0, 65]));
    assert!(!human(&[4, 0, 0, 0, 0, 0, 0, 65]), "released");
    assert!(human(&[5, 0, 0, 9, 0, 9]));
    assert!(!human(&[5, 0, 0, 9, 0, 9]), "the same place");
    assert!(human(&[5, 1, 0, 9, 0, 9]), "a button");
    assert!(
        !human(&[6, 0, 0, 0, 0, 0, 0, 1, b'x']),
        "clipboards change by themselves"
    );
    assert!(!human(&[248, 0, 0, 0, 0, 0, 0, 0, 0]));
}

#[test]
fn extensions_must_have_been_negotiated() {
    let power: &[u8] = &[250, 0, 1, 2];
    let size: &[u8] = &[251, 0, 0, 1, 0, 1, 0, 0];
    let clipboard: &[u8] = &[6, 0, 0, 0, 0xff, 0xff, 0xff, 0xfc, 0, 0, 0, 0];
    for (message, extension, announced) in [
        (power, Extension::Xvp, encoding::XVP),
        (size, Extension::ExtendedDesktopSize, encoding::EXTENDED_DESKTOP_SIZE),
        (clipboard, Extension::ExtendedClipboard, encoding::EXTENDED_CLIPBOARD),
        (&[150; 10], Extension::ContinuousUpdates, encoding::CONTINUOUS_UPDATES),
        (&[248, 0, 0, 0, 0, 0, 0, 0, 0], Extension::Fence, encoding::FENCE),
        (
            &[255, 0, 0, 1, 0, 0, 0, 65, 0, 0, 0, 30],
            Extension::QemuExtendedKey,
            encoding::QEMU_EXTENDED_KEY,
        ),
    ] {
        assert_eq!(
            run(Rules::CONTROL, &[message]),
            (Vec::new(), Err(Violation::NotNegotiated(extension)))
        );
        let hello = set_encodings(&[announced]);
        let (output, result) = run(Rules::CONTROL, &[&hello, message]);
        assert!(result.is_ok(), "{extension}");
        assert_eq!(output, [&hello, message].concat());
    }
}

#[test]
fn the_extended_clipboard_passes_the_ways_that_are_allowed() {
    let hello = set_encodings(&[encoding::EXTENDED_CLIPBOARD]);
    let message = |action: u8| {
        [
            &[6, 0, 0, 0][..],
            &(-6_i32).to_be_bytes(),
            &[action, 0, 0, 1, b'h', b'i'],
        ]
        .concat()
    };
    // Abilities (of all actions); a request, a look; a notice, text.
    let abilities = message(0x1f);
    let (asks, gives) = ([message(2), message(4)].concat(), [message(8), message(16)].concat());
    let sent: [&[u8]; 5] = [&hello, &abilities, &asks, &gives, &[3; 10]];
    for (to_guest, from_guest) in [(true, true), (true, false), (false, true)] {
        let rules = Rules {
            clipboard_to_guest: to_guest,
            clipboard_from_guest: from_guest,
            ..Rules::CONTROL
        };
        let mut expected = [&hello[..], &abilities].concat();
        expected.extend(asks.iter().filter(|_| from_guest));
        expected.extend(gives.iter().filter(|_| to_guest));
        expected.extend([3; 10]);
        assert_eq!(run(rules, &sent), (expected, Ok(false)), "{to_guest} {from_guest}");
    }
    // Too short for its flags.
    let (output, result) = run(
        Rules::CONTROL,
        &[&hello, &[6, 0, 0, 0, 0xff, 0xff, 0xff, 0xfd, 1, 2, 3], &[3; 10]],
    );
    assert_eq!((output, result), ([&hello[..], &[3; 10]].concat(), Ok(false)));
}

#[test]
fn a_forbidden_extension_cannot_be_used_by_announcing_it() {
    let rules = Rules {
        power: false,
        ..Rules::CONTROL
    };
    let (output, result) = run(rules, &[&set_encodings(&[encoding::XVP]), &[250, 0, 1, 3]]);
    assert_eq!(output, [2, 0, 0, 0]);
    assert_eq!(result, Err(Violation::NotNegotiated(Extension::Xvp)));
}

#[test]
fn unknown_and_malformed_messages_end_the_stream() {
    let power = set_encodings(&[encoding::XVP, encoding::FENCE]);
    for (messages, violation) in [
        (&[&[7_u8][..]][..], Violation::UnknownType(7)),
        (&[&[253]], Violation::UnknownType(253)),
        (&[&[255, 1]], Violation::QemuSubtype(1)),
        (&[&[2, 0, 4, 1]], Violation::Encodings(1025)),
        (&[&power, &[250, 0, 1, 1]], Violation::Xvp),
        (&[&power, &[248, 0, 0, 0, 0, 0, 0, 0, 65]], Violation::Fence(65)),
        (&[&[6, 0, 0, 0, 0x7f, 0, 0, 0]], Violation::CutText(0x7f00_0000)),
    ] {
        assert_eq!(run(Rules::CONTROL, messages).1, Err(violation));
    }
}

#[test]
fn text_too_long_for_a_guest_is_left_out_and_the_stream_goes_on() {
    let mut head = vec![6, 0, 0, 0];
    head.extend_from_slice(&(CUT_TEXT_BYTES_LIMIT + 1).to_be_bytes());
    let text = vec![b'x'; CUT_TEXT_BYTES_LIMIT as usize + 1];
    let (output, result) = run(Rules::CONTROL, &[&head, &text, &[3; 10]]);
    assert_eq!((output, result), (vec![3; 10], Ok(false)));
}

/// `SetPixelFormat` with this many bits, and full colours when these are 32.
fn pixel_format(bits: u8) -> Vec<u8> {
    let maximum = if bits == 32 { 255 } else { 3 };
    let depth = bits.min(24);
    vec![
        0, 0, 0, 0, bits, depth, 0, 1, 0, maximum, 0, maximum, 0, maximum, 16, 8, 0, 0, 0, 0,
    ]
}

#[test]
fn where_text_is_held_back_the_length_of_pixels_is_settled_first() {
    let (full, low, encodings) = (pixel_format(32), pixel_format(8), set_encodings(&[7, 15, 16]));
    let may_look = |messages: &[&[u8]]| {
        let (mut filter, mut output) = (Filter::new(Rules::VIEW_ONLY), Vec::new());
        let result = filter.push(&messages.concat(), &mut output);
        (output, result, filter.pictures())
    };
    let of = |bytes, tight| PictureFormat::Viewer(PixelLength { bytes, tight });

    // Before anything is asked for, the last one counts.
    let (output, result, pictures) = may_look(&[&low, &full, &encodings, &[3; 10], &full]);
    assert_eq!((result, pictures), (Ok(false), of(4, Some(3))));
    assert_eq!(
        output,
        [&low[..], &full, &set_encodings(&[7, 16]), &[3; 10], &full].concat()
    );

    // Later it may not become longer or shorter, whatever asked for pictures.
    for asks in [&encodings[..], &[3; 10]] {
        let (output, result, _) = may_look(&[&full, asks, &low, &[3; 10]]);
        assert_eq!(result, Err(Violation::PixelFormat));
        assert!(!output.ends_with(&low) && !output.ends_with(&[3; 10].repeat(2)));
        assert_eq!(may_look(&[asks, &full]).1, Err(Violation::PixelFormat));
    }
    assert_eq!(Violation::PixelFormat.close(), EndReason::MessageNotAllowed);

    // A picture that comes unasked is in the server's own format, unless another one may have been set already.
    assert_eq!(may_look(&[]).2, PictureFormat::Server);
    assert_eq!(may_look(&[&full]).2, PictureFormat::Undecided);

    // Nobody knows how long Tight is in the server's own format, which is not read here.
    let (output, _, pictures) = may_look(&[&encodings]);
    assert_eq!((output, pictures), (set_encodings(&[16]), PictureFormat::Server));
    // 24 bits to a pixel.
    assert_eq!(may_look(&[&pixel_format(24)]).1, Err(Violation::PixelFormat));

    // Who may have the clipboard does as they like.
    let messages = [&full[..], &encodings, &[3; 10], &low];
    assert_eq!(run(Rules::CONTROL, &messages), (messages.concat(), Ok(false)));
    assert!(Filter::new(Rules::CONTROL).server_filter().is_none());
    assert!(Filter::new(Rules::VIEW_ONLY).server_filter().is_some());
}

/// What the filter's own reader must not be used to check: a reader written a second time, as plain as possible.
fn lengths(mut bytes: &[u8]) -> Option<Vec<(u8, usize)>> {
    let mut messages = Vec::new();
    while let Some(&kind) = bytes.first() {
        let length = match kind {
            0 => 20,
            2 => 4 + 4 * usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])),
            3 | 150 => 10,
            4 => 8,
            5 => 6,
            6 => 8 + i32::from_be_bytes(bytes.get(4..8)?.try_into().unwrap()).unsigned_abs() as usize,
            248 => 9 + usize::from(*bytes.get(8)?),
            250 => 4,
            251 => 8 + 16 * usize::from(*bytes.get(6)?),
            255 => 12,
            _ => return None,
        };
        messages.push((kind, length));
        bytes = bytes.get(length..)?;
    }
    Some(messages)
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    let fixed = |kind: u8, length: usize| {
        proptest::collection::vec(any::<u8>(), length - 1).prop_map(move |rest| [vec![kind], rest].concat())
    };
    let known = proptest::sample::select(vec![
        0,
        1,
        7,
        16,
        -223,
        -224,
        -258,
        -308,
        -309,
        -312,
        -313,
        -316,
        -305,
        -259,
        -1_063_131_698,
    ]);
    prop_oneof![
        fixed(0, 20),
        proptest::collection::vec(prop_oneof![known, any::<i32>()], 0..20)
            .prop_map(|encodings| set_encodings(&encodings)),
        fixed(3, 10),
        fixed(4, 8),
        fixed(5, 6),
        proptest::collection::vec(any::<u8>(), 0..50).prop_map(|text| {
            [
                vec![6, 0, 0, 0],
                u32::try_from(text.len()).unwrap().to_be_bytes().to_vec(),
                text,
            ]
            .concat()
        }),
        fixed(150, 10),
        proptest::collection::vec(any::<u8>(), 0..=64).prop_map(|text| [
            vec![248, 0, 0, 0, 0, 0, 0, 0, u8::try_from(text.len()).unwrap()],
            text
        ]
        .concat()),
        (2_u8..=4).prop_map(|code| vec![250, 0, 1, code]),
        (0_u8..4).prop_map(|screens| {
            [vec![251, 0, 4, 0, 3, 0, screens, 0], vec![0; usize::from(screens) * 16]].concat()
        }),
        fixed(255, 12).prop_map(|mut message| {
            message[1] = 0;
            message
        }),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    any::<[bool; 5]>().prop_map(
        |[input, clipboard_to_guest, clipboard_from_guest, power, resize]| Rules {
            input,
            clipboard_to_guest,
            clipboard_from_guest,
            power,
            resize,
        },
    )
}

proptest! {
    #[test]
    fn pieces_do_not_matter(rules in rules(), messages in proptest::collection::vec(message(), 0..20), cuts in proptest::collection::vec(1_usize..30, 1..50)) {
        let input = messages.concat();
        let mut whole = Vec::new();
        let result = Filter::new(rules).push(&input, &mut whole);

        let (mut pieces, mut filter, mut pieced, mut rest) = (Vec::new(), Filter::new(rules), Ok(false), input.as_slice());
        for cut in cuts.into_iter().cycle() {
            if rest.is_empty() || pieced.is_err() {
                break;
            }
            let (now, later) = rest.split_at(cut.min(rest.len()));
            rest = later;
            pieced = match (pieced, filter.push(now, &mut pieces)) {
                (Ok(before), Ok(now)) => Ok(before || now),
                (_, result) => result,
            };
        }
        prop_assert_eq!(whole, pieces);
        prop_assert_eq!(result, pieced);
    }

    #[test]
    fn what_passes_is_whole_messages_that_the_rules_allow(rules in rules(), messages in proptest::collection::vec(message(), 0..20)) {
        let mut output = Vec::new();
        let _ = Filter::new(rules).push(&messages.concat(), &mut output);
        let passed = lengths(&output);
        prop_assert!(passed.is_some(), "only whole messages pass");
        for (kind, _) in passed.unwrap_or_default() {
            let allowed = match kind {
                4 | 5 | 255 => rules.input,
                6 => rules.input && (rules.clipboard_to_guest || rules.clipboard_from_guest),
                250 => rules.input && rules.power,
                251 => rules.input && rules.resize,
                _ => true,
            };
            prop_assert!(allowed, "{kind} passed under {rules:?}");
        }
    }

    #[test]
    fn arbitrary_bytes_are_answered_and_never_grow(rules in rules(), input in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let mut output = Vec::new();
        let _ = Filter::new(rules).push(&input, &mut output);
        prop_assert!(output.len() <= input.len());
    }
}
