//! Stock VNC viewers on the raw port: Debian's `TigerVNC`, and gvncviewer, which is gtk-vnc, as in virt-viewer and GNOME.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use novasphere_crd::ConsoleSession;
use novasphere_e2e::{
    fixtures::{
        cluster::Cluster,
        console_desktop::DesktopFixture,
        console_session::{Grant, grant_token, open_session, random_token, revoke},
        desktop::{Screen, TERMINAL},
        namespace::{Context, PodSecurity, with_namespace},
        stock_viewer::{Login, StockViewer},
        wait::{self, Seen},
    },
    harness::{Case, Needs},
};
use serde_json::{Value, json};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("console::viewers::tigervnc", Needs::ControlPlane, || {
            viewers("console::viewers::tigervnc", StockViewer::TigerVnc)
        }),
        Case::new("console::viewers::gvncviewer", Needs::ControlPlane, || {
            viewers("console::viewers::gvncviewer", StockViewer::Gvncviewer)
        }),
    ]
}

/// Pixels of the terminal that a viewer must show.
const LEAST_PIXELS: usize = 150_000;

async fn viewers(case: &'static str, viewer: StockViewer) -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(cluster, case, PodSecurity::Restricted, async |context| {
        let fixture = DesktopFixture::start(context, &[]).await?;
        let authority = fixture.gateway.authority(context).await?;
        for name in ["control", "other"] {
            open_session(context, name, json!({})).await?;
        }
        let screen = Screen::start(&context.output, "screen").await?;
        let good = grant_token(&context.api(), "control", Grant::to_master()).await?;
        let _viewer = viewer
            .start(&screen, &login(context, &fixture, &authority, &good), &context.output)
            .await?;
        controls(context, &fixture, &screen).await.context("a good token")?;
        stays_out(context, &fixture, viewer, &authority, &good).await?;

        revoke(context, "control").await?;
        wait::until("the viewer shows the desktop no more", wait::SHORT, || async {
            let left = screen.count(TERMINAL)?;
            Ok(Seen::some((left == 0).then_some(()), format!("{left} pixels of it")))
        })
        .await
    })
    .await
}

fn login<'a>(context: &Context<'_>, fixture: &DesktopFixture, authority: &'a Path, password: &'a str) -> Login<'a> {
    Login {
        host: "localhost",
        port: fixture.gateway.vnc.port(),
        authority,
        user: format!("{}/control", context.namespace),
        password,
    }
}

/// The desktop is on the screen and typing reaches it.
async fn controls(context: &Context<'_>, fixture: &DesktopFixture, screen: &Screen) -> Result<()> {
    let shown = screen.shows(TERMINAL, LEAST_PIXELS, wait::SHORT).await;
    screen.screenshot(&context.output.join("picture.ppm"))?;
    shown?;
    // Again until it arrives: the first click may come before the window has its size.
    wait::until("a line is typed in the guest", wait::SHORT, || async {
        screen.xdotool(&["mousemove", "200", "200", "click", "1"]).await?;
        screen.focus("guest", wait::SHORT).await?;
        screen.type_text("typed\n").await?;
        let typed = fixture.desktop.typed()?;
        Ok(Seen::some(
            typed.contains("typed\n").then_some(()),
            format!("{typed:?}"),
        ))
    })
    .await
}

/// A token that is wrong, used, expired or of another session opens nothing.
async fn stays_out(
    context: &Context<'_>,
    fixture: &DesktopFixture,
    viewer: StockViewer,
    authority: &Path,
    used: &str,
) -> Result<()> {
    let expired = grant_token(
        &context.api(),
        "control",
        Grant::to_master().within(Duration::from_secs(1)),
    )
    .await?;
    is_expired(context).await?;
    let foreign = grant_token(&context.api(), "other", Grant::to_master()).await?;
    let wrong = random_token()?;
    let opened = events(context, "Opened")?;
    for (what, password) in [
        ("wrong", wrong.as_str()),
        ("used", used),
        ("expired", &expired),
        ("foreign", &foreign),
    ] {
        let output = context.output.join(what);
        std::fs::create_dir_all(&output)?;
        let refused = events(context, "Refused")?;
        let screen = Screen::start(&output, "screen").await?;
        let _viewer = viewer
            .start(&screen, &login(context, fixture, authority, password), &output)
            .await?;
        wait::until(
            format!("the viewer with the {what} token is refused"),
            wait::SHORT,
            || async {
                let now = events(context, "Refused")?;
                Ok(Seen::some((now > refused).then_some(()), format!("{now} refusals")))
            },
        )
        .await?;
        ensure!(
            screen.count(TERMINAL)? == 0,
            "the viewer with the {what} token shows the desktop"
        );
    }
    ensure!(
        events(context, "Opened")? == opened,
        "one of the refused viewers got a stream"
    );
    Ok(())
}

/// Waits until the newest grant of `control` is good no more.
async fn is_expired(context: &Context<'_>) -> Result<()> {
    let sessions = context.api::<ConsoleSession>();
    wait::object(
        &sessions,
        "control",
        "its newest token has expired",
        wait::SHORT,
        |session| {
            let newest = session.status.as_ref().and_then(|status| status.grants.last());
            let over = newest.is_none_or(|grant| grant.not_after.0 < Timestamp::now());
            over.then_some(()).ok_or_else(|| "not yet".to_owned())
        },
    )
    .await
    .map(drop)
}

/// How many lines of the audit log have this event; of the refused, those whose token was not good.
fn events(context: &Context<'_>, event: &str) -> Result<usize> {
    let has = |line: &Value, name: &str, value: &str| line.get(name).and_then(Value::as_str) == Some(value);
    let log = std::fs::read_to_string(context.output.join("gateway.audit.log"))?;
    let lines: Vec<Value> = log.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok(lines
        .iter()
        .filter(|line| has(line, "event", event) && (event != "Refused" || has(line, "reason", "TokenRefused")))
        .count())
}
