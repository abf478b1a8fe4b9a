//! What a peer has not taken yet.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::{AsyncWrite, Peer};

/// Bytes on their way to a peer that is slow. Empty, and then without memory, while it is not.
#[derive(Debug, Default)]
pub(super) struct PendingBytes {
    bytes: Vec<u8>,
    sent: usize,
}

impl PendingBytes {
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Sends the pending bytes.
    pub(super) fn poll_drain(&mut self, context: &mut Context<'_>, peer: &mut Box<dyn Peer>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.bytes.get(self.sent..)
            && !rest.is_empty()
        {
            match ready!(Pin::new(&mut *peer).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        if !self.bytes.is_empty() {
            *self = Self::default();
        }
        Poll::Ready(Ok(()))
    }

    /// Sends bytes as far as the peer takes them now, and holds the rest. Nothing may be pending before.
    pub(super) fn send(&mut self, context: &mut Context<'_>, peer: &mut Box<dyn Peer>, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match Pin::new(&mut *peer).poll_write(context, rest) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => rest = rest.get(written..).unwrap_or_default(),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.bytes = rest.to_vec();
                    break;
                }
            }
        }
        Ok(())
    }
}
