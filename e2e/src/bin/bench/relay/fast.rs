//! A relay that leaves the framing to the library `fastwebsockets`, in a process of its own: what our own framing has to be
//! better than to stay.
//!
//! The opening handshake, the RFB handshakes and the filter are the product's. It does less than the product: no registry, no
//! rules that change, no idle time, no limits, one TCP target.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocket, WebSocketError, WebSocketRead, WebSocketWrite};
use http::{Request, Response};
use http_body_util::Empty;
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade};
use hyper_util::rt::TokioIo;
use novasphere_wire::{rfb::filter::Filter, rules::Rules, websocket::opening::Handshake};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::{MissedTickBehavior, interval},
};

use super::desktop::SERVER_INIT;
use crate::process::parent_gone;

/// The argument that starts it; the address of the VNC server follows.
pub(crate) const COMMAND: &str = "fastwebsockets";

/// As the product does.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// The most that is read at once, as in the product.
const READ_BYTES: usize = 64 * 1024;

/// Serves until the parent is gone; prints its address first.
pub(crate) async fn run(upstream: &str) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let upstream: Arc<str> = upstream.into();
    let accept = async {
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(open(stream, Arc::clone(&upstream)));
        }
    };
    tokio::select! {
        result = accept => result,
        () = parent_gone() => Ok(()),
    }
}

async fn open(stream: TcpStream, upstream: Arc<str>) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        let upstream = Arc::clone(&upstream);
        let response = Handshake::read(&request).map(|handshake| handshake.response());
        let upgraded = upgrade::on(&mut request);
        tokio::spawn(async move {
            let parts = upgraded.await.map(upgrade::Upgraded::downcast::<TokioIo<TcpStream>>);
            if let Ok(Ok(parts)) = parts {
                // A viewer that leaves ends its connection in some way.
                let _ = relay(parts.io.into_inner(), &upstream).await;
            }
        });
        async move { response as Result<Response<Empty<Bytes>>, _> }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // The viewer says what fails.
    let _ = connection.with_upgrades().await;
}

async fn relay(viewer: TcpStream, upstream: &str) -> Result<()> {
    let mut viewer = WebSocket::after_handshake(viewer, Role::Server);
    viewer.set_auto_close(true);
    let mut upstream = TcpStream::connect(upstream).await?;
    upstream.set_nodelay(true)?;
    handshakes(&mut viewer, &mut upstream).await?;
    let (from_viewer, to_viewer) = viewer.split(TcpStream::into_split);
    let (from_target, to_target) = upstream.into_split();
    tokio::select! {
        result = up(from_viewer, to_target) => result,
        result = down(from_target, to_viewer) => result,
    }
}

/// Both RFB handshakes, as the product does them: the server's greeting ends here.
async fn handshakes(viewer: &mut WebSocket<TcpStream>, upstream: &mut TcpStream) -> Result<()> {
    upstream.read_exact(&mut [0; 12]).await?;
    upstream.write_all(b"RFB 003.008\n").await?;
    upstream.read_exact(&mut [0; 2]).await?;
    upstream.write_all(&[1]).await?;
    upstream.read_exact(&mut [0; 4]).await?;
    upstream.write_all(&[1]).await?;
    let mut server_init = vec![0; SERVER_INIT.len()];
    upstream.read_exact(&mut server_init).await?;
    for (say, expect) in [(b"RFB 003.008\n".as_slice(), 12), (&[1, 1], 1), (&[0; 4], 1)] {
        viewer.write_frame(Frame::binary(Payload::Borrowed(say))).await?;
        let frame = viewer.read_frame().await?;
        ensure!(frame.payload.len() == expect, "an unexpected handshake");
    }
    viewer.write_frame(Frame::binary(Payload::Owned(server_init))).await?;
    Ok(())
}

async fn up(mut viewer: WebSocketRead<OwnedReadHalf>, mut target: OwnedWriteHalf) -> Result<()> {
    let mut filter = Filter::new(Rules::CONTROL);
    let mut allowed = Vec::new();
    // Pongs and the answer to a close frame; these viewers ask for none.
    let mut answer = async |_| Ok::<(), WebSocketError>(());
    loop {
        let frame = viewer.read_frame(&mut answer).await?;
        match frame.opcode {
            OpCode::Binary | OpCode::Continuation => {
                filter.push(&frame.payload, &mut allowed).context("the filter")?;
                target.write_all(&allowed).await?;
                allowed.clear();
            }
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Ping | OpCode::Pong => {}
        }
    }
}

async fn down(target: OwnedReadHalf, mut viewer: WebSocketWrite<OwnedWriteHalf>) -> Result<()> {
    let mut pings = interval(PING_INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings.tick().await;
    loop {
        tokio::select! {
            readable = target.readable() => readable?,
            _ = pings.tick() => {
                viewer.write_frame(Frame::new(true, OpCode::Ping, None, Payload::Borrowed(&[]))).await?;
                continue;
            }
        }
        // Not kept while nothing comes, so that an idle stream has no buffer.
        let mut bytes = Vec::with_capacity(READ_BYTES);
        match target.try_read_buf(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(_) => viewer.write_frame(Frame::binary(Payload::Borrowed(&bytes))).await?,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}
