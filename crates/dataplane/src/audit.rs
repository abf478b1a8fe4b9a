//! The audit log: one JSON line for each decision about a right, each stream opened and closed, and each viewer turned away.
//!
//! Lines are numbered for each process, so that a gap shows. Those of strangers are counted together, so that they wash nothing out.

pub mod output;
mod strangers;

use std::{io::Write, net::IpAddr, sync::Arc, time::Duration};

use jiff::Timestamp;
use novasphere_wire::close::StreamEnd;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::strangers::{Stranger, Strangers};
use crate::{
    admission::{EntryRejected, Observer},
    registry::{Stream, StreamInfo, StreamNumber, Transport},
};

/// How often it is looked whether refusals that were counted together are due.
const TICK_INTERVAL: Duration = Duration::from_secs(10);

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
pub enum AuditEvent {
    /// A token was given out.
    TokenGranted,
    /// A user asked for a token and got none.
    TokenDenied,
    /// A session was revoked, and this process ended its streams.
    Revoked,
    /// This process ended streams for another reason than revocation: a right was withdrawn, a session is over, somebody took over.
    Cut,
    /// A viewer woke a desktop.
    Woken,
    /// A viewer has come back to their place without a token; the stream's line follows.
    Resumed,
    /// What lets a viewer come back was used twice, and was withdrawn.
    CredentialReused,
    /// A stream was opened.
    Opened,
    /// A stream has ended.
    Closed,
    /// A viewer got no stream.
    Refused,
    /// The process ends in order: nothing of it is missing after this line.
    Stopped,
}

/// A decision about a right, by the code that decides. What is not known is absent.
#[derive(Clone, Debug, Default)]
pub struct AuditRecord<'a> {
    /// The session, as `namespace/name`.
    pub session: Option<String>,
    /// The UID of the session.
    pub session_uid: Option<&'a str>,
    /// The object whose console it is about, such as `VmAccess/web-1`.
    pub target: Option<String>,
    /// The user whom it is about.
    pub user: Option<&'a str>,
    /// Where the user's client connects from.
    pub client: Option<IpAddr>,
    /// How the user connects.
    pub transport: Option<Transport>,
    /// Why, in one word.
    pub reason: Option<&'a str>,
    /// Why, in a sentence. Never a token.
    pub detail: Option<&'a str>,
}

/// Writes the audit log. Lines never hold a token or what was typed. Clones write the same log.
#[derive(Clone)]
pub struct AuditLog(Arc<LogInner>);

struct LogInner {
    gateway: String,
    output: Mutex<Output>,
    strangers: Mutex<Strangers>,
}

struct Output {
    /// Of the next line.
    sequence: u64,
    writer: Box<dyn Write + Send>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    time: Timestamp,
    sequence: u64,
    event: &'static str,
    gateway: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<StreamNumber>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_uid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transport: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_sent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_received: Option<u64>,
}

impl AuditLog {
    /// A log of the gateway with this name, such as that of its Pod.
    #[must_use]
    pub fn new(gateway: String, writer: Box<dyn Write + Send>) -> Self {
        Self(Arc::new(LogInner {
            gateway,
            output: Mutex::new(Output { sequence: 1, writer }),
            strangers: Mutex::default(),
        }))
    }

    /// Writes a decision.
    pub fn record(&self, event: AuditEvent, record: &AuditRecord<'_>) {
        self.write(Line {
            session: record.session.clone(),
            session_uid: record.session_uid,
            target: record.target.as_deref(),
            user: record.user,
            client: record.client,
            transport: record.transport.map(Into::into),
            reason: record.reason,
            detail: record.detail,
            ..self.line(event)
        });
    }

