//! The console page in a real browser.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use novasphere_e2e::{
    fixtures::{
        browser::{Browser, PageSnapshot},
        cluster::Cluster,
        console_desktop::DesktopFixture,
        console_session::{Grant, grant_token, open_session, random_token, revoke},
        desktop::TERMINAL,
        namespace::{Context, PodSecurity, with_namespace},
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("console::browser::screen", Needs::ControlPlane, screen),
        Case::new("console::browser::embedded", Needs::ControlPlane, embedded),
    ]
}

/// The terminal fills most of the desktop.
const LEAST_PIXELS: u32 = 150_000;

async fn screen() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "console::browser::screen",
        PodSecurity::Restricted,
        async |context| {
            let fixture = DesktopFixture::start(context, &[]).await?;
            let browser = Browser::start(&context.output)?;
            open_session(context, "control", json!({})).await?;
            controls(context, &fixture, &browser).await.context("control")?;
            views_only(context, &fixture, &browser).await.context("view")?;
            says_why(context, &fixture, &browser).await.context("the end")?;
            on_a_phone(context, &fixture, &browser).await.context("phone")
        },
    )
    .await
}

async fn desktop_is_shown(browser: &Browser) -> Result<PageSnapshot> {
    browser
        .until("the desktop", wait::SHORT, TERMINAL, |look| {
            look.state == "connected" && look.of_colour > LEAST_PIXELS
        })
        .await
}

async fn controls(context: &Context<'_>, fixture: &DesktopFixture, browser: &Browser) -> Result<()> {
    let once = grant_token(&context.api(), "control", Grant::to_master()).await?;
    browser
        .open(&fixture.gateway.link(context, "control", "vnc", &once))
        .await?;
    let before = desktop_is_shown(browser).await?;
    ensure!((before.width, before.height) == (640, 480), "{before:?}");
    ensure!(before.name == format!("{}/control", context.namespace), "{before:?}");
    ensure!(!before.address.contains(&once), "the token is still in the address bar");
    let page = browser
        .evaluate("document.documentURI + document.documentElement.outerHTML")
        .await?;
    ensure!(!page.to_string().contains(&once), "the token is still in the page");

    browser.type_text("hello from the page\n").await?;
    fixture.desktop.was_typed("hello from the page\n").await?;
    let typed = browser
        .until("what was typed", wait::SHORT, TERMINAL, |look| look.hash != before.hash)
        .await?;
    ensure!(typed.problems.is_empty(), "{:?}", typed.problems);
    browser.screenshot("screen").await.map(drop)
}

/// Twice: with a page that knows that it may only view, and with one that sends keys all the same.
async fn views_only(context: &Context<'_>, fixture: &DesktopFixture, browser: &Browser) -> Result<()> {
    open_session(context, "view", json!({"input": "ViewOnly"})).await?;
    for says_so in [true, false] {
        let once = grant_token(&context.api(), "view", Grant::to_master()).await?;
        let mut link = fixture.gateway.link(context, "view", "vnc", &once);
        if says_so {
            link.push_str("&input=ViewOnly");
        }
        browser.open(&link).await?;
        let look = desktop_is_shown(browser).await?;
        ensure!((look.view_only == "View only") == says_so, "{look:?}");
        browser.click("#view canvas").await?;
        browser.type_text("forbidden\n").await?;
    }
    browser.screenshot("view-only").await?;
    // What was typed before would have arrived before this.
    let once = grant_token(&context.api(), "control", Grant::to_master()).await?;
    browser
        .open(&fixture.gateway.link(context, "control", "vnc", &once))
        .await?;
    desktop_is_shown(browser).await?;
    browser.type_text("allowed\n").await?;
    fixture.desktop.was_typed("hello from the page\nallowed\n").await
}

async fn says_why(context: &Context<'_>, fixture: &DesktopFixture, browser: &Browser) -> Result<()> {
    revoke(context, "control").await?;
    let end = browser.ended("Revoked").await?;
    ensure!(end.notice.contains("The session was revoked."), "{end:?}");
    ensure!(end.width == 0, "the last picture is still shown");
    browser.screenshot("revoked").await?;

    let wrong = random_token()?;
    browser
        .open(&fixture.gateway.link(context, "view", "vnc", &wrong))
        .await?;
    browser.ended("TokenRefused").await?;
    // A person brings a new link.
    let once = grant_token(&context.api(), "view", Grant::to_master()).await?;
    browser
        .fill("#link", &fixture.gateway.link(context, "view", "vnc", &once))
        .await?;
    browser.press("Enter").await?;
    desktop_is_shown(browser).await?;
    browser.click("#disconnect").await?;
    let end = browser.ended("ViewerLeft").await?;
    ensure!(end.problems.is_empty(), "{:?}", end.problems);
    Ok(())
}

async fn on_a_phone(context: &Context<'_>, fixture: &DesktopFixture, browser: &Browser) -> Result<()> {
    open_session(context, "phone", json!({})).await?;
    let once = grant_token(&context.api(), "phone", Grant::to_master()).await?;
    browser
        .open_on_a_phone(&fixture.gateway.link(context, "phone", "vnc", &once))
        .await?;
    desktop_is_shown(browser).await?;
    // Nothing is wider than the window.
    let fits = browser
        .evaluate("document.documentElement.scrollWidth <= innerWidth")
        .await?;
    ensure!(fits == json!(true), "the page is wider than a phone");
    browser.click("#keyboard").await?;
    browser.type_text("from a phone\n").await?;
    fixture
        .desktop
        .was_typed("hello from the page\nallowed\nfrom a phone\n")
        .await?;
    browser.screenshot("phone").await.map(drop)
}

