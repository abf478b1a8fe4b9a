//! VNC servers at a TCP port: inside a guest, in a workspace.

use std::net::SocketAddr;

use novasphere_wire::rfb::upstream::Authentication;
use tokio::net::TcpStream;

use super::UpstreamError;
use crate::peer::{Peer, RawPeer, prepare};

/// A VNC server at a TCP port.
#[derive(Clone, Debug)]
pub struct TcpUpstream {
    /// An address and no name: a name would have to be looked up for each viewer, and a name server that does not answer would hold the
    /// threads in which lookups wait. Who makes it decides where the gateway may connect to.
    pub address: SocketAddr,
    /// How to authenticate.
    pub authentication: Authentication,
}

impl TcpUpstream {
    pub(super) async fn connect(&self) -> Result<Box<dyn Peer>, UpstreamError> {
        let error = |source| UpstreamError::Connect {
            address: self.address,
            source,
        };
        let stream = TcpStream::connect(self.address).await.map_err(error)?;
        prepare(&stream).map_err(error)?;
        Ok(Box::new(RawPeer(stream)))
    }
}
