use proptest::prelude::*;

use super::*;

fn frame(opcode: Opcode, payload: &[u8], mut mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut bytes = Header::new(opcode, payload.len() as u64, mask).as_bytes().to_vec();
    let start = bytes.len();
    bytes.extend_from_slice(payload);
    if let Some(mask) = &mut mask {
        unmask(&mut bytes[start..], mask);
    }
    bytes
}

fn decode(decoder: &mut Decoder, bytes: &[u8]) -> Result<(Vec<u8>, Arrived), FrameError> {
    let mut bytes = bytes.to_vec();
    let mut arrived = Arrived::default();
    let length = decoder.decode(&mut bytes, &mut arrived)?;
    bytes.truncate(length);
    Ok((bytes, arrived))
}

fn server() -> Decoder {
    Decoder::new(FrameRole::Server, false)
}

#[test]
fn the_examples_of_rfc_6455_section_5_7_are_read() {
    let mut text = Decoder::new(FrameRole::Client, true);
    assert_eq!(
        decode(&mut text, &[0x81, 5, 0x48, 0x65, 0x6c, 0x6c, 0x6f]).unwrap().0,
        b"Hello"
    );
    let pieces = [0x01, 3, 0x48, 0x65, 0x6c, 0x80, 2, 0x6c, 0x6f];
    assert_eq!(decode(&mut text, &pieces).unwrap().0, b"Hello");
    let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(
        decode(&mut Decoder::new(FrameRole::Server, true), &masked).unwrap().0,
        b"Hello"
    );
    let (_, arrived) = decode(&mut text, &[0x89, 5, 0x48, 0x65, 0x6c, 0x6c, 0x6f]).unwrap();
    assert_eq!(arrived.ping.unwrap().as_bytes(), b"Hello");
}

#[test]
fn control_frames_may_stand_inside_a_message() {
    let mask = Some([1, 2, 3, 4]);
    let mut bytes = frame(Opcode::Binary, b"one", mask);
    bytes[0] = 0x02;
    bytes.extend(frame(Opcode::Ping, b"p", mask));
    bytes.extend(frame(Opcode::Continuation, b"two", mask));
    let (payload, arrived) = decode(&mut server(), &bytes).unwrap();
    assert_eq!(payload, b"onetwo");
    assert_eq!(arrived.ping.unwrap().as_bytes(), b"p");
}

#[test]
fn nothing_is_read_after_a_close() {
    let mask = Some([9, 8, 7, 6]);
    let mut bytes = frame(
        Opcode::Close,
        ControlPayload::close(EndReason::Revoked).as_bytes(),
        mask,
    );
    bytes.extend_from_slice(&[0xff; 20]);
    let (payload, arrived) = decode(&mut server(), &bytes).unwrap();
    assert_eq!((payload.as_slice(), arrived.close), (&b""[..], Some(Some(4001))));
    assert_eq!(
        decode(&mut server(), &frame(Opcode::Close, b"", mask)).unwrap().1.close,
        Some(None)
    );
}

#[test]
fn what_the_protocol_forbids_is_refused() {
    for (bytes, error) in [
        (&[0xc2, 0x80][..], FrameError::Reserved),
        (&[0x83], FrameError::Opcode(3)),
        (&[0x82, 0x01], FrameError::Mask),
        (&[0x09], FrameError::Control),
        (&[0x89, 0xfe], FrameError::Control),
        (&[0x80], FrameError::Order),
        (&[0x02, 0x80, 0, 0, 0, 0, 0x82], FrameError::Order),
        (&[0x82, 0xfe, 0, 125, 0, 0, 0, 0], FrameError::Length),
        (
            &[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0],
            FrameError::Length,
        ),
        (&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], FrameError::Length),
        (&[0x81], FrameError::Text),
    ] {
        assert_eq!(decode(&mut server(), bytes), Err(error), "{bytes:x?}");
    }
    assert_eq!(
        decode(&mut Decoder::new(FrameRole::Client, false), &[0x82, 0x80]),
        Err(FrameError::Mask)
    );
}

#[test]
fn headers_have_the_shortest_length() {
    for (length, bytes) in [(125, 2), (126, 4), (0xffff, 4), (0x1_0000, 10)] {
        assert_eq!(Header::new(Opcode::Binary, length, None).as_bytes().len(), bytes);
        assert_eq!(
            Header::new(Opcode::Binary, length, Some([0; 4])).as_bytes().len(),
            bytes + 4
        );
    }
}

#[test]
fn every_close_fits_a_close_frame() {
    use strum::IntoEnumIterator;
    for close in EndReason::iter() {
        let payload = ControlPayload::close(close);
        assert_eq!(payload.as_bytes().len(), 2 + close.reason().len());
    }
}

proptest! {
    #[test]
    fn messages_arrive_however_they_are_cut(
        messages in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..300), any::<[u8; 4]>(), any::<bool>()), 0..8),
        cut in 1_usize..40,
        masked: bool,
    ) {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for (payload, mask, ping) in &messages {
            let mask = masked.then_some(*mask);
            if *ping {
                bytes.extend(frame(Opcode::Ping, payload.get(..20).unwrap_or_default(), mask));
            }
            bytes.extend(frame(Opcode::Binary, payload, mask));
            expected.extend_from_slice(payload);
        }
        let mut decoder = Decoder::new(if masked { FrameRole::Server } else { FrameRole::Client }, false);
        let mut payload = Vec::new();
        let mut pings = 0;
        for piece in bytes.chunks(cut) {
            let (more, arrived) = decode(&mut decoder, piece).unwrap();
            payload.extend(more);
            pings += usize::from(arrived.ping.is_some());
        }
        prop_assert_eq!(payload, expected);
        prop_assert!(pings <= messages.iter().filter(|(_, _, ping)| *ping).count());
    }

    #[test]
    fn arbitrary_bytes_are_answered_and_never_grow(text: bool, client: bool, input in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut decoder = Decoder::new(if client { FrameRole::Client } else { FrameRole::Server }, text);
        if let Ok((payload, _)) = decode(&mut decoder, &input) {
            prop_assert!(payload.len() <= input.len());
        }
    }
}
