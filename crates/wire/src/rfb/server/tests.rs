use proptest::prelude::*;

use super::*;

/// Plays a viewer: hands in the wanted bytes until they run out, accepts everybody, and keeps what was sent and said.
fn play(offer: Offer, mut input: &[u8]) -> (Vec<u8>, Vec<Progress>, Option<HandshakeError>) {
    let (mut output, mut said) = (Vec::new(), Vec::new());
    let mut handshake = ServerHandshake::start(offer, &mut output);
    while handshake.want() > 0
        && let Some((now, later)) = input.split_at_checked(handshake.want())
    {
        input = later;
        match handshake.receive(now, &mut output) {
            Ok(progress) => {
                if matches!(progress, Progress::Admit | Progress::Check(_)) {
                    handshake.accept(&mut output);
                }
                said.push(progress);
            }
            Err(error) => return (output, said, Some(error)),
        }
    }
    (output, said, None)
}

fn bytes(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn a_browser_enters_without_authentication() {
    let (output, said, error) = play(Offer::None, &bytes(&[b"RFB 003.008\n", &[1], &[0]]));
    assert_eq!(output, bytes(&[b"RFB 003.008\n", &[1, 1], &[0, 0, 0, 0]]));
    assert_eq!(said, [Progress::Continue, Progress::Admit, Progress::Done]);
    assert_eq!(error, None);
}

#[test]
fn older_versions_without_authentication_get_no_result() {
    let (output, said, _) = play(Offer::None, &bytes(&[b"RFB 003.007\n", &[1], &[1]]));
    assert_eq!(output, bytes(&[b"RFB 003.008\n", &[1, 1]]));
    assert_eq!(said.last(), Some(&Progress::Done));

    let (output, said, _) = play(Offer::None, &bytes(&[b"RFB 003.003\n", &[1]]));
    assert_eq!(output, bytes(&[b"RFB 003.008\n", &[0, 0, 0, 1]]));
    assert_eq!(said, [Progress::Admit, Progress::Done]);
}

#[test]
fn a_stock_viewer_sends_its_credentials_inside_tls() {
    let viewer = bytes(&[
        b"RFB 003.008\n",
        &[19],
        &[0, 2],
        &[0, 0, 1, 6],
        &[0, 0, 0, 5, 0, 0, 0, 6],
        b"ns/cs",
        b"secret",
        &[1],
    ]);
    let (output, said, error) = play(Offer::X509Plain, &viewer);
    assert_eq!(
        output,
        bytes(&[
            b"RFB 003.008\n",
            &[1, 19],
            &[0, 2],
            &[0, 1, 0, 0, 1, 6],
            &[1],
            &[0, 0, 0, 0]
        ])
    );
    let credentials = Credentials {
        user: b"ns/cs".to_vec(),
        password: b"secret".to_vec(),
    };
    assert_eq!(
        said,
        [
            Progress::Continue,
            Progress::Continue,
            Progress::Continue,
            Progress::StartTls,
            Progress::Continue,
            Progress::Check(credentials),
            Progress::Done
        ]
    );
    assert_eq!(error, None);
}

#[test]
fn empty_credentials_are_checked_too() {
    let viewer = bytes(&[b"RFB 003.008\n", &[19], &[0, 2], &[0, 0, 1, 6], &[0; 8]]);
    let (_, said, _) = play(Offer::X509Plain, &viewer);
    assert_eq!(
        said.last(),
        Some(&Progress::Check(Credentials {
            user: Vec::new(),
            password: Vec::new()
        }))
    );
}

#[test]
fn what_was_not_offered_is_refused() {
    let (output, _, error) = play(Offer::X509Plain, &bytes(&[b"RFB 003.008\n", &[1]]));
    assert_eq!(error, Some(HandshakeError::SecurityType(1)));
    assert!(String::from_utf8_lossy(&output).ends_with("the viewer chose security type 1, which was not offered"));

    let (output, _, error) = play(
        Offer::X509Plain,
        &bytes(&[b"RFB 003.008\n", &[19], &[0, 2], &[0, 0, 1, 0]]),
    );
    assert_eq!(error, Some(HandshakeError::VeNCryptType(256)));
    assert_eq!(output.last(), Some(&0));

    let (_, _, error) = play(Offer::X509Plain, &bytes(&[b"RFB 003.008\n", &[19], &[0, 1]]));
    assert_eq!(error, Some(HandshakeError::VeNCryptVersion(0, 1)));

    let (output, _, error) = play(Offer::X509Plain, b"RFB 003.003\n");
    assert_eq!(error, Some(HandshakeError::VersionTooOld));
    assert_eq!(output.get(12..16), Some(&[0; 4][..]));
}

#[test]
fn too_long_credentials_are_refused_unread_and_without_a_hint() {
    let viewer = bytes(&[b"RFB 003.008\n", &[19], &[0, 2], &[0, 0, 1, 6], &[255; 8], b"more"]);
    let (output, _, error) = play(Offer::X509Plain, &viewer);
    assert_eq!(error.map(|error| error.close()), Some(EndReason::TokenRefused));
    assert!(output.ends_with(EndReason::TokenRefused.sentence().as_bytes()));
}

#[test]
fn a_proxy_that_nobody_expects_is_told_of() {
    for (viewer, error) in [
        (b"\r\n\r\n\0\r\nQUIT\n", HandshakeError::ProxyHeader),
        (b"PROXY TCP4 1", HandshakeError::ProxyHeader),
        (b"GET / HTTP/1", HandshakeError::NotRfb(NotRfb)),
    ] {
        let (_, _, told) = play(Offer::X509Plain, viewer);
        assert_eq!(told, Some(error));
        assert_eq!(error.close(), EndReason::ProtocolError);
    }
}

#[test]
fn a_refusal_says_why_where_the_viewer_listens() {
    let mut output = Vec::new();
    let mut handshake = ServerHandshake::start(Offer::None, &mut output);
    handshake.receive(b"RFB 003.008\n", &mut output).unwrap();
    handshake.receive(&[1], &mut output).unwrap();
    output.clear();
    handshake.refuse("busy", &mut output);
    assert_eq!(output, [0, 0, 0, 1, 0, 0, 0, 4, b'b', b'u', b's', b'y']);
    assert_eq!(handshake.want(), 0);
}

proptest! {
    #[test]
    fn arbitrary_viewers_are_answered_briefly(
        plain: bool,
        start in proptest::sample::select(vec![&b""[..], b"RFB 003.008\n", b"RFB 003.008\n\x13\0\x02\0\0\x01\x06"]),
        rest in proptest::collection::vec(any::<u8>(), 0..1200),
    ) {
        let offer = if plain { Offer::X509Plain } else { Offer::None };
        let (output, said, _) = play(offer, &[start, &rest].concat());
        prop_assert!(output.len() < 300);
        prop_assert!(said.len() < 9);
    }
}