    /// Writes what was counted, whenever it is due. Returns never.
    pub async fn run(self) {
        let mut turns = interval(TICK_INTERVAL);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            let due = self.0.strangers.lock().due(Instant::now());
            self.write_counted(due);
        }
    }

    /// Writes what was counted, and that the process ends.
    pub fn stop(&self) {
        let counted = self.0.strangers.lock().take(Instant::now());
        self.write_counted(counted);
        self.record(AuditEvent::Stopped, &AuditRecord::default());
    }

    fn write_counted(&self, counted: Vec<Stranger>) {
        for stranger in counted {
            self.write(Line {
                client: stranger.client,
                reason: Some(stranger.reason),
                count: Some(stranger.count),
                seconds: Some(stranger.within.as_secs_f64()),
                ..self.line(AuditEvent::Refused)
            });
        }
    }

    fn line(&self, event: AuditEvent) -> Line<'_> {
        Line {
            time: Timestamp::now(),
            sequence: 0,
            event: event.into(),
            gateway: &self.0.gateway,
            stream: None,
            session: None,
            session_uid: None,
            target: None,
            user: None,
            client: None,
            transport: None,
            protocol: None,
            reason: None,
            detail: None,
            count: None,
            seconds: None,
            bytes_sent: None,
            bytes_received: None,
        }
    }

    fn of_stream<'a>(&'a self, event: AuditEvent, number: StreamNumber, info: &'a StreamInfo) -> Line<'a> {
        Line {
            stream: Some(number),
            session: Some(info.session.to_string()),
            session_uid: Some(&info.session.uid),
            target: Some(&info.target),
            user: Some(&info.user),
            client: Some(info.client),
            transport: Some(info.transport.into()),
            protocol: Some(info.protocol.into()),
            ..self.line(event)
        }
    }

    /// Numbers a line and writes it. A line that could not be written leaves a gap.
    fn write(&self, mut line: Line<'_>) {
        let mut output = self.0.output.lock();
        line.sequence = output.sequence;
        output.sequence += 1;
        let written = serde_json::to_vec(&line)
            .map_err(std::io::Error::from)
            .and_then(|mut bytes| {
                bytes.push(b'\n');
                output.writer.write_all(&bytes)?;
                output.writer.flush()
            });
        drop(output);
        if let Err(error) = written {
            tracing::error!(%error, event = line.event, sequence = line.sequence, "cannot write the audit log");
        }
    }
}

impl Observer for AuditLog {
    fn on_opened(&self, stream: &Stream) {
        self.write(self.of_stream(AuditEvent::Opened, stream.number, &stream.info));
    }

    fn on_closed(&self, stream: &Stream, end: &StreamEnd) {
        self.write(Line {
            reason: Some(end.reason.reason()),
            detail: end.detail.as_deref(),
            seconds: Some(stream.counters.opened().elapsed().as_secs_f64()),
            bytes_sent: Some(stream.counters.to_viewer()),
            bytes_received: Some(stream.counters.from_viewer()),
            ..self.of_stream(AuditEvent::Closed, stream.number, &stream.info)
        });
    }

