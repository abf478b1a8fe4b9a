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
use futures::{SinkExt, StreamExt};
use k8s_openapi::api::{
    discovery::v1::{Endpoint, EndpointPort, EndpointSlice},
    rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject},
};
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use novasphere_crd::ConsoleSession;
use novasphere_e2e::{
    account::Account,
    cluster::Cluster,
    desktop::{self, Program},
    harness::{Case, Needs},
    namespace::{Context, PodSecurity, with_namespace},
    ssh::{self, Keys, Ssh},
    wait::{self, Seen},
};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::{client_async, tungstenite::Message};

use crate::{
    console_setup::{Gateway, WINDOW, any_token, session, token, token_of},
    workspace_plane::{self as plane, StandIn},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("console_ssh::shell", Needs::ControlPlane, shell)]
}

/// The desktop.
const TARGET: &str = "desk";

async fn shell() -> Result<()> {
    let cluster = Cluster::plane()?;
    with_namespace(
        cluster,
        "console_ssh::shell",
        PodSecurity::Restricted,
        async |context| {
            let account = Account::create(cluster, &context.namespace, "controller").await?;
            let _controller = plane::start(context, &account).await?;
            let homes = [TARGET.to_owned()];
            plane::provision(context, &homes).await?;
            let done = with_desktop(context).await;
            plane::unprovision(context, &homes).await?;
            done
        },
    )
    .await
}

async fn with_desktop(context: &Context<'_>) -> Result<()> {
    let _kubelet = StandIn::start(context, false).await?;
    let keys = Keys::make(&context.output, &["host", "alice", "mallory"])?;
    let sshd = Sshd::start(&keys, &context.output).await?;
    endpoint(context, sshd.address).await?;
    let ssh = json!({"enabled": true, "authorizedKeys": [keys.public("alice")?]});
    plane::apply(context, TARGET, &json!({"ssh": ssh, "console": {"maxViewers": 4}})).await?;
    plane::wait_for(context, TARGET, "PodReady", "True", "Running").await?;
    let mut gateway = Gateway::prepare(context, &[])?;
    gateway.start().await?;
    let target = json!({"kind": "VncWorkspace", "name": TARGET});
    session(context, "shell", json!({"targetRef": target, "protocol": "ssh"})).await?;
    let all = All {
        context,
        gateway,
        keys,
        sshd,
    };
    all.runs_a_command().await.context("a command")?;
    all.refuses_strangers().await.context("strangers")?;
    all.refuses_who_only_looks().await.context("who only looks")?;
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
        let way = ssh::way(Box::new(socket(self.gateway.http(), token).await?)).await?;
        let host = self.keys.public("host")?;
        let key = self.keys.file(key);
        let ssh = Ssh::new(&self.context.output, way, &host, key.clone())?;
        let (user, command) = (self.sshd.user.clone(), command.to_owned());
        tokio::task::spawn_blocking(move || ssh.run(&key, &user, &command)).await?
    }

    async fn token(&self) -> Result<String> {
        token(self.context, "shell", 1, WINDOW).await
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
        let end = self.end(&any_token()?).await?;
        ensure!(end == (4040, "TokenRefused".to_owned()), "{end:?}");
        // A good token opens no shell to whoever does not speak SSH.
        let end = self.said(&self.token().await?, b"GET / HTTP/1.1\r\n\r\n").await?;
        ensure!(end == (4060, "ProtocolError".to_owned()), "{end:?}");
        Ok(())
    }

    async fn refuses_who_only_looks(&self) -> Result<()> {
        let context = self.context;
        let role = Role {
            metadata: ObjectMeta {
                name: Some("looks".to_owned()),
                ..ObjectMeta::default()
            },
            rules: Some(vec![PolicyRule {
                api_groups: Some(vec!["subresources.novasphere.io".to_owned()]),
                resources: Some(vec!["vncworkspaces/console".to_owned()]),
                verbs: vec!["get".to_owned()],
                ..PolicyRule::default()
            }]),
        };
        let binding = RoleBinding {
            metadata: role.metadata.clone(),
            role_ref: RoleRef {
                api_group: "rbac.authorization.k8s.io".to_owned(),
                kind: "Role".to_owned(),
                name: "looks".to_owned(),
            },
            subjects: Some(vec![Subject {
                api_group: Some("rbac.authorization.k8s.io".to_owned()),
                kind: "User".to_owned(),
                name: "looker".to_owned(),
                namespace: None,
            }]),
        };
        context.api::<Role>().create(&PostParams::default(), &role).await?;
        context
            .api::<RoleBinding>()
            .create(&PostParams::default(), &binding)
            .await?;
        // kube-apiserver learns of the role by its own watch.
        wait::until("a user who may only look is told so", wait::SHORT, || async {
            let looks = token_of(context, "shell", ("looker", "e2e"), 1, WINDOW).await?;
            let end = self.end(&looks).await?;
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
        println!("console_ssh::shell: ended {took:?} after the session was deleted");
        Ok(())
    }

    /// How the gateway ends a connection that says nothing.
    async fn end(&self, token: &str) -> Result<(u16, String)> {
        self.said(token, b"").await
    }

    /// How it ends one that says this first.
    async fn said(&self, token: &str, said: &[u8]) -> Result<(u16, String)> {
        let mut socket = socket(self.gateway.http(), token).await?;
        if !said.is_empty() {
            socket.send(Message::binary(said.to_vec())).await?;
        }
        let end = async {
            while let Some(message) = socket.next().await {
                if let Message::Close(Some(frame)) = message? {
                    return Ok((frame.code.into(), frame.reason.to_string()));
                }
            }
            anyhow::bail!("the gateway closed without a word")
        };
        tokio::time::timeout(wait::SHORT, end)
            .await
            .context("the gateway does not close")?
    }
}

type Socket = tokio_tungstenite::WebSocketStream<TcpStream>;

async fn socket(gateway: SocketAddr, token: &str) -> Result<Socket> {
    let stream = TcpStream::connect(gateway).await?;
    // Not in the message of an error: it holds a token.
    let url = format!("ws://{gateway}/api/v1/console/ws?token={token}");
    Ok(client_async(url, stream)
        .await
        .map_err(|_| anyhow::anyhow!("the gateway opens no WebSocket"))?
        .0)
}

/// The server's endpoint in the desktop's Service.
async fn endpoint(context: &Context<'_>, address: SocketAddr) -> Result<()> {
    let service = ("kubernetes.io/service-name".to_owned(), TARGET.to_owned());
    let slice = EndpointSlice {
        metadata: ObjectMeta {
            name: Some("sshd".to_owned()),
            labels: Some([service].into()),
            ..ObjectMeta::default()
        },
        address_type: "IPv4".to_owned(),
        endpoints: vec![Endpoint {
            addresses: vec![address.ip().to_string()],
            ..Endpoint::default()
        }],
        ports: Some(vec![EndpointPort {
            name: Some("ssh".to_owned()),
            port: Some(address.port().into()),
            ..EndpointPort::default()
        }]),
    };
    context
        .api::<EndpointSlice>()
        .create(&PostParams::default(), &slice)
        .await?;
    Ok(())
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
        let ip = desktop::own_address()?;
        let address = SocketAddr::from((ip, desktop::free_port(ip)?));
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
