//! The gateway under test, in a process of its own: the product's listener, handshakes, filter and relay, with an admission
//! that lets everybody in to one target.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use novasphere_dataplane::{
    admission::{Admission, AdmissionRequest, Admitted, ConnectionSlot},
    gateway::Gateway,
    limits::{ConnectionLimiter, Limits},
    listener::websocket,
    registry::{Protocol, SessionId, StreamInfo},
    upstream::{Upstream, tcp::TcpUpstream},
};
use novasphere_runtime::{shutdown::Shutdown, tls};
use novasphere_wire::{close::StreamEnd, rfb::upstream::Authentication, rules::Rules, websocket::opening::Origins};
use tokio::{net::TcpListener, time::Instant};

use crate::process::parent_gone;

/// The argument that starts it; the address of the VNC server follows and, for TLS, the files of certificate and key.
pub(crate) const COMMAND: &str = "gateway";

struct Everybody {
    target: Upstream,
    streams: AtomicU64,
}

impl Admission for Everybody {
    type TargetView = ();

    async fn admit(&self, _: &AdmissionRequest) -> Result<Admitted, StreamEnd> {
        let number = self.streams.fetch_add(1, Relaxed);
        Ok(Admitted {
            session: SessionId {
                namespace: "bench".into(),
                name: format!("stream-{number}"),
                uid: number.to_string(),
            },
            user: "bench".into(),
            target_name: "VmAccess/bench".into(),
            protocol: Protocol::Vnc,
            rules: Rules::CONTROL,
            target: self.target.clone(),
            expires: Instant::now() + Duration::from_hours(24),
            idle_timeout: Some(Duration::from_hours(1)),
            slot: ConnectionSlot::default(),
            is_resumable: false,
        })
    }

    async fn explain(&self, _: &StreamInfo) -> Option<StreamEnd> {
        None
    }
}

/// Serves until the parent is gone; prints its address first.
pub(crate) async fn run(upstream: &str, certificate: &[&str]) -> Result<()> {
    let shutdown = Shutdown::new(Duration::from_secs(1));
    let tls = match certificate {
        [] => None,
        [certificate, key] => Some(tls::server_config(certificate.as_ref(), key.as_ref(), shutdown)?),
        _ => bail!("the files of a certificate and a key, or none"),
    };
    let limits = Limits {
        trusted_proxies: vec!["127.0.0.1/32".parse().context("an address")?],
        ..Limits::default()
    };
    let everybody = Everybody {
        target: Upstream::Tcp(TcpUpstream {
            address: upstream.parse().context("the upstream's address")?,
            authentication: Authentication::None,
        }),
        streams: AtomicU64::new(0),
    };
    let gateway = Gateway::new(everybody, Vec::new(), ConnectionLimiter::new(limits));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    websocket::serve(listener, tls, Origins::default(), gateway, parent_gone()).await;
    Ok(())
}
