//! One version: that of `Cargo.toml`. The chart's own is compared when its parts are generated.

use std::{fs, path::Path};

use anyhow::Context;

use crate::links::tracked;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where an older version is no mistake.
const CHANGES: &str = "CHANGELOG.md";

/// One line for each image of ours with another version, and for a list of changes that lacks this one.
pub(crate) fn differing(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut differing = Vec::new();
    for pattern in ["*.md", "*.yaml", "*.txt"] {
        for file in tracked(root, pattern)? {
            // Deleted and not committed.
            let Ok(text) = fs::read_to_string(root.join(&file)) else {
                continue;
            };
            for (line, tag) in image_tags(&text) {
                if tag != VERSION && file != CHANGES {
                    differing.push(format!(
                        "{file}:{line}: an image of version {tag}; Cargo.toml has {VERSION}"
                    ));
                }
            }
        }
    }
    let changes = fs::read_to_string(root.join(CHANGES)).with_context(|| format!("read {CHANGES}"))?;
    let newest = versions(&changes).next();
    if newest != Some(VERSION) {
        differing.push(format!(
            "{CHANGES}: its newest version is {}; Cargo.toml has {VERSION}",
            newest.unwrap_or("none")
        ));
    }
    Ok(differing)
}

/// The tags of our images that are version numbers, with their lines.
fn image_tags(text: &str) -> Vec<(usize, &str)> {
    const IMAGES: [&str; 3] = ["novasphere", "novasphere-desktop", "novasphere-desktop-ide"];
    let mut tags = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let words = line.split(|letter: char| letter.is_whitespace() || "\"'`,()[]".contains(letter));
        for word in words {
            let Some((path, tag)) = word.rsplit_once(':') else {
                continue;
            };
            let name = path.rsplit(['/', '=']).next().unwrap_or_default();
            if IMAGES.contains(&name) && is_version(tag) {
                tags.push((index + 1, tag));
            }
        }
    }
    tags
}

/// The versions that a list of changes has headings for.
fn versions(text: &str) -> impl Iterator<Item = &str> {
    let headings = text.lines().filter_map(|line| line.strip_prefix("## "));
    headings
        .filter_map(|heading| heading.split(' ').next())
        .filter(|word| is_version(word))
}

fn is_version(text: &str) -> bool {
    let parts: Vec<_> = text.split('.').collect();
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    parts.len() == 3 && parts.into_iter().all(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_of_our_images_count() {
        let text = "image: localhost/novasphere:0.1.0\nIMG=r.example.com:5000/novasphere-desktop:0.2.0 x\n\
                    registry/other:1.2.3 localhost/novasphere:dev `novasphere-desktop-ide:9.9.9`\n";
        assert_eq!(image_tags(text), [(1, "0.1.0"), (2, "0.2.0"), (3, "9.9.9")]);
    }

    #[test]
    fn the_newest_version_is_the_first_heading_that_is_one() {
        let text = "# Changes\n## Unreleased\n## 1.2.0 - 2026-12-01\n## 1.1.0\n";
        assert_eq!(versions(text).collect::<Vec<_>>(), ["1.2.0", "1.1.0"]);
    }
}
