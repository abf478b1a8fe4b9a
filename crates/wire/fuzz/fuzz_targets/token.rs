//! Tokens and their hashes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use novasphere_wire::token::TokenHash;

fuzz_target!(|data: &[u8]| {
    if let Ok(hash) = TokenHash::of_token(data) {
        assert_eq!(data.len(), 43);
        assert!(TokenHash::from_hex(&hash.to_hex()).is_ok_and(|read| read.is(&hash)));
    }
    if let Ok(text) = str::from_utf8(data)
        && let Ok(hash) = TokenHash::from_hex(text)
    {
        assert_eq!(hash.to_hex(), text);
    }
});
