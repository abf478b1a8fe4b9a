//! The consoles of a real guest on a real KubeVirt: in a real browser, and through kube-apiserver, under the rights of three
//! users. What reaches the guest is read in the guest, on its serial console.

use std::{collections::HashSet, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use kube::Client;
use novasphere_e2e::{
    fixtures::{
        browser::Browser,
        cluster::Cluster,
        console_session::apply_session,
        console_socket::{ConsoleSocket, KUBEVIRT_SUBPROTOCOL},
        installed,
        namespace::{Context, PodSecurity, with_namespace},
        rfb::{Security, Viewer},
        rights::{VM_CONSOLES, client_of},
        serial_console::SerialConsole,
        users::{allow_consoles, nobody_is_connected, request_token},
        vm_access::{apply_vm_access, ready_as, template},
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::json;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("console::guest::consoles", Needs::Node, consoles)]
}

const GUEST: &str = "guest";

/// Has no right.
const NORA: &str = "nora";
/// May view.
const LOU: &str = "lou";
/// May control.
const DORA: &str = "dora";

/// Between two keys: a guest in emulation loses those that come faster than it reads.
const KEY_PAUSE: Duration = Duration::from_millis(30);

/// Black.
const BACKGROUND: [u8; 3] = [0; 3];

async fn consoles() -> Result<()> {
    let cluster = Cluster::with_novasphere()?;
    with_namespace(
        cluster,
        "console::guest::consoles",
        PodSecurity::Privileged,
        async |context| {
            let undisturbed = installed::undisturbed().await;
            allow_consoles(context, LOU, VM_CONSOLES, &["get"]).await?;
            allow_consoles(context, DORA, VM_CONSOLES, &["get", "update"]).await?;
            let mut spec = json!({
                "virtualMachine": {"template": template()},
                "power": {"state": "Running"},
                "console": {"maxConcurrentSessions": 16},
            });
            apply_vm_access(context, GUEST, &spec).await?;
            ready_as(context, GUEST, "Running", wait::LONG).await?;
            let mut guest = Guest::open(context).await.context("the guest's shell")?;

            let browser = Browser::start(&context.output)?;
            screen(context, &browser, &mut guest).await.context("the screen")?;
            views_only(context, &browser, &mut guest)
                .await
                .context("a user who may only view")?;
            through_apiserver(context, &mut guest)
                .await
                .context("through kube-apiserver")?;
            if let Some(spec) = spec.as_object_mut() {
                spec.insert("keyboard".to_owned(), json!("de"));
            }
            apply_vm_access(context, GUEST, &spec).await?;
            keyboards(context, &browser, &mut guest).await.context("keyboards")?;
            drop(guest);
            serial(context, &browser).await.context("the serial console")?;
            drop(undisturbed);
            Ok(())
        },
    )
    .await
}

/// The serial console, by KubeVirt itself: what is true in the guest.
struct Guest(SerialConsole);

impl Guest {
    async fn open(context: &Context<'_>) -> Result<Self> {
        let mut console = wait::until("the console opens", wait::LONG, || async {
            let console = SerialConsole::open(&context.client, &context.namespace, GUEST).await?;
            Ok(Seen::Done(console))
        })
        .await?;
        console.ask("echo booted=$((40 + 2))", "booted=42", wait::LONG).await?;
        Ok(Self(console))
    }

    /// Waits until the file is there that a line typed on the screen makes. Such lines have no character that needs the
    /// shift key: neither driver presses it.
    async fn files(&mut self, wanted: &str) -> Result<()> {
        // The variable keeps the echo of the line from being the answer.
        let ask = format!("[ -e /tmp/{wanted} ] && n={wanted} && echo \"there=$n.\"");
        self.0.ask(&ask, &format!("there={wanted}."), wait::SHORT).await
    }

    async fn has_not(&mut self, unwanted: &str) -> Result<()> {
        let ask = format!("n={unwanted}; [ -e /tmp/$n ] && echo \"it=is.$n.\" || echo \"it=is not.$n.\"");
        self.0.ask(&ask, &format!("it=is not.{unwanted}."), wait::SHORT).await
    }
}

/// Makes a session of the guest, asks for a token as this user, and returns the link of the answer.
async fn link(context: &Context<'_>, user: &str, name: &str, protocol: &str) -> Result<String> {
    let spec = json!({"targetRef": {"name": GUEST}, "protocol": protocol});
    apply_session(context, name, spec).await?;
    request_token(context, user, name).await?.link()
}

/// Opens the page and waits for the guest's picture: letters on a background.
async fn shows(browser: &Browser, link: &str) -> Result<novasphere_e2e::fixtures::browser::PageSnapshot> {
    browser.open(link).await?;
    browser
        .until("the guest's screen", wait::SHORT, BACKGROUND, |look| {
            let all = look.width * look.height;
            look.state == "connected" && look.colours >= 2 && look.of_colour > all / 2 && look.of_colour < all
        })
        .await
}

async fn screen(context: &Context<'_>, browser: &Browser, guest: &mut Guest) -> Result<()> {
    let link = link(context, DORA, "control", "vnc").await?;
    ensure!(
        !link.contains("input=ViewOnly"),
        "the link of a user who may control says that they may not"
    );
    let before = shows(browser, &link).await?;
    browser.type_text("touch /tmp/control\n").await?;
    let arrived = guest.files("control").await;
    browser.screenshot("guest-screen").await?;
    arrived?;
    let after = browser
        .until("what was typed", wait::SHORT, BACKGROUND, |look| {
            look.hash != before.hash
        })
        .await?;
    ensure!(after.of_colour < before.of_colour, "no letters were added: {after:?}");
    ensure!(after.problems.is_empty(), "{:?}", after.problems);
    Ok(())
}

/// Leaves for good: a machine's screen carries one viewer, and the place of who only closes the page is kept.
async fn leave(browser: &Browser) -> Result<()> {
    browser.click("#disconnect").await?;
    browser.open("about:blank").await
}

/// The page of a user who may only view, as it comes and made to send keys all the same.
async fn views_only(context: &Context<'_>, browser: &Browser, guest: &mut Guest) -> Result<()> {
    for (name, says_so) in [("view", true), ("view-with-keys", false)] {
        let link = link(context, LOU, name, "vnc").await?;
        ensure!(
            link.contains("&input=ViewOnly"),
            "the link of a user who may only view does not say so"
        );
        let link = if says_so {
            link
        } else {
            link.replace("&input=ViewOnly", "")
        };
        leave(browser).await?;
        nobody_is_connected(context).await?;
        let look = shows(browser, &link).await?;
        ensure!((look.view_only == "View only") == says_so, "{look:?}");
        browser.click("#view canvas").await?;
        browser.type_text("touch /tmp/view\n").await?;
        browser.screenshot(name).await?;
    }
    // Keys of before would have arrived before these.
    let link = link(context, DORA, "control-again", "vnc").await?;
    leave(browser).await?;
    nobody_is_connected(context).await?;
    shows(browser, &link).await?;
    browser.type_text("touch /tmp/after\n").await?;
    guest.files("after").await?;
    guest.has_not("view").await?;
    leave(browser).await?;
    nobody_is_connected(context).await
}

/// Opens the guest's screen through kube-apiserver, as `virtctl` would.
async fn screen_of(client: &Client, path: &str) -> Result<Viewer<ConsoleSocket>> {
    Viewer::enter(
        ConsoleSocket::connect(client, path, KUBEVIRT_SUBPROTOCOL).await?,
        Security::None,
    )
    .await
}

async fn through_apiserver(context: &Context<'_>, guest: &mut Guest) -> Result<()> {
    let path = format!(
        "/apis/subresources.novasphere.io/v1alpha1/namespaces/{}/vmaccesses/{GUEST}/console?protocol=vnc",
        context.namespace
    );
    let Err(refused) = screen_of(&client_of(context, NORA, &[]).await?, &path).await else {
        bail!("a user without a right sees the screen");
    };
    let refused = format!("{refused:#}");
    for part in ["403", "get", "vmaccesses/console"] {
        ensure!(refused.contains(part), "the refusal does not say {part:?}: {refused}");
    }

    for (user, file) in [(LOU, "ws-view"), (DORA, "ws-control")] {
        nobody_is_connected(context).await?;
        let mut viewer = screen_of(&client_of(context, user, &[]).await?, &path).await?;
        let before = viewer.picture().await?;
        ensure!(before.len() == usize::from(viewer.width) * usize::from(viewer.height) * 4);
        ensure!(
            before.as_chunks::<4>().0.iter().collect::<HashSet<_>>().len() >= 2,
            "the picture of {user} has one colour"
        );
        viewer.type_text(&format!("touch /tmp/{file}\n"), KEY_PAUSE).await?;
        if user == DORA {
            guest.files(file).await?;
            ensure!(viewer.picture().await? != before, "typing does not change the picture");
        }
        viewer.stream.leave().await?;
    }
    guest.has_not("ws-view").await
}

/// A text, and the keys of Linux (`linux/input-event-codes.h`) that give it on a keyboard of this layout, in hexadecimal.
struct Printed {
    layout: &'static str,
    text: &'static str,
    keys: &'static [u8],
}

/// What is printed on keyboards: z is where Americans have y; an at sign is `AltGr` (64) and Q, A umlaut Shift (2a) and its key, an e with an
/// acute accent the dead key beside Backspace and E. French keyboards have digits with Shift and a circumflex as a dead key beside P. The
/// Japanese have two keys more: 59 beside the right Shift, 7c beside Backspace.
const PRINTED: &[Printed] = &[
    Printed {
        layout: "de",
        text: "z\u{c4}@\u{e9}",
        keys: &[0x15, 0x2a, 0x28, 0x64, 0x10, 0x0d, 0x12],
    },
    Printed {
        layout: "fr",
        text: "a\u{e9}1@\u{ea}",
        keys: &[0x10, 0x03, 0x2a, 0x02, 0x64, 0x0b, 0x1a, 0x12],
    },
    Printed {
        layout: "jp",
        text: "@_|~",
        keys: &[0x1a, 0x2a, 0x59, 0x2a, 0x7c, 0x2a, 0x0d],
    },
];

/// Text that a person hands in arrives as the keys that give it by the guest's layout. The guest's own console is always American, so what
/// its kernel hears is looked at: 24 bytes an event, of which the type is 1 for a key, and the value 1 when it goes down.
async fn keyboards(context: &Context<'_>, browser: &Browser, guest: &mut Guest) -> Result<()> {
    // Once, however often it is asked.
    let record =
        "mkdir /tmp/heard && for d in /dev/input/event*; do cat $d >>/tmp/events & done; echo heard=$((40 + 2))";
    guest.0.ask(record, "heard=42", wait::SHORT).await?;
    nobody_is_connected(context).await?;
    let link = link(context, DORA, "keyboards", "vnc").await?;
    shows(browser, &link).await?;
    for Printed { layout, text, keys } in PRINTED {
        // The first one is the VmAccess's own; a person chooses the others.
        let choose = format!(
            "(() => {{ const layout = document.getElementById('layout'); if (layout.hidden) return 'hidden'; \
             if ('{layout}' !== 'de') {{ layout.value = '{layout}'; layout.dispatchEvent(new Event('change')); }} \
             return layout.value; }})()"
        );
        wait::until(format!("the layout {layout}"), wait::SHORT, || async {
            let shown = browser.evaluate(&choose).await?;
            Ok(Seen::some((shown == json!(layout)).then_some(()), shown.to_string()))
        })
        .await?;
        guest.0.send_line(": >/tmp/events").await?;
        browser.click("#clipboard").await?;
        browser
            .evaluate("document.getElementById('clipboard-text').value = ''")
            .await?;
        browser.fill("#clipboard-text", text).await?;
        browser.click("#clipboard-send").await?;
        browser.click("#clipboard-close").await?;
        let keys: Vec<_> = keys.iter().map(|key| format!("{key:02x}")).collect();
        let heard = "hexdump -v -e '24/1 \"%02x\" \"\\n\"' /tmp/events | awk 'substr($0,33,4)==\"0100\" && \
                     substr($0,41,2)==\"01\" {k=k substr($0,37,2) \".\"} END {print \"keys=\" k \"=\"}'";
        guest
            .0
            .ask(heard, &format!("keys={}.=", keys.join(".")), wait::SHORT)
            .await
            .with_context(|| format!("{text} by {layout}"))?;
    }
    browser.screenshot("keyboards").await?;
    leave(browser).await?;
    nobody_is_connected(context).await
}

/// A shell in the browser.
async fn serial(context: &Context<'_>, browser: &Browser) -> Result<()> {
    let link = link(context, DORA, "serial", "serial").await?;
    browser.open(&link).await?;
    browser.connected().await?;
    wait::until("the shell answers in the page", wait::SHORT, || async {
        browser.type_text("\necho sum=$((40 + 2))\n").await?;
        let look = browser.snapshot(BACKGROUND).await?;
        Ok(Seen::some(
            look.terminal.contains("sum=42").then_some(()),
            format!("{look:?}"),
        ))
    })
    .await?;
    wait::until("text beyond ASCII passes both ways", wait::SHORT, || async {
        browser
            .type_text("\nhead -n 1 | hexdump -v -e '1/1 \"%02x\"'\n")
            .await?;
        browser.compose(&["ni", "nihao"], "\u{4f60}\u{597d}").await?;
        // As a picker of emoji does.
        browser.compose(&[], "\u{1f600}").await?;
        browser.type_text("\n").await?;
        let look = browser.snapshot(BACKGROUND).await?;
        let arrived = look.terminal.contains("e4bda0e5a5bdf09f98800a") && look.terminal.contains("\u{4f60}\u{597d}");
        Ok(Seen::some(arrived.then_some(()), format!("{look:?}")))
    })
    .await?;
    let look = browser.snapshot(BACKGROUND).await?;
    ensure!(look.problems.is_empty(), "{:?}", look.problems);
    browser.screenshot("guest-serial").await.map(drop)
}
