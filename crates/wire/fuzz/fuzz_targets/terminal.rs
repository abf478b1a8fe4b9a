//! What a terminal sends. The first byte is where the rest is cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use novasphere_wire::{rules::Rules, serial::SerialFilter};

fuzz_target!(|data: &[u8]| {
    let Some((&cut, input)) = data.split_first() else { return };
    let mut output = Vec::new();
    let human = SerialFilter::new(&Rules::CONTROL).push(input, &mut output);
    assert_eq!(output, input);
    let mut pieces = SerialFilter::new(&Rules::VIEW_ONLY);
    let (first, second) = input.split_at(usize::from(cut).min(input.len()));
    output.clear();
    let first = pieces.push(first, &mut output);
    assert_eq!(human, pieces.push(second, &mut output) || first);
    assert!(output.is_empty());
});
