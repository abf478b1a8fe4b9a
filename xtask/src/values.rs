//! `charts/novasphere/README.md`: every value of the chart with its default and the comment that stands above it.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::{
    files::{Files, MARK},
    helm::CHART,
    yaml::{self, at},
};

const VALUES: &str = "charts/novasphere/values.yaml";

const HEAD: &str = "# The chart novasphere\n\n\
    [docs/install.md](../../docs/install.md) has how to install it, how to let people in, and what to do before an upgrade. Helm refuses a value that is not \
    listed here, and settings that the program would refuse at its start; those below `config` are in \
    [docs/configuration.md](../../docs/configuration.md).\n\n\
    | Value | Default | Meaning |\n|---|---|---|\n";

/// A value, or a group of values that has a comment of its own.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    /// The keys from the outermost on.
    path: Vec<String>,
    comment: String,
}

/// The page.
pub(crate) fn files(root: &Path) -> anyhow::Result<Files> {
    let path = root.join(VALUES);
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {VALUES}"))?;
    let page = page(&text).with_context(|| VALUES.to_owned())?;
    Ok(vec![(PathBuf::from(CHART).join("README.md"), page)])
}

fn page(text: &str) -> anyhow::Result<String> {
    let values = yaml::parse(text)?;
    let rows = rows(text);
    if let Some(missing) = leaves(&values).find(|leaf| !rows.iter().any(|row| pointer(&row.path) == *leaf)) {
        bail!("{missing} is not found; write one key a line, indented by two spaces");
    }
    let mut page = format!("<!-- {MARK} from {VALUES}. Do not edit. -->\n\n{HEAD}");
    for row in rows {
        let value = at(&values, &pointer(&row.path));
        let default = match value {
            Value::Object(fields) if !fields.is_empty() => String::new(),
            Value::String(text) if text.is_empty() => "`\"\"`".to_owned(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        if default.is_empty() && row.comment.is_empty() {
            continue;
        }
        writeln!(
            page,
            "| `{}` | {default} | {} |",
            row.path.join("."),
            cell(&row.comment)
        )?;
    }
    Ok(page)
}

/// Every key in the order of the text, with the comment right above it.
fn rows(text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut path: Vec<String> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    // Entries of a list belong to its key.
    let mut list: Option<usize> = None;
    for line in text.lines() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        if content.is_empty() {
            comment.clear();
            continue;
        }
        if list.is_some_and(|list| indent >= list) {
            continue;
        }
        list = None;
        if content.starts_with("- ") {
            list = Some(indent);
        } else if let Some(words) = content.strip_prefix('#') {
            comment.push(words.trim());
        } else if let Some((key, _)) = content.split_once(':') {
            path.truncate(indent / 2);
            path.push(key.to_owned());
            rows.push(Row {
                path: path.clone(),
                comment: std::mem::take(&mut comment).join(" "),
            });
        }
    }
    rows
}

/// The pointers of all values that have none inside.
fn leaves(values: &Value) -> impl Iterator<Item = String> {
    let mut found = Vec::new();
    let mut open = vec![(String::new(), values)];
    while let Some((path, value)) = open.pop() {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                open.extend(
                    fields
                        .iter()
                        .map(|(key, value)| (format!("{path}/{}", escaped(key)), value)),
                );
            }
            _ => found.push(path),
        }
    }
    found.into_iter()
}

fn pointer(path: &[String]) -> String {
    path.iter().flat_map(|key| ["/".to_owned(), escaped(key)]).collect()
}

/// A key as a JSON pointer has it (RFC 6901).
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Text for a cell: no bar ends it, and what looks like an element of HTML is none.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "\\<")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Of the file.\n\n# A name, <release>-a.\nname: \"\"\ngroup:\n  # How\n  # many.\n  size: 2\n  none: {}\n  \
                        list: [A]\n  peers:\n    - one: {}\n    - two:\n        three: x\n# Both.\nlast:\n  on: true\n";

    #[test]
    fn every_value_is_listed_with_its_default_and_its_comment() {
        let page = page(TEXT).unwrap();
        let table = page.split_once("|---|---|---|\n").unwrap().1;
        assert_eq!(
            table,
            "| `name` | `\"\"` | A name, \\<release>-a. |\n| `group.size` | `2` | How many. |\n| `group.none` | `{}` |  |\n\
             | `group.list` | `[\"A\"]` |  |\n| `group.peers` | `[{\"one\":{}},{\"two\":{\"three\":\"x\"}}]` |  |\n| `last` |  | Both. |\n\
             | `last.on` | `true` |  |\n"
        );
    }

    #[test]
    fn a_value_that_is_not_found_is_an_error() {
        let error = page("group: {size: 2}\n").unwrap_err();
        assert!(error.to_string().contains("/group/size"), "{error}");
    }

    #[test]
    fn no_value_of_the_chart_is_left_out() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let (_, page) = files(&root).unwrap().remove(0);
        for value in [
            "console.autoscaling.streamsPerPod",
            "tests.target",
            "networkPolicy.metricsFrom",
        ] {
            assert!(page.contains(&format!("| `{value}` |")), "{value}");
        }
    }
}
