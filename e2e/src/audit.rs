//! The apiserver's audit log: what was written, by whom.
//!
//! The test bed logs every write at level Metadata and in blocking mode, so an
//! answered request is in the file.

use std::{
    fmt,
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom},
    path::PathBuf,
};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;

/// One write, when it was answered.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Write {
    /// `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: String,
    /// The path and the query.
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    /// The program that asked, as it names itself.
    #[serde(default)]
    pub user_agent: String,
    stage: String,
    user: User,
    impersonated_user: Option<User>,
    #[serde(default)]
    object_ref: ObjectReference,
    response_status: Option<ResponseStatus>,
    /// When the apiserver got the request.
    pub request_received_timestamp: Timestamp,
}

#[derive(Clone, Debug, Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectReference {
    #[serde(default)]
    resource: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    subresource: String,
}

#[derive(Clone, Debug, Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

impl Write {
    /// The user in whose name it was done.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.impersonated_user.as_ref().unwrap_or(&self.user).username
    }

    /// `services`, `vmaccesses/status`, and so on.
    #[must_use]
    pub fn resource(&self) -> String {
        match self.object_ref.subresource.as_str() {
            "" => self.object_ref.resource.clone(),
            subresource => format!("{}/{subresource}", self.object_ref.resource),
        }
    }

    /// The namespace of the object, empty for none.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.object_ref.namespace
    }

    /// The name of the object, empty for a create with a generated name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.object_ref.name
    }

    /// The field manager that the request names.
    #[must_use]
    pub fn field_manager(&self) -> Option<String> {
        let query = self.request_uri.split_once('?')?.1;
        let value = query.split('&').find_map(|pair| pair.strip_prefix("fieldManager="))?;
        Some(value.replace("%2F", "/").replace("%2f", "/"))
    }

    /// The HTTP status of the answer, 0 when the connection broke.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.response_status.as_ref().map_or(0, |status| status.code)
    }

    /// Whether it is a write of the leader lease.
    #[must_use]
    pub fn is_lease(&self) -> bool {
        self.object_ref.resource == "leases"
    }

    /// Whether it only asked what would happen.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.request_uri.contains("dryRun=All")
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {}/{} -> {} by {} ({})",
            self.verb,
            self.resource(),
            self.namespace(),
            self.name(),
            self.code(),
            self.user(),
            self.user_agent
        )
    }
}

/// The log of one cluster.
#[derive(Clone, Debug)]
pub struct AuditLog {
    path: PathBuf,
}

/// A place in the log, and the time when it was taken. What is written is seen before its request is answered, and so before it is in
/// the log: behind the place there may be requests of before.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    length: u64,
    at: Timestamp,
}

impl AuditLog {
    /// The log in this file.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The end of the log as it is now, and the present.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn mark(&self) -> Result<Mark> {
        let at = Timestamp::now();
        let length = std::fs::metadata(&self.path)
            .with_context(|| format!("audit log {}", self.path.display()))?
            .len();
        Ok(Mark { length, at })
    }

    /// The writes that were asked for and answered since the mark, dry runs excepted.
    ///
    /// # Errors
    /// When the file cannot be read or a whole line is no audit event.
    pub fn since(&self, mark: Mark) -> Result<Vec<Write>> {
        let mut mark = mark;
        self.next(&mut mark)
    }

    /// The same, and moves the mark behind them, so that a long log is read once.
    ///
    /// # Errors
    /// As [`AuditLog::since`].
    pub fn next(&self, mark: &mut Mark) -> Result<Vec<Write>> {
        let mut file = File::open(&self.path).with_context(|| format!("audit log {}", self.path.display()))?;
        file.seek(SeekFrom::Start(mark.length))?;
        let mut log = BufReader::new(file);
        let mut writes = Vec::new();
        let mut line = String::new();
        // The last line may still be being written; its request is not answered.
        while log.read_line(&mut line)? > 0 && line.ends_with('\n') {
            mark.length += line.len() as u64;
            let text = std::mem::take(&mut line);
            let write: Write = serde_json::from_str(&text).with_context(|| format!("audit event {text}"))?;
            let is_old = write.request_received_timestamp < mark.at;
            if write.stage == "ResponseComplete" && !is_old && !write.is_dry_run() && is_write(&write.verb) {
                writes.push(write);
            }
        }
        Ok(writes)
    }
}

fn is_write(verb: &str) -> bool {
    matches!(verb, "create" | "update" | "patch" | "delete" | "deletecollection")
}

/// One line for each write, for the message of a failed count.
#[must_use]
pub fn describe(writes: &[Write]) -> String {
    writes
        .iter()
        .fold(String::new(), |text, write| text + "\n  " + &write.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_who_wrote_what() {
        let line = r#"{"kind":"Event","level":"Metadata","stage":"ResponseComplete","requestURI":"/apis/novasphere.io/v1alpha1/namespaces/a/vmaccesses/b/status?fieldManager=novasphere%2Fvmaccess&force=true","verb":"patch","user":{"username":"admin","groups":["system:masters"]},"userAgent":"x","objectRef":{"resource":"vmaccesses","namespace":"a","name":"b","apiGroup":"novasphere.io","apiVersion":"v1alpha1","subresource":"status"},"responseStatus":{"metadata":{},"code":200},"requestReceivedTimestamp":"2026-11-21T00:00:00.123456Z","stageTimestamp":"2026-11-21T00:00:00.2Z"}"#;
        let write: Write = serde_json::from_str(line).expect("an audit event");
        assert_eq!(write.field_manager().as_deref(), Some("novasphere/vmaccess"));
        assert_eq!(write.to_string(), "patch vmaccesses/status a/b -> 200 by admin (x)");
        assert!(!write.is_lease() && !write.is_dry_run());
    }
}
