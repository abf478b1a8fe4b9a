//! Frames. The first byte is our role and whether text is taken, the second how the rest is cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use novasphere_wire::websocket::frame::{Arrived, Decoder, FrameRole};

fn decode(decoder: &mut Decoder, piece: &[u8]) -> Option<(Vec<u8>, bool)> {
    let (mut bytes, mut arrived) = (piece.to_vec(), Arrived::default());
    let length = decoder.decode(&mut bytes, &mut arrived).ok()?;
    assert!(length <= bytes.len());
    bytes.truncate(length);
    Some((bytes, arrived.close.is_some()))
}

fuzz_target!(|data: &[u8]| {
    let &[bits, cut, ref input @ ..] = data else { return };
    let role = if bits & 1 == 0 { FrameRole::Server } else { FrameRole::Client };
    let decoder = || Decoder::new(role, bits & 2 != 0);
    let whole = decode(&mut decoder(), input);
    let mut pieces = Some((Vec::new(), false));
    let mut piecewise = decoder();
    for piece in input.chunks(usize::from(cut).max(1)) {
        pieces = match (pieces, decode(&mut piecewise, piece)) {
            (Some((mut bytes, closed)), Some((more, now))) => {
                bytes.extend(more);
                Some((bytes, closed || now))
            }
            _ => None,
        };
        if pieces.is_none() {
            break;
        }
    }
    assert_eq!(whole, pieces, "it does not matter how the bytes are cut");
});