    fn on_rejected(&self, refused: &EntryRejected) {
        let reason = refused.end.reason.reason();
        if refused.user.is_none()
            && !self
                .0
                .strangers
                .lock()
                .is_written(refused.client, reason, Instant::now())
        {
            return;
        }
        self.write(Line {
            session: refused.session.clone(),
            target: refused.target.as_deref(),
            user: refused.user.as_deref(),
            client: Some(refused.client),
            transport: Some(refused.transport.into()),
            reason: Some(reason),
            detail: refused.end.detail.as_deref(),
            ..self.line(AuditEvent::Refused)
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use novasphere_wire::close::{EndReason, StreamEnd};
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        admission::ConnectionSlot,
        registry::{Protocol, Registry, SessionId, Transport},
    };

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Shared {
        fn lines(&self) -> Vec<Value> {
            let text = String::from_utf8(self.0.lock().clone()).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }
    }

    fn rejected(client: [u8; 4], user: Option<&str>) -> EntryRejected {
        EntryRejected {
            end: StreamEnd {
                reason: EndReason::TokenRefused,
                detail: Some("used up".into()),
            },
            counted_as: "TokenRefused",
            client: client.into(),
            transport: Transport::WebSocket,
            session: None,
            user: user.map(str::to_owned),
            target: None,
            slot: ConnectionSlot::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_are_counted_together_and_known_users_are_not() {
        let output = Shared::default();
        let log = AuditLog::new("console-0".into(), Box::new(output.clone()));
        for _ in 0..1000 {
            log.on_rejected(&rejected([198, 51, 100, 7], None));
            log.on_rejected(&rejected([192, 0, 2, 1], Some("ann")));
        }
        let of_strangers = |lines: &[Value]| lines.iter().filter(|line| line.get("user").is_none()).count();
        assert_eq!(of_strangers(&output.lines()), 5);
        assert_eq!(output.lines().len(), 1005);
        let task = tokio::spawn(log.clone().run());
        tokio::time::sleep(Duration::from_secs(75)).await;
        task.abort();
        let lines = output.lines();
        let last = lines.last().unwrap();
        assert_eq!(
            (&last["count"], &last["client"], &last["reason"]),
            (&json!(995), &json!("198.51.100.7"), &json!("TokenRefused"))
        );
        assert_eq!(lines.len(), 1006);
        log.on_rejected(&rejected([198, 51, 100, 7], None));
        assert_eq!(output.lines().len(), 1007, "another minute");
    }

    #[tokio::test]
    async fn names_in_any_alphabet_are_written_as_they_are() {
        let output = Shared::default();
        let log = AuditLog::new("console-0".into(), Box::new(output.clone()));
        let names = ["王小明", "Jürgen", "\u{5d3}\u{5e0}\u{5d4}", "a\u{2028}b", "😀"];
        for name in names {
            let record = AuditRecord {
                user: Some(name),
                ..AuditRecord::default()
            };
            log.record(AuditEvent::TokenGranted, &record);
        }
        let lines = output.lines();
        let users: Vec<_> = lines.iter().map(|line| line["user"].as_str().unwrap()).collect();
        assert_eq!(users, names);
        // Readable, and found by those who look for the name itself.
        let text = String::from_utf8(output.0.lock().clone()).unwrap();
        assert!(text.contains("\"王小明\""), "{text}");
    }

    #[tokio::test]
    async fn a_line_that_could_not_be_written_leaves_a_gap() {
        struct Broken(Shared, u32);
        impl Write for Broken {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.1 += 1;
                if self.1 == 2 {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                self.0.write(bytes)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let output = Shared::default();
        let log = AuditLog::new("console-0".into(), Box::new(Broken(output.clone(), 0)));
        let record = AuditRecord {
            session: Some("team/a".to_owned()),
            user: Some("ann"),
            detail: Some("for 60 s"),
            ..AuditRecord::default()
        };
        log.record(AuditEvent::TokenGranted, &record);
        log.record(AuditEvent::TokenGranted, &record);
        log.stop();
        let lines = output.lines();
        let seen: Vec<_> = lines.iter().map(|line| (&line["sequence"], &line["event"])).collect();
        assert_eq!(
            seen,
            [(&json!(1), &json!("TokenGranted")), (&json!(3), &json!("Stopped"))]
        );
        assert_eq!(
            (&lines[0]["user"], &lines[0]["session"], &lines[0]["detail"]),
            (&json!("ann"), &json!("team/a"), &json!("for 60 s"))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn each_event_is_one_line() {
        let output = Shared::default();
        let log = AuditLog::new("console-0".into(), Box::new(output.clone()));
        let handle = Registry::default().open(StreamInfo {
            session: SessionId {
                namespace: "team".into(),
                name: "a".into(),
                uid: "u".into(),
            },
            connection: String::new(),
            user: "ann".into(),
            target: "VmAccess/web".into(),
            client: [192, 0, 2, 1].into(),
            transport: Transport::Rfb,
            protocol: Protocol::Vnc,
        });
        log.on_opened(handle.stream());
        handle.stream().counters.sent(7);
        tokio::time::advance(std::time::Duration::from_secs(3)).await;
        log.on_closed(
            handle.stream(),
            &StreamEnd {
                reason: EndReason::ProtocolError,
                detail: Some("two\nlines".into()),
            },
        );
        log.on_rejected(&rejected([192, 0, 2, 1], None));
        let lines = output.lines();
        let [opened, closed, refused] = lines.as_slice() else {
            panic!("{lines:?}")
        };
        assert!(opened["time"].as_str().unwrap().ends_with('Z'));
        let mut expected = json!({
            "time": opened["time"], "sequence": 1, "event": "Opened", "gateway": "console-0", "stream": 0, "session": "team/a",
            "sessionUid": "u", "target": "VmAccess/web", "user": "ann", "client": "192.0.2.1", "transport": "Rfb",
            "protocol": "Vnc",
        });
        assert_eq!(*opened, expected);
        let more = json!({
            "time": closed["time"], "sequence": 2, "event": "Closed", "reason": "ProtocolError", "detail": "two\nlines", "seconds": 3.0,
            "bytesSent": 7, "bytesReceived": 0,
        });
        expected
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        assert_eq!(*closed, expected);
        assert_eq!(
            *refused,
            json!({
                "time": refused["time"], "sequence": 3, "event": "Refused", "gateway": "console-0", "client": "192.0.2.1",
                "transport": "WebSocket", "reason": "TokenRefused", "detail": "used up",
            })
        );
    }
}
