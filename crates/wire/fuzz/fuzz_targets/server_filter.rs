//! The filter of what a VNC server sends. The first two bytes are the viewer's pixel format, the third how the rest is cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use novasphere_wire::rfb::{
    pixel_format::{PictureFormat, PixelLength},
    server_filter::ServerFilter,
};

fuzz_target!(|data: &[u8]| {
    let &[bits, depth, cut, ref input @ ..] = data else { return };
    // The lowest bit is whether the extended clipboard is agreed on.
    let length = PixelLength::of_format([bits & !1, depth, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0]);
    let format = length.map_or(PictureFormat::Server, PictureFormat::Viewer);
    let mut whole = Vec::new();
    let result = ServerFilter::new(bits & 1 != 0).push(input, format, &mut whole);
    assert!(whole.len() <= input.len(), "a filter adds nothing");

    let (mut filter, mut pieces, mut pieced) = (ServerFilter::new(bits & 1 != 0), Vec::new(), Ok(()));
    for piece in input.chunks(usize::from(cut).max(1)) {
        pieced = filter.push(piece, format, &mut pieces);
        if pieced.is_err() {
            break;
        }
    }
    assert_eq!((whole, result), (pieces, pieced), "it does not matter how the bytes are cut");
});
