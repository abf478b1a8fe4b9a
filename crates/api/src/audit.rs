//! The audit log of this role: one JSON line for each login, its end and its refusal, and for each request that has changed something.
//!
//! The gateway's log (`novasphere-dataplane`) is about streams; this one is about requests. Both number their lines for each process, so that a gap
//! shows.

use std::{io::Write, net::IpAddr, sync::Arc};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
pub enum AuditAction {
    /// Somebody signed in.
    SignedIn,
    /// Somebody could not.
    SignInRefused,
    /// Somebody signed out.
    SignedOut,
    /// A login was ended by an administrator, or because its refresh token came twice.
    LoginEnded,
    /// A machine was started, stopped or restarted.
    PowerRequested,
    /// A link to a console was given out.
    ConsoleRequested,
    /// Consoles were cut.
    ConsoleDisconnected,
    /// A Service of a machine was made, changed or deleted.
    ServiceChanged,
    /// A session was revoked.
    SessionRevoked,
    /// A machine was made or deleted.
    MachineChanged,
    /// A workspace was made, changed or deleted.
    WorkspaceChanged,
}

/// What is known of it. What is not known is absent.
#[derive(Clone, Debug, Default)]
pub struct ActionRecord<'a> {
    /// Who.
    pub user: Option<&'a str>,
    /// From where.
    pub client: Option<IpAddr>,
    /// On what, such as `VmAccess/team/web`.
    pub target: Option<String>,
    /// Why, or which operation, in one word.
    pub reason: Option<&'a str>,
    /// In a sentence. Never a secret.
    pub detail: Option<&'a str>,
}

/// Writes the log. Clones write the same.
#[derive(Clone)]
pub struct ApiAudit(Arc<AuditInner>);

struct AuditInner {
    instance: String,
    output: Mutex<AuditOutput>,
}

struct AuditOutput {
    sequence: u64,
    writer: Box<dyn Write + Send>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ActionLine<'a> {
    time: Timestamp,
    sequence: u64,
    event: &'static str,
    instance: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

impl ApiAudit {
    /// A log of the process with this name.
    #[must_use]
    pub fn new(instance: String, writer: Box<dyn Write + Send>) -> Self {
        Self(Arc::new(AuditInner {
            instance,
            output: Mutex::new(AuditOutput { sequence: 1, writer }),
        }))
    }

    /// Writes a line.
    pub fn record(&self, action: AuditAction, record: &ActionRecord<'_>) {
        let mut output = self.0.output.lock();
        let line = ActionLine {
            time: Timestamp::now(),
            sequence: output.sequence,
            event: action.into(),
            instance: &self.0.instance,
            user: record.user,
            client: record.client,
            target: record.target.as_deref(),
            reason: record.reason,
            detail: record.detail,
        };
        let Ok(mut bytes) = serde_json::to_vec(&line) else {
            return;
        };
        bytes.push(b'\n');
        output.sequence += 1;
        if let Err(error) = output.writer.write_all(&bytes).and_then(|()| output.writer.flush()) {
            tracing::error!(%error, "a line of the audit log is lost");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_numbered_and_say_what_is_known() {
        let shared = Shared::default();
        let audit = ApiAudit::new("api-1".to_owned(), Box::new(shared.clone()));
        audit.record(
            AuditAction::SignedIn,
            &ActionRecord {
                user: Some("ann"),
                ..ActionRecord::default()
            },
        );
        audit.record(AuditAction::SignedOut, &ActionRecord::default());
        let text = String::from_utf8(shared.0.lock().clone()).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            (&lines[0]["event"], &lines[0]["user"]),
            (&"SignedIn".into(), &"ann".into())
        );
        assert_eq!((&lines[0]["sequence"], &lines[1]["sequence"]), (&1.into(), &2.into()));
        assert_eq!(lines[1].get("user"), None);
    }
}
