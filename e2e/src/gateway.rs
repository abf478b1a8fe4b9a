//! `novasphere console` as a child process, and what tests put around it: a VNC server, a link to the apiserver that can be cut.

use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::{broadcast, watch},
    task::JoinHandle,
};

use crate::{
    account::Account,
    cluster::Cluster,
    controller,
    wait::{self, Seen},
};

/// A gateway. It is killed when this is dropped.
#[derive(Debug)]
pub struct Gateway {
    process: Child,
    /// Where browsers connect, without TLS.
    pub http: SocketAddr,
    /// Where stock viewers connect.
    pub vnc: SocketAddr,
    admin: SocketAddr,
    audit: PathBuf,
    log: PathBuf,
}

impl Gateway {
    /// Starts one as `account`, named `instance`, for the sessions of the account's namespace, and waits until it is ready.
    /// `apiserver` replaces the address of the cluster's apiserver.
    ///
    /// # Errors
    /// When the program cannot be built or started, or does not become ready.
    pub async fn start(
        cluster: &Cluster,
        account: &Account,
        instance: &str,
        output: &Path,
        apiserver: Option<SocketAddr>,
    ) -> Result<Self> {
        Self::start_for(cluster, account, &account.namespace, instance, output, apiserver).await
    }

    /// The same for the sessions of another namespace. Its lease is in the account's. `apiserver` replaces the address of the cluster's apiserver.
    ///
    /// # Errors
    /// When the program cannot be built or started, or does not become ready.
    pub async fn start_for(
        cluster: &Cluster,
        account: &Account,
        watch_namespace: &str,
        instance: &str,
        output: &Path,
        apiserver: Option<SocketAddr>,
    ) -> Result<Self> {
        let file = |kind: &str| output.join(format!("{instance}.{kind}"));
        let mut kubeconfig = account.kubeconfig(cluster)?;
        if let Some(address) = apiserver {
            let (mut parsed, server) = server_of(&kubeconfig)?;
            parsed
                .pointer_mut("/clusters/0/cluster")
                .and_then(Value::as_object_mut)
                .context("the kubeconfig has no cluster")?
                .insert("server".to_owned(), json!(format!("https://{address}")));
            ensure!(server.starts_with("https://"), "the apiserver is not served by TLS");
            kubeconfig = parsed.to_string();
        }
        std::fs::write(file("kubeconfig"), kubeconfig)?;
        let [http, vnc, admin] = [free_port()?, free_port()?, free_port()?];
        let audit = file("audit.log");
        // It is appended to; that of an earlier run is not this one's.
        File::create(&audit)?;
        let config = json!({"console": {
            "watchNamespace": watch_namespace,
            "http": {"address": http, "plain": true, "allowedOrigins": ["https://vms.example.org"]},
            "vnc": {"address": vnc},
            "limits": {"halfOpen": 4000, "halfOpenPerAddress": 4000, "handshakeTimeout": "30s"},
            "auditLog": audit,
        }});
        std::fs::write(file("yaml"), config.to_string())?;
        let log = file("log");
        let process = Command::new(controller::program()?)
            .args(["--log-format", "text", "--admin-address", &admin.to_string()])
            .args(["--instance", instance])
            .arg("--kubeconfig")
            .arg(file("kubeconfig"))
            .arg("--config")
            .arg(file("yaml"))
            .arg("console")
            .stdin(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("start novasphere")?;
        let gateway = Self {
            process,
            http,
            vnc,
            admin,
            audit,
            log,
        };
        let what = format!("the gateway is ready; its log is {}", gateway.log.display());
        wait::until(what, wait::SHORT, || async {
            let (code, text) = gateway.get("/readyz").await?;
            Ok(Seen::some((code == 200).then_some(()), text))
        })
        .await?;
        Ok(gateway)
    }

    /// The status and the body that its address for health and metrics answers.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect(self.admin).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        let code = head.split(' ').nth(1).context("no status")?.parse()?;
        Ok((code, body.to_owned()))
    }

