//! The proxies under test.

use std::{
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use novasphere_e2e::fixtures::wait::{self, Seen};
use rustls::{ClientConfig, RootCertStore};

use super::{
    desktop, fast, gateway,
    viewer::{RelayViewer, Wire},
};
use crate::{
    process::{Process, free_port, start_self},
    settings,
};

/// Which proxy stands between viewers and the VNC server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// None.
    Direct,
    /// Ours, by WebSocket.
    Gateway,
    /// Ours, by WebSocket in TLS.
    GatewayTls,
    /// A relay over the library `fastwebsockets`, by WebSocket.
    FastWebSockets,
    /// `HAProxy`, raw TCP.
    HaProxy,
    /// `HAProxy`, raw TCP in TLS.
    HaProxyTls,
    /// websockify, by WebSocket.
    Websockify,
}

/// A proxy that runs.
pub(crate) struct Proxy {
    pub(crate) process: Process,
    address: SocketAddr,
    wire: Wire,
}

/// The VNC server that all lead to.
pub(crate) struct RelayBackend {
    _process: Process,
    address: SocketAddr,
}

impl RelayBackend {
    pub(crate) fn start() -> Result<Self> {
        let (process, address) = start_self(&[desktop::COMMAND])?;
        Ok(Self {
            _process: process,
            address: address.parse()?,
        })
    }
}

/// Ours takes any token of the right length; websockify takes any path.
const PATH: &str = "/api/v1/console/ws?token=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

impl Proxy {
    /// Starts a proxy to `desktop`, and waits until a viewer gets through.
    pub(crate) async fn start(kind: Kind, desktop: &RelayBackend) -> Result<Self> {
        let upstream = desktop.address.to_string();
        let (process, address, wire) = match kind {
            Kind::Direct => {
                let (process, address) = start_self(&[desktop::COMMAND])?;
                (process, address.parse()?, Wire::RAW)
            }
            Kind::Gateway => {
                let (process, address) = start_self(&[gateway::COMMAND, &upstream])?;
                (process, address.parse()?, Wire::WEB_SOCKET)
            }
            Kind::FastWebSockets => {
                let (process, address) = start_self(&[fast::COMMAND, &upstream])?;
                (process, address.parse()?, Wire::WEB_SOCKET)
            }
            Kind::GatewayTls => {
                let certificate = Certificate::make()?;
                let (process, address) =
                    start_self(&[gateway::COMMAND, &upstream, &certificate.file, &certificate.key])?;
                (process, address.parse()?, Wire::WEB_SOCKET.in_tls(certificate.trust))
            }
            Kind::HaProxy => {
                let (process, address) = haproxy(&upstream, "")?;
                (process, address, Wire::RAW)
            }
            Kind::HaProxyTls => {
                let certificate = Certificate::make()?;
                let (process, address) = haproxy(&upstream, &format!("ssl crt {}", certificate.bundle))?;
                (process, address, Wire::RAW.in_tls(certificate.trust))
            }
            Kind::Websockify => {
                let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
                let mut command = Command::new("websockify");
                command.args([address.to_string(), upstream]);
                (start(command)?, address, Wire::WEB_SOCKET)
            }
        };
        let proxy = Self { process, address, wire };
        let wait = Duration::from_secs(30);
        wait::until(format!("{kind:?} to let a viewer through"), wait, || async {
            proxy.viewer().await.map(|_| Seen::Done(()))
        })
        .await?;
        Ok(proxy)
    }

    /// Connects a viewer.
    pub(crate) async fn viewer(&self) -> Result<RelayViewer> {
        RelayViewer::connect(self.address, &self.wire, PATH).await
    }
}

/// In TCP mode with two threads; everything else as it is by default. `bind` are options of the address where it listens.
fn haproxy(upstream: &str, bind: &str) -> Result<(Process, SocketAddr)> {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let configuration = format!(
        "global\n  nbthread 2\n  maxconn 1000\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
         listen bench\n  bind {address} {bind}\n  server desktop {upstream}\n"
    );
    let file = settings::output()?.join("haproxy.cfg");
    fs::write(&file, configuration)?;
    // Debian puts it where only root looks by default.
    let program = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"]
        .into_iter()
        .find(|path| fs::exists(path).unwrap_or_default());
    let mut command = Command::new(program.unwrap_or("haproxy"));
    command.arg("-db").arg("-f").arg(file);
    Ok((start(command)?, address))
}

fn start(mut command: Command) -> Result<Process> {
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("start {name}: hack/install-packages installs it"))?;
    Ok(Process(child))
}

/// A certificate for `localhost`, of its own authority.
struct Certificate {
    file: String,
    key: String,
    /// Both in one, as `HAProxy` wants them.
    bundle: String,
    trust: Arc<ClientConfig>,
}

impl Certificate {
    fn make() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let path = |name: &str| -> Result<String> {
            let path = settings::output()?.join(name);
            Ok(path
                .to_str()
                .context("the path of the repository is not UTF-8")?
                .to_owned())
        };
        let (file, key, bundle) = (path("tls.crt")?, path("tls.key")?, path("tls.pem")?);
        fs::write(&file, made.cert.pem())?;
        fs::write(&key, made.signing_key.serialize_pem())?;
        fs::write(&bundle, made.cert.pem() + &made.signing_key.serialize_pem())?;
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone())?;
        let trust = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            file,
            key,
            bundle,
            trust: Arc::new(trust),
        })
    }
}
