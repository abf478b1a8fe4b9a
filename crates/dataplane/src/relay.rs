//! The relay: one task per stream that carries bytes both ways until something ends it.
//!
//! Memory: bytes are read into a buffer that the thread owns, not the stream, and written from there at once. Only what the
//! other side does not take at that moment is kept, at most one buffer in each direction, and nothing more is read from the
//! one side before the other has taken it. So an idle stream owns no buffer, and a slow one a bounded one.

mod pending;

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use novasphere_wire::{
    close::{EndReason, StreamEnd},
    rfb::{filter::Filter, pixel_format::PictureFormat, server_filter::ServerFilter},
    rules::Rules,
    serial::SerialFilter,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep_until, timeout},
};

use self::pending::PendingBytes;
use crate::{
    idle::{IdleClock, KeystrokeHeuristic},
    peer::{PING_INTERVAL, Peer},
    registry::{Protocol, StreamCounters, StreamHandle},
};

/// Bytes read at once, and the most that a stream keeps in one direction for a peer that is slow.
pub const BUFFER_BYTES: usize = 64 * 1024;

/// Reads in one turn, so that a fast stream lets others run.
const READS_LIMIT: usize = 8;

/// How long a peer has to take what is left for it when the stream ends, and then the time to close its side.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch { read: vec![0; BUFFER_BYTES], filtered: Vec::with_capacity(BUFFER_BYTES) });
}

struct Scratch {
    read: Vec<u8>,
    filtered: Vec<u8>,
}

/// What is done with the viewer's bytes. What the target sends passes unread, but for its clipboard's text where that has to be
/// held back.
#[derive(Debug)]
pub enum ViewerFilter {
    /// RFB after the handshake.
    Rfb(Filter),
    /// A terminal.
    Serial(SerialFilter),
    /// SSH, which nobody between its ends can read: it passes as it is.
    Ssh(KeystrokeHeuristic),
}

impl ViewerFilter {
    /// The filter for a console under these rules.
    #[must_use]
    pub fn new(protocol: Protocol, rules: Rules) -> Self {
        match protocol {
            Protocol::Vnc => Self::Rfb(Filter::new(rules)),
            Protocol::Serial => Self::Serial(SerialFilter::new(&rules)),
            Protocol::Ssh => Self::Ssh(KeystrokeHeuristic::default()),
        }
    }

    /// The filter of what the target sends, for a viewer who must not get its clipboard. All others get every byte unread.
    fn server_filter(&self) -> Option<Box<ServerFilter>> {
        match self {
            Self::Rfb(filter) => filter.server_filter().map(Box::new),
            Self::Serial(_) | Self::Ssh(_) => None,
        }
    }

    /// The format of the pictures that the viewer has asked for.
    const fn pictures(&self) -> PictureFormat {
        match self {
            Self::Rfb(filter) => filter.pictures(),
            Self::Serial(_) | Self::Ssh(_) => PictureFormat::Undecided,
        }
    }

    /// Whether keys and pointer pass: only then does a person at the viewer use the target.
    const fn passes_input(&self) -> bool {
        match self {
            Self::Rfb(filter) => filter.passes_input(),
            Self::Serial(filter) => filter.passes_input(),
            Self::Ssh(_) => true,
        }
    }

    /// Appends what may pass to `output`, and says whether a person did something.
    fn push(&mut self, input: &[u8], output: &mut Vec<u8>, counters: &StreamCounters) -> Result<bool, StreamEnd> {
        match self {
            Self::Rfb(filter) => filter.push(input, output).map_err(|violation| StreamEnd {
                reason: violation.close(),
                detail: Some(violation.to_string()),
            }),
            Self::Serial(filter) => Ok(filter.push(input, output)),
            Self::Ssh(typing) => {
                output.extend_from_slice(input);
                Ok(typing.message(Instant::now(), counters.to_viewer()))
            }
        }
    }
}

/// What ends a stream beside its peers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deadlines {
    /// The stream ends then.
    pub expires: Option<Instant>,
    /// The stream ends after this time without human input.
    pub idle: Option<Duration>,
}

