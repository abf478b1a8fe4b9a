//! What the two sides of SSH say first.

#![no_main]

use libfuzzer_sys::fuzz_target;
use novasphere_wire::ssh::{Identification, LINE_BYTES_LIMIT, LINES_BEFORE_LIMIT, Progress, Side};

fuzz_target!(|data: &[u8]| {
    for side in [Side::Client, Side::Server] {
        let (mut identification, mut passed) = (Identification::new(side), Vec::new());
        for byte in data {
            match identification.push(*byte) {
                Ok(Progress::More) => {}
                Ok(Progress::Line) => {
                    assert_eq!(side, Side::Server);
                    passed.extend_from_slice(identification.line());
                }
                Ok(Progress::Done) => {
                    assert!(identification.line().starts_with(b"SSH-"));
                    passed.extend_from_slice(identification.line());
                    break;
                }
                Err(_) => break,
            }
            assert!(identification.line().len() <= LINE_BYTES_LIMIT);
        }
        assert!(data.starts_with(&passed), "what passes is what came");
        assert!(passed.len() <= LINE_BYTES_LIMIT * (LINES_BEFORE_LIMIT + 1));
    }
});
