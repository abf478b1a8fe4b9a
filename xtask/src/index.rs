//! `docs/README.md` leads to every page of the documentation.

use std::{fs, path::Path};

use anyhow::Context;

use crate::links::tracked;

const INDEX: &str = "docs/README.md";

/// One line per page of `docs` that the index does not link to. Pages in folders are reached from a page beside them.
pub(crate) fn unlisted(root: &Path) -> anyhow::Result<Vec<String>> {
    let index = fs::read_to_string(root.join(INDEX)).with_context(|| format!("read {INDEX}"))?;
    let pages = tracked(root, "docs/*.md")?;
    let names = pages.iter().filter_map(|page| page.strip_prefix("docs/"));
    Ok(names
        .filter(|name| !name.contains('/') && !name.starts_with("README"))
        .filter(|name| !lists(&index, name))
        .map(|name| format!("{INDEX}: lacks docs/{name}; add a row under tutorial, how-to, reference or explanation, also to its translation"))
        .collect())
}

fn lists(index: &str, name: &str) -> bool {
    index.contains(&format!("]({name})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_listed_by_a_link() {
        let index = "| [install.md](install.md) | words about gateways.md |";
        assert!(lists(index, "install.md") && !lists(index, "gateways.md") && !lists(index, "all.md"));
    }
}
