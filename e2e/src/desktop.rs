//! X servers for tests: a desktop with a VNC server to look at, and a screen for a viewer.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use novasphere_wire::rfb::security::vnc_auth::VncPassword;

use crate::{
    browser::Colour,
    wait::{self, Seen},
};

/// The colour of the terminal on a desktop; nothing else has it.
pub const TERMINAL: Colour = [0x12, 0xa4, 0xc7];

/// The password of a desktop's VNC server: `VncAuth` takes eight characters.
pub const PASSWORD: &str = "desktop8";

/// The key with which password files are obscured, the same everywhere (`TigerVNC` common/rfb/obfuscate.cxx).
const FILE_KEY: [u8; 8] = [23, 82, 107, 6, 35, 78, 88, 7];

/// Writes a password file as `-PasswordFile` of Xvnc and of viewers takes it.
///
/// # Errors
/// When the file cannot be written.
pub fn write_password_file(file: &Path, password: &str) -> Result<()> {
    let mut padded = [0; 16];
    for (to, from) in padded.iter_mut().zip(password.as_bytes()) {
        *to = *from;
    }
    let obscured = VncPassword::new(&FILE_KEY).answer(padded);
    std::fs::write(file, obscured.first_chunk::<8>().context("a block has 8 bytes")?)?;
    Ok(())
}

/// A program that is killed when this is dropped.
#[derive(Debug)]
pub struct Program(Child);

impl Program {
    /// Starts a program, its standard error to `log`.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn start(program: &str, arguments: &[&str], environment: &[(&str, &str)], log: &Path) -> Result<Self> {
        let process = Command::new(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(log)?)
            .spawn()
            .with_context(|| format!("start {program}; run hack/install-packages"))?;
        Ok(Self(process))
    }

    /// Sends it a signal, such as `TERM`.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let status = Command::new("kill")
            .args(["-s", signal, &self.0.id().to_string()])
            .status()?;
        ensure!(status.success(), "signal {signal}: {status}");
        Ok(())
    }

    /// Whether it has ended, and how.
    ///
    /// # Errors
    /// When the system does not know.
    pub fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        Ok(self.0.try_wait()?)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails only when it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An X server that writes its display's number into a file.
struct Server {
    _program: Program,
    display: String,
}

impl Server {
    async fn start(program: &str, arguments: &[&str], output: &Path, name: &str) -> Result<Self> {
        let number = output.join(format!("{name}.display"));
        std::fs::write(&number, "")?;
        // The descriptor with the number: no argument of an X server names a file for it.
        let script = format!("exec \"$@\" -displayfd 3 3>{}", quoted(&number)?);
        let mut shell = vec!["-c", &script, "sh", program];
        shell.extend(arguments);
        let log = output.join(format!("{name}.log"));
        let program = Program::start("sh", &shell, &[], &log)?;
        let display = wait::until(format!("the display of {name}"), wait::SHORT, || async {
            let text = std::fs::read_to_string(&number)?;
            let display = text.ends_with('\n').then(|| format!(":{}", text.trim()));
            Ok(Seen::some(display, format!("none; see {}", log.display())))
        })
        .await?;
        Ok(Self {
            _program: program,
            display,
        })
    }
}

fn quoted(path: &Path) -> Result<String> {
    let text = path.to_str().context("the path is not UTF-8")?;
    ensure!(!text.contains('\''), "the path {text} has a quote");
    Ok(format!("'{text}'"))
}

/// A desktop behind a VNC server, with a terminal that fills most of it and copies each line typed into a file.
pub struct Desktop {
    /// Where its VNC server listens.
    pub address: SocketAddr,
    typed: PathBuf,
    _terminal: Program,
    _server: Server,
}

impl Desktop {
    /// Starts one that listens on this address of this machine, with [`PASSWORD`].
    ///
    /// # Errors
    /// When a program is missing or does not come up.
    pub async fn start(address: Ipv4Addr, output: &Path) -> Result<Self> {
        let (password, typed) = (output.join("desktop.password"), output.join("desktop.typed"));
        write_password_file(&password, PASSWORD)?;
        std::fs::write(&typed, "")?;
        let port = free_port(address)?;
        let arguments = [
            "-rfbport",
            &port.to_string(),
            "-interface",
            &address.to_string(),
            "-geometry",
            "640x480",
            "-AlwaysShared",
            "-SecurityTypes",
            "VncAuth",
            "-PasswordFile",
            password.to_str().context("the path is not UTF-8")?,
            "-desktop",
            "guest",
        ];
        let server = Server::start("Xtigervnc", &arguments, output, "desktop").await?;
        let [red, green, blue] = TERMINAL;
        let copy = format!("while read -r line; do echo \"$line\" >>{}; done", quoted(&typed)?);
        let terminal = Program::start(
            "xterm",
            &[
                "-bg",
                &format!("#{red:02x}{green:02x}{blue:02x}"),
                "-geometry",
                "100x35+0+0",
                "-e",
                "sh",
                "-c",
                &copy,
            ],
            &[("DISPLAY", &server.display)],
            &output.join("desktop.xterm.log"),
        )?;
        Ok(Self {
            address: SocketAddr::from((address, port)),
            typed,
            _terminal: terminal,
            _server: server,
        })
    }

