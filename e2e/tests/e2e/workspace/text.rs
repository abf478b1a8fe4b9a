//! Text in any alphabet arrives in a desktop from the console page, as people write it there: composed, pasted and copied, and as the
//! names of files.

use anyhow::{Context as _, Result, ensure};
use novasphere_e2e::{
    fixtures::{
        browser::Browser,
        cluster::Cluster,
        console_session::apply_session,
        desktop_image, installed,
        namespace::{Context, PodSecurity, with_namespace},
        rights::DESKTOP_CONSOLES,
        users::{allow_consoles, request_token},
        vnc,
        wait::{self, Seen},
        workspace::{self, apply_workspace, desktop_answers, exec},
    },
    harness::{Case, Needs},
};
use serde_json::json;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("workspace::text", Needs::Node, text)]
}

const NAME: &str = "desk";
const USER: &str = "alice";

/// Twice as many as an X server has keycodes.
const CHARACTERS: u32 = 500;

/// How many an input method hands in at a time.
const AT_ONCE: usize = 8;

/// What a person types for them, as the input method shows it while they do.
const PINYIN: &[&str] = &["z", "zh", "zho", "zhon", "zhong", "zhongw", "zhongwe", "zhongwen"];

/// One word for a double click, wide enough for [`IN_TERMINAL`].
const WORD: &str = "剪贴板上的汉字要原样过去才行";

/// In the terminal, whatever window managers put around it.
const IN_TERMINAL: (u16, u16) = (80, 90);

async fn text() -> Result<()> {
    let cluster = Cluster::with_novasphere()?;
    let story = async |context: &Context<'_>| {
        let undisturbed = installed::undisturbed().await;
        allow_consoles(context, USER, DESKTOP_CONSOLES, &["get", "update"]).await?;
        let image = desktop_image::load(cluster, "desktop")?;
        apply_workspace(context, NAME, &image, &json!({"locale": "zh_CN.UTF-8"})).await?;
        let desktop = desktop_answers(context, NAME).await?;
        let (address, password) = (
            workspace::endpoint(&desktop, "vnc")?,
            workspace::password(context, NAME).await?,
        );
        // After that the terminal has the keyboard.
        vnc::type_in_terminal(address, &password, "touch ready", async || file(context, "ready", "")).await?;

        let browser = Browser::start(&context.output)?;
        let spec = json!({"targetRef": {"kind": "VncWorkspace", "name": NAME}, "protocol": "vnc"});
        apply_session(context, "text", spec).await?;
        browser
            .open(&request_token(context, USER, "text").await?.link()?)
            .await?;
        browser.connected().await?;
        browser.click("#keyboard").await?;
        composed(context, &browser).await.context("composed")?;
        names(context, &browser).await.context("names of files")?;
        pasted(context, &browser).await.context("pasted")?;
        copied(context, &browser).await.context("copied")?;
        let look = browser.snapshot([0; 3]).await?;
        ensure!(look.problems.is_empty(), "{:?}", look.problems);
        drop(undisturbed);
        Ok(())
    };
    Box::pin(with_namespace(
        cluster,
        "workspace::text",
        PodSecurity::Restricted,
        story,
    ))
    .await
}

/// Whether a file of the home has this text.
fn file(context: &Context<'_>, name: &str, text: &str) -> Result<Seen<()>> {
    let found = exec(context, NAME, &format!("cat \"$HOME/{name}\" 2>&1 || true"))?;
    Ok(Seen::some((found == text).then_some(()), found))
}

/// Waits until all is sent that was composed: the page sends it as slowly as programs follow.
async fn all_sent(browser: &Browser) -> Result<()> {
    wait::until("the page types no more", wait::LONG, || async {
        let button = browser
            .evaluate("document.getElementById('clipboard-send').textContent")
            .await?;
        Ok(Seen::some(
            (button == json!("Send to the machine")).then_some(()),
            button.to_string(),
        ))
    })
    .await
}

/// Writes what is typed next to a file, until [`ends`].
async fn begins(browser: &Browser, file: &str) -> Result<()> {
    browser.type_text(&format!("\ncat >{file}\n")).await
}

/// Ends what reads from the terminal, at the beginning of a line.
async fn ends(browser: &Browser) -> Result<()> {
    browser.press("Enter").await?;
    browser.chord(&["Control", "d"]).await
}

/// Twice as many different characters as an X server has keycodes, fast, mixed with ASCII and with emoji.
async fn composed(context: &Context<'_>, browser: &Browser) -> Result<()> {
    begins(browser, "composed").await?;
    let han: Vec<char> = (0x4e00..0x4e00 + CHARACTERS).filter_map(char::from_u32).collect();
    let mut expected = String::new();
    for (number, piece) in han.chunks(AT_ONCE).enumerate() {
        let piece: String = piece.iter().collect();
        browser.compose(PINYIN, &piece).await?;
        browser.type_text("ok").await?;
        expected.push_str(&piece);
        expected.push_str("ok");
        if number % 8 == 0 {
            browser.compose(&[], "é😀").await?;
            expected.push_str("é😀");
        }
    }
    all_sent(browser).await?;
    ends(browser).await?;
    expected.push('\n');
    wait::until("what was composed", wait::SHORT, || async {
        file(context, "composed", &expected)
    })
    .await
}

async fn names(context: &Context<'_>, browser: &Browser) -> Result<()> {
    let name = "报告-größe-отчёт-😀.txt";
    browser.type_text("\ntouch ").await?;
    browser.compose(&["bao"], name).await?;
    all_sent(browser).await?;
    browser.press("Enter").await?;
    wait::until(format!("the file {name}"), wait::SHORT, || async {
        file(context, name, "")
    })
    .await
}

async fn pasted(context: &Context<'_>, browser: &Browser) -> Result<()> {
    let text = "剪贴板: größe, отчёт, ひらがな, 한글, 😀";
    begins(browser, "pasted").await?;
    browser.click("#clipboard").await?;
    browser.fill("#clipboard-text", text).await?;
    browser.click("#clipboard-send").await?;
    browser.click("#clipboard-close").await?;
    browser.chord(&["Shift", "Insert"]).await?;
    ends(browser).await?;
    wait::until("what was pasted", wait::SHORT, || async {
        file(context, "pasted", &format!("{text}\n"))
    })
    .await
}

/// What is selected in the terminal is copied.
async fn copied(context: &Context<'_>, browser: &Browser) -> Result<()> {
    browser.click("#keyboard").await?;
    browser.type_text("\nyes ").await?;
    browser.compose(&["jian"], WORD).await?;
    browser.type_text(" | head -n 200; touch filled\n").await?;
    wait::until("words to copy", wait::SHORT, || async { file(context, "filled", "") }).await?;
    wait::until("what was copied in the desktop", wait::SHORT, || async {
        browser.double_click(IN_TERMINAL.0, IN_TERMINAL.1).await?;
        let text = browser
            .evaluate("document.getElementById('clipboard-text').value")
            .await?;
        let arrived = text.as_str().is_some_and(|text| text.trim() == WORD);
        Ok(Seen::some(arrived.then_some(()), text.to_string()))
    })
    .await
}
