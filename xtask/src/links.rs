//! Checks that relative links of Markdown files name files of the repository and headings in them, and that pages that sources name exist.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use crate::headings::{self, outside_fences};

/// Sources that may name a page, such as a message or a comment that says `docs/install.md`.
const SOURCES: [&str; 7] = ["*.rs", "*.ts", "*.go", "*.yaml", "*.tpl", "Makefile", "hack/*"];

/// What a page is called in sources, and its folder. Alerts have the second one, in front of which the chart puts an address.
const FOLDERS: [(&str, &str); 2] = [("docs/", "docs/"), ("RUNBOOKS/", "docs/runbooks/")];

/// One line per link without a target, as `file:line: target`.
pub(crate) fn broken(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut broken = Vec::new();
    let mut headings = Headings::default();
    for file in tracked(root, "*.md")? {
        let text = fs::read_to_string(root.join(&file)).with_context(|| format!("read {file}"))?;
        for Link { line, path, anchor } in relative_links(&text) {
            let target = place(root, &file, &path);
            if !target.exists() {
                broken.push(format!("{file}:{line}: the link to {path} names no file"));
                continue;
            }
            if let Some(anchor) = anchor.filter(|_| is_page(&target))
                && !headings.of(&target)?.contains(&anchor)
            {
                broken.push(format!(
                    "{file}:{line}: the link to {path}#{anchor} names no heading of that page"
                ));
            }
        }
    }
    for pattern in SOURCES {
        broken.extend(missing_pages(root, pattern, &mut headings)?);
    }
    Ok(broken)
}

/// The anchors of pages, each read once.
#[derive(Default)]
struct Headings(BTreeMap<PathBuf, BTreeSet<String>>);

impl Headings {
    fn of(&mut self, page: &Path) -> anyhow::Result<&BTreeSet<String>> {
        let anchors: &BTreeSet<String> = match self.0.entry(page.to_path_buf()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let text = fs::read_to_string(page).with_context(|| format!("read {}", page.display()))?;
                place.insert(headings::anchors(&text))
            }
        };
        Ok(anchors)
    }
}

/// One line for each page that a source names and that does not exist, or has no such heading.
fn missing_pages(root: &Path, pattern: &str, headings: &mut Headings) -> anyhow::Result<Vec<String>> {
    let mut missing = Vec::new();
    for file in tracked(root, pattern)? {
        // A folder of scripts may hold a picture.
        let Ok(text) = fs::read_to_string(root.join(&file)) else {
            continue;
        };
        for (line, page, anchor) in named_pages(&text) {
            let target = root.join(&page);
            if !target.exists() {
                missing.push(format!("{file}:{line}: there is no page {page}"));
            } else if let Some(anchor) = anchor
                && !headings.of(&target)?.contains(&anchor)
            {
                missing.push(format!("{file}:{line}: the page {page} has no heading #{anchor}"));
            }
        }
    }
    Ok(missing)
}

fn is_page(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "md")
}

/// Line, page and anchor of each page that a source names. The tests at its end name pages that there need not be.
fn named_pages(text: &str) -> Vec<(usize, String, Option<String>)> {
    let text = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let is_path = |letter: char| letter.is_ascii_alphanumeric() || "_./-".contains(letter);
    let is_anchor = |letter: char| letter.is_alphanumeric() || "_-".contains(letter);
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for (called, folder) in FOLDERS {
            let mut before = "";
            for (number, rest) in line.split(called).enumerate() {
                // `e2e/docs/..` and `https://host/docs/..` are somewhere else.
                let is_ours = number > 0 && !before.ends_with(is_path);
                before = rest;
                let path = rest.split(|letter: char| !is_path(letter)).next().unwrap_or_default();
                let path = path.trim_end_matches('.');
                if is_ours && is_page(Path::new(path)) {
                    let anchor = rest.get(path.len()..).and_then(|rest| rest.strip_prefix('#'));
                    let anchor = anchor.and_then(|rest| rest.split(|letter: char| !is_anchor(letter)).next());
                    let anchor = anchor.filter(|anchor| !anchor.is_empty()).map(str::to_owned);
                    found.push((index + 1, format!("{folder}{path}"), anchor));
                }
            }
        }
    }
    found
}

