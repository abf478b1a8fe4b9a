//! The audit log: one JSON line for each stream opened and closed and for each viewer turned away.

use std::{io::Write, net::IpAddr};

use jiff::Timestamp;
use novasphere_wire::close::StreamEnd;
use parking_lot::Mutex;
use serde::Serialize;

use crate::{
    admission::{EntryRejected, Observer},
    registry::{Stream, StreamInfo, StreamNumber},
};

/// Writes the audit log. Lines never hold a token or what was typed.
pub struct AuditLog<W> {
    gateway: String,
    output: Mutex<W>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    time: Timestamp,
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
    client: IpAddr,
    transport: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_sent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_received: Option<u64>,
}

impl<W: Write + Send + 'static> AuditLog<W> {
    /// A log of the gateway with this name, such as that of its Pod.
    #[must_use]
    pub const fn new(gateway: String, output: W) -> Self {
        Self {
            gateway,
            output: Mutex::new(output),
        }
    }

    fn of_stream<'a>(&'a self, event: &'static str, number: StreamNumber, info: &'a StreamInfo) -> Line<'a> {
        Line {
            time: Timestamp::now(),
            event,
            gateway: &self.gateway,
            stream: Some(number),
            session: Some(info.session.to_string()),
            session_uid: Some(&info.session.uid),
            target: Some(&info.target),
            user: Some(&info.user),
            client: info.client,
            transport: info.transport.into(),
            protocol: Some(info.protocol.into()),
            reason: None,
            detail: None,
            seconds: None,
            bytes_sent: None,
            bytes_received: None,
        }
    }

    fn write(&self, line: &Line<'_>) {
        let written = serde_json::to_vec(line)
            .map_err(std::io::Error::from)
            .and_then(|mut bytes| {
                bytes.push(b'\n');
                let mut output = self.output.lock();
                output.write_all(&bytes)?;
                output.flush()
            });
        if let Err(error) = written {
            tracing::error!(%error, event = line.event, "cannot write the audit log");
        }
    }
}

impl<W: Write + Send + 'static> Observer for AuditLog<W> {
    fn on_opened(&self, stream: &Stream) {
        self.write(&self.of_stream("Opened", stream.number, &stream.info));
    }

    fn on_closed(&self, stream: &Stream, end: &StreamEnd) {
        self.write(&Line {
            reason: Some(end.reason.reason()),
            detail: end.detail.as_deref(),
            seconds: Some(stream.counters.opened().elapsed().as_secs_f64()),
            bytes_sent: Some(stream.counters.to_viewer()),
            bytes_received: Some(stream.counters.from_viewer()),
            ..self.of_stream("Closed", stream.number, &stream.info)
        });
    }

    fn on_rejected(&self, refused: &EntryRejected) {
        self.write(&Line {
            time: Timestamp::now(),
            event: "Refused",
            gateway: &self.gateway,
            stream: None,
            session: refused.session.clone(),
            session_uid: None,
            target: refused.target.as_deref(),
            user: refused.user.as_deref(),
            client: refused.client,
            transport: refused.transport.into(),
            protocol: None,
            reason: Some(refused.end.reason.reason()),
            detail: refused.end.detail.as_deref(),
            seconds: None,
            bytes_sent: None,
            bytes_received: None,
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

    #[tokio::test(start_paused = true)]
    async fn each_event_is_one_line() {
        let output = Shared::default();
        let log = AuditLog::new("console-0".into(), output.clone());
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
        log.on_rejected(&EntryRejected {
            end: StreamEnd {
                reason: EndReason::TokenRefused,
                detail: Some("used up".into()),
            },
            counted_as: "TokenRefused",
            client: [192, 0, 2, 1].into(),
            transport: Transport::WebSocket,
            session: None,
            user: None,
            target: None,
            slot: ConnectionSlot::default(),
        });
        let text = String::from_utf8(output.0.lock().clone()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [opened, closed, refused] = lines.as_slice() else {
            panic!("{text}")
        };
        assert!(opened["time"].as_str().unwrap().ends_with('Z'));
        let mut expected = json!({
            "time": opened["time"], "event": "Opened", "gateway": "console-0", "stream": 0, "session": "team/a",
            "sessionUid": "u", "target": "VmAccess/web", "user": "ann", "client": "192.0.2.1", "transport": "Rfb",
            "protocol": "Vnc",
        });
        assert_eq!(*opened, expected);
        let more = json!({
            "time": closed["time"], "event": "Closed", "reason": "ProtocolError", "detail": "two\nlines", "seconds": 3.0,
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
                "time": refused["time"], "event": "Refused", "gateway": "console-0", "client": "192.0.2.1",
                "transport": "WebSocket", "reason": "TokenRefused", "detail": "used up",
            })
        );
    }
}
