use strum::IntoEnumIterator as _;

use super::*;

const CLOSE: [CloseReason; 6] = [
    CloseReason::Expired,
    CloseReason::Revoked,
    CloseReason::Deleted,
    CloseReason::TargetGone,
    CloseReason::PolicyChanged,
    CloseReason::Finished,
];

fn guide() -> &'static str {
    include_str!("../../../../../docs/console-session.md")
}

/// The reasons in the table of conditions. The table of events begins with a word, too, and has no reason.
fn rows(condition: &str) -> Vec<&'static str> {
    let start = format!("| `{condition}` | `");
    let reason = |line: &'static str| line.strip_prefix(&start)?.split('`').next();
    guide().lines().filter_map(reason).collect()
}

/// A row of the guide's tables for every reason, and none for one that is gone.
#[test]
fn the_guide_explains_every_reason() {
    let expected = [
        ("Ready", ReadyReason::iter().map(Into::into).collect::<Vec<&str>>()),
        ("TargetReady", TargetReason::iter().map(Into::into).collect()),
        (
            "Closed",
            ClosedReason::iter()
                .map(Into::into)
                .chain(CLOSE.map(CloseReason::as_str))
                .collect(),
        ),
    ];
    for (condition, mut reasons) in expected {
        let mut explained = rows(condition);
        explained.sort_unstable();
        reasons.sort_unstable();
        assert_eq!(explained, reasons, "docs/console-session.md, rows of {condition}");
    }
}

#[test]
fn an_end_is_told_as_the_api_writes_it() {
    for reason in CLOSE {
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        assert!(close_message(reason).ends_with('.'));
    }
}
