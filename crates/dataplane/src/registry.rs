//! The streams that are open in this process, and their ends.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

pub use novasphere_runtime::optimistic::ObjectKey as SessionId;
use novasphere_wire::close::EndReason;
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

/// How a viewer is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr)]
pub enum Transport {
    /// By WebSocket.
    WebSocket,
    /// By RFB over TCP.
    Rfb,
    /// By WebSocket through kube-apiserver.
    KubeApiserver,
}

/// Which console a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr)]
pub enum Protocol {
    /// The screen, by RFB.
    Vnc,
    /// The serial line.
    Serial,
    /// Secure shell, whose bytes are for the two ends alone.
    Ssh,
}

/// Who is connected to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// The session.
    pub session: SessionId,
    /// The stream's name in the session's status; empty when there is none.
    pub connection: String,
    /// The user who got the token.
    pub user: String,
    /// The object whose console it is, such as `VmAccess/web-1`.
    pub target: String,
    /// Where the viewer connects from.
    pub client: IpAddr,
    /// How the viewer is connected.
    pub transport: Transport,
    /// Which console it is.
    pub protocol: Protocol,
}

/// What a stream has carried so far. Cheap to read while it runs.
#[derive(Debug)]
pub struct StreamCounters {
    opened: Instant,
    to_viewer: AtomicU64,
    from_viewer: AtomicU64,
    last_input: AtomicU64,
    left_for_good: AtomicBool,
}

impl StreamCounters {
    fn new() -> Self {
        Self {
            opened: Instant::now(),
            to_viewer: AtomicU64::new(0),
            from_viewer: AtomicU64::new(0),
            last_input: AtomicU64::new(0),
            left_for_good: AtomicBool::new(false),
        }
    }

    /// Counts bytes sent to the viewer.
    pub fn sent(&self, bytes: usize) {
        self.to_viewer.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts bytes received from the viewer.
    pub fn received(&self, bytes: usize) {
        self.from_viewer.fetch_add(bytes as u64, Relaxed);
    }

    /// Notes that a person did something at this time that reached the target.
    pub fn input(&self, now: Instant) {
        let millis = now.duration_since(self.opened).as_millis();
        self.last_input
            .store(u64::try_from(millis).unwrap_or(u64::MAX), Relaxed);
    }

    /// Notes that the viewer has said that they leave for good.
    pub fn leaves_for_good(&self) {
        self.left_for_good.store(true, Relaxed);
    }

    /// Whether the viewer has said so. One who has not may come back.
    #[must_use]
    pub fn has_left_for_good(&self) -> bool {
        self.left_for_good.load(Relaxed)
    }

    /// When the stream was opened.
    #[must_use]
    pub const fn opened(&self) -> Instant {
        self.opened
    }

    /// Bytes sent to the viewer, without the transport's own.
    #[must_use]
    pub fn to_viewer(&self) -> u64 {
        self.to_viewer.load(Relaxed)
    }

    /// Bytes received from the viewer, without the transport's own, before the filter.
    #[must_use]
    pub fn from_viewer(&self) -> u64 {
        self.from_viewer.load(Relaxed)
    }

    /// When a person last did something; when the stream was opened if nobody has.
    #[must_use]
    pub fn last_input(&self) -> Instant {
        self.opened + Duration::from_millis(self.last_input.load(Relaxed))
    }
}

/// A stream's number in this process.
pub type StreamNumber = u64;

/// A stream as it is now.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Its number.
    pub number: StreamNumber,
    /// Who is connected to what.
    pub info: Arc<StreamInfo>,
    /// What it has carried.
    pub counters: Arc<StreamCounters>,
}

/// All streams of this process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Registry(Arc<RegistryInner>);

#[derive(Debug, Default)]
struct RegistryInner {
    streams: Mutex<StreamTable>,
    closed: Notify,
}

#[derive(Debug, Default)]
struct StreamTable {
    next: StreamNumber,
    by_session: HashMap<SessionId, Vec<StreamEntry>>,
    /// The session of each connection that has a name.
    by_connection: HashMap<String, SessionId>,
    count: usize,
    /// Streams that are over and whose viewers are being told.
    closing: usize,
}

impl StreamTable {
    const fn left(&self) -> usize {
        self.count + self.closing
    }
}

#[derive(Debug)]
struct StreamEntry {
    stream: Stream,
    end: Option<oneshot::Sender<EndReason>>,
}

