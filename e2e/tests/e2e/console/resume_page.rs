//! The console page comes back by itself, in a real browser: reload, back, another tab, the browser's cache.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube::{Api, api::ListParams};
use novasphere_crd::ConsoleSession;
use novasphere_e2e::{
    fixtures::{
        browser::Browser,
        cluster::Cluster,
        console::{ANN, ConsoleFixture},
        console_session::{Grant, connections, grant_token, open_session, revoke},
        controller::sum,
        gateway::Gateway,
        namespace::{Context, PodSecurity, with_namespace},
        vnc_server::VncServer,
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(
        "console::resume_page::same_browser",
        Needs::ControlPlane,
        same_browser,
    )]
}

/// What the page sends when `a` is typed: `KeyEvent`, down.
const TYPED: &[u8] = &[4, 1, 0, 0, 0, 0, 0, b'a'];

/// Longer than the pauses after which a page tries again.
const STAYS_PERIOD: Duration = Duration::from_secs(5);

pub(super) fn policy() -> Value {
    json!({"maxViewers": 4, "maxConcurrentSessions": 100})
}

/// A new session and a link to it.
pub(super) async fn new_link(context: &Context<'_>, gateway: &Gateway, session: &str) -> Result<String> {
    open_session(context, session, json!({})).await?;
    let token = grant_token(&context.api(), session, Grant::to(ANN)).await?;
    Ok(gateway.link(context, session, "vnc", &token))
}

/// The ids of all tokens that were made in the namespace.
pub(super) async fn grants(context: &Context<'_>) -> Result<Vec<String>> {
    let sessions: Api<ConsoleSession> = context.api();
    let list = sessions.list(&ListParams::default()).await?;
    let statuses = list.items.into_iter().filter_map(|session| session.status);
    let mut grants: Vec<String> = statuses
        .flat_map(|status| status.grants)
        .map(|grant| grant.id)
        .collect();
    grants.sort();
    Ok(grants)
}

/// How many streams have come back to a gateway.
pub(super) async fn resumed(gateway: &Gateway) -> Result<u64> {
    let (_, metrics) = gateway.get("/metrics").await?;
    Ok(sum(&metrics, "novasphere_console_streams_resumed_total"))
}

/// What is typed in the page reaches the machine.
pub(super) async fn types(vnc: &VncServer, browser: &Browser) -> Result<()> {
    let _ = vnc.take();
    wait::until("a key of the page reaches the machine", wait::SHORT, || async {
        browser.type_text("a").await?;
        let seen = vnc.take();
        let is_there = seen.windows(TYPED.len()).any(|bytes| bytes == TYPED);
        Ok(Seen::some(is_there.then_some(()), format!("{seen:?}")))
    })
    .await
}

async fn same_browser() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "console::resume_page::same_browser",
        PodSecurity::Restricted,
        async |context| {
            let fixture = ConsoleFixture::start(context, &policy()).await?;
            let gateways = fixture.gateways(context, &["g1"]).await?;
            let gateway = gateways.first().context("a gateway was started")?;
            let browser = Browser::start(&context.output)?;
            browser.open(&new_link(context, gateway, "mine").await?).await?;
            browser.connected().await?;
            let granted = grants(context).await?;
            reload_and_back(context, &fixture, gateway, &browser)
                .await
                .context("reload and back")?;
            duplicated(&fixture, &browser).await.context("duplicated tab")?;
            restored(&fixture, gateway, &browser).await.context("restored")?;
            ensure!(grants(context).await? == granted, "a token was made");
            connections(context, "mine", 1).await?;
            another_link_and_back(context, &fixture, gateway, &browser)
                .await
                .context("another link")?;
            revoked(context, &browser).await.context("revoked")?;
            left(context, gateway, &browser).await.context("left")?;
            other_browser(context, gateway, &browser).await.context("other browser")
        },
    )
    .await
}

async fn reload_and_back(
    context: &Context<'_>,
    fixture: &ConsoleFixture,
    gateway: &Gateway,
    browser: &Browser,
) -> Result<()> {
    for _ in 0..3 {
        browser.reload().await?;
        browser.connected().await?;
        types(&fixture.vnc, browser).await?;
    }
    browser
        .go(&format!("{}/api/v1/console/target", gateway.origin()))
        .await?;
    connections(context, "mine", 0).await?;
    browser.back().await?;
    browser.connected().await?;
    types(&fixture.vnc, browser).await
}

