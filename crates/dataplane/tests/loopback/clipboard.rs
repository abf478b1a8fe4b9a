//! The clipboard of a console reaches nobody who may not have it, whatever the VNC server sends.

use novasphere_wire::{rfb::encoding, rules::Rules};

use crate::{desk::session, setup::Setup, viewer::Browser, vnc_server::VncServer};

/// 32 bits, full colours, as browsers set it.
const PIXEL_FORMAT: [u8; 20] = [0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 0, 8, 16, 0, 0, 0];

const UPDATE_REQUEST: [u8; 10] = [3, 0, 0, 0, 0, 0, 0, 8, 0, 4];

fn encodings(encodings: &[i32]) -> Vec<u8> {
    let count = u16::try_from(encodings.len()).unwrap().to_be_bytes();
    let list: Vec<u8> = encodings.iter().flat_map(|encoding| encoding.to_be_bytes()).collect();
    [&[2, 0][..], &count, &list].concat()
}

fn text(length: u32) -> Vec<u8> {
    let text = b"correct-horse-battery ".iter().copied().cycle();
    let head = [&[3, 0, 0, 0][..], &length.to_be_bytes()].concat();
    head.into_iter().chain(text.take(length as usize)).collect()
}

/// A screen of 8 x 4 pixels, raw; these pixels look like text.
fn picture() -> Vec<u8> {
    let head = [0, 0, 0, 1, 0, 0, 0, 0, 0, 8, 0, 4, 0, 0, 0, 0];
    [&head[..], &text(120)].concat()
}

/// Sends bytes in pieces that end at odd places.
fn send_in_pieces(server: &VncServer, bytes: &[u8]) {
    // The server keeps 16 pieces for a reader.
    for piece in bytes.chunks(bytes.len() / 13 + 1) {
        server.send(piece);
    }
}

#[tokio::test]
async fn text_from_the_desktop_reaches_only_who_may_have_it() {
    let (setup, server) = (Setup::new().await, VncServer::start(None).await);
    let mut viewers = Vec::new();
    for (rules, gets_text) in [
        (Rules::CONTROL, true),
        (Rules::VIEW_ONLY, false),
        (
            // Allowed by the policy, and somebody who only looks.
            Rules {
                input: false,
                ..Rules::CONTROL
            },
            false,
        ),
        (
            Rules {
                clipboard_from_guest: false,
                ..Rules::CONTROL
            },
            false,
        ),
    ] {
        let mut admitted = session("a", server.target(None));
        admitted.rules = rules;
        let mut browser = Browser::enter(&setup, &setup.desk.token(1, admitted)).await;
        browser.send(&PIXEL_FORMAT).await;
        let mut announced = vec![encoding::TIGHT, 50, encoding::EXTENDED_CLIPBOARD];
        browser.send(&encodings(&announced)).await;
        browser.send(&UPDATE_REQUEST).await;
        if !gets_text {
            announced.retain(|&encoding| encoding != 50);
        }
        // Text may still pass to the desktop, by this.
        if !rules.extended_clipboard() {
            announced.retain(|&encoding| encoding != encoding::EXTENDED_CLIPBOARD);
        }
        let arrives = [&PIXEL_FORMAT[..], &encodings(&announced), &UPDATE_REQUEST].concat();
        let before = viewers.iter().map(|(_, _, length)| length).sum::<usize>();
        crate::setup::wait_for("the viewer's beginning at the VNC server", || {
            server
                .received()
                .get(before..)
                .is_some_and(|received| received == arrives)
        })
        .await;
        viewers.push((browser, gets_text, arrives.len()));
    }
    // A notice that there is text.
    let (bell, extended) = ([2], [3, 0, 0, 0, 0xff, 0xff, 0xff, 0xfc, 8, 0, 0, 1]);
    let sent = [
        &text(21)[..],
        &picture(),
        &extended,
        &bell,
        &text(100_000),
        &text(0),
        &picture(),
        &text(3),
        &bell,
    ];
    send_in_pieces(&server, &sent.concat());
    let without = [&picture()[..], &bell, &picture(), &bell].concat();
    for (browser, gets_text, _) in &mut viewers {
        let expected = if *gets_text { sent.concat() } else { without.clone() };
        assert!(browser.read(expected.len()).await == expected, "gets text: {gets_text}");
    }
    // Nothing was behind it.
    server.send(&[2, 2, 2]);
    for (browser, ..) in &mut viewers {
        assert_eq!(browser.read(3).await, [2, 2, 2]);
    }
}

#[tokio::test]
async fn a_server_whose_messages_cannot_be_followed_ends_the_stream() {
    let (setup, server) = (Setup::new().await, VncServer::start(None).await);
    let mut admitted = session("a", server.target(None));
    admitted.rules = Rules::VIEW_ONLY;
    let mut browser = Browser::enter(&setup, &setup.desk.token(1, admitted)).await;
    browser.send(&UPDATE_REQUEST).await;
    server.wait_for(&UPDATE_REQUEST).await;
    // An encoding that delimits itself, and text behind it.
    let jpeg = [0, 0, 0, 1, 0, 0, 0, 0, 0, 8, 0, 4, 0, 0, 0, 21];
    server.send(&[&jpeg[..], &text(8)].concat());
    assert_eq!(browser.closed().await, (4023, "TargetRefused".into()));
}

#[tokio::test]
async fn a_viewer_who_would_make_the_bounds_unsure_is_ended() {
    let (setup, server) = (Setup::new().await, VncServer::start(None).await);
    let mut admitted = session("a", server.target(None));
    admitted.rules = Rules::VIEW_ONLY;
    let mut browser = Browser::enter(&setup, &setup.desk.token(1, admitted)).await;
    let mut low = PIXEL_FORMAT;
    low[4..6].copy_from_slice(&[8, 8]);
    browser
        .send(&[&PIXEL_FORMAT[..], &UPDATE_REQUEST, &low, &UPDATE_REQUEST].concat())
        .await;
    assert_eq!(browser.closed().await, (4061, "MessageNotAllowed".into()));
    server.wait_for(&[&PIXEL_FORMAT[..], &UPDATE_REQUEST].concat()).await;
}