impl Registry {
    /// Enters a stream. It stays until the handle is dropped.
    #[must_use]
    pub fn open(&self, info: StreamInfo) -> StreamHandle {
        let (end, ended) = oneshot::channel();
        let mut streams = self.lock();
        let stream = Stream {
            number: streams.next,
            info: Arc::new(info),
            counters: Arc::new(StreamCounters::new()),
        };
        streams.next += 1;
        streams.count += 1;
        let session = stream.info.session.clone();
        if !stream.info.connection.is_empty() {
            let connection = stream.info.connection.clone();
            streams.by_connection.insert(connection, session.clone());
        }
        streams.by_session.entry(session).or_default().push(StreamEntry {
            stream: stream.clone(),
            end: Some(end),
        });
        drop(streams);
        StreamHandle {
            registry: self.clone(),
            stream,
            ended,
        }
    }

    /// Ends all streams of a session, and says how many.
    #[expect(clippy::must_use_candidate, reason = "the number is for logs")]
    pub fn end_session(&self, session: &SessionId, why: EndReason) -> usize {
        let mut streams = self.lock();
        streams
            .by_session
            .get_mut(session)
            .map_or(0, |entries| entries.iter_mut().map(|entry| entry.end(why)).sum())
    }

    /// Ends the stream of a connection, and says whether there was one.
    #[expect(clippy::must_use_candidate, reason = "the answer is for logs")]
    pub fn end_connection(&self, connection: &str, why: EndReason) -> bool {
        let mut streams = self.lock();
        let Some(session) = streams.by_connection.get(connection).cloned() else {
            return false;
        };
        let entries = streams.by_session.get_mut(&session).into_iter().flatten();
        let of_connection = entries.filter(|entry| entry.stream.info.connection == connection);
        of_connection.map(|entry| entry.end(why)).sum::<usize>() > 0
    }

    /// Ends the streams that `which` picks, and says how many.
    pub fn end_where(&self, which: impl Fn(&Stream) -> bool, why: EndReason) -> usize {
        let mut streams = self.lock();
        let picked = streams
            .by_session
            .values_mut()
            .flatten()
            .filter(|entry| which(&entry.stream));
        picked.map(|entry| entry.end(why)).sum()
    }

    /// The streams of a session.
    #[must_use]
    pub fn of_session(&self, session: &SessionId) -> Vec<Stream> {
        let streams = self.lock();
        streams
            .by_session
            .get(session)
            .into_iter()
            .flatten()
            .map(|entry| entry.stream.clone())
            .collect()
    }

    /// All streams.
    #[must_use]
    pub fn all(&self) -> Vec<Stream> {
        self.lock()
            .by_session
            .values()
            .flatten()
            .map(|entry| entry.stream.clone())
            .collect()
    }

