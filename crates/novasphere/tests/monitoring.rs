//! Alerts, dashboard and documents name metrics that there are, and each alert has a page that says what to do.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy.toml exempts test functions, and these are their helpers"
)]

use std::{collections::BTreeSet, fs, path::PathBuf};

/// What alerts use of other programs, and from where.
const FOREIGN: [&str; 3] = [
    // kube-apiserver's own.
    "aggregator_unavailable_apiservice",
    // The kubelet's own.
    "kubelet_volume_stats_capacity_bytes",
    "kubelet_volume_stats_used_bytes",
];

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn known() -> BTreeSet<String> {
    let all = [
        novasphere_runtime::metrics::NAMES.as_slice(),
        &novasphere_dataplane::metrics::NAMES,
        &novasphere_apiserver::metrics::NAMES,
    ];
    all.concat().into_iter().map(str::to_owned).collect()
}

/// The metrics that a text names, without the endings of a histogram's series.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.split(|letter| !is_part(letter))
        .filter(|word| {
            ["novasphere_", "http_request_", "aggregator_", "kubelet_"]
                .iter()
                .any(|start| word.starts_with(start))
        })
        .map(|word| {
            let base = ["_bucket", "_count", "_sum"]
                .iter()
                .find_map(|ending| word.strip_suffix(ending));
            base.unwrap_or(word).to_owned()
        })
        .collect()
}

#[test]
fn every_metric_that_is_named_exists() {
    let mut known = known();
    known.extend(FOREIGN.map(str::to_owned));
    for path in [
        "charts/novasphere/files/alerts.yaml",
        "charts/novasphere/files/dashboard.json",
        "hack/alerts_test.yaml",
    ] {
        let found = named(&read(path));
        assert!(!found.is_empty(), "{path}");
        let unknown: Vec<_> = found.difference(&known).collect();
        assert!(unknown.is_empty(), "{path} names metrics that no role has: {unknown:?}");
    }
}

#[test]
fn the_document_has_a_row_for_every_metric() {
    let text = read("docs/monitoring.md");
    let rows: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|name| name.starts_with("novasphere_") || name.starts_with("http_"))
        .map(str::to_owned)
        .collect();
    assert_eq!(rows, known(), "the rows of docs/monitoring.md");
}

#[test]
fn every_alert_has_its_page() {
    let rules = read("charts/novasphere/files/alerts.yaml");
    let alerts: BTreeSet<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .map(str::to_owned)
        .collect();
    let pages: BTreeSet<_> = fs::read_dir(repository().join("docs/runbooks"))
        .unwrap()
        .filter_map(|entry| {
            entry
                .unwrap()
                .file_name()
                .into_string()
                .unwrap()
                .strip_suffix(".md")
                .map(str::to_owned)
        })
        .filter(|name| name != "README")
        .collect();
    assert_eq!(alerts, pages, "alerts, and pages of docs/runbooks");
    for alert in alerts {
        assert!(
            rules.contains(&format!("runbook_url: RUNBOOKS/{alert}.md")),
            "{alert} links to no page"
        );
        let page = read(&format!("docs/runbooks/{alert}.md"));
        assert!(
            page.starts_with(&format!("# {alert}\n")),
            "the title of docs/runbooks/{alert}.md"
        );
        for part in ["## What it means", "## What to look at", "## What to do"] {
            assert!(page.contains(part), "docs/runbooks/{alert}.md lacks {part:?}");
        }
    }
}
