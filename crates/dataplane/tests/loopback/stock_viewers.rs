//! Debian's `TigerVNC` viewer under Xvfb, through the gateway, to Debian's `TigerVNC` server with a terminal on its screen.

use std::{path::PathBuf, process::Stdio, sync::Arc, time::Instant};

use novasphere_dataplane::{
    admission::Admitted,
    registry::StreamCounters,
    upstream::{Upstream, tcp::TcpUpstream},
};
use novasphere_wire::{
    close::EndReason,
    rfb::{security::vnc_auth::VncPassword, upstream::Authentication},
    rules::Rules,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};

use crate::{
    desk::session,
    setup::{PATIENCE, Setup, wait_for, within},
};

const PASSWORD: &str = "secret12";

/// A key that is pressed and released (RFC 6143 section 7.5.4); a click with the move before it is 18 bytes (7.5.5).
const INPUT_BYTES: u64 = 16;

/// The colour of the terminal, which is on no screen otherwise.
const COLOUR: &str = "#12a4c7";
const COLOUR_IN_MEMORY: [u8; 3] = [0xc7, 0xa4, 0x12];

/// The key with which password files are obscured, the same everywhere (`TigerVNC` common/rfb/obfuscate.cxx).
const FILE_KEY: [u8; 8] = [23, 82, 107, 6, 35, 78, 88, 7];

fn start(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Child {
    Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {program}: {error}; run hack/install-packages"))
}

/// Waits for the number that X servers write when they are ready.
async fn display(server: &mut Child) -> String {
    let mut lines = BufReader::new(server.stdout.as_mut().unwrap()).lines();
    let number = within("the X server's display", lines.next_line()).await.unwrap();
    format!(":{}", number.expect("the X server ended at once"))
}

/// A desktop with one terminal that copies each line typed into a file.
struct Desktop {
    target: Upstream,
    typed: PathBuf,
    _directory: TempDir,
    _processes: [Child; 2],
}

impl Desktop {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (password, typed) = (directory.path().join("password"), directory.path().join("typed"));
        let mut padded = [0; 16];
        padded[..8].copy_from_slice(PASSWORD.as_bytes());
        std::fs::write(&password, &VncPassword::new(&FILE_KEY).answer(padded)[..8]).unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut server = start(
            "Xtigervnc",
            &[
                "-displayfd",
                "1",
                "-rfbport",
                &port.to_string(),
                "-localhost",
                "-geometry",
                "400x300",
                "-SecurityTypes",
                "VncAuth",
            ]
            .into_iter()
            .chain(["-PasswordFile", password.to_str().unwrap(), "-desktop", "guest"])
            .collect::<Vec<_>>(),
            &[],
        );
        let number = display(&mut server).await;
        let copy = format!("while read -r line; do echo \"$line\" >> {}; done", typed.display());
        let arguments = ["-bg", COLOUR, "-geometry", "80x30+0+0", "-e", "sh", "-c", &copy];
        let terminal = start("xterm", &arguments, &[("DISPLAY", &number)]);
        let authentication = Authentication::Password(VncPassword::new(PASSWORD.as_bytes()));
        let target = Upstream::Tcp(TcpUpstream {
            address: ([127, 0, 0, 1], port).into(),
            authentication,
        });
        Self {
            target,
            typed,
            _directory: directory,
            _processes: [server, terminal],
        }
    }

    fn typed(&self) -> String {
        std::fs::read_to_string(&self.typed).unwrap_or_default()
    }
}

/// A screen with a viewer on it.
struct Viewer {
    display: String,
    picture: PathBuf,
    process: Child,
    _screen: Child,
    _directory: TempDir,
}

impl Viewer {
    async fn start(setup: &Setup, user: &str, token: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (home, authority) = (directory.path(), directory.path().join("ca.pem"));
        std::fs::write(&authority, &setup.certificate).unwrap();
        let arguments = [
            "-displayfd",
            "1",
            "-screen",
            "0",
            "640x480x24",
            "-fbdir",
            home.to_str().unwrap(),
        ];
        let mut screen = start("Xvfb", &arguments, &[]);
        let display = display(&mut screen).await;
        let process = start(
            "xtigervncviewer",
            &[
                "-SecurityTypes",
                "X509Plain",
                "-X509CA",
                authority.to_str().unwrap(),
                &format!("localhost::{}", setup.rfb.port()),
            ],
            &[
                ("DISPLAY", &display),
                ("HOME", home.to_str().unwrap()),
                ("VNC_USERNAME", user),
                ("VNC_PASSWORD", token),
            ],
        );
        Self {
            display,
            picture: home.join("Xvfb_screen0"),
            process,
            _screen: screen,
            _directory: directory,
        }
    }

