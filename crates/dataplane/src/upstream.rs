//! Upstreams: how the console of a target is reached.

pub mod kubevirt;
pub mod reconnect;
pub mod tcp;
pub mod wait;

use std::{io, net::SocketAddr, time::Duration};

use novasphere_wire::{
    close::{EndReason, StreamEnd},
    rfb::upstream::{Authentication, ClientHandshake, HandshakeError, Progress},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use self::{
    kubevirt::{KubeVirtError, KubeVirtUpstream},
    reconnect::SerialUpstream,
    tcp::TcpUpstream,
    wait::AwaitedUpstream,
};
use crate::{peer::Peer, registry::Protocol};

/// How long a target has to answer, from connecting to the end of its handshake.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a console is.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// A VNC server at a TCP port.
    Tcp(TcpUpstream),
    /// A KubeVirt machine, through kube-apiserver.
    KubeVirt(KubeVirtUpstream),
    /// The serial console of a KubeVirt machine, which is opened again when it is lost.
    Serial(SerialUpstream),
    /// A desktop, which may sleep.
    Awaited(AwaitedUpstream),
}

/// Why a console cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// It cannot be reached.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Where it should be.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// It does not answer.
    #[error("no answer within {} s", OPEN_TIMEOUT.as_secs())]
    Timeout,
    /// It breaks off during the handshake.
    #[error("the VNC server broke off during its handshake: {0}")]
    BrokenOff(#[source] io::Error),
    /// Its handshake fails.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// KubeVirt does not open its console.
    #[error(transparent)]
    KubeVirt(#[from] KubeVirtError),
    /// It did not become ready.
    #[error("{}", .0.detail())]
    NotReady(StreamEnd),
}

impl UpstreamError {
    /// What the viewer is told.
    #[must_use]
    pub const fn close(&self) -> EndReason {
        match self {
            Self::Connect { .. } | Self::Timeout | Self::BrokenOff(_) => EndReason::TargetUnreachable,
            Self::Handshake(_) => EndReason::TargetRefused,
            Self::KubeVirt(error) => error.close(),
            Self::NotReady(refusal) => refusal.reason,
        }
    }
}

impl Upstream {
    /// Connects, and brings an RFB handshake to the point where `ClientInit` is awaited.
    ///
    /// # Errors
    ///
    /// [`UpstreamError`]; within [`OPEN_TIMEOUT`], if it need not be [waited](Self::Awaited) for.
    #[tracing::instrument(name = "upstream", skip_all, fields(?protocol))]
    pub async fn open(&self, protocol: Protocol) -> Result<Box<dyn Peer>, UpstreamError> {
        match self {
            Self::Tcp(target) => target.open(protocol).await,
            Self::KubeVirt(target) => {
                let connect = async { Ok(target.connect(protocol).await?) };
                open(connect, protocol, &Authentication::None).await
            }
            Self::Serial(target) => open(target.connect(), protocol, &Authentication::None).await,
            Self::Awaited(target) => Ok(target.open(protocol).await?.0),
        }
    }
}

impl TcpUpstream {
    /// As [`Upstream::open`].
    async fn open(&self, protocol: Protocol) -> Result<Box<dyn Peer>, UpstreamError> {
        open(self.connect(), protocol, &self.authentication).await
    }
}

async fn open(
    connect: impl Future<Output = Result<Box<dyn Peer>, UpstreamError>>,
    protocol: Protocol,
    authentication: &Authentication,
) -> Result<Box<dyn Peer>, UpstreamError> {
    let open = async {
        let mut peer = connect.await?;
        if protocol == Protocol::Vnc {
            handshake(&mut peer, authentication.clone()).await?;
        }
        Ok(peer)
    };
    timeout(OPEN_TIMEOUT, open).await.map_err(|_| UpstreamError::Timeout)?
}

async fn handshake(peer: &mut Box<dyn Peer>, authentication: Authentication) -> Result<(), UpstreamError> {
    let mut handshake = ClientHandshake::new(authentication);
    let (mut input, mut output) = (Vec::new(), Vec::new());
    loop {
        input.resize(handshake.want(), 0);
        peer.read_exact(&mut input).await.map_err(UpstreamError::BrokenOff)?;
        output.clear();
        let progress = handshake.receive(&input, &mut output)?;
        peer.write_all(&output).await.map_err(UpstreamError::BrokenOff)?;
        peer.flush().await.map_err(UpstreamError::BrokenOff)?;
        if progress == Progress::Done {
            return Ok(());
        }
    }
}
