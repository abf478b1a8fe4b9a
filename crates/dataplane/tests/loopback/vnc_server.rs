//! A VNC server that records what reaches it and sends what it is told to.

use std::{net::SocketAddr, sync::Arc};

use novasphere_dataplane::upstream::{Upstream, tcp::TcpUpstream};
use novasphere_wire::rfb::{security::vnc_auth::VncPassword, upstream::Authentication};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::broadcast,
};

use crate::setup::wait_for;

/// `ServerInit` of a screen of 8 x 4 pixels named `test`.
pub(crate) const SERVER_INIT: &[u8] = b"\0\x08\0\x04\x20\x18\0\x01\0\xff\0\xff\0\xff\x10\x08\0\0\0\0\0\0\0\x04test";

const CHALLENGE: &[u8; 16] = b"0123456789abcdef";

#[derive(Clone)]
pub(crate) struct VncServer {
    address: SocketAddr,
    password: Option<VncPassword>,
    received: Arc<Mutex<Vec<u8>>>,
    shared: Arc<Mutex<Vec<u8>>>,
    output: broadcast::Sender<Vec<u8>>,
}

impl VncServer {
    pub(crate) async fn start(password: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            password: password.map(|password| VncPassword::new(password.as_bytes())),
            received: Arc::default(),
            shared: Arc::default(),
            output: broadcast::channel(16).0,
        };
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = accepting.clone();
                tokio::spawn(async move { serving.serve(stream).await });
            }
        });
        server
    }

    /// The server as a target, with this password or none.
    pub(crate) fn target(&self, password: Option<&str>) -> Upstream {
        let authentication = match password {
            Some(password) => Authentication::Password(VncPassword::new(password.as_bytes())),
            None => Authentication::None,
        };
        Upstream::Tcp(TcpUpstream {
            address: self.address,
            authentication,
        })
    }

    /// Sends bytes to everybody who is connected; nothing closes the connections.
    pub(crate) fn send(&self, bytes: &[u8]) {
        self.output.send(bytes.to_vec()).unwrap();
    }

    /// What has arrived after the handshakes.
    pub(crate) fn received(&self) -> Vec<u8> {
        self.received.lock().clone()
    }

    /// The shared flags of everybody who connected.
    pub(crate) fn shared(&self) -> Vec<u8> {
        self.shared.lock().clone()
    }

    pub(crate) async fn wait_for(&self, bytes: &[u8]) {
        wait_for(&format!("{bytes:?} at the VNC server"), || self.received() == bytes).await;
    }

    async fn serve(&self, mut stream: TcpStream) -> Option<()> {
        stream.write_all(b"RFB 003.008\n").await.ok()?;
        stream.read_exact(&mut [0; 12]).await.ok()?;
        stream
            .write_all(&[1, if self.password.is_some() { 2 } else { 1 }])
            .await
            .ok()?;
        stream.read_exact(&mut [0; 1]).await.ok()?;
        if let Some(password) = &self.password {
            stream.write_all(CHALLENGE).await.ok()?;
            let mut answer = [0; 16];
            stream.read_exact(&mut answer).await.ok()?;
            if answer != password.answer(*CHALLENGE) {
                stream.write_all(b"\0\0\0\x01\0\0\0\x05wrong").await.ok()?;
                return None;
            }
        }
        stream.write_all(&[0; 4]).await.ok()?;
        let mut shared = [0];
        stream.read_exact(&mut shared).await.ok()?;
        self.shared.lock().push(shared[0]);
        let mut output = self.output.subscribe();
        stream.write_all(SERVER_INIT).await.ok()?;
        let mut input = [0; 4096];
        loop {
            tokio::select! {
                read = stream.read(&mut input) => match read {
                    Ok(length) if length > 0 => self.received.lock().extend_from_slice(&input[..length]),
                    _ => return None,
                },
                Ok(bytes) = output.recv() => {
                    if bytes.is_empty() {
                        return None;
                    }
                    stream.write_all(&bytes).await.ok()?;
                }
            }
        }
    }

    /// Closes all connections.
    pub(crate) fn hang_up(&self) {
        self.send(&[]);
    }
}