/// The files like `pattern` that are, or are about to be, in version control.
pub(crate) fn tracked(root: &Path, pattern: &str) -> anyhow::Result<Vec<String>> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "-z",
            "--",
            pattern,
        ])
        .current_dir(root)
        .output()
        .context("run git")?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let names = String::from_utf8(output.stdout).context("a file name that is not UTF-8")?;
    let present = names
        .split('\0')
        .filter(|name| !name.is_empty() && root.join(name).exists());
    Ok(present.map(str::to_owned).collect())
}

/// Where the link of a page leads.
fn place(root: &Path, page: &str, link: &str) -> PathBuf {
    // The repository's host resolves a leading slash from the root.
    if let Some(from_root) = link.strip_prefix('/') {
        return root.join(from_root);
    }
    if link.is_empty() {
        return root.join(page);
    }
    root.join(page).parent().unwrap_or(root).join(link)
}

/// A link within the repository.
#[derive(Debug, PartialEq, Eq)]
struct Link {
    line: usize,
    /// Empty: the page itself.
    path: String,
    anchor: Option<String>,
}

/// The inline links `[..](path#anchor)` outside code; links with a scheme are left out.
fn relative_links(text: &str) -> Vec<Link> {
    let mut links = Vec::new();
    for (line, text) in outside_fences(text) {
        // Every second piece between backquotes is code.
        for prose in text.split('`').step_by(2) {
            for rest in prose.split("](").skip(1) {
                let target = rest.split([')', ' ']).next().unwrap_or_default();
                if target.is_empty() || target.contains(':') {
                    continue;
                }
                let (path, anchor) = target
                    .split_once('#')
                    .map_or((target, None), |(path, anchor)| (path, Some(anchor)));
                links.push(Link {
                    line,
                    path: path.to_owned(),
                    anchor: anchor.map(str::to_owned),
                });
            }
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_links_are_found_and_others_are_not() {
        let text = "[a](b.md#part) `[x](y)` [c](https://d) [e](#f)\n```\n[g](h)\n```\n![i](../j.png \"title\")";
        let link = |line, path: &str, anchor: Option<&str>| Link {
            line,
            path: path.to_owned(),
            anchor: anchor.map(str::to_owned),
        };
        let wanted = [
            link(1, "b.md", Some("part")),
            link(1, "", Some("f")),
            link(5, "../j.png", None),
        ];
        assert_eq!(relative_links(text), wanted);
    }

    #[test]
    fn links_lead_from_their_page() {
        let place = |page, link| place(Path::new("/r"), page, link);
        assert_eq!(place("docs/a.md", ""), Path::new("/r/docs/a.md"));
        assert_eq!(place("docs/a.md", "b.md"), Path::new("/r/docs/b.md"));
        assert_eq!(place("a.md", "docs/b.md"), Path::new("/r/docs/b.md"));
        assert_eq!(place("docs/a.md", "/c.md"), Path::new("/r/c.md"));
    }

    #[test]
    fn pages_are_found_in_sources() {
        let text = "// See docs/a.md#part-one, and (docs/b/c.md).\nurl: https://host/docs/d.md\nrunbook_url: RUNBOOKS/E.md\ndocs/ and docs/f.txt\n";
        let page = |line, page: &str, anchor: Option<&str>| (line, page.to_owned(), anchor.map(str::to_owned));
        let wanted = [
            page(1, "docs/a.md", Some("part-one")),
            page(1, "docs/b/c.md", None),
            page(3, "docs/runbooks/E.md", None),
        ];
        assert_eq!(named_pages(text), wanted);
    }

    #[test]
    fn every_link_of_the_repository_leads_somewhere() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        assert_eq!(broken(root).unwrap(), [""; 0]);
    }
}
