//! A VNC viewer over TCP that knows the password, as stock viewers do.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use novasphere_wire::rfb::{
    security::vnc_auth::VncPassword,
    upstream::{Authentication, CLIENT_INIT_SHARED, ClientHandshake, HandshakeError, Progress},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::wait::{self, Seen};

/// Keys as X11 names them (`keysymdef.h`); those of ASCII are ASCII.
const RETURN: u32 = 0xff0d;
const TAB: u32 = 0xff09;
const ALT: u32 = 0xffe9;

/// A viewer that is let in.
pub struct Viewer {
    stream: TcpStream,
    /// Width and height of the screen in pixels.
    pub size: (u16, u16),
}

impl Viewer {
    /// Opens a desktop with `VncAuth`, the only security type of desktops.
    ///
    /// # Errors
    /// When nobody answers, and a [`HandshakeError`] when it is refused.
    pub async fn open(address: SocketAddr, password: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        let password = VncPassword::new(password.as_bytes());
        let mut handshake = ClientHandshake::new(Authentication::Password(password));
        loop {
            let mut input = vec![0; handshake.want()];
            stream.read_exact(&mut input).await?;
            let mut output = Vec::new();
            let progress = handshake.receive(&input, &mut output)?;
            stream.write_all(&output).await?;
            if progress == Progress::Done {
                break;
            }
        }
        stream.write_all(&CLIENT_INIT_SHARED).await?;
        let size = (stream.read_u16().await?, stream.read_u16().await?);
        Ok(Self { stream, size })
    }

    async fn key(&mut self, down: u8, key: u32) -> Result<()> {
        self.stream.write_all(&[4, down, 0, 0]).await?;
        Ok(self.stream.write_u32(key).await?)
    }

    /// Presses the keys of a text of ASCII.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn type_text(&mut self, text: &str) -> Result<()> {
        for letter in text.bytes() {
            let key = if letter == b'\n' { RETURN } else { u32::from(letter) };
            self.key(1, key).await?;
            self.key(0, key).await?;
        }
        Ok(())
    }

    /// Gives the keyboard to the next window, by Alt and Tab, each key held for so long.
    ///
    /// The window manager takes the keyboard when it hears of Tab and gives it back when it hears that Alt is up. Is Alt up before it
    /// has taken it, it never hears, and whatever is typed next is its own (JWM, `StartWindowStackWalk`).
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn next_window(&mut self, hold: Duration) -> Result<()> {
        for (down, key) in [(1, ALT), (1, TAB), (0, TAB), (0, ALT)] {
            self.key(down, key).await?;
            tokio::time::sleep(hold).await;
        }
        Ok(())
    }

    /// Leaves when the server has read all. To go while it still sends would reset the connection, and lose what it has not
    /// read yet.
    ///
    /// # Errors
    /// When the connection has ended already.
    pub async fn close(mut self) -> Result<()> {
        self.stream.shutdown().await?;
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await?;
        Ok(())
    }
}

/// Checks that this password is refused.
///
/// # Errors
/// When it opens the desktop, or nobody answers.
pub async fn refuses(address: SocketAddr, password: &str) -> Result<()> {
    match Viewer::open(address, password).await {
        Ok(_) => bail!("the password {password:?} opens it"),
        Err(error) => ensure!(
            matches!(error.downcast_ref(), Some(HandshakeError::Refused(_))),
            "the password {password:?}: {error:#}"
        ),
    }
    Ok(())
}

/// Types a command in the desktop's terminal, until `came` sees what came of it.
///
/// It does as a person would: type, look, and when nothing comes, go to the next window, look once more, and type again. The terminal
/// may still be starting, and another program's window may come later and take the keyboard; no order is certain. Who goes on before
/// the desktop has followed gives the keyboard to the wrong window each time, so each look is twice as long as the one before.
///
/// # Errors
/// When it does not come within about [`wait::SHORT`], with what `came` saw last.
pub async fn type_in_terminal(
    address: SocketAddr,
    password: &str,
    command: &str,
    came: impl AsyncFn() -> Result<Seen<()>>,
) -> Result<()> {
    let begun = Instant::now();
    let mut patience = Duration::from_secs(1);
    loop {
        let mut viewer = Viewer::open(address, password).await?;
        // A first Return ends what is half typed there.
        viewer.type_text(&format!("\n{command}\n")).await?;
        if wait::until("typed", patience, || came()).await.is_ok() {
            return viewer.close().await;
        }
        viewer.next_window(patience / 8).await?;
        viewer.close().await?;
        match wait::until(format!("{command:?} is typed in the terminal"), patience, || came()).await {
            Ok(()) => return Ok(()),
            Err(error) if begun.elapsed() > wait::SHORT => return Err(error),
            Err(_) => patience *= 2,
        }
    }
}
