//! Ways to a console: where the target of a stream is and how it is reached.

pub mod kubevirt;
pub mod reconnect;
pub mod tcp;
pub mod wait;

use std::{io, time::Duration};

use novasphere_wire::{
    close::Close,
    rfb::upstream::{Authentication, ClientHandshake, HandshakeError, Progress},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use self::{
    kubevirt::{KubeVirtError, KubeVirtTarget},
    reconnect::RecoveringTarget,
    tcp::TcpTarget,
    wait::WaitingTarget,
};
use crate::{admission::Refusal, leg::Leg, registry::Protocol};

/// How long a target has to answer, from connecting to the end of its handshake.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Where a console is.
#[derive(Clone, Debug)]
pub enum Target {
    /// A VNC server at a TCP port.
    Tcp(TcpTarget),
    /// A KubeVirt machine, through kube-apiserver.
    KubeVirt(KubeVirtTarget),
    /// The serial console of a KubeVirt machine, which is opened again when it is lost.
    Recovering(RecoveringTarget),
    /// A desktop, which may sleep.
    Waiting(WaitingTarget),
}

/// Why a console cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// It cannot be reached.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Where it should be.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// It does not answer.
    #[error("no answer within {} s", TIMEOUT.as_secs())]
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
    #[error("{}", .0.detail)]
    NotReady(Refusal),
}

impl UpstreamError {
    /// What the viewer is told.
    #[must_use]
    pub const fn close(&self) -> Close {
        match self {
            Self::Connect { .. } | Self::Timeout | Self::BrokenOff(_) => Close::TargetUnreachable,
            Self::Handshake(_) => Close::TargetRefused,
            Self::KubeVirt(error) => error.close(),
            Self::NotReady(refusal) => refusal.why,
        }
    }
}

impl Target {
    /// Connects, and brings an RFB handshake to the point where `ClientInit` is awaited.
    ///
    /// # Errors
    ///
    /// [`UpstreamError`]; within [`TIMEOUT`], if it need not be [waited](Self::Waiting) for.
    pub async fn open(&self, protocol: Protocol) -> Result<Box<dyn Leg>, UpstreamError> {
        match self {
            Self::Tcp(target) => target.open(protocol).await,
            Self::KubeVirt(target) => {
                let connect = async { Ok(target.connect(protocol).await?) };
                open(connect, protocol, &Authentication::None).await
            }
            Self::Recovering(target) => open(target.connect(), protocol, &Authentication::None).await,
            Self::Waiting(target) => Ok(target.open(protocol).await?.0),
        }
    }
}

impl TcpTarget {
    /// As [`Target::open`].
    async fn open(&self, protocol: Protocol) -> Result<Box<dyn Leg>, UpstreamError> {
        open(self.connect(), protocol, &self.authentication).await
    }
}

async fn open(
    connect: impl Future<Output = Result<Box<dyn Leg>, UpstreamError>>,
    protocol: Protocol,
    authentication: &Authentication,
) -> Result<Box<dyn Leg>, UpstreamError> {
    let open = async {
        let mut leg = connect.await?;
        if protocol == Protocol::Vnc {
            handshake(&mut leg, authentication.clone()).await?;
        }
        Ok(leg)
    };
    timeout(TIMEOUT, open).await.map_err(|_| UpstreamError::Timeout)?
}

async fn handshake(leg: &mut Box<dyn Leg>, authentication: Authentication) -> Result<(), UpstreamError> {
    let mut handshake = ClientHandshake::new(authentication);
    let (mut input, mut output) = (Vec::new(), Vec::new());
    loop {
        input.resize(handshake.want(), 0);
        leg.read_exact(&mut input).await.map_err(UpstreamError::BrokenOff)?;
        output.clear();
        let progress = handshake.receive(&input, &mut output)?;
        leg.write_all(&output).await.map_err(UpstreamError::BrokenOff)?;
        leg.flush().await.map_err(UpstreamError::BrokenOff)?;
        if progress == Progress::Done {
            return Ok(());
        }
    }
}
