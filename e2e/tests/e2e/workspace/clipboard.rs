//! Text that is copied in a desktop and text for its clipboard pass as the workspace says, and nobody who only views gets any.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use novasphere_e2e::{
    fixtures::{
        cluster::Cluster,
        desktop_image, installed,
        namespace::{Context, PodSecurity, with_namespace},
        rfb::{Transport, Viewer},
        rights::{DESKTOP_CONSOLES, client_of},
        users::allow_consoles,
        vnc::{self, DesktopViewer},
        wait::{self, Seen},
        workspace::{self, apply_workspace, desktop_answers, exec, screen_through_kube_apiserver},
    },
    harness::{Case, Needs},
};
use serde_json::json;
use tokio::io::AsyncReadExt as _;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("workspace::clipboard", Needs::Node, clipboard)]
}

const DRIVER: &str = "alice";
const LOOKER: &str = "lou";

/// The word that is copied: the terminal is full of it.
const WORD: &str = "correcthorsebattery";

/// In the terminal, whatever window managers put around it.
const IN_TERMINAL: (u16, u16) = (80, 90);

/// What copies or pastes at all has done so after this.
const COPY_PERIOD: Duration = Duration::from_secs(2);

const INSERT: u32 = 0xff63;
const SHIFT: u32 = 0xffe1;

async fn clipboard() -> Result<()> {
    let cluster = Cluster::with_novasphere()?;
    let story = async |context: &Context<'_>| {
        let undisturbed = installed::undisturbed().await;
        allow_consoles(context, DRIVER, DESKTOP_CONSOLES, &["get", "update"]).await?;
        allow_consoles(context, LOOKER, DESKTOP_CONSOLES, &["get"]).await?;
        let image = desktop_image::load(cluster, "desktop")?;
        let policies = ["Both", "ToGuest", "FromGuest", "None"];
        for policy in policies {
            let spec = json!({"console": {"clipboard": policy}});
            apply_workspace(context, &policy.to_lowercase(), &image, &spec).await?;
        }
        for policy in policies {
            keeps(context, policy)
                .await
                .with_context(|| format!("clipboard: {policy}"))?;
        }
        only_drivers_get_text(context).await.context("through a gateway")?;
        drop(undisturbed);
        Ok(())
    };
    Box::pin(with_namespace(
        cluster,
        "workspace::clipboard",
        PodSecurity::Restricted,
        story,
    ))
    .await
}

/// The desktop itself keeps its policy, whoever the viewer is: this one comes without a gateway.
async fn keeps(context: &Context<'_>, policy: &str) -> Result<()> {
    let name = policy.to_lowercase();
    let desktop = desktop_answers(context, &name).await?;
    let (address, password) = (
        workspace::endpoint(&desktop, "vnc")?,
        workspace::password(context, &name).await?,
    );
    let fill = format!("yes {WORD} | head -n 200; touch filled");
    vnc::type_in_terminal(address, &password, &fill, async || made(context, &name, "filled")).await?;
    let mut viewer = vnc::open(address, &password).await?;
    let gives = matches!(policy, "Both" | "FromGuest");
    let mut copied = copy(&mut viewer).await?;
    // A terminal that is busy takes two clicks for one each.
    let until = Instant::now() + wait::SHORT;
    while gives && !copied.contains(WORD) && Instant::now() < until {
        copied = copy(&mut viewer).await?;
    }
    ensure!(copied.contains(WORD) == gives, "copied {copied:?}");
    paste(&mut viewer, "touch pasted\n").await?;
    // The terminal asks the server for the text, which may come behind what is typed next.
    tokio::time::sleep(COPY_PERIOD).await;
    viewer.type_text("\ntouch behind\n", Duration::ZERO).await?;
    wait::until("what is typed behind it", wait::SHORT, || async {
        made(context, &name, "behind")
    })
    .await?;
    let pasted = exec(context, &name, "ls")?.contains("pasted");
    ensure!(pasted == matches!(policy, "Both" | "ToGuest"), "pasted: {pasted}");
    Ok(())
}

/// Two at one desktop that gives its text away: who drives gets it, who looks does not.
async fn only_drivers_get_text(context: &Context<'_>) -> Result<()> {
    let driving = client_of(context, DRIVER, &[]).await?;
    let looking = client_of(context, LOOKER, &[]).await?;
    let mut drives = screen_through_kube_apiserver(&driving, context, "both").await?;
    let mut looks = screen_through_kube_apiserver(&looking, context, "both").await?;
    looks.part(1, 1).await?;
    // The one before has left a prompt and few words on the screen.
    let fill = format!("\nyes {WORD} | head -n 200; rm filled\n");
    drives.type_text(&fill, Duration::ZERO).await?;
    wait::until("words to copy", wait::SHORT, || async {
        let files = exec(context, "both", "ls")?;
        Ok(Seen::some((!files.contains("filled")).then_some(()), files))
    })
    .await?;
    click_twice(&mut drives).await?;
    let mut copied = Vec::new();
    while !String::from_utf8_lossy(&copied).contains(WORD) {
        copied.extend(drives.stream.receive(1).await?);
    }
    // Text would stand before the picture that is asked for now.
    looks.part(1, 1).await.map(drop)
}

/// Copies a word, and returns all that the server sends for that.
async fn copy(viewer: &mut DesktopViewer) -> Result<String> {
    click_twice(viewer).await?;
    let mut sent = Vec::new();
    let mut piece = [0; 4096];
    // Nothing was asked for, so nothing but text can come. Where it may come it does so at once.
    while let Ok(read) = tokio::time::timeout(COPY_PERIOD, viewer.stream.read(&mut piece)).await {
        let read = read?;
        ensure!(read > 0, "the desktop has left");
        sent.extend(piece.iter().take(read));
    }
    Ok(String::from_utf8_lossy(&sent).into_owned())
}

/// Selects the word under the pointer, which the terminal copies.
async fn click_twice<S: Transport>(viewer: &mut Viewer<S>) -> Result<()> {
    let (x, y) = IN_TERMINAL;
    for buttons in [0, 1, 0, 1, 0] {
        viewer.pointer(buttons, x, y).await?;
    }
    Ok(())
}

/// Sets the clipboard and lets the terminal paste it.
async fn paste(viewer: &mut DesktopViewer, text: &str) -> Result<()> {
    viewer.cut_text(text).await?;
    for (down, key) in [(true, SHIFT), (true, INSERT), (false, INSERT), (false, SHIFT)] {
        viewer.key(down, key).await?;
    }
    Ok(())
}

/// Whether a file is in the home.
fn made(context: &Context<'_>, name: &str, file: &str) -> Result<Seen<()>> {
    let files = exec(context, name, "ls")?;
    let is_there = files.lines().any(|line| line == file);
    Ok(Seen::some(is_there.then_some(()), files))
}
