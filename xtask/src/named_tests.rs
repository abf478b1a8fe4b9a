//! Checks that the tests that `docs/security.md` names exist, so that a promise does not outlive its test.

use std::{fs, path::Path};

use anyhow::Context;

use crate::links::tracked;

const PAGE: &str = "docs/security.md";
const TABLE: &str = "## What is tried";

/// One line per test that no source has.
pub(crate) fn missing(root: &Path) -> anyhow::Result<Vec<String>> {
    let page = fs::read_to_string(root.join(PAGE)).with_context(|| format!("read {PAGE}"))?;
    let mut sources = String::new();
    for file in tracked(root, "*.rs")? {
        // Fuzz targets are files.
        sources.push_str(&file);
        sources.push('\n');
        sources.push_str(&fs::read_to_string(root.join(&file)).with_context(|| format!("read {file}"))?);
    }
    Ok(names(&page)
        .into_iter()
        .filter(|name| !exists(name, &sources))
        .map(|name| format!("{PAGE}: no source has the test {name}"))
        .collect())
}

fn exists(name: &str, sources: &str) -> bool {
    if name.contains("::") {
        return sources.contains(&format!("\"{name}\""));
    }
    sources.contains(&format!("fn {name}(")) || sources.contains(&format!("/fuzz_targets/{name}.rs\n"))
}

/// What the last cells of the table have as code, but for commands.
fn names(page: &str) -> Vec<String> {
    let table = page.split_once(TABLE).map_or("", |(_, table)| table);
    let cells = table
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.strip_suffix('|')?.rsplit_once('|'));
    let codes = cells.flat_map(|(_, cell)| cell.split('`').skip(1).step_by(2));
    codes.filter(|code| !code.contains(' ')).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_by_their_names() {
        let page = "`x` | `y` |\n## What is tried\n\n| a | b | `c::d::e`, `one` and `make f` |\n| `g` | h | not yet; `two` |\n";
        assert_eq!(names(page), ["c::d::e", "one", "two"]);
        let sources = "crates/w/fuzz/fuzz_targets/two.rs\nCase::new(\"c::d::e\")\nfn one() {}";
        assert!(["c::d::e", "one", "two"].into_iter().all(|name| exists(name, sources)));
        assert!(!exists("on", sources) && !exists("c::d", sources));
    }
}
