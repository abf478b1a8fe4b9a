//! The filter of what a viewer sends. The first byte is the rules, the second how the rest is cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use novasphere_wire::{rfb::filter::Filter, rules::Rules};

fuzz_target!(|data: &[u8]| {
    let &[bits, cut, ref input @ ..] = data else { return };
    let rules = Rules {
        input: bits & 1 != 0,
        clipboard_to_guest: bits & 2 != 0,
        clipboard_from_guest: bits & 4 != 0,
        power: bits & 8 != 0,
        resize: bits & 16 != 0,
    };
    let mut whole = Vec::new();
    let result = Filter::new(rules).push(input, &mut whole);
    assert!(whole.len() <= input.len(), "a filter adds nothing");

    let (mut filter, mut pieces, mut pieced) = (Filter::new(rules), Vec::new(), Ok(false));
    for piece in input.chunks(usize::from(cut).max(1)) {
        pieced = match (pieced, filter.push(piece, &mut pieces)) {
            (Ok(before), Ok(now)) => Ok(before || now),
            (_, result) => result,
        };
        if pieced.is_err() {
            break;
        }
    }
    assert_eq!((whole, result), (pieces, pieced), "it does not matter how the bytes are cut");
});
