//! How findings are shown.

use std::fmt::Write as _;

use serde_json::json;

use super::{FindingSeverity, GatewayFinding};

/// Whether routes do not work.
#[must_use]
pub fn has_errors(findings: &[GatewayFinding]) -> bool {
    count(findings, FindingSeverity::Error) > 0
}

/// For people: a line for each, and a line that counts.
#[must_use]
pub fn text_report(findings: &[GatewayFinding], gateways: usize) -> String {
    let mut text = String::new();
    for finding in findings {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{finding}");
    }
    let (errors, warnings) = (
        count(findings, FindingSeverity::Error),
        count(findings, FindingSeverity::Warning),
    );
    let gateways = match gateways {
        0 => return "The configuration names no gateway (section gateways).\n".to_owned(),
        1 => "1 gateway".to_owned(),
        many => format!("{many} gateways"),
    };
    let _ = if errors + warnings == 0 {
        writeln!(text, "Nothing is wrong with {gateways}.")
    } else {
        writeln!(
            text,
            "{} and {} in {gateways}.",
            counted(errors, "error"),
            counted(warnings, "warning")
        )
    };
    text
}

/// For programs.
#[must_use]
pub fn json_report(findings: &[GatewayFinding]) -> String {
    let report = json!({ "findings": findings });
    format!("{report:#}\n")
}

fn count(findings: &[GatewayFinding], severity: FindingSeverity) -> usize {
    findings.iter().filter(|finding| finding.severity == severity).count()
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}
