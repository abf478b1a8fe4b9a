//! The labels of metrics: `/metrics` is read without authentication, and each value of a label is a time series. So no label holds what a user, a
//! viewer or the author of an object chooses.

use std::{fs, path::Path};

use anyhow::Context;

use crate::files;

/// All labels, and what they hold.
const LABELS: &[(&str, &str)] = &[
    ("api", "an optional API that the program knows"),
    ("certificate", "the setting that a certificate comes from"),
    ("code", "a status code of HTTP"),
    ("controller", "a controller of the program"),
    ("gateway", "a gateway of the configuration"),
    ("kind", "a kind that the program knows"),
    ("method", "a method of HTTP, of a list"),
    ("outcome", "a word of the program"),
    ("protocol", "a protocol of consoles"),
    ("reason", "a word of the program"),
    ("resource", "a resource of the aggregated API"),
    ("route", "a route of an HTTP server, of a list"),
    ("severity", "a word of the program"),
    ("status_code", "a status code of HTTP"),
    ("transport", "how viewers are connected"),
    ("verb", "a word of the program"),
];

/// Labels that are there when the administrator asks for them (`gateway.metricsPerSession`), and the file that has them.
const LABELS_ON_REQUEST: &[(&str, &str)] = &[
    ("namespace", "crates/dataplane/src/metrics.rs"),
    ("session", "crates/dataplane/src/metrics.rs"),
];

/// Labels whose type is a text, and the file that has them: the name of a kind or an API that the program asks for, of a gateway that the
/// administrator configured, and the reason of an event that it writes.
const TEXTS: &[(&str, &str)] = &[
    ("api", "crates/runtime/src/metrics.rs"),
    ("gateway", "crates/runtime/src/metrics.rs"),
    ("kind", "crates/runtime/src/metrics.rs"),
    ("reason", "crates/runtime/src/metrics.rs"),
];

/// One line for each label of the crates that is not known.
pub(crate) fn unknown(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for path in files::walk(&root.join("crates"))? {
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let relative = path.strip_prefix(root)?.display().to_string();
        for label in labels(&text) {
            if let Some(problem) = problem(&label, &relative) {
                found.push(format!(
                    "{relative}:{}: the label {} of a metric {problem}; see xtask/src/metric_labels.rs",
                    label.line, label.name
                ));
            }
        }
    }
    Ok(found)
}

/// A label in a source.
#[derive(Debug, PartialEq, Eq)]
struct MetricLabel {
    line: usize,
    name: String,
    /// The type of its field, where it is one.
    field_type: Option<String>,
}

fn problem(label: &MetricLabel, file: &str) -> Option<&'static str> {
    let name = label.name.as_str();
    if LABELS_ON_REQUEST.contains(&(name, file)) {
        return None;
    }
    if !LABELS.iter().any(|(known, _)| *known == name) {
        return Some("is not known: say what it holds, and that nobody from outside chooses it");
    }
    let is_bounded = match label.field_type.as_deref() {
        Some("String") => TEXTS.contains(&(name, file)),
        Some("&'static str" | "u16") | None => true,
        Some(_) => false,
    };
    (!is_bounded).then_some("must have the type &'static str, so that it is a word of the program")
}

/// The fields of label sets, and the names in `[("name", value)]` of files that encode by hand.
fn labels(text: &str) -> Vec<MetricLabel> {
    let by_hand = text.contains("encode_family(");
    let mut found = Vec::new();
    let (mut is_derived, mut is_set) = (false, false);
    for (index, line) in text.lines().enumerate() {
        let (line, number) = (line.trim(), index + 1);
        if line.starts_with("//") {
            continue;
        }
        if line.starts_with("#[derive(") {
            is_derived = line.contains("EncodeLabelSet");
        } else if is_derived && line.contains("struct ") {
            (is_derived, is_set) = (false, true);
        } else if line == "}" {
            is_set = false;
        } else if is_set && let Some((name, field_type)) = line.trim_end_matches(',').split_once(": ") {
            found.push(MetricLabel {
                line: number,
                name: name.trim_start_matches("pub ").to_owned(),
                field_type: Some(field_type.to_owned()),
            });
        } else if by_hand && let Some((_, pairs)) = line.split_once("[(\"") {
            let names = pairs.split("(\"").filter_map(|pair| pair.split('"').next());
            found.extend(names.map(|name| MetricLabel {
                line: number,
                name: name.to_owned(),
                field_type: None,
            }));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_label_holds_what_a_user_or_a_tenant_chooses() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        assert_eq!(unknown(root).unwrap(), [""; 0]);
    }

    #[test]
    fn labels_are_found_in_both_forms() {
        let text = "#[derive(Clone, EncodeLabelSet)]\nstruct A {\n    kind: String,\n    pub verb: &'static str,\n}\nstruct B {\n    user: String,\n}\n\
                    let labels = [(\"namespace\", a), (\"session\", b)];\nx.encode_family(&labels)?;\n";
        let label = |line, name: &str, field_type: Option<&str>| MetricLabel {
            line,
            name: name.to_owned(),
            field_type: field_type.map(str::to_owned),
        };
        assert_eq!(
            labels(text),
            [
                label(3, "kind", Some("String")),
                label(4, "verb", Some("&'static str")),
                label(9, "namespace", None),
                label(9, "session", None),
            ]
        );
    }

    #[test]
    fn a_label_that_somebody_else_chooses_is_refused() {
        let problem_of = |name: &str, field_type: Option<&str>, file: &str| {
            let label = MetricLabel {
                line: 1,
                name: name.to_owned(),
                field_type: field_type.map(str::to_owned),
            };
            problem(&label, file).is_some()
        };
        let file = "crates/dataplane/src/metrics.rs";
        assert!(problem_of("user", Some("&'static str"), file));
        assert!(problem_of("reason", Some("String"), file));
        assert!(problem_of("session", None, "crates/runtime/src/metrics.rs"));
        assert!(!problem_of("session", None, file));
        assert!(!problem_of("kind", Some("String"), "crates/runtime/src/metrics.rs"));
        assert!(!problem_of("reason", Some("&'static str"), file));
    }
}