/// A stream that is ready to run: both handshakes are over.
pub struct Relay {
    viewer: Box<dyn Peer>,
    target: Box<dyn Peer>,
    filter: ViewerFilter,
    server_filter: Option<Box<ServerFilter>>,
    to_viewer: PendingBytes,
    to_target: PendingBytes,
    counters: Arc<StreamCounters>,
    idle: IdleClock,
    expires: Option<Instant>,
    next_ping: Instant,
    /// The viewer's end, when what it sent before is still to be delivered.
    ending: Option<StreamEnd>,
}

impl Relay {
    /// Puts a stream together.
    #[must_use]
    pub fn new(
        viewer: Box<dyn Peer>,
        target: Box<dyn Peer>,
        filter: ViewerFilter,
        deadlines: Deadlines,
        counters: Arc<StreamCounters>,
    ) -> Self {
        let now = Instant::now();
        Self {
            viewer,
            target,
            server_filter: filter.server_filter(),
            filter,
            to_viewer: PendingBytes::default(),
            to_target: PendingBytes::default(),
            counters,
            idle: IdleClock::new(deadlines.idle, now),
            expires: deadlines.expires,
            next_ping: now + PING_INTERVAL,
            ending: None,
        }
    }

    /// Carries bytes until something ends the stream; says what. The viewer has not been told yet: see [`ClosedStream::close`].
    pub async fn run(mut self, handle: &mut StreamHandle) -> ClosedStream {
        let mut timer = std::pin::pin!(sleep_until(self.deadline()));
        let end = loop {
            tokio::select! {
                biased;
                why = handle.ended() => break why.into(),
                () = timer.as_mut() => match self.tick(Instant::now()) {
                    Some(end) => break end,
                    None => timer.as_mut().reset(self.deadline()),
                },
                end = std::future::poll_fn(|context| self.poll(context)) => break end,
            }
        };
        // The target is let go first: from here on nothing of the viewer reaches it.
        ClosedStream {
            end,
            viewer: self.viewer,
            left: self.to_viewer,
            target: self.target,
        }
    }

    fn deadline(&self) -> Instant {
        [self.expires, self.idle.deadline()]
            .into_iter()
            .flatten()
            .fold(self.next_ping, Instant::min)
    }

