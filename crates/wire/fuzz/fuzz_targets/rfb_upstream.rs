//! The handshake towards a VNC server. The first byte says whether there is a password.

#![no_main]

use libfuzzer_sys::fuzz_target;
use novasphere_wire::rfb::{security::{REASON_BYTES_LIMIT, vnc_auth::VncPassword}, upstream::{Authentication, ClientHandshake}};

fuzz_target!(|data: &[u8]| {
    let Some((&first, mut input)) = data.split_first() else { return };
    let authentication = match first & 1 {
        0 => Authentication::None,
        _ => Authentication::Password(VncPassword::new(b"password")),
    };
    let mut handshake = ClientHandshake::new(authentication);
    let mut output = Vec::new();
    while handshake.want() > 0 {
        assert!(handshake.want() <= REASON_BYTES_LIMIT);
        let Some((now, later)) = input.split_at_checked(handshake.want()) else { break };
        input = later;
        if handshake.receive(now, &mut output).is_err() {
            break;
        }
    }
    assert!(output.len() <= 29);
});