    /// Waits until the terminal is on the screen.
    async fn see(&self) {
        wait_for("the guest's colour on the viewer's screen", || {
            let memory = std::fs::read(&self.picture).unwrap_or_default();
            let of_colour = memory
                .as_chunks::<4>()
                .0
                .iter()
                .filter(|pixel| pixel.starts_with(&COLOUR_IN_MEMORY))
                .count();
            of_colour > 50_000
        })
        .await;
    }

    /// Puts the pointer on the terminal, gives the viewer the keyboard, as a window manager would, and types a line.
    async fn write(&self, counters: &StreamCounters, line: &str) {
        self.until_seen(counters, &["mousemove", "150", "150", "click", "1"])
            .await;
        let focus = [
            "search",
            "--onlyvisible",
            "--name",
            "TigerVNC",
            "windowfocus",
            "--sync",
            "key",
            "Shift_L",
        ];
        self.until_seen(counters, &focus).await;
        self.xdotool(&["type", "--delay", "30", &format!("{line}\n")]).await;
    }

    async fn until_seen(&self, counters: &StreamCounters, arguments: &[&str]) {
        // A viewer who only views has no input that counts, so the bytes that arrive do.
        let (start, before) = (Instant::now(), counters.from_viewer());
        while counters.from_viewer() < before + INPUT_BYTES {
            assert!(
                start.elapsed() < PATIENCE,
                "waited {PATIENCE:?} for {arguments:?} to reach the gateway"
            );
            self.xdotool(arguments).await;
        }
    }

    async fn xdotool(&self, arguments: &[&str]) {
        let mut program = start("xdotool", arguments, &[("DISPLAY", &self.display)]);
        assert!(within("xdotool", program.wait()).await.unwrap().success());
    }
}

/// What the only stream of a session has carried.
fn counters(setup: &Setup, session: &str) -> Arc<StreamCounters> {
    let streams = setup.gateway.registry().all();
    let of_session = streams.iter().find(|stream| stream.info.session.name == session);
    Arc::clone(&of_session.unwrap().counters)
}

fn may_look(admitted: Admitted) -> Admitted {
    Admitted {
        rules: Rules::VIEW_ONLY,
        ..admitted
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stock_viewer_shows_the_guest_and_types_into_it_when_it_may() {
    let (setup, desktop) = (Setup::new().await, Desktop::start().await);

    let token = setup.desk.token(1, may_look(session("look", desktop.target.clone())));
    let looking = Viewer::start(&setup, "team/look", &token).await;
    looking.see().await;
    let looked = counters(&setup, "look");
    looking.write(&looked, "forbidden").await;

    let token = setup.desk.token(1, session("drive", desktop.target.clone()));
    let driving = Viewer::start(&setup, "team/drive", &token).await;
    driving.see().await;
    let drove = counters(&setup, "drive");
    driving.write(&drove, "allowed").await;
    wait_for("the line that was typed", || desktop.typed() == "allowed\n").await;
    assert_eq!(
        setup.gateway.registry().count(),
        2,
        "the second viewer did not throw the first out"
    );
    assert_eq!(looked.last_input(), looked.opened(), "what did not pass is no input");
    assert!(drove.last_input() > drove.opened());

    setup.gateway.registry().end_where(|_| true, EndReason::Revoked);
    wait_for("both streams to end", || setup.gateway.registry().count() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stock_viewer_is_kept_out_with_a_wrong_or_used_token() {
    let (setup, desktop) = (Setup::new().await, Desktop::start().await);
    let used = setup.desk.token(0, session("a", desktop.target.clone()));
    for (token, refusals) in [(used, 1), ("x".repeat(43), 2)] {
        let mut viewer = Viewer::start(&setup, "team/a", &token).await;
        let refused = || {
            setup
                .desk
                .log()
                .iter()
                .filter(|line| *line == "refused team/a TokenRefused")
                .count()
        };
        wait_for("the viewer to be refused", || refused() == refusals).await;
        assert_eq!(setup.gateway.registry().count(), 0);
        viewer.process.start_kill().unwrap();
    }
    assert!(TcpStream::connect(setup.rfb).await.is_ok());
}
