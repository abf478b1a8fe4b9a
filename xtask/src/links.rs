//! Checks that relative links of Markdown files name files of the repository.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, bail};

/// One line per link without a target, as `file:line: target`.
pub(crate) fn broken(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut broken = Vec::new();
    for file in tracked(root, "*.md")? {
        let text = fs::read_to_string(root.join(&file)).with_context(|| format!("read {file}"))?;
        for (line, target) in relative_links(&text) {
            let folder = Path::new(&file).parent().unwrap_or(Path::new(""));
            if !exists(root, &folder.join(&target), &target) {
                broken.push(format!("{file}:{line}: the link to {target} names no file"));
            }
        }
    }
    Ok(broken)
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

fn exists(root: &Path, target: &Path, link: &str) -> bool {
    // The repository's host resolves a leading slash from the root.
    match link.strip_prefix('/') {
        Some(from_root) => root.join(from_root).exists(),
        None => root.join(target).exists(),
    }
}

/// Line number and path of each inline link `[..](path)` outside code, without
/// its anchor; links with a scheme and links inside the page are left out.
fn relative_links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        // Every second piece between backquotes is code.
        for prose in line.split('`').step_by(2) {
            for rest in prose.split("](").skip(1) {
                let target = rest.split([')', ' ', '#']).next().unwrap_or_default();
                if !target.is_empty() && !target.contains(':') {
                    links.push((index + 1, target.to_owned()));
                }
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
        assert_eq!(
            relative_links(text),
            [(1, "b.md".to_owned()), (5, "../j.png".to_owned())]
        );
    }
}
