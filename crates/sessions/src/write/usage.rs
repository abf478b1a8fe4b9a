//! Once a minute: how much each stream has carried and when somebody last did something, where that has changed; and
//! connections that stand in a status under this process's name and are not its own.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use novasphere_core::console_session::connection::record_usage;
use novasphere_crd::ConsoleSession;
use novasphere_dataplane::registry::{SessionId, Stream};
use novasphere_runtime::optimistic::{Infallibly, UpdateError};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::StatusDecision;
use crate::plane::SessionPlane;

/// How often human input is written, at most.
pub(super) const INPUT_WRITE_INTERVAL: Duration = Duration::from_mins(1);

/// How often bytes alone are written: a screen with a clock on it changes without anybody at it.
pub(super) const BYTES_WRITE_INTERVAL: Duration = Duration::from_mins(5);

/// How often it is looked whether something is due.
const TICK_INTERVAL: Duration = Duration::from_secs(5);

/// A connection that nobody here carries has to be so old before it is taken out: it may be about to be noted.
const ORPHAN_GRACE: Duration = Duration::from_secs(30);

/// Writes counters until it is dropped.
pub(crate) struct UsageWriter(Arc<SessionPlane>);

/// What was last written of a stream.
#[derive(Clone, Copy, Debug)]
struct WrittenUsage {
    at: Instant,
    last_input: Instant,
    bytes: u64,
}

impl WrittenUsage {
    fn of(stream: &Stream) -> Self {
        Self {
            at: stream.counters.opened(),
            last_input: stream.counters.opened(),
            bytes: 0,
        }
    }

    fn is_due(&self, stream: &Stream, now: Instant) -> bool {
        let since = now.duration_since(self.at);
        let counters = &stream.counters;
        (since >= INPUT_WRITE_INTERVAL && counters.last_input() > self.last_input)
            || (since >= BYTES_WRITE_INTERVAL && bytes(stream) != self.bytes)
    }
}

fn bytes(stream: &Stream) -> u64 {
    stream.counters.to_viewer() + stream.counters.from_viewer()
}

impl UsageWriter {
    pub(crate) const fn new(plane: Arc<SessionPlane>) -> Self {
        Self(plane)
    }

    pub(crate) async fn run(self) {
        let mut written: HashMap<u64, WrittenUsage> = HashMap::new();
        let mut turns = interval(TICK_INTERVAL);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            let now = Instant::now();
            let streams = self.0.registry.all();
            let open: HashSet<u64> = streams.iter().map(|stream| stream.number).collect();
            written.retain(|number, _| open.contains(number));
            let due = |stream: &&Stream| {
                let last = written.get(&stream.number).copied();
                last.unwrap_or_else(|| WrittenUsage::of(stream)).is_due(stream, now)
            };
            let sessions: HashSet<SessionId> = streams
                .iter()
                .filter(due)
                .map(|stream| stream.info.session.clone())
                .collect();
            for session in sessions {
                let of_session = self.0.registry.of_session(&session);
                if self.write(&session, &of_session).await {
                    written.extend(of_session.iter().map(|stream| (stream.number, now_of(stream, now))));
                }
            }
            self.sweep();
        }
    }

    /// All streams of a session in one write. Returns false when it has to be tried again.
    async fn write(&self, id: &SessionId, streams: &[Stream]) -> bool {
        let mut counted = Infallibly(|session: &ConsoleSession| {
            let before = session.status.clone().unwrap_or_default();
            let after = streams.iter().fold(before.clone(), |status, stream| {
                let counters = &stream.counters;
                record_usage(
                    &status,
                    &stream.info.connection,
                    counters.to_viewer(),
                    counters.from_viewer(),
                    last_input(stream),
                )
            });
            StatusDecision::change(&before, after)
        });
        match self.0.writer.update(id, &mut counted).await {
            Ok(_) | Err(UpdateError::Gone) => true,
            Err(error) => {
                tracing::debug!(session = %id, "counters are not written: {error}");
                false
            }
        }
    }

    /// Takes out what a write whose answer got lost has left behind.
    fn sweep(&self) {
        let now = Timestamp::now();
        for (id, connection) in self.0.view.connections_of(&self.0.holder) {
            let age = now.duration_since(connection.connected_at.0);
            if age.as_secs() >= ORPHAN_GRACE.as_secs().cast_signed() && self.0.active.get(&id, &connection.id).is_none()
            {
                self.0.reporter.orphaned(&id, &connection.user, &connection.id);
            }
        }
    }
}

fn now_of(stream: &Stream, now: Instant) -> WrittenUsage {
    WrittenUsage {
        at: now,
        last_input: stream.counters.last_input(),
        bytes: bytes(stream),
    }
}

/// `None` when nobody has done anything yet.
fn last_input(stream: &Stream) -> Option<Timestamp> {
    let counters = &stream.counters;
    if counters.last_input() == counters.opened() {
        return None;
    }
    Timestamp::now().checked_sub(counters.last_input().elapsed()).ok()
}

#[cfg(test)]
mod tests {
    use novasphere_dataplane::registry::{Protocol, Registry, StreamInfo, Transport};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn input_is_due_after_a_minute_and_bytes_after_five() {
        let handle = Registry::default().open(StreamInfo {
            session: SessionId {
                namespace: "team".into(),
                name: "a".into(),
                uid: "1".into(),
            },
            connection: "c".into(),
            user: "ann".into(),
            target: "VmAccess/web".into(),
            client: [192, 0, 2, 1].into(),
            transport: Transport::WebSocket,
            protocol: Protocol::Vnc,
        });
        let stream = handle.stream();
        let written = WrittenUsage::of(stream);
        assert_eq!(last_input(stream), None);
        tokio::time::advance(INPUT_WRITE_INTERVAL * 6).await;
        assert!(!written.is_due(stream, Instant::now()), "nothing has happened");
        stream.counters.sent(5);
        assert!(written.is_due(stream, Instant::now()));
        let written = now_of(stream, Instant::now());
        stream.counters.input(Instant::now() + Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(!written.is_due(stream, Instant::now()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(written.is_due(stream, Instant::now()));
        assert!(last_input(stream).is_some());
    }
}
