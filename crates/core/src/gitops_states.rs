//! The table of `docs/gitops.md`, which says what GitOps tools make of every state. The tests of the kinds compare its conditions with what
//! is written; `e2e/gitops` runs the tools over it.

use std::collections::BTreeMap;

use novasphere_crd::Condition;

const PAGE: &str = include_str!("../../../docs/gitops.md");

/// Compares states of a kind with the rows of the table, in both directions.
#[track_caller]
pub(crate) fn assert_states(kind: &str, states: Vec<(String, Vec<Condition>)>) {
    let found: BTreeMap<String, Vec<String>> = states
        .into_iter()
        .map(|(name, conditions)| (name, conditions.iter().map(words).collect()))
        .collect();
    assert_eq!(rows(kind), found, "the rows of docs/gitops.md, and what is written");
}

/// Type, status and reason.
fn words(condition: &Condition) -> String {
    format!("{}={} {}", condition.type_, condition.status, condition.reason)
}

fn rows(kind: &str) -> BTreeMap<String, Vec<String>> {
    let start = format!("| `{kind}` | ");
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix(start.as_str()));
    rows.map(|row| {
        let mut cells = row.split(" | ");
        let name = cells.next().unwrap_or_default().to_owned();
        let codes = cells.next().unwrap_or_default().split('`').skip(1).step_by(2);
        (name, codes.map(str::to_owned).collect())
    })
    .collect()
}