/// A page of another origin that shows the console page and gives it tokens.
const PORTAL: &str = r#"<!doctype html><title>Portal</title><script>
const log = [], tokens = [];
addEventListener("message", (event) => {
  log.push(event.data);
  if (event.data.type === "token-request") {
    const token = tokens.shift();
    event.source.postMessage({ novasphere: "console", version: 1, type: token ? "token" : "token-refused",
      request: event.data.request, token, message: "the portal has none" }, event.origin);
  }
});
function show(url) {
  const frame = document.createElement("iframe");
  Object.assign(frame, { src: url, width: 1000, height: 700 });
  document.body.replaceChildren(frame);
}
</script><body></body>"#;

/// Serves [`PORTAL`] on a port of loopback.
async fn portal() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{PORTAL}",
                PORTAL.len()
            );
            // A browser that goes away before it has read it misses nothing.
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    Ok(address)
}

async fn embedded() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "console::browser::embedded",
        PodSecurity::Restricted,
        async |context| {
            let (friend, stranger) = (portal().await?, portal().await?);
            let mut fixture = DesktopFixture::start(context, &[format!("http://{friend}")]).await?;
            let browser = Browser::start(&context.output)?;
            open_session(context, "embedded", json!({})).await?;
            let page = format!(
                "{}/console/#protocol=vnc&session={}/embedded",
                fixture.gateway.origin(),
                context.namespace
            );
            strangers_do_not_show_it(&browser, stranger, &page)
                .await
                .context("stranger")?;

            browser.open(&format!("http://{friend}/")).await?;
            give(context, &browser).await?;
            browser.evaluate(&format!("show({page:?})")).await?;
            hears(&browser, &["token-request", "connected"]).await?;
            browser.screenshot("embedded").await?;

            // It comes back by itself, and asks for no token: the portal would have none.
            fixture.gateway.stop().await.context("stop")?;
            hears(&browser, &["token-request", "connected", "closed:Restarting"]).await?;
            fixture.gateway.run().await?;
            let mut all = vec!["token-request", "connected", "closed:Restarting", "connected"];
            hears_at_last(&browser, &all).await?;
            // So does a frame that is loaded again.
            browser.evaluate(&format!("show({page:?})")).await?;
            all.push("connected");
            hears_at_last(&browser, &all).await?;
            revoke(context, "embedded").await?;
            wait::until("the portal hears of the end", wait::SHORT, || async {
                let heard = heard(&browser).await?;
                let end = heard.last().is_some_and(|last| last == "closed:Revoked");
                Ok(Seen::some(end.then_some(()), format!("{heard:?}")))
            })
            .await
        },
    )
    .await
}

/// Hands the portal a token to give.
async fn give(context: &Context<'_>, browser: &Browser) -> Result<()> {
    let once = grant_token(&context.api(), "embedded", Grant::to_master()).await?;
    browser.evaluate(&format!("void tokens.push({once:?})")).await.map(drop)
}

/// What the portal has heard of the page, in words.
async fn heard(browser: &Browser) -> Result<Vec<String>> {
    let words = "log.map((message) => message.type + (message.reason ? ':' + message.reason : ''))";
    Ok(serde_json::from_value(browser.evaluate(words).await?)?)
}

async fn hears(browser: &Browser, wanted: &[&str]) -> Result<()> {
    wait::until(format!("the portal hears {wanted:?}"), wait::SHORT, || async {
        let heard = heard(browser).await?;
        let begins = heard.len() >= wanted.len() && heard.iter().zip(wanted).all(|(heard, wanted)| heard == wanted);
        Ok(Seen::some(begins.then_some(()), format!("{heard:?}")))
    })
    .await
}

/// The same without the tries that failed while the gateway was away.
async fn hears_at_last(browser: &Browser, wanted: &[&str]) -> Result<()> {
    wait::until(format!("the portal hears {wanted:?} at last"), wait::SHORT, || async {
        let mut heard = heard(browser).await?;
        heard.retain(|message| !["closed:NoConnection", "closed:Unavailable"].contains(&message.as_str()));
        Ok(Seen::some((heard == wanted).then_some(()), format!("{heard:?}")))
    })
    .await
}

async fn strangers_do_not_show_it(browser: &Browser, stranger: SocketAddr, page: &str) -> Result<()> {
    browser.open(&format!("http://{stranger}/")).await?;
    browser.evaluate(&format!("show({page:?})")).await?;
    wait::until("the browser refuses the frame", wait::SHORT, || async {
        let problems = browser.snapshot([0; 3]).await?.problems;
        let refused = problems.iter().any(|problem| problem.contains("frame-ancestors"));
        Ok(Seen::some(refused.then_some(()), format!("{problems:?}")))
    })
    .await?;
    ensure!(heard(browser).await?.is_empty(), "the page spoke to a stranger");
    Ok(())
}
