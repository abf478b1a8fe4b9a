//! The parsers of `config/fluent-bit` take real lines of both logs, and `docs/logging.md` and `docs/console.md` name the fields.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml exempts test functions, and these are their helpers"
)]

use std::{
    fs,
    io::{self, Write},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};

use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use novasphere_dataplane::{
    audit::{AuditEvent, AuditLog, AuditRecord},
    registry::Transport,
};
use serde_json::{Map, Value};

/// How far the time of a line may be from the present.
const AGE_LIMIT: SignedDuration = SignedDuration::from_mins(10);

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    let path = repository().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A parser of the configuration, as far as Fluent Bit's JSON parser goes.
struct Parser {
    time_key: String,
    /// As `strptime` has it. Fluent Bit writes fractions of a second as `%L`.
    time_format: String,
}

impl Parser {
    fn named(name: &str) -> Self {
        let configuration: Value = serde_saphyr::from_str(&read("config/fluent-bit/fluent-bit.yaml")).unwrap();
        let parsers = configuration["parsers"].as_array().unwrap();
        let parser = parsers
            .iter()
            .find(|parser| parser["name"] == name)
            .unwrap_or_else(|| panic!("no parser {name}"));
        assert_eq!(parser["format"], "json");
        let filters = configuration["pipeline"]["filters"].as_array().unwrap();
        assert!(
            filters
                .iter()
                .any(|filter| filter["parser"] == name && filter["key_name"] == "log"),
            "nothing uses {name}"
        );
        Self {
            time_key: parser["time_key"].as_str().unwrap().to_owned(),
            time_format: parser["time_format"].as_str().unwrap().replace("%L", "%f"),
        }
    }

    fn parse(&self, line: &str) -> Map<String, Value> {
        let Value::Object(fields) = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")) else {
            panic!("no object: {line}");
        };
        let time = fields.get(&self.time_key).and_then(Value::as_str);
        let time = time.unwrap_or_else(|| panic!("no {}: {line}", self.time_key));
        let time = DateTime::strptime(&self.time_format, time).unwrap_or_else(|error| panic!("{time}: {error}"));
        let time = time.to_zoned(TimeZone::UTC).unwrap().timestamp();
        let age = Timestamp::now().duration_since(time);
        assert!(age.abs() < AGE_LIMIT, "the time of {line}");
        fields
    }
}

/// What the program says when it cannot start.
fn lines_of_the_program(arguments: &[&str]) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_novasphere"))
        .args(arguments)
        .args(["--admin-address", "127.0.0.1:0", "controller"])
        .env("NOVASPHERE_LOG_FORMAT", "json")
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty(), "standard output is the audit log's");
    let text = String::from_utf8(output.stderr).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn lines_of_the_program_are_parsed() {
    let parser = Parser::named("novasphere");
    let guide = read("docs/logging.md");
    let mut lines = lines_of_the_program(&["--kubeconfig", "/nonexistent/kubeconfig", "--log-filter", "debug"]);
    lines.extend(lines_of_the_program(&["--config", "/nonexistent/novasphere.yaml"]));
    assert!(lines.len() >= 2, "{lines:?}");
    for line in &lines {
        let fields = parser.parse(line);
        for field in ["timestamp", "level", "target"] {
            assert!(fields.contains_key(field), "no {field}: {line}");
            assert!(
                guide.contains(&format!("| `{field}` |")),
                "docs/logging.md has no row for {field}"
            );
        }
    }
    let last = parser.parse(lines.last().unwrap());
    assert_eq!(last["level"], "ERROR");
    assert!(
        last["message"]
            .as_str()
            .unwrap()
            .contains("/nonexistent/novasphere.yaml"),
        "{last:?}"
    );
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_of_the_audit_log_are_parsed() {
    let written = Shared::default();
    let log = AuditLog::new("gateway-1".to_owned(), Box::new(written.clone()));
    let record = AuditRecord {
        session: Some("team/look".to_owned()),
        session_uid: Some("session-1"),
        target: Some("VmAccess/web-1".to_owned()),
        user: Some("änn \"the\nadmin\""),
        client: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
        transport: Some(Transport::WebSocket),
        reason: Some("TokenRefused"),
        detail: Some("used up"),
    };
    for event in [
        AuditEvent::TokenGranted,
        AuditEvent::TokenDenied,
        AuditEvent::Revoked,
        AuditEvent::Refused,
    ] {
        log.record(event, &record);
    }
    log.stop();
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    let parser = Parser::named("novasphere-audit");
    let guide = read("docs/console.md");
    let lines: Vec<_> = text.lines().map(|line| parser.parse(line)).collect();
    assert_eq!(lines.len(), 5, "one line an event: {text}");
    for (number, fields) in (1..).zip(&lines) {
        assert_eq!(fields["sequence"], number);
        for field in fields.keys() {
            assert!(
                guide.contains(&format!("`{field}`")),
                "docs/console.md does not name {field}"
            );
        }
    }
    assert_eq!(lines.last().unwrap()["event"], "Stopped");
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries
        .filter(|path| !["node_modules", "target"].iter().any(|name| path.ends_with(name)))
        .map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] });
    let is_rust = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    files.flatten().filter(is_rust).collect()
}

/// The JSON layer writes a span's own name as `name` beside its fields, and stores of logs refuse an object that has a key twice.
#[test]
fn no_field_of_a_span_is_called_as_its_name_is() {
    let is_name = |field: &str| {
        let field = field.trim().trim_start_matches(['%', '?']);
        field == "name" || field.starts_with("name =")
    };
    for file in rust_files(&repository().join("crates")) {
        let text = fs::read_to_string(&file).unwrap();
        for span in text.split("_span!(").skip(1) {
            let fields = span.split(");").next().unwrap_or_default();
            assert!(
                !fields.split(',').any(is_name),
                "{}: a span has a field `name`: {fields}",
                file.display()
            );
        }
    }
}
