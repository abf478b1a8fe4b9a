//! The opening of an SSH stream: both ends show that they speak it.

use std::io;

use novasphere_wire::{
    close::EndReason,
    ssh::{Identification, IdentificationError, Progress, Side},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::EntryFailure;

/// Passes on what both sides of SSH say first, and makes sure that it is SSH. Nothing beyond is read.
pub(super) async fn identify<V, T>(viewer: &mut V, target: &mut T) -> Result<(), EntryFailure>
where
    V: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (mut from_viewer, mut to_viewer) = tokio::io::split(viewer);
    let (mut from_target, mut to_target) = tokio::io::split(target);
    // Either side may wait for the other one's word (RFC 4253 section 5).
    let client = async {
        let passed = pass_identification(Side::Client, &mut from_viewer, &mut to_target).await;
        passed.map_err(|lost| match lost {
            Lost::Sender(error) => error.into(),
            Lost::Receiver(error) => EntryFailure::new(EndReason::TargetDisconnected, error.to_string()),
            Lost::NotSsh(error) => EntryFailure::new(EndReason::ProtocolError, format!("{}: {error}", error.reason())),
        })
    };
    let server = async {
        let passed = pass_identification(Side::Server, &mut from_target, &mut to_viewer).await;
        passed.map_err(|lost| match lost {
            Lost::Sender(error) => EntryFailure::new(EndReason::TargetDisconnected, error.to_string()),
            Lost::Receiver(error) => error.into(),
            Lost::NotSsh(error) => EntryFailure::new(EndReason::TargetRefused, format!("{}: {error}", error.reason())),
        })
    };
    tokio::try_join!(client, server).map(drop)
}

/// Why an identification does not reach the other side.
enum Lost {
    Sender(io::Error),
    Receiver(io::Error),
    NotSsh(IdentificationError),
}

/// Byte by byte, so that nothing behind the identification has to be kept.
async fn pass_identification<R, W>(side: Side, from: &mut R, to: &mut W) -> Result<(), Lost>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut identification = Identification::new(side);
    loop {
        let byte = from.read_u8().await.map_err(Lost::Sender)?;
        let progress = identification.push(byte).map_err(Lost::NotSsh)?;
        if progress == Progress::More {
            continue;
        }
        to.write_all(identification.line()).await.map_err(Lost::Receiver)?;
        to.flush().await.map_err(Lost::Receiver)?;
        if progress == Progress::Done {
            return Ok(());
        }
    }
}
