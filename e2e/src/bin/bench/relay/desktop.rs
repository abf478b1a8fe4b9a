//! The VNC server that all proxies under test lead to: a process of its own.
//!
//! After the handshake a key event is answered with [`ANSWER_BYTES`] bytes, and a request for a picture of `w` x `h` pixels with
//! `h` MiB.

use anyhow::{Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::process::parent_gone;

/// The argument that starts it.
pub(crate) const COMMAND: &str = "desktop";

/// Bytes that answer a key.
pub(crate) const ANSWER_BYTES: usize = 4096;

/// `ServerInit` of a screen of 8 x 4 pixels named `test`.
pub(crate) const SERVER_INIT: &[u8] = b"\0\x08\0\x04\x20\x18\0\x01\0\xff\0\xff\0\xff\x10\x08\0\0\0\0\0\0\0\x04test";

const MEBIBYTE_BYTES: usize = 1024 * 1024;

static PICTURE: [u8; 64 * 1024] = [0x5a; 64 * 1024];

/// `KeyEvent` and `FramebufferUpdateRequest`: their types and lengths (RFC 6143 section 7.5).
const KEY: (u8, usize) = (4, 8);
const REQUEST: (u8, usize) = (3, 10);

/// A key event as a viewer sends it.
pub(crate) const KEY_EVENT: [u8; 8] = [KEY.0, 1, 0, 0, 0, 0, 0, b'a'];

/// The request that is answered with this many MiB.
pub(crate) fn bulk_request(mebibytes: u16) -> [u8; 10] {
    let [high, low] = mebibytes.to_be_bytes();
    [REQUEST.0, 0, 0, 0, 0, 0, 0, 8, high, low]
}

/// Serves until the parent is gone; prints its address first.
pub(crate) async fn run() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let accept = async {
        loop {
            let (stream, _) = listener.accept().await?;
            // A viewer that leaves ends its connection in some way.
            tokio::spawn(async move { drop(serve(stream).await) });
        }
    };
    tokio::select! {
        result = accept => result,
        () = parent_gone() => Ok(()),
    }
}

async fn serve(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(b"RFB 003.008\n").await?;
    stream.read_exact(&mut [0; 12]).await?;
    stream.write_all(&[1, 1]).await?;
    stream.read_exact(&mut [0; 1]).await?;
    stream.write_all(&[0; 4]).await?;
    stream.read_exact(&mut [0; 1]).await?;
    stream.write_all(SERVER_INIT).await?;
    let mut input = Vec::with_capacity(64);
    while stream.read_buf(&mut input).await? > 0 {
        while let Some(length) = answer(&mut stream, &input).await? {
            input.drain(..length);
        }
    }
    Ok(())
}

/// Answers the first message, and returns its length; `None` when it is not there in whole.
async fn answer(stream: &mut TcpStream, input: &[u8]) -> Result<Option<usize>> {
    let Some(&kind) = input.first() else {
        return Ok(None);
    };
    ensure!(kind == KEY.0 || kind == REQUEST.0, "unexpected message {kind}");
    let length = if kind == KEY.0 { KEY.1 } else { REQUEST.1 };
    let Some(message) = input.get(..length) else {
        return Ok(None);
    };
    if kind == KEY.0 {
        stream
            .write_all(PICTURE.get(..ANSWER_BYTES).unwrap_or_default())
            .await?;
    } else if let [.., high, low] = *message {
        let bytes = usize::from(u16::from_be_bytes([high, low])) * MEBIBYTE_BYTES;
        for _ in 0..bytes / PICTURE.len() {
            stream.write_all(&PICTURE).await?;
        }
    }
    Ok(Some(length))
}
