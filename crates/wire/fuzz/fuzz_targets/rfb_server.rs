//! The handshake towards a viewer. The first byte says what is offered and whether viewers are let in.

#![no_main]

use libfuzzer_sys::fuzz_target;
use novasphere_wire::rfb::server::{Offer, Progress, ServerHandshake};

fuzz_target!(|data: &[u8]| {
    let Some((&first, mut input)) = data.split_first() else { return };
    let mut output = Vec::new();
    let offer = if first & 1 == 0 { Offer::None } else { Offer::X509Plain };
    let mut handshake = ServerHandshake::start(offer, &mut output);
    while handshake.want() > 0 {
        assert!(handshake.want() <= 768, "the bytes before authentication are few");
        let Some((now, later)) = input.split_at_checked(handshake.want()) else { break };
        input = later;
        match handshake.receive(now, &mut output) {
            Ok(Progress::Admit | Progress::Check(_)) if first & 2 == 0 => handshake.accept(&mut output),
            Ok(Progress::Admit | Progress::Check(_)) => handshake.refuse("no", &mut output),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    assert!(output.len() < 300);
});
