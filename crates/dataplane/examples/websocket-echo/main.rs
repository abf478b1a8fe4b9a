//! Our WebSocket server as an echo, for the Autobahn test suite (`make test-autobahn`).
//!
//! Handshake, codec and stream are the product's, of `novasphere_wire::websocket` and [`novasphere_dataplane::websocket`]. To the product a WebSocket is a
//! stream of bytes, whose borders of messages mean nothing and whose text is bytes. The suite wants each message back as it
//! was, so `tap` notes on the raw connection where messages end, and gives the answers the type of their message.
//!
//! Prints its address, and ends when its standard input ends.

mod tap;

use std::{future::poll_fn, io, pin::Pin, task::Poll, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade};
use hyper_util::rt::TokioIo;
use novasphere_dataplane::{peer::Peer, websocket::WebSocket};
use novasphere_wire::{
    close::EndReason,
    websocket::{frame::FrameRole, opening::Handshake},
};
use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use self::tap::{Borders, Tap};

/// The most that is read at once.
const READ_BYTES: usize = 64 * 1024;

/// How long a peer may take to close its side.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    // Blocking, in a thread of its own: reading standard input is that in any case.
    let parent = tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink()));
    let accept = async {
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(open(stream));
        }
    };
    tokio::select! {
        result = accept => result,
        _ = parent => Ok(()),
    }
}

async fn open(stream: TcpStream) {
    let service = service_fn(|mut request: Request<Incoming>| {
        let response = Handshake::read(&request).map(|handshake| handshake.response());
        let upgraded = upgrade::on(&mut request);
        tokio::spawn(async move {
            let parts = upgraded.await.map(upgrade::Upgraded::downcast::<TokioIo<TcpStream>>);
            if let Ok(Ok(parts)) = parts {
                echo(parts.io.into_inner(), parts.read_buf).await;
            }
        });
        async move { response as Result<Response<Empty<Bytes>>, _> }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // The suite notes what fails.
    let _ = connection.with_upgrades().await;
}

/// Answers each message with itself until the peer or its breach of the protocol ends the connection.
async fn echo(stream: TcpStream, early: Bytes) {
    let borders = Borders::default();
    // Through the tap as well.
    let tap = Tap::new(stream, early, borders.clone());
    let mut socket = WebSocket::new(tap, Bytes::new(), FrameRole::Server);
    socket.accept_text();
    // As the relay ends a stream: see `relay::viewer_lost`.
    let why = match messages(&mut socket, &borders).await {
        Ok(()) => EndReason::ViewerLeft,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => EndReason::ProtocolError,
        Err(_) => return,
    };
    let closed = poll_fn(|context| Pin::new(&mut socket).poll_close(context, why));
    let _ = timeout(CLOSE_TIMEOUT, closed).await;
}

async fn messages(socket: &mut WebSocket<Tap>, borders: &Borders) -> io::Result<()> {
    let mut message = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let mut read = ReadBuf::new(&mut buffer);
        // None: a message is over, and the tap gives nothing until it is answered.
        let read_bytes = poll_fn(|context| match Pin::new(&mut *socket).poll_read(context, &mut read) {
            Poll::Ready(result) => Poll::Ready(result.map(|()| Some(read.filled().len()))),
            Poll::Pending if borders.message_is_over() => Poll::Ready(Ok(None)),
            Poll::Pending => Poll::Pending,
        })
        .await?;
        match read_bytes {
            Some(0) => return Ok(()),
            Some(_) => message.extend_from_slice(read.filled()),
            None => {
                borders.answer(message.is_empty());
                socket.write_all(&message).await?;
                socket.flush().await?;
                message.clear();
            }
        }
    }
}
