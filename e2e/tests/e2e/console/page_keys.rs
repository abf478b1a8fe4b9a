//! What the console page sends for what a person types and composes: characters to a desktop, the keys of the guest's keyboard to
//! a machine.

use anyhow::{Result, bail, ensure};
use novasphere_core::console_session::target_state::TargetState;
use novasphere_crd::GuestKeyboard;
use novasphere_e2e::{
    fixtures::{
        browser::{Browser, PageSnapshot},
        desktop::TERMINAL,
        paths,
        rfb::RETURN,
        vnc_server::VncServer,
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use novasphere_wire::rfb::upstream::Authentication;
use parking_lot::Mutex;
use serde_json::json;

use super::page::{TestAdmission, link};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("console::page_keys::input_method", Needs::ControlPlane, input_method),
        Case::new(
            "console::page_keys::guest_keyboard",
            Needs::ControlPlane,
            guest_keyboard,
        ),
    ]
}

/// A picture with the pseudo-encoding by which a server agrees to take scan codes (QEMU's extended key event, -258).
const TAKES_SCAN_CODES: &[u8] = &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xfe, 0xfe];

/// A key that went down: its X11 keysym, and its scan code where the browser sent one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct KeyPress {
    keysym: u32,
    scan_code: Option<u32>,
}

/// The number that these bytes begin with.
fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().copied().map_or(0, u32::from_be_bytes)
}

/// All keys that went down, of what a browser sends.
fn presses(mut received: &[u8]) -> Result<Vec<KeyPress>> {
    let mut presses = Vec::new();
    while let Some(&kind) = received.first() {
        let length = match (kind, received) {
            (0, _) => 20,
            (2, &[_, _, high, low, ..]) => 4 + 4 * usize::from(u16::from_be_bytes([high, low])),
            (3, _) => 10,
            (4, &[_, down, _, _, ref keysym @ ..]) => {
                presses.extend((down == 1).then(|| KeyPress {
                    keysym: number(keysym),
                    scan_code: None,
                }));
                8
            }
            (5, _) => 6,
            (255, &[_, 0, _, down, ref keysym @ ..]) => {
                presses.extend((down == 1).then(|| KeyPress {
                    keysym: number(keysym),
                    scan_code: keysym.get(4..).map(number),
                }));
                12
            }
            _ => bail!("the browser sent a message of the type {kind}"),
        };
        received = received.get(length..).unwrap_or_default();
    }
    Ok(presses)
}

/// What the server has received so far.
struct Received<'a> {
    server: &'a VncServer,
    bytes: Mutex<Vec<u8>>,
}

impl<'a> Received<'a> {
    fn by(server: &'a VncServer) -> Self {
        Self {
            server,
            bytes: Mutex::default(),
        }
    }

    /// Waits until these keys and no others have gone down, as `of` tells them.
    async fn are<T: PartialEq + std::fmt::LowerHex>(&self, expected: &[T], of: impl Fn(&KeyPress) -> T) -> Result<()> {
        let shown = |keys: &[T]| keys.iter().map(|key| format!("{key:x}")).collect::<Vec<_>>().join(" ");
        wait::until(format!("the keys {}", shown(expected)), wait::SHORT, || async {
            let mut bytes = self.bytes.lock();
            bytes.extend_from_slice(&self.server.take());
            let keys: Vec<T> = presses(&bytes)?.iter().map(&of).collect();
            Ok(Seen::some((keys == expected).then_some(()), shown(&keys)))
        })
        .await
    }
}

async fn input_method() -> Result<()> {
    let output = paths::output("console::page_keys::input_method")?;
    let server = VncServer::start().await?;
    let admission = TestAdmission::new(server.address, Authentication::None)?;
    admission.view.send_modify(|view| view.state = TargetState::Running);
    let base = admission.serve().await?;
    let browser = Browser::start(&output)?;
    browser.open(&link(&base, "vnc")).await?;
    browser.connected().await?;

    browser.click("#keyboard").await?;
    browser.compose(&["n", "ni", "ni hao"], "\u{4f60}\u{597d}").await?;
    browser.type_text("ok").await?;
    // A click into the picture leaves it on.
    browser.click("#view canvas").await?;
    browser.compose(&["\u{b4}"], "\u{e9}\u{1f600}").await?;
    browser.press("Enter").await?;
    browser.click("#keyboard").await?;
    browser.type_text("off").await?;
    // X11's Unicode keysyms; ASCII and Latin-1 are themselves.
    let mut expected = vec![0x0100_4f60, 0x0100_597d];
    expected.extend(b"ok".map(u32::from));
    expected.extend([0xe9, 0x0101_f600, RETURN]);
    expected.extend(b"off".map(u32::from));
    Received::by(&server).are(&expected, |key| key.keysym).await?;
    let look = browser.snapshot(TERMINAL).await?;
    ensure!(look.problems.is_empty(), "{:?}", look.problems);
    Ok(())
}

