//! The consoles of a real guest on a real KubeVirt: in a real browser, and through kube-apiserver, under the rights of three
//! users. What reaches the guest is read in the guest, on its serial console.

use std::collections::HashSet;

use anyhow::{Context as _, Result, bail, ensure};
use novasphere_e2e::{
    browser::Browser,
    cluster::Cluster,
    console::Console,
    harness::{Case, Needs},
    namespace::{Context, PodSecurity, with_namespace},
    rfb::Viewer,
    wait::{self, Seen},
};
use serde_json::json;

use crate::{
    console_users as users, installed,
    support::{self, template},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("console_guest::consoles", Needs::Node, consoles)]
}

const GUEST: &str = "guest";

/// May do nothing.
const NORA: &str = "nora";
/// May look.
const LOU: &str = "lou";
/// May drive.
const DORA: &str = "dora";

/// Black.
const BACKGROUND: [u8; 3] = [0; 3];

async fn consoles() -> Result<()> {
    let cluster = Cluster::with_novasphere()?;
    with_namespace(
        cluster,
        "console_guest::consoles",
        PodSecurity::Privileged,
        async |context| {
            let undisturbed = installed::undisturbed().await;
            users::may(context, LOU, "vmaccesses/console", &["get"]).await?;
            users::may(context, DORA, "vmaccesses/console", &["get", "update"]).await?;
            let spec = json!({
                "virtualMachine": {"template": template()},
                "power": {"state": "Running"},
                "console": {"maxConcurrentSessions": 16},
            });
            support::apply(context, GUEST, &spec).await?;
            support::ready_as(context, GUEST, "Running", wait::LONG).await?;
            let mut guest = Guest::open(context).await.context("the guest's shell")?;

            let browser = Browser::start(&context.output)?;
            screen(context, &browser, &mut guest).await.context("the screen")?;
            looks_only(context, &browser, &mut guest)
                .await
                .context("who only looks")?;
            through_apiserver(context, &mut guest)
                .await
                .context("through kube-apiserver")?;
            drop(guest);
            serial(context, &browser).await.context("the serial console")?;
            drop(undisturbed);
            Ok(())
        },
    )
    .await
}

/// The serial console, by KubeVirt itself: what is true in the guest.
struct Guest(Console);

impl Guest {
    async fn open(context: &Context<'_>) -> Result<Self> {
        let mut console = wait::until("the console opens", wait::LONG, || async {
            let console = Console::open(&context.client, &context.namespace, GUEST).await?;
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
    users::session(context, name, spec).await?;
    users::token(context, user, name).await?.link()
}

/// Opens the page and waits for the guest's picture: letters on a background.
async fn shows(browser: &Browser, link: &str) -> Result<novasphere_e2e::browser::Look> {
    browser.open(link).await?;
    browser
        .until("the guest's screen", wait::SHORT, BACKGROUND, |look| {
            let all = look.width * look.height;
            look.state == "connected" && look.colours >= 2 && look.of_colour > all / 2 && look.of_colour < all
        })
        .await
}

async fn screen(context: &Context<'_>, browser: &Browser, guest: &mut Guest) -> Result<()> {
    let link = link(context, DORA, "drive", "vnc").await?;
    ensure!(
        !link.contains("input=ViewOnly"),
        "the link of who may drive says that she may not"
    );
    let before = shows(browser, &link).await?;
    browser.type_text("touch /tmp/drive\n").await?;
    let arrived = guest.files("drive").await;
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

/// The page of a user who may only look, as it comes and made to send keys all the same.
async fn looks_only(context: &Context<'_>, browser: &Browser, guest: &mut Guest) -> Result<()> {
    for (name, says_so) in [("look", true), ("look-harder", false)] {
        let link = link(context, LOU, name, "vnc").await?;
        ensure!(
            link.contains("&input=ViewOnly"),
            "the link of who may look does not say so"
        );
        let link = if says_so {
            link
        } else {
            link.replace("&input=ViewOnly", "")
        };
        browser.open("about:blank").await?;
        users::nobody_is_connected(context).await?;
        let look = shows(browser, &link).await?;
        ensure!((look.view_only == "View only") == says_so, "{look:?}");
        browser.click("#view canvas").await?;
        browser.type_text("touch /tmp/look\n").await?;
        browser.screenshot(name).await?;
    }
    // Keys of before would have arrived before these.
    let link = link(context, DORA, "drive-again", "vnc").await?;
    browser.open("about:blank").await?;
    users::nobody_is_connected(context).await?;
    shows(browser, &link).await?;
    browser.type_text("touch /tmp/after\n").await?;
    guest.files("after").await?;
    guest.has_not("look").await?;
    browser.open("about:blank").await?;
    users::nobody_is_connected(context).await
}

async fn through_apiserver(context: &Context<'_>, guest: &mut Guest) -> Result<()> {
    let path = format!(
        "/apis/subresources.novasphere.io/v1alpha1/namespaces/{}/vmaccesses/{GUEST}/console?protocol=vnc",
        context.namespace
    );
    let Err(refused) = Viewer::open(&users::client(context, NORA).await?, &path).await else {
        bail!("a user without a right sees the screen");
    };
    let refused = format!("{refused:#}");
    for part in ["403", "get", "vmaccesses/console"] {
        ensure!(refused.contains(part), "the refusal does not say {part:?}: {refused}");
    }

    for (user, file) in [(LOU, "ws-look"), (DORA, "ws-drive")] {
        users::nobody_is_connected(context).await?;
        let mut viewer = Viewer::open(&users::client(context, user).await?, &path).await?;
        let before = viewer.picture().await?;
        ensure!(before.len() == usize::from(viewer.width) * usize::from(viewer.height) * 4);
        ensure!(
            before.as_chunks::<4>().0.iter().collect::<HashSet<_>>().len() >= 2,
            "the picture of {user} has one colour"
        );
        viewer.type_text(&format!("touch /tmp/{file}\n")).await?;
        if user == DORA {
            guest.files(file).await?;
            ensure!(viewer.picture().await? != before, "typing does not change the picture");
        }
        viewer.close().await?;
    }
    guest.has_not("ws-look").await
}

/// A shell in the browser.
async fn serial(context: &Context<'_>, browser: &Browser) -> Result<()> {
    let link = link(context, DORA, "serial", "serial").await?;
    browser.open(&link).await?;
    browser.connected().await?;
    wait::until("the shell answers in the page", wait::SHORT, || async {
        browser.type_text("\necho sum=$((40 + 2))\n").await?;
        let look = browser.look(BACKGROUND).await?;
        Ok(Seen::some(
            look.terminal.contains("sum=42").then_some(()),
            format!("{look:?}"),
        ))
    })
    .await?;
    let look = browser.look(BACKGROUND).await?;
    ensure!(look.problems.is_empty(), "{:?}", look.problems);
    browser.screenshot("guest-serial").await.map(drop)
}
