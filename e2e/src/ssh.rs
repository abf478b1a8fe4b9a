//! OpenSSH's own client, with strict checks of the host.

use std::{
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use futures::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_tungstenite::tungstenite::Message;

use crate::rfb::Messages;

/// Key pairs in files, made anew.
pub struct Keys {
    folder: PathBuf,
}

impl Keys {
    /// Makes an Ed25519 pair for each name.
    ///
    /// # Errors
    /// When ssh-keygen is not there or the folder cannot be written.
    pub fn make(folder: &Path, names: &[&str]) -> Result<Self> {
        let keys = Self {
            folder: folder.to_owned(),
        };
        for name in names {
            let file = keys.file(name);
            // An earlier run's would make ssh-keygen ask.
            for old in [&file, &file.with_extension("pub")] {
                match std::fs::remove_file(old) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                    _ => {}
                }
            }
            let output = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
                .arg(&file)
                .output()
                .context("start ssh-keygen; run hack/install-packages")?;
            succeeded("ssh-keygen", &output)?;
        }
        Ok(keys)
    }

    /// The file with the private half.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The private half.
    ///
    /// # Errors
    /// When no pair of this name was made.
    pub fn private(&self, name: &str) -> Result<String> {
        Ok(std::fs::read_to_string(self.file(name))?)
    }

    /// The public half, one line.
    ///
    /// # Errors
    /// When no pair of this name was made.
    pub fn public(&self, name: &str) -> Result<String> {
        let line = std::fs::read_to_string(self.file(name).with_extension("pub"))?;
        Ok(line.trim().to_owned())
    }
}

/// How a person enters a desktop.
pub struct Ssh {
    known_hosts: PathBuf,
    address: SocketAddr,
    key: PathBuf,
}

impl Ssh {
    /// Who holds `key` enters at `address`, where `host` is the only key that is accepted of the other side.
    ///
    /// # Errors
    /// When the file of known hosts cannot be written into `folder`.
    pub fn new(folder: &Path, address: SocketAddr, host: &str, key: PathBuf) -> Result<Self> {
        let known_hosts = folder.join("known_hosts");
        // ssh looks the usual port up without its number.
        let name = match address.port() {
            22 => address.ip().to_string(),
            port => format!("[{}]:{port}", address.ip()),
        };
        std::fs::write(&known_hosts, format!("{name} {}\n", host.trim()))?;
        Ok(Self {
            known_hosts,
            address,
            key,
        })
    }

    /// What came of a command as another user, or with another key.
    ///
    /// # Errors
    /// When there is no ssh.
    pub fn run(&self, key: &Path, user: &str, command: &str) -> Result<Output> {
        self.client("ssh", key)
            .args(["-p", &self.address.port().to_string()])
            .args([&format!("{user}@{}", self.address.ip()), command])
            .output()
            .context("start ssh; run hack/install-packages")
    }

    /// A client of OpenSSH with strict checks of the host.
    fn client(&self, program: &str, key: &Path) -> Command {
        let mut command = Command::new(program);
        command
            // No settings, agent or keys of who runs the tests.
            .args(["-F", "none", "-o", "IdentityAgent=none", "-o", "IdentitiesOnly=yes"])
            .args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=60"])
            .args(["-o", "StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=none"])
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", self.known_hosts.display()))
            .arg("-i")
            .arg(key);
        command
    }

    /// The directory in which sftp begins.
    ///
    /// # Errors
    /// When it is refused, or there is no sftp.
    pub fn sftp_directory(&self) -> Result<String> {
        let mut child = self
            .client("sftp", &self.key)
            .args(["-q", "-P", &self.address.port().to_string(), "-b", "-"])
            .arg(format!("user@{}", self.address.ip()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start sftp; run hack/install-packages")?;
        child.stdin.take().context("no standard input")?.write_all(b"pwd\n")?;
        let output = child.wait_with_output()?;
        succeeded("sftp", &output)?;
        let said = String::from_utf8(output.stdout)?;
        let told = said.lines().find_map(|line| line.split_once("working directory: "));
        told.map(|(_, directory)| directory.trim().to_owned())
            .with_context(|| format!("sftp said {said:?}"))
    }

    /// The standard output of a command in the desktop.
    ///
    /// # Errors
    /// When it is refused, or the command fails.
    pub fn command(&self, command: &str) -> Result<String> {
        let output = self.run(&self.key, "user", command)?;
        succeeded(command, &output)?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Checks that this key is refused.
    ///
    /// # Errors
    /// When it is not, or for another reason.
    pub fn refuses(&self, key: &Path, user: &str) -> Result<()> {
        let output = self.run(key, user, "true")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(255) && said.contains("Permission denied (publickey)"),
            "the key {} as {user}: {}: {said}",
            key.display(),
            output.status
        );
        Ok(())
    }
}

/// A port of loopback whose first connection is carried by the binary messages of this WebSocket, for clients that know TCP alone.
///
/// # Errors
/// When there is no port.
pub async fn way(socket: Box<dyn Messages>) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let (mut to_gateway, mut from_gateway) = socket.split();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await?;
        let (mut from_client, mut to_client) = stream.into_split();
        let up = async {
            let mut bytes = vec![0; 32 * 1024];
            while let Ok(length @ 1..) = from_client.read(&mut bytes).await {
                let message = Message::binary(bytes.get(..length).unwrap_or_default().to_vec());
                if to_gateway.send(message).await.is_err() {
                    break;
                }
            }
        };
        let down = async {
            while let Some(Ok(message)) = from_gateway.next().await {
                match message {
                    Message::Binary(bytes) if to_client.write_all(&bytes).await.is_ok() => {}
                    Message::Ping(_) | Message::Pong(_) => {}
                    _ => break,
                }
            }
        };
        // Either end is the end.
        tokio::select! {
            () = up => {}
            () = down => {}
        }
        let _ = to_gateway.close().await;
        anyhow::Ok(())
    });
    Ok(address)
}

fn succeeded(what: &str, output: &Output) -> Result<()> {
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{what}: {}: {}", output.status, text.trim());
    Ok(())
}