    fn tick(&mut self, now: Instant) -> Option<StreamEnd> {
        if self.expires.is_some_and(|expires| expires <= now) {
            return Some(EndReason::Expired.into());
        }
        if self.idle.is_idle(now) {
            return Some(EndReason::Idle.into());
        }
        if self.next_ping > now {
            return None;
        }
        self.next_ping = now + PING_INTERVAL;
        // A peer that is not read from because the other one is stuck cannot be heard.
        if !self.viewer.ping() && self.to_target.is_empty() {
            return Some(StreamEnd {
                reason: EndReason::ViewerLost,
                detail: Some("the viewer answers no pings".into()),
            });
        }
        if !self.target.ping() && self.to_viewer.is_empty() {
            return Some(StreamEnd {
                reason: EndReason::TargetDisconnected,
                detail: Some("the target answers no pings".into()),
            });
        }
        None
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<StreamEnd> {
        SCRATCH.with_borrow_mut(|scratch| {
            // The viewer first: it sends little, and its keys shall not wait for a full screen.
            if let Poll::Ready(end) = self.poll_to_target(context, scratch) {
                return Poll::Ready(end);
            }
            if let Poll::Ready(end) = self.poll_to_viewer(context, scratch) {
                return Poll::Ready(end);
            }
            // Queued pings and pongs, and what TLS has kept.
            if let Poll::Ready(Err(error)) = Pin::new(&mut self.viewer).poll_flush(context) {
                return Poll::Ready(viewer_lost(&error));
            }
            if let Poll::Ready(Err(error)) = Pin::new(&mut self.target).poll_flush(context) {
                return Poll::Ready(target_lost(&error));
            }
            Poll::Pending
        })
    }

    fn poll_to_target(&mut self, context: &mut Context<'_>, scratch: &mut Scratch) -> Poll<StreamEnd> {
        for _ in 0..READS_LIMIT {
            match self.to_target.poll_drain(context, &mut self.target) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(target_lost(&error)),
                Poll::Ready(Ok(())) => {}
            }
            if let Some(end) = self.ending.take() {
                return Poll::Ready(end);
            }
            let input = match ready!(poll_read(&mut self.viewer, context, &mut scratch.read)) {
                Ok([]) => {
                    if self.viewer.has_left_for_good() {
                        self.counters.leaves_for_good();
                    }
                    return Poll::Ready(EndReason::ViewerLeft.into());
                }
                Ok(input) => input,
                Err(error) => return Poll::Ready(viewer_lost(&error)),
            };
            self.counters.received(input.len());
            scratch.filtered.clear();
            match self.filter.push(input, &mut scratch.filtered, &self.counters) {
                Ok(true) => {
                    let now = Instant::now();
                    self.idle.touch(now);
                    // What was dropped keeps nothing awake.
                    if self.filter.passes_input() {
                        self.counters.input(now);
                    }
                }
                Ok(false) => {}
                Err(end) => self.ending = Some(end),
            }
            if let Err(error) = self.to_target.send(context, &mut self.target, &scratch.filtered) {
                return Poll::Ready(target_lost(&error));
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_to_viewer(&mut self, context: &mut Context<'_>, scratch: &mut Scratch) -> Poll<StreamEnd> {
        for _ in 0..READS_LIMIT {
            match self.to_viewer.poll_drain(context, &mut self.viewer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(viewer_lost(&error)),
                Poll::Ready(Ok(())) => {}
            }
            let output = match ready!(poll_read(&mut self.target, context, &mut scratch.read)) {
                Ok([]) => return Poll::Ready(EndReason::TargetDisconnected.into()),
                Ok(output) => output,
                Err(error) => return Poll::Ready(target_lost(&error)),
            };
            let output = match &mut self.server_filter {
                None => output,
                Some(filter) => {
                    scratch.filtered.clear();
                    if let Err(violation) = filter.push(output, self.filter.pictures(), &mut scratch.filtered) {
                        return Poll::Ready(StreamEnd::new(EndReason::TargetRefused, violation.to_string()));
                    }
                    scratch.filtered.as_slice()
                }
            };
            self.counters.sent(output.len());
            if let Err(error) = self.to_viewer.send(context, &mut self.viewer, output) {
                return Poll::Ready(viewer_lost(&error));
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A stream that has ended, with a viewer who may not know it yet.
pub struct ClosedStream {
    /// Why.
    pub end: StreamEnd,
    viewer: Box<dyn Peer>,
    left: PendingBytes,
    target: Box<dyn Peer>,
}

impl ClosedStream {
    /// Closes both connections, and tells the viewer why. Takes at most about 3 s, and milliseconds with live peers.
    pub async fn close(self) {
        let Self {
            end: StreamEnd { reason: why, .. },
            mut viewer,
            mut left,
            mut target,
        } = self;
        let close_target = async {
            let closed =
                std::future::poll_fn(|context| Pin::new(&mut *target).poll_close(context, EndReason::ViewerLeft));
            let _ = timeout(CLOSE_TIMEOUT, closed).await;
            drop(target);
        };
        let close_viewer = async {
            let rest = std::future::poll_fn(|context| left.poll_drain(context, &mut viewer));
            let _ = timeout(FLUSH_TIMEOUT, rest).await;
            let closed = std::future::poll_fn(|context| Pin::new(&mut *viewer).poll_close(context, why));
            let _ = timeout(CLOSE_TIMEOUT, closed).await;
            drop(viewer);
        };
        tokio::join!(close_viewer, close_target);
    }
}

/// Reads into a buffer that outlives the read only as long as the answer.
fn poll_read<'a>(
    peer: &mut Box<dyn Peer>,
    context: &mut Context<'_>,
    buffer: &'a mut [u8],
) -> Poll<io::Result<&'a [u8]>> {
    let mut read = ReadBuf::new(buffer);
    ready!(Pin::new(peer).poll_read(context, &mut read))?;
    let length = read.filled().len();
    Poll::Ready(Ok(buffer.get(..length).unwrap_or_default()))
}

fn viewer_lost(error: &io::Error) -> StreamEnd {
    let why = if error.kind() == io::ErrorKind::InvalidData {
        EndReason::ProtocolError
    } else {
        EndReason::ViewerLost
    };
    StreamEnd {
        reason: why,
        detail: Some(error.to_string()),
    }
}

fn target_lost(error: &io::Error) -> StreamEnd {
    StreamEnd {
        reason: EndReason::TargetDisconnected,
        detail: Some(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
