//! The beginning of RFB as a viewer speaks it, up to the size of the screen.

use anyhow::Context;
use novasphere_wire::rfb::upstream::{Authentication, CLIENT_INIT_SHARED, ClientHandshake, Progress};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Lets the server show its screen, and returns its width and height in pixels.
pub(crate) async fn size<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> anyhow::Result<(u16, u16)> {
    let mut handshake = ClientHandshake::new(Authentication::None);
    loop {
        let mut input = vec![0; handshake.want()];
        let read = stream.read_exact(&mut input).await;
        read.context("the gateway ended the stream; its audit log says why")?;
        let mut output = Vec::new();
        let progress = handshake.receive(&input, &mut output)?;
        stream.write_all(&output).await?;
        stream.flush().await?;
        if progress == Progress::Done {
            break;
        }
    }
    stream.write_all(&CLIENT_INIT_SHARED).await?;
    stream.flush().await?;
    // RFC 6143 section 7.3.2: the first fields of ServerInit.
    let mut size = [0; 4];
    let read = stream.read_exact(&mut size).await;
    read.context("the gateway ended the stream before the screen's size")?;
    let [width_high, width_low, height_high, height_low] = size;
    Ok((
        u16::from_be_bytes([width_high, width_low]),
        u16::from_be_bytes([height_high, height_low]),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_size_is_that_of_the_servers_screen() {
        let (mut viewer, mut server) = tokio::io::duplex(64);
        let serving = tokio::spawn(async move {
            server.write_all(b"RFB 003.008\n").await.unwrap();
            let mut version = [0; 12];
            server.read_exact(&mut version).await.unwrap();
            server.write_all(&[1, 1]).await.unwrap();
            assert_eq!(server.read_u8().await.unwrap(), 1);
            server.write_all(&[0; 4]).await.unwrap();
            assert_eq!(server.read_u8().await.unwrap(), 1);
            server.write_all(&[4, 0, 3, 0, 32, 24]).await.unwrap();
        });
        assert_eq!(size(&mut viewer).await.unwrap(), (1024, 768));
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_stream_that_ends_is_an_error() {
        let (mut viewer, server) = tokio::io::duplex(64);
        drop(server);
        let error = size(&mut viewer).await.unwrap_err();
        assert!(error.to_string().contains("audit log"), "{error}");
    }
}