    /// The lines of its audit log.
    ///
    /// # Errors
    /// When the file cannot be read or a line is no JSON.
    pub fn audit(&self) -> Result<Vec<Value>> {
        let text = std::fs::read_to_string(&self.audit)?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Asks it to stop, as Kubernetes does.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn terminate(&self) -> Result<()> {
        let status = Command::new("kill")
            .args(["-s", "TERM", &self.process.id().to_string()])
            .status()?;
        ensure!(status.success(), "SIGTERM: {status}");
        Ok(())
    }

    /// Waits until it has ended and returns whether it ended well.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn ended(&mut self, bound: Duration) -> Result<bool> {
        let process = Mutex::new(&mut self.process);
        wait::until("the gateway has ended", bound, || async {
            let status = process.lock().try_wait()?;
            Ok(Seen::some(status.map(|status| status.success()), "it runs"))
        })
        .await
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Fails only when it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn server_of(kubeconfig: &str) -> Result<(Value, String)> {
    let parsed: Value = serde_json::from_str(kubeconfig)?;
    let server = parsed
        .pointer("/clusters/0/cluster/server")
        .and_then(Value::as_str)
        .context("the kubeconfig has no server")?
        .to_owned();
    Ok((parsed, server))
}

fn free_port() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// An address of this machine that is no loopback address: the apiserver takes no other one for an endpoint. What is sent to
/// it from here stays in the machine.
///
/// # Errors
/// When there is none.
pub fn own_address() -> Result<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // Sends nothing; the kernel only picks the address that it would use.
    socket
        .connect((Ipv4Addr::new(198, 51, 100, 1), 9))
        .context("this machine has no address beside loopback")?;
    let address = socket.local_addr()?.ip();
    ensure!(!address.is_loopback(), "this machine has no address beside loopback");
    Ok(address)
}

/// `ServerInit` of a screen of 8 x 4 pixels named `test`.
pub const SERVER_INIT: &[u8] = b"\0\x08\0\x04\x20\x18\0\x01\0\xff\0\xff\0\xff\x10\x08\0\0\0\0\0\0\0\x04test";

/// A VNC server without a password that records what reaches it and sends what it is told to.
#[derive(Clone, Debug)]
pub struct VncServer {
    /// Where it listens.
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<u8>>>,
    output: broadcast::Sender<Vec<u8>>,
}

impl VncServer {
    /// Starts one on [`own_address`].
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind((own_address()?, 0)).await?;
        let server = Self {
            address: listener.local_addr()?,
            received: Arc::default(),
            output: broadcast::channel(64).0,
        };
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = accepting.clone();
                tokio::spawn(async move { serving.serve(stream).await });
            }
        });
        Ok(server)
    }

    async fn serve(&self, mut stream: TcpStream) -> Result<()> {
        stream.write_all(b"RFB 003.008\n").await?;
        stream.read_exact(&mut [0; 12]).await?;
        stream.write_all(&[1, 1]).await?;
        stream.read_exact(&mut [0; 1]).await?;
        stream.write_all(&[0; 4]).await?;
        stream.read_exact(&mut [0; 1]).await?;
        let mut output = self.output.subscribe();
        stream.write_all(SERVER_INIT).await?;
        let mut input = [0; 4096];
        loop {
            tokio::select! {
                read = stream.read(&mut input) => {
                    let length = read?;
                    ensure!(length > 0, "the gateway has left");
                    let mut received = self.received.lock();
                    received.extend(input.iter().take(length));
                }
                Ok(bytes) = output.recv() => stream.write_all(&bytes).await?,
            }
        }
    }

    /// Sends bytes to everybody who is connected.
    pub fn send(&self, bytes: &[u8]) {
        // Nobody may be there.
        let _ = self.output.send(bytes.to_vec());
    }

    /// What has arrived after the handshakes, and forgets it.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.received.lock())
    }
}

/// A way to the apiserver that can be cut: connections break and new ones are refused.
#[derive(Debug)]
pub struct Link {
    /// Where it is reached.
    pub address: SocketAddr,
    is_up: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Link {
    /// A link to the apiserver of a cluster.
    ///
    /// # Errors
    /// When its address is not to be found or no port is free.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        let config = cluster.config("link").await?;
        let to = (
            config.cluster_url.host().context("no host")?.to_owned(),
            config.cluster_url.port_u16().context("no port")?,
        );
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let is_up = watch::Sender::new(true);
        let state = is_up.subscribe();
        let task = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (to, mut state) = (to.clone(), state.clone());
                tokio::spawn(async move {
                    if !*state.borrow() {
                        return;
                    }
                    let Ok(mut far) = TcpStream::connect((to.0.as_str(), to.1)).await else {
                        return;
                    };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = state.wait_for(|up| !up) => {}
                    }
                });
            }
        });
        Ok(Self { address, is_up, task })
    }

    /// Cuts it, or mends it.
    pub fn set(&self, up: bool) {
        self.is_up.send_replace(up);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}
