//! `docs/ARCHITECTURE.md` names every folder that a reader meets first, and no
//! folder that is gone.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

const PAGE: &str = "docs/ARCHITECTURE.md";

/// Folders whose own folders are named on the page, with what their names begin with there.
const PARENTS: &[(&str, &str)] = &[("", ""), ("crates", "crates/"), ("e2e/cluster/internal", "internal/")];

/// Folders that are not ours to explain.
const LEFT_OUT: &[&str] = &["target", "docs", "crates", "node_modules"];

/// One line per folder that the page lacks or that only the page has.
pub(crate) fn missing_folders(root: &Path) -> anyhow::Result<Vec<String>> {
    let page = fs::read_to_string(root.join(PAGE)).with_context(|| format!("read {PAGE}"))?;
    let named = first_cells(&page);
    let mut missing = Vec::new();
    for (parent, prefix) in PARENTS {
        for folder in folders(&root.join(parent))? {
            let name = format!("{prefix}{folder}");
            let explained = named
                .iter()
                .any(|path| *path == name || path.starts_with(&format!("{name}/")));
            if !explained && !LEFT_OUT.contains(&folder.as_str()) {
                missing.push(format!("{PAGE}: the source map lacks `{name}`"));
            }
        }
    }
    for path in &named {
        let places = [root.join(path), root.join("e2e/cluster").join(path)];
        if !path.contains('*') && !places.iter().any(|place| place.exists()) {
            missing.push(format!("{PAGE}: the source map names `{path}`, which does not exist"));
        }
    }
    Ok(missing)
}

/// The code words in the first cells of the rows of the source map's tables.
fn first_cells(page: &str) -> BTreeSet<String> {
    let map = page.split_once("## Source map").map_or("", |(_, map)| map);
    let map = map.split_once("\n## ").map_or(map, |(map, _)| map);
    let cells = map.lines().filter_map(|line| line.strip_prefix('|')?.split('|').next());
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

fn folders(parent: &Path) -> anyhow::Result<Vec<String>> {
    let entries = fs::read_dir(parent).with_context(|| format!("read {}", parent.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path: PathBuf = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !name.starts_with('.') {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_first_cells_of_the_map_count() {
        let page = "| `x` |\n## Source map\n| `a/b`, `c` | `d` |\ntext `e`\n### More\n| `f` |\n## Decisions\n| `g` |\n";
        let cells = first_cells(page);
        assert_eq!(cells.into_iter().collect::<Vec<_>>(), ["a/b", "c", "f"]);
    }
}
