//! Stock VNC viewers on the raw port: Debian's `TigerVNC`, and gvncviewer, which is gtk-vnc, as in virt-viewer and GNOME.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use novasphere_crd::ConsoleSession;
use novasphere_e2e::{
    cluster::Cluster,
    desktop::{Program, Screen, TERMINAL},
    harness::{Case, Needs},
    namespace::{Context, PodSecurity, with_namespace},
    wait::{self, Seen},
};
use serde_json::{Value, json};

use crate::console_setup::{Setup, WINDOW, any_token, revoke, session, token};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("console_viewers::tigervnc", Needs::ControlPlane, || {
            viewers("console_viewers::tigervnc", Viewer::TigerVnc)
        }),
        Case::new("console_viewers::gvncviewer", Needs::ControlPlane, || {
            viewers("console_viewers::gvncviewer", Viewer::Gvncviewer)
        }),
    ]
}

/// Pixels of the terminal that a viewer must show.
const MOST: usize = 150_000;

/// A program of Debian's.
#[derive(Clone, Copy)]
pub(crate) enum Viewer {
    TigerVnc,
    Gvncviewer,
}

/// Where a viewer connects, and as whom.
pub(crate) struct Login<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) authority: &'a Path,
    pub(crate) user: String,
    pub(crate) password: &'a str,
}

impl Viewer {
    /// Starts the viewer and has it log in.
    pub(crate) async fn start(self, screen: &Screen, login: &Login<'_>, output: &Path) -> Result<Program> {
        let home = output.to_str().context("the path is not UTF-8")?;
        let authority = login.authority.to_str().context("the path is not UTF-8")?;
        let log = output.join("viewer.log");
        let display = ("DISPLAY", screen.display.as_str());
        match self {
            Self::TigerVnc => Program::start(
                "xtigervncviewer",
                &[
                    "-SecurityTypes",
                    "X509Plain",
                    "-X509CA",
                    authority,
                    &format!("{}::{}", login.host, login.port),
                ],
                &[
                    display,
                    ("HOME", home),
                    ("VNC_USERNAME", &login.user),
                    ("VNC_PASSWORD", login.password),
                ],
                &log,
            ),
            Self::Gvncviewer => {
                // It trusts what the system trusts and takes no file, so it gets a system of its own that trusts our authority.
                let trust = r#"mount --bind "$1" /etc/ssl/certs/ca-certificates.crt && shift && exec "$@""#;
                // It takes a display, not a port: 5900 is display 0.
                let address = format!("{}:{}", login.host, login.port - 5900);
                let arguments = [
                    "--map-root-user",
                    "--mount",
                    "sh",
                    "-c",
                    trust,
                    "sh",
                    authority,
                    "gvncviewer",
                    &address,
                ];
                let environment = [
                    display,
                    ("HOME", home),
                    // GTK would look for buses of a session, and start them for each screen: on a busy machine one of many hung.
                    ("DBUS_SESSION_BUS_ADDRESS", "disabled:"),
                    ("NO_AT_BRIDGE", "1"),
                    ("GSETTINGS_BACKEND", "memory"),
                ];
                let program = Program::start("unshare", &arguments, &environment, &log)?;
                fill_in(screen, login).await?;
                Ok(program)
            }
        }
    }
}

/// Types user and password into gvncviewer's window.
async fn fill_in(screen: &Screen, login: &Login<'_>) -> Result<()> {
    let focus = [
        "search",
        "--onlyvisible",
        "--name",
        "Authentication required",
        "windowfocus",
        "--sync",
    ];
    wait::until("gvncviewer asks for user and password", wait::SHORT, || async {
        screen.xdotool(&focus)?;
        Ok(Seen::Done(()))
    })
    .await?;
    screen.type_text(&login.user)?;
    screen.xdotool(&["key", "Tab"])?;
    screen.type_text(login.password)?;
    screen.xdotool(&["key", "Return"])
}

async fn viewers(case: &'static str, viewer: Viewer) -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(cluster, case, PodSecurity::Restricted, async |context| {
        let setup = Setup::start(context, &[]).await?;
        let authority = setup.gateway.authority(context).await?;
        for name in ["drive", "other"] {
            session(context, name, json!({})).await?;
        }
        let screen = Screen::start(&context.output, "screen").await?;
        let good = token(context, "drive", 1, WINDOW).await?;
        let _viewer = viewer
            .start(&screen, &login(context, &setup, &authority, &good), &context.output)
            .await?;
        drives(context, &setup, &screen).await.context("a good token")?;
        stays_out(context, &setup, viewer, &authority, &good).await?;

        revoke(context, "drive").await?;
        wait::until("the viewer shows the desktop no more", wait::SHORT, || async {
            let left = screen.count(TERMINAL)?;
            Ok(Seen::some((left == 0).then_some(()), format!("{left} pixels of it")))
        })
        .await
    })
    .await
}

fn login<'a>(context: &Context<'_>, setup: &Setup, authority: &'a Path, password: &'a str) -> Login<'a> {
    Login {
        host: "localhost",
        port: setup.gateway.vnc.port(),
        authority,
        user: format!("{}/drive", context.namespace),
        password,
    }
}

/// The desktop is on the screen and typing reaches it.
async fn drives(context: &Context<'_>, setup: &Setup, screen: &Screen) -> Result<()> {
    let shown = screen.shows(TERMINAL, MOST, wait::SHORT).await;
    screen.screenshot(&context.output.join("picture.ppm"))?;
    shown?;
    // Again until it arrives: without a window manager it takes a moment until the window has the keyboard.
    wait::until("a line is typed in the guest", wait::SHORT, || async {
        screen.xdotool(&["mousemove", "200", "200", "click", "1"])?;
        screen.xdotool(&["search", "--onlyvisible", "--name", "guest", "windowfocus", "--sync"])?;
        screen.type_text("typed\n")?;
        let typed = setup.desktop.typed()?;
        Ok(Seen::some(
            typed.contains("typed\n").then_some(()),
            format!("{typed:?}"),
        ))
    })
    .await
}

/// A token that is wrong, used, expired or of another session opens nothing.
async fn stays_out(context: &Context<'_>, setup: &Setup, viewer: Viewer, authority: &Path, used: &str) -> Result<()> {
    let expired = token(context, "drive", 1, Duration::from_secs(1)).await?;
    is_expired(context).await?;
    let foreign = token(context, "other", 1, WINDOW).await?;
    let wrong = any_token()?;
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
            .start(&screen, &login(context, setup, authority, password), &output)
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

/// Waits until the newest grant of `drive` is good no more.
async fn is_expired(context: &Context<'_>) -> Result<()> {
    let sessions = context.api::<ConsoleSession>();
    wait::object(
        &sessions,
        "drive",
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
    let log = std::fs::read_to_string(context.output.join("console-audit.log"))?;
    let lines: Vec<Value> = log.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok(lines
        .iter()
        .filter(|line| has(line, "event", event) && (event != "Refused" || has(line, "reason", "TokenRefused")))
        .count())
}
