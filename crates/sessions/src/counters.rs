//! Once a minute: how much each stream has carried and when somebody last did something, where that has changed; and
//! connections that stand in a status under this process's name and are not its own.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use jiff::Timestamp;
use novasphere_core::console_session::connection::record_usage;
use novasphere_crd::ConsoleSession;
use novasphere_dataplane::registry::{Registry, SessionId, Stream};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    live::LiveStreams,
    report::Report,
    sessions::Sessions,
    status::{Decision, Pure, StatusWriter, WriteError},
};

/// How often human input is written, at most.
pub(super) const INPUT: Duration = Duration::from_mins(1);

/// How often bytes alone are written: a screen with a clock on it changes without anybody at it.
pub(super) const BYTES: Duration = Duration::from_mins(5);

/// How often it is looked whether something is due.
const TURN: Duration = Duration::from_secs(5);

/// A connection that nobody here carries has to be so old before it is taken out: it may be about to be noted.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// Writes counters until it is dropped.
pub(crate) struct Counting {
    pub(crate) holder: String,
    pub(crate) registry: Registry,
    pub(crate) sessions: Sessions,
    pub(crate) writer: StatusWriter,
    pub(crate) live: LiveStreams,
    pub(crate) report: Report,
}

/// What was last written of a stream.
#[derive(Clone, Copy, Debug)]
struct Written {
    at: Instant,
    last_input: Instant,
    bytes: u64,
}

impl Written {
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
        (since >= INPUT && counters.last_input() > self.last_input) || (since >= BYTES && bytes(stream) != self.bytes)
    }
}

fn bytes(stream: &Stream) -> u64 {
    stream.counters.to_viewer() + stream.counters.from_viewer()
}

impl Counting {
    pub(crate) async fn run(self) {
        let mut written: HashMap<u64, Written> = HashMap::new();
        let mut turns = interval(TURN);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            let now = Instant::now();
            let streams = self.registry.all();
            let open: HashSet<u64> = streams.iter().map(|stream| stream.number).collect();
            written.retain(|number, _| open.contains(number));
            let due = |stream: &&Stream| {
                let last = written.get(&stream.number).copied();
                last.unwrap_or_else(|| Written::of(stream)).is_due(stream, now)
            };
            let sessions: HashSet<SessionId> = streams
                .iter()
                .filter(due)
                .map(|stream| stream.info.session.clone())
                .collect();
            for session in sessions {
                let of_session = self.registry.of_session(&session);
                if self.write(&session, &of_session).await {
                    written.extend(of_session.iter().map(|stream| (stream.number, now_of(stream, now))));
                }
            }
            self.sweep();
        }
    }

    /// All streams of a session in one write. Returns false when it has to be tried again.
    async fn write(&self, id: &SessionId, streams: &[Stream]) -> bool {
        let mut counted = Pure(|session: &ConsoleSession| {
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
            Decision::change(&before, after)
        });
        match self.writer.update(id, &mut counted).await {
            Ok(_) | Err(WriteError::Gone) => true,
            Err(error) => {
                tracing::debug!(session = %id, "counters are not written: {error}");
                false
            }
        }
    }

    /// Takes out what a write whose answer got lost has left behind.
    fn sweep(&self) {
        let now = Timestamp::now();
        for (id, connection) in self.sessions.connections_of(&self.holder) {
            let age = now.duration_since(connection.connected_at.0);
            if age.as_secs() >= FORGOTTEN.as_secs().cast_signed() && self.live.get(&id, &connection.id).is_none() {
                self.report.forgotten(&id, &connection.user, &connection.id);
            }
        }
    }
}

fn now_of(stream: &Stream, now: Instant) -> Written {
    Written {
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
    use novasphere_dataplane::registry::{Protocol, StreamInfo, Transport};

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
        let written = Written::of(stream);
        assert_eq!(last_input(stream), None);
        tokio::time::advance(INPUT * 6).await;
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
