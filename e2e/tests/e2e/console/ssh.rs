//! SSH of a desktop by a session: Debian's client, Debian's server, a gateway in between that reads nothing of it. No node is
//! there, so the server is one of this machine behind the desktop's Service.

use std::{
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use kube::api::DeleteParams;
use novasphere_crd::{ConsoleSession, VncWorkspace};
use novasphere_e2e::{
    fixtures::{
        account::Account,
        cluster::Cluster,
        condition::wait_for,
        console_desktop::gateway_account,
        console_session::{Grant, grant_token, open_session, random_token},
        console_socket::ConsoleSocket,
        gateway::Gateway,
        namespace::{Context, PodSecurity, with_namespace},
        network::{add_endpoint, free_port, own_address},
        program::Program,
        rfb::Transport as _,
        rights::{DESKTOP_CONSOLES, allow},
        ssh::{Keys, Ssh, tunnel},
        wait::{self, Seen},
        workspace_plane::{self, NodeStandIn, apply_desk, start_resyncing},
    },
    harness::{Case, Needs},
};
use serde_json::json;
use tokio::net::TcpStream;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("console::ssh::shell", Needs::ControlPlane, shell)]
}

/// The desktop.
const TARGET: &str = "desk";

async fn shell() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "console::ssh::shell",
        PodSecurity::Restricted,
        async |context| {
            let account = Account::create(cluster, &context.namespace, "controller").await?;
            let _controller = start_resyncing(context, &account).await?;
            let homes = [TARGET.to_owned()];
            workspace_plane::provision(context, &homes).await?;
            let done = with_desktop(context).await;
            workspace_plane::unprovision(context, &homes).await?;
            done
        },
    )
    .await
}

async fn with_desktop(context: &Context<'_>) -> Result<()> {
    let _kubelet = NodeStandIn::start(context, false).await?;
    let keys = Keys::make(&context.output, &["host", "alice", "mallory"])?;
    let sshd = Sshd::start(&keys, &context.output).await?;
    let ssh = json!({"enabled": true, "authorizedKeys": [keys.public("alice")?]});
    apply_desk(context, TARGET, &json!({"ssh": ssh, "console": {"maxViewers": 4}})).await?;
    wait_for::<VncWorkspace>(context, TARGET, ("PodReady", "True", "Running"), wait::LONG).await?;
    add_endpoint(context, TARGET, "ssh", sshd.address).await?;
    let gateway = Gateway::start(context, &gateway_account(context).await?, "gateway").await?;
    let target = json!({"kind": "VncWorkspace", "name": TARGET});
    open_session(context, "shell", json!({"targetRef": target, "protocol": "ssh"})).await?;
    let all = All {
        context,
        gateway,
        keys,
        sshd,
    };
    all.runs_a_command().await.context("a command")?;
    all.refuses_strangers().await.context("strangers")?;
    all.refuses_who_may_only_view()
        .await
        .context("a user who may only view")?;
    all.ends_with_its_session().await.context("the end")
}

struct All<'a> {
    context: &'a Context<'a>,
    gateway: Gateway,
    keys: Keys,
    sshd: Sshd,
}

