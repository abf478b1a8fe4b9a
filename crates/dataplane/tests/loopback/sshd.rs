//! Debian's SSH server and client, and a way from the one to the other through the gateway.

use std::{
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::Path,
    process::{Output, Stdio},
};

use futures::{SinkExt, StreamExt};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    setup::{PATIENCE, Setup, within},
    viewer::Browser,
};

/// The server runs as the user of the test, with keys and settings of its own.
const SSHD: &str = "/usr/sbin/sshd";

pub(crate) struct Sshd {
    pub(crate) address: SocketAddr,
    directory: TempDir,
    user: String,
    _process: Child,
}

async fn run(program: &str, arguments: &[&str]) -> String {
    let told = Command::new(program)
        .args(arguments)
        .output()
        .await
        .unwrap_or_else(|error| panic!("cannot start {program}: {error}; run hack/install-packages"));
    assert!(told.status.success(), "{program} {arguments:?}: {told:?}");
    String::from_utf8(told.stdout).unwrap()
}

impl Sshd {
    pub(crate) async fn start() -> Self {
        let user = run("id", &["-un"]).await.trim().to_owned();
        if user == "root" {
            // As root it wants an empty folder to lock its parser up in; Debian's service makes this one.
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create("/run/sshd")
                .unwrap();
        }
        let directory = tempfile::tempdir().unwrap();
        for name in ["host", "client"] {
            let file = path(directory.path(), name);
            run(
                "ssh-keygen",
                &["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", &file],
            )
            .await;
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let settings = path(directory.path(), "sshd_config");
        let lines = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nAuthenticationMethods publickey\n\
             StrictModes no\nUsePAM no\nPidFile none\nLogLevel ERROR\n",
            path(directory.path(), "host"),
            path(directory.path(), "client.pub"),
        );
        std::fs::write(&settings, lines).unwrap();
        let host = std::fs::read_to_string(directory.path().join("host.pub")).unwrap();
        std::fs::write(directory.path().join("known_hosts"), format!("desktop {host}")).unwrap();
        let process = Command::new(SSHD)
            .args(["-D", "-e", "-f", &settings])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {SSHD}: {error}; run hack/install-packages"));
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        within("the SSH server to listen", async {
            while TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(PATIENCE / 1000).await;
            }
        })
        .await;
        Self {
            address,
            directory,
            user,
            _process: process,
        }
    }
}

fn path(directory: &Path, name: &str) -> String {
    directory.join(name).to_str().unwrap().to_owned()
}

/// Starts a client that runs `command` through the gateway. It knows the server's own key and takes no other.
pub(crate) async fn ssh(setup: &Setup, sshd: &Sshd, token: &str, command: &[&str]) -> Child {
    let way = way(setup, token).await;
    let directory = sshd.directory.path();
    Command::new("ssh")
        .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"])
        .args(["-o", "HostKeyAlias=desktop", "-o", "IdentitiesOnly=yes"])
        .args(["-o", &format!("UserKnownHostsFile={}", path(directory, "known_hosts"))])
        .args(["-i", &path(directory, "client"), "-l", &sshd.user])
        .args(["-p", &way.to_string(), "127.0.0.1"])
        .args(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start ssh: {error}; run hack/install-packages"))
}

/// What a client has said when it has ended by itself.
pub(crate) async fn output(client: Child) -> Output {
    within("the client to end", client.wait_with_output()).await.unwrap()
}

/// A TCP port that leads one client to the gateway's WebSocket, as a `ProxyCommand` does.
async fn way(setup: &Setup, token: &str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let browser = Browser::open(setup, token).await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (mut from_client, mut to_client) = stream.into_split();
        let (mut to_gateway, mut from_gateway) = browser.socket.split();
        let up = async {
            let mut bytes = vec![0; 32 * 1024];
            while let Ok(length @ 1..) = from_client.read(&mut bytes).await {
                if to_gateway
                    .send(Message::binary(bytes[..length].to_vec()))
                    .await
                    .is_err()
                {
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
    });
    port
}