/// The second tab has the console. The first says so and stays so, until the person wants it there.
async fn duplicated(fixture: &ConsoleFixture, browser: &Browser) -> Result<()> {
    let address = browser.snapshot([0; 3]).await?.address;
    browser.tab(&address).await?;
    browser.connected().await?;
    types(&fixture.vnc, browser).await?;
    browser.select(0).await?;
    let look = browser.ended("Moved").await?;
    ensure!(look.notice.contains("Use it here"), "{look:?}");
    browser.screenshot("moved").await?;
    tokio::time::sleep(STAYS_PERIOD).await;
    browser.select(1).await?;
    types(&fixture.vnc, browser)
        .await
        .context("the first tab took it back by itself")?;
    browser.select(0).await?;
    browser.ended("Moved").await?;
    browser.click("#again").await?;
    browser.connected().await?;
    types(&fixture.vnc, browser).await?;
    browser.select(1).await?;
    browser.ended("Moved").await?;
    browser.select(0).await
}

/// The browser shows a page that it had kept, whose line it has cut.
async fn restored(fixture: &ConsoleFixture, gateway: &Gateway, browser: &Browser) -> Result<()> {
    let before = resumed(gateway).await?;
    browser
        .evaluate("void dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
        .await?;
    wait::until("it has come back", wait::SHORT, || async {
        let now = resumed(gateway).await?;
        Ok(Seen::some((now > before).then_some(()), format!("{now} times")))
    })
    .await?;
    browser.connected().await?;
    types(&fixture.vnc, browser).await
}

/// A link that is pasted into the address bar, and a step back from it.
async fn another_link_and_back(
    context: &Context<'_>,
    fixture: &ConsoleFixture,
    gateway: &Gateway,
    browser: &Browser,
) -> Result<()> {
    let link = new_link(context, gateway, "second").await?;
    let fragment = link
        .split_once('#')
        .map(|(_, fragment)| fragment)
        .context("a fragment")?;
    browser
        .evaluate(&format!("void (location.hash = {fragment:?})"))
        .await?;
    let shows = |session: &str| format!("{}/{session}", context.namespace);
    let named = shows("second");
    browser
        .until("the second console", wait::SHORT, [0; 3], |look| {
            look.state == "connected" && look.name == named
        })
        .await?;
    browser.evaluate("history.back()").await?;
    let named = shows("mine");
    browser
        .until("the first console", wait::SHORT, [0; 3], |look| {
            look.state == "connected" && look.name == named
        })
        .await?;
    types(&fixture.vnc, browser).await
}

/// It is said in the language of the browser.
async fn revoked(context: &Context<'_>, browser: &Browser) -> Result<()> {
    browser.speak("zh-CN").await?;
    browser.reload().await?;
    browser.connected().await?;
    let speaks = "document.documentElement.lang + document.getElementById('disconnect').textContent";
    let spoken = browser.evaluate(speaks).await?;
    // "disconnect"
    ensure!(spoken == "zh\u{65ad}\u{5f00}\u{8fde}\u{63a5}", "{spoken}");
    revoke(context, "mine").await?;
    let look = browser.ended("Revoked").await?;
    // "was revoked"
    ensure!(look.notice.contains("\u{5df2}\u{88ab}\u{64a4}\u{9500}"), "{look:?}");
    browser.screenshot("revoked").await?;
    browser.reload().await?;
    let look = browser.ended("ResumeRefused").await?;
    // "link"
    ensure!(look.notice.contains("\u{94fe}\u{63a5}"), "{look:?}");
    Ok(())
}

/// The button for it, unlike a closed tab, gives the place up.
async fn left(context: &Context<'_>, gateway: &Gateway, browser: &Browser) -> Result<()> {
    browser.open(&new_link(context, gateway, "left").await?).await?;
    browser.connected().await?;
    browser.click("#disconnect").await?;
    browser.ended("ViewerLeft").await?;
    connections(context, "left", 0).await?;
    browser.reload().await?;
    browser.ended("ResumeRefused").await.map(drop)
}

/// Neither the link nor what the address bar says opens the console in another browser.
async fn other_browser(context: &Context<'_>, gateway: &Gateway, browser: &Browser) -> Result<()> {
    let link = new_link(context, gateway, "copied").await?;
    browser.open(&link).await?;
    let address = browser.connected().await?.address;
    // Each with nothing of the one before.
    browser.open(&address).await?;
    let look = browser.ended("ResumeRefused").await?;
    ensure!(look.notice.contains("This page needs a link"), "{look:?}");
    browser.screenshot("copied").await?;
    browser.open(&link).await?;
    browser.ended("TokenRefused").await.map(drop)
}