impl All<'_> {
    /// Runs a command by the gateway with this token, as the owner of this key.
    async fn ssh(&self, token: &str, key: &str, command: &str) -> Result<Output> {
        let address = tunnel(ConsoleSocket::open_by_url(self.gateway.http, token).await?).await?;
        let host = self.keys.public("host")?;
        let key = self.keys.file(key);
        let ssh = Ssh::new(&self.context.output, address, &host, key.clone())?;
        let (user, command) = (self.sshd.user.clone(), command.to_owned());
        tokio::task::spawn_blocking(move || ssh.run(&key, &user, &command)).await?
    }

    async fn token(&self) -> Result<String> {
        grant_token(&self.context.api(), "shell", Grant::to_master()).await
    }

    async fn runs_a_command(&self) -> Result<()> {
        let once = self.token().await?;
        let output = self.ssh(&once, "alice", "echo hello from $((6 * 7)); exit 3").await?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(
            (said.as_ref(), output.status.code()) == ("hello from 42\n", Some(3)),
            "{output:?}"
        );
        // The server decides whose key is good, not the gateway.
        let output = self.ssh(&self.token().await?, "mallory", "true").await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(255) && said.contains("Permission denied (publickey)"),
            "{output:?}"
        );
        // What was used is used.
        ensure!(
            self.ssh(&once, "alice", "true").await?.status.code() == Some(255),
            "the token opened twice"
        );
        Ok(())
    }

    async fn refuses_strangers(&self) -> Result<()> {
        let end = self.end(&random_token()?).await?;
        ensure!(end == (4040, "TokenRefused".to_owned()), "{end:?}");
        // A good token opens no shell to a client that does not speak SSH.
        let end = self.said(&self.token().await?, b"GET / HTTP/1.1\r\n\r\n").await?;
        ensure!(end == (4060, "ProtocolError".to_owned()), "{end:?}");
        Ok(())
    }

    async fn refuses_who_may_only_view(&self) -> Result<()> {
        let context = self.context;
        allow(context, "viewer", DESKTOP_CONSOLES, &["get"]).await?;
        // kube-apiserver learns of the role by its own watch.
        wait::until("a user who may only view is refused", wait::SHORT, || async {
            let views = grant_token(&context.api(), "shell", Grant::to("viewer")).await?;
            let end = self.end(&views).await?;
            let expected = end == (4045, "InputNotAllowed".to_owned());
            Ok(Seen::some(expected.then_some(()), format!("{end:?}")))
        })
        .await
    }

    async fn ends_with_its_session(&self) -> Result<()> {
        let ready = self.context.output.join("ready");
        if ready.exists() {
            std::fs::remove_file(&ready)?;
        }
        let once = self.token().await?;
        // It ends when nobody takes what it says.
        let command = format!("touch '{}'; while echo alive; do sleep 0.1; done", ready.display());
        let running = self.ssh(&once, "alice", &command);
        let ends = async {
            wait::until("the command runs", wait::SHORT, || async {
                Ok(Seen::some(ready.exists().then_some(()), "it does not"))
            })
            .await?;
            let deleted = Instant::now();
            let sessions = self.context.api::<ConsoleSession>();
            sessions.delete("shell", &DeleteParams::default()).await?;
            anyhow::Ok(deleted)
        };
        let (output, deleted) = tokio::join!(async { (running.await, Instant::now()) }, ends);
        let (output, ended) = output;
        let (output, took) = (output?, ended.duration_since(deleted?));
        ensure!(output.status.code() == Some(255), "{output:?}");
        ensure!(took < Duration::from_secs(1), "SSH ended {took:?} after its session");
        println!("console::ssh::shell: ended {took:?} after the session was deleted");
        Ok(())
    }

    /// How the gateway ends a connection that says nothing.
    async fn end(&self, token: &str) -> Result<(u16, String)> {
        self.said(token, b"").await
    }

    /// How it ends one that says this first.
    async fn said(&self, token: &str, said: &[u8]) -> Result<(u16, String)> {
        let mut socket = ConsoleSocket::open_by_url(self.gateway.http, token).await?;
        if !said.is_empty() {
            socket.send(said).await?;
        }
        socket.closed(wait::SHORT).await
    }
}

/// Debian's server, as the user of this test and with keys of its own.
struct Sshd {
    address: SocketAddr,
    user: String,
    _program: Program,
}

impl Sshd {
    async fn start(keys: &Keys, output: &Path) -> Result<Self> {
        let id = Command::new("id").arg("-un").output().context("start id")?;
        let user = String::from_utf8(id.stdout)?.trim().to_owned();
        if user == "root" {
            // As root it wants an empty folder to lock its parser up in; Debian's service makes this one.
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create("/run/sshd")?;
        }
        let ip = own_address()?;
        let address = SocketAddr::from((ip, free_port(ip)?));
        let settings = format!(
            "ListenAddress {address}\nHostKey {}\nAuthorizedKeysFile {}\nAuthenticationMethods publickey\nStrictModes no\n\
             UsePAM no\nPidFile none\n",
            keys.file("host").display(),
            keys.file("alice").with_extension("pub").display(),
        );
        let file = output.join("sshd_config");
        std::fs::write(&file, settings)?;
        let file = file.to_str().context("the path is not UTF-8")?;
        let log = output.join("sshd.log");
        let program = Program::start("/usr/sbin/sshd", &["-D", "-e", "-f", file], &[], &log)?;
        wait::until("the SSH server listens", wait::SHORT, || async {
            TcpStream::connect(address).await?;
            Ok(Seen::Done(()))
        })
        .await?;
        Ok(Self {
            address,
            user,
            _program: program,
        })
    }
}