    /// The lines that were typed.
    ///
    /// # Errors
    /// When the file is gone.
    pub fn typed(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.typed)?)
    }

    /// Waits until exactly these lines were typed.
    ///
    /// # Errors
    /// After a minute, with what was typed.
    pub async fn was_typed(&self, lines: &str) -> Result<()> {
        wait::until(format!("the desktop got {lines:?}"), wait::SHORT, || async {
            let typed = self.typed()?;
            Ok(Seen::some((typed == lines).then_some(()), format!("{typed:?}")))
        })
        .await
    }
}

/// A screen without hardware, whose pixels can be read.
pub struct Screen {
    /// What a program finds it by.
    pub display: String,
    memory: PathBuf,
    _server: Server,
}

impl Screen {
    /// Starts one of 1024 by 768.
    ///
    /// # Errors
    /// When Xvfb is missing or does not come up.
    pub async fn start(output: &Path, name: &str) -> Result<Self> {
        let folder = output.join(format!("{name}.memory"));
        std::fs::create_dir_all(&folder)?;
        let directory = folder.to_str().context("the path is not UTF-8")?;
        // No auto-repeat: on a busy machine a key that is typed stays down long enough to come twice.
        let arguments = ["-screen", "0", "1024x768x24", "-r", "-fbdir", directory];
        let server = Server::start("Xvfb", &arguments, output, name).await?;
        Ok(Self {
            display: server.display.clone(),
            memory: folder.join("Xvfb_screen0"),
            _server: server,
        })
    }

    /// How many of its pixels have this colour.
    ///
    /// # Errors
    /// When its memory cannot be read.
    pub fn count(&self, [red, green, blue]: Colour) -> Result<usize> {
        let memory = std::fs::read(&self.memory)?;
        let (pixels, _) = memory.as_chunks::<4>();
        Ok(pixels
            .iter()
            .filter(|pixel| pixel.starts_with(&[blue, green, red]))
            .count())
    }

    /// Waits until so many pixels have this colour.
    ///
    /// # Errors
    /// After `bound`, with how many have it.
    pub async fn shows(&self, colour: Colour, least: usize, bound: Duration) -> Result<()> {
        wait::until(format!("{least} pixels of {colour:?}"), bound, || async {
            let count = self.count(colour)?;
            Ok(Seen::some((count >= least).then_some(()), format!("{count}")))
        })
        .await
    }

    /// Keeps a picture of it.
    ///
    /// # Errors
    /// When its memory cannot be read or the file not be written.
    pub fn screenshot(&self, path: &Path) -> Result<()> {
        let memory = std::fs::read(&self.memory)?;
        // Behind the header and the colour map of an X window dump.
        let start = memory.len().saturating_sub(1024 * 768 * 4);
        let (pixels, _) = memory.get(start..).unwrap_or_default().as_chunks::<4>();
        // A picture format without compression that every viewer knows.
        let mut picture = b"P6\n1024 768\n255\n".to_vec();
        for [blue, green, red, _] in pixels {
            picture.extend([red, green, blue]);
        }
        Ok(std::fs::write(path, picture)?)
    }

    /// Types text where the keyboard goes. It may be secret.
    ///
    /// # Errors
    /// When xdotool fails.
    pub fn type_text(&self, text: &str) -> Result<()> {
        let mut xdotool = Command::new("xdotool")
            .args(["type", "--delay", "30", "--file", "-"])
            .env("DISPLAY", &self.display)
            .stdin(Stdio::piped())
            .spawn()
            .context("start xdotool; run hack/install-packages")?;
        let mut input = xdotool.stdin.take().context("xdotool has no input")?;
        std::io::Write::write_all(&mut input, text.as_bytes())?;
        drop(input);
        let status = xdotool.wait()?;
        ensure!(status.success(), "xdotool type: {status}");
        Ok(())
    }

    /// Runs xdotool on it.
    ///
    /// # Errors
    /// When it fails, with its standard error.
    pub fn xdotool(&self, arguments: &[&str]) -> Result<()> {
        let output = Command::new("xdotool")
            .args(arguments)
            .env("DISPLAY", &self.display)
            .output()
            .context("start xdotool; run hack/install-packages")?;
        ensure!(
            output.status.success(),
            "xdotool {}: {}",
            arguments.first().unwrap_or(&""),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }
}

/// A TCP port of this address that is free, for a program that is started next. It is not one of those that the kernel gives
/// to connections of others in between (32768 and above by default).
///
/// # Errors
/// When none is free.
pub fn free_port(address: Ipv4Addr) -> Result<u16> {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 10_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..COUNT {
        // Another process of these tests begins elsewhere.
        let number = std::process::id()
            .wrapping_mul(97)
            .wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + number % COUNT)?;
        if TcpListener::bind((address, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port of {address} is free")
}

/// An address of this machine that is not of loopback: kube-apiserver refuses those as endpoints. What is sent to it stays
/// on this machine.
///
/// # Errors
/// When there is none.
pub fn own_address() -> Result<Ipv4Addr> {
    // The kernel's table of local addresses: "|-- ADDRESS" and below it "/32 host LOCAL".
    let table = std::fs::read_to_string("/proc/net/fib_trie")?;
    let lines: Vec<&str> = table.lines().map(str::trim).collect();
    lines
        .windows(2)
        .filter_map(|pair| match pair {
            [address, "/32 host LOCAL"] => address.strip_prefix("|-- ")?.parse::<Ipv4Addr>().ok(),
            _ => None,
        })
        // The networks of the test bed come and go.
        .find(|address| {
            !address.is_loopback() && !address.is_link_local() && !matches!(address.octets(), [10, 98 | 99, ..])
        })
        .context("this machine has no address but those of loopback")
}