/// Waits until the page knows that the target takes keys only, and offers the choice of its keyboard.
async fn offers_keyboards(browser: &Browser, chosen: &str) -> Result<()> {
    wait::until("the choice of a keyboard", wait::LONG, || async {
        let shown = browser
            .evaluate("document.getElementById('layout').hidden ? 'hidden' : document.getElementById('layout').value")
            .await?;
        Ok(Seen::some((shown == json!(chosen)).then_some(()), shown.to_string()))
    })
    .await
}

/// Types a text by the panel, as keys.
async fn hand_in(browser: &Browser, text: &str) -> Result<()> {
    browser.click("#clipboard").await?;
    // What was handed in before is on its way for a moment.
    wait::until("the page types no more", wait::SHORT, || async {
        let button = browser
            .evaluate("document.getElementById('clipboard-send').textContent")
            .await?;
        Ok(Seen::some(
            (button == json!("Type into the machine")).then_some(()),
            button.to_string(),
        ))
    })
    .await?;
    browser
        .evaluate("document.getElementById('clipboard-text').value = ''")
        .await?;
    browser.fill("#clipboard-text", text).await?;
    browser.click("#clipboard-send").await?;
    browser.click("#clipboard-close").await
}

async fn says(browser: &Browser, what: &str) -> Result<PageSnapshot> {
    browser
        .until(what, wait::SHORT, TERMINAL, |look| look.status.contains(what))
        .await
}

async fn guest_keyboard() -> Result<()> {
    let output = paths::output("console::page_keys::guest_keyboard")?;
    let server = VncServer::start().await?;
    let admission = TestAdmission::new(server.address, Authentication::None)?;
    admission.view.send_modify(|view| {
        view.state = TargetState::Running;
        view.kind = "VmAccess";
        view.keys_only = true;
        view.keyboard = Some(GuestKeyboard::De);
    });
    let base = admission.serve().await?;
    let browser = Browser::start(&output)?;
    browser.open(&link(&base, "vnc")).await?;
    browser.connected().await?;
    offers_keyboards(&browser, "de").await?;
    let received = Received::by(&server);

    // Without scan codes: the characters, and what is held down with them.
    hand_in(&browser, "z\u{df}!").await?;
    let expected = [u32::from(b'z'), 0xdf, 0xffe1, u32::from(b'!')];
    received.are(&expected, |key| key.keysym).await?;

    // With scan codes, where an IBM PC has them: z is where Americans have y, the at sign is AltGr and Q, an e with an acute accent the
    // dead key beside Backspace and E.
    server.send(TAKES_SCAN_CODES);
    hand_in(&browser, "z@\u{e9}").await?;
    let scan_codes = |key: &KeyPress| key.scan_code.unwrap_or_default();
    let mut scans = vec![0; expected.len()];
    scans.extend([0x15, 0xb8, 0x10, 0x0d, 0x12]);
    received.are(&scans, scan_codes).await?;

    // A person at an American keyboard types what they read on it.
    browser.click("#view canvas").await?;
    browser.type_text("yz").await?;
    scans.extend([0x2c, 0x15]);
    received.are(&scans, scan_codes).await?;

    // Another guest is set to another layout: the person says so. Q is where Americans have A.
    browser
        .evaluate(
            "(() => { const layout = document.getElementById('layout'); layout.value = 'fr'; \
             layout.dispatchEvent(new Event('change')); })()",
        )
        .await?;
    hand_in(&browser, "q").await?;
    scans.push(0x1e);
    received.are(&scans, scan_codes).await?;

    // What no key gives is named, in the panel and from an input method; the rest arrives.
    hand_in(&browser, "\u{597d}a\u{1f600}").await?;
    says(&browser, "(French) gives \u{597d} \u{1f600}, so").await?;
    browser.click("#keyboard").await?;
    browser.compose(&["hao"], "\u{597d}m").await?;
    let look = says(&browser, "(French) gives \u{597d}, so").await?;
    scans.extend([0x10, 0x27]);
    received.are(&scans, scan_codes).await?;
    ensure!(look.problems.is_empty(), "{:?}", look.problems);
    browser.screenshot("keyboard").await?;

    // A long text is typed for a while, and can be stopped.
    browser.click("#keyboard").await?;
    browser.click("#clipboard").await?;
    browser
        .evaluate("document.getElementById('clipboard-text').value = 'a'.repeat(5000)")
        .await?;
    browser.click("#clipboard-send").await?;
    let button = browser
        .evaluate("document.getElementById('clipboard-send').textContent")
        .await?;
    ensure!(button == json!("Stop typing"), "{button}");
    browser.click("#clipboard-send").await?;
    says(&browser, "not typed").await?;
    Ok(())
}