    /// How many streams there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().count
    }

    /// Drains: waits `grace` for streams to end, then closes the rest with [`EndReason::Restarting`]. Returns when all are gone,
    /// at the latest `last_wait` after the grace.
    ///
    /// The listeners must have stopped before.
    pub async fn drain(&self, grace: Duration, last_wait: Duration) {
        if tokio::time::timeout(grace, self.empty()).await.is_err() {
            self.end_where(|_| true, EndReason::Restarting);
            let _ = tokio::time::timeout(last_wait, self.empty()).await;
        }
    }

    /// Returns when there is no stream and no viewer who is being told of an end.
    async fn empty(&self) {
        loop {
            let closed = self.0.closed.notified();
            if self.lock().left() == 0 {
                return;
            }
            closed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, StreamTable> {
        self.0.streams.lock()
    }

    fn remove(&self, stream: &Stream) {
        let mut streams = self.lock();
        if let Some(entries) = streams.by_session.get_mut(&stream.info.session) {
            entries.retain(|entry| entry.stream.number != stream.number);
            if entries.is_empty() {
                streams.by_session.remove(&stream.info.session);
            }
        }
        streams.by_connection.remove(&stream.info.connection);
        streams.count -= 1;
        drop(streams);
        self.0.closed.notify_waiters();
    }
}

impl StreamEntry {
    /// The first end counts.
    fn end(&mut self, why: EndReason) -> usize {
        usize::from(self.end.take().is_some_and(|end| end.send(why).is_ok()))
    }
}

/// An open stream's place in the registry. There is one for each stream; dropping it takes the stream out.
#[derive(Debug)]
pub struct StreamHandle {
    registry: Registry,
    stream: Stream,
    ended: oneshot::Receiver<EndReason>,
}

impl StreamHandle {
    /// The stream.
    #[must_use]
    pub const fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Returns when somebody ends the stream.
    pub async fn ended(&mut self) -> EndReason {
        // The sender goes away unused only with the registry itself.
        (&mut self.ended).await.unwrap_or(EndReason::Internal)
    }
}

impl StreamHandle {
    /// Takes the stream out, with its viewer still to be told: a restart waits for that as well.
    #[must_use]
    pub fn leave(self) -> ClosingGuard {
        self.registry.lock().closing += 1;
        ClosingGuard(self.registry.clone())
    }
}

/// A viewer who is being told the end of a stream that is out of the registry.
#[derive(Debug)]
pub struct ClosingGuard(Registry);

impl Drop for ClosingGuard {
    fn drop(&mut self) {
        self.0.lock().closing -= 1;
        self.0.0.closed.notify_waiters();
    }
}

impl Drop for StreamHandle {
    fn drop(&mut self) {
        self.registry.remove(&self.stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(session: &str, user: &str) -> StreamInfo {
        StreamInfo {
            session: SessionId {
                namespace: "team".into(),
                name: session.into(),
                uid: "1".into(),
            },
            connection: String::new(),
            user: user.into(),
            target: "VmAccess/web".into(),
            client: [192, 0, 2, 1].into(),
            transport: Transport::Rfb,
            protocol: Protocol::Vnc,
        }
    }

    #[tokio::test]
    async fn ending_a_session_ends_its_streams_and_no_others() {
        let registry = Registry::default();
        let mut mine = [registry.open(info("a", "ann")), registry.open(info("a", "ben"))];
        let other = registry.open(info("b", "ann"));
        assert_eq!(registry.of_session(&mine[0].stream().info.session).len(), 2);
        assert_eq!(
            registry.end_session(&mine[0].stream().info.session.clone(), EndReason::Revoked),
            2
        );
        assert_eq!(
            registry.end_where(|_| true, EndReason::Expired),
            1,
            "the first end counts"
        );
        for handle in &mut mine {
            assert_eq!(handle.ended().await, EndReason::Revoked);
        }
        drop(mine);
        assert_eq!(registry.count(), 1);
        drop(other);
        assert_eq!(registry.count(), 0);
        assert!(registry.lock().by_session.is_empty());
    }

    #[tokio::test]
    async fn the_end_of_a_connection_ends_its_stream_alone_and_once() {
        let registry = Registry::default();
        let named = |connection: &str| StreamInfo {
            connection: connection.into(),
            ..info("a", "ann")
        };
        let (mut one, two) = (registry.open(named("one")), registry.open(named("two")));
        let unnamed = registry.open(info("a", "ann"));
        assert!(!registry.end_connection("three", EndReason::Replaced));
        assert!(!registry.end_connection("", EndReason::Replaced), "that is no name");
        assert!(registry.end_connection("one", EndReason::Replaced));
        assert!(
            !registry.end_connection("one", EndReason::Revoked),
            "the first end counts"
        );
        assert_eq!(one.ended().await, EndReason::Replaced);
        drop(one);
        assert!(!registry.end_connection("one", EndReason::Revoked), "it is gone");
        assert_eq!(registry.count(), 2);
        drop((two, unnamed));
        assert!(registry.lock().by_connection.is_empty());
    }

    #[tokio::test]
    async fn streams_of_a_user_can_be_picked() {
        let registry = Registry::default();
        let (mut ann, _ben) = (registry.open(info("a", "ann")), registry.open(info("a", "ben")));
        assert_eq!(
            registry.end_where(|stream| stream.info.user == "ann", EndReason::AccessWithdrawn),
            1
        );
        assert_eq!(ann.ended().await, EndReason::AccessWithdrawn);
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_waits_for_the_grace_and_then_ends_the_rest() {
        let registry = Registry::default();
        let mut handle = registry.open(info("a", "ann"));
        let stream = tokio::spawn(async move { handle.ended().await });
        let start = Instant::now();
        registry.drain(Duration::from_secs(5), Duration::from_secs(3)).await;
        assert_eq!(stream.await.unwrap(), EndReason::Restarting);
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        registry.drain(Duration::from_secs(5), Duration::from_secs(3)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(5), "nobody to wait for");
        let closing = registry.open(info("a", "ann")).leave();
        assert_eq!(registry.count(), 0);
        registry.drain(Duration::from_secs(1), Duration::from_secs(3)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(9), "a viewer is still being told");
        drop(closing);
    }

    #[tokio::test(start_paused = true)]
    async fn counters_tell_when_somebody_did_something() {
        let handle = Registry::default().open(info("a", "ann"));
        let counters = &handle.stream().counters;
        assert_eq!(counters.last_input(), counters.opened());
        tokio::time::advance(Duration::from_secs(9)).await;
        counters.input(Instant::now());
        counters.sent(3);
        counters.received(4);
        assert_eq!(counters.last_input(), counters.opened() + Duration::from_secs(9));
        assert_eq!((counters.to_viewer(), counters.from_viewer()), (3, 4));
    }
}
