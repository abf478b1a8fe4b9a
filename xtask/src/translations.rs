//! A page and its translation have the same commands and links, so that neither is left behind.

use std::{fs, path::Path};

use anyhow::Context;

/// A page and its translation.
const PAIRS: [(&str, &str); 2] = [
    ("README.md", "README.zh-CN.md"),
    ("docs/README.md", "docs/README.zh-CN.md"),
];

/// What the name of a translation has before its ending. Links between translations count as links between the pages.
const LANGUAGE: &str = ".zh-CN";

/// One line for each command or link that only one of the two has.
pub(crate) fn differing(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut differing = Vec::new();
    for (page, translation) in PAIRS {
        let read = |file: &str| fs::read_to_string(root.join(file)).with_context(|| format!("read {file}"));
        let (one, other) = (parts(&read(page)?), parts(&read(translation)?));
        for (here, there, lacks) in [(&one, &other, translation), (&other, &one, page)] {
            let missing = here.iter().filter(|part| !there.contains(part));
            differing.extend(missing.map(|part| format!("{lacks}: lacks what its counterpart has: {part}")));
        }
    }
    Ok(differing)
}

/// The lines of code blocks without comments, code within prose, and the targets of links, each as a text that says what it is.
fn parts(text: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
        } else if in_block {
            let command = line.split(" #").next().unwrap_or_default().trim_end();
            if !command.is_empty() && !command.starts_with('#') {
                parts.push(format!("the line `{command}`"));
            }
        } else {
            parts.extend(code(line).map(|code| format!("`{code}`")));
            parts.extend(links(line).map(|target| format!("a link to {}", target.replace(LANGUAGE, ""))));
        }
    }
    parts
}

fn code(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

fn links(line: &str) -> impl Iterator<Item = &str> {
    let rests = line.split("](").skip(1);
    rests.filter_map(|rest| rest.split([')', ' ']).next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_links_and_pictures_count_and_words_do_not() {
        let page = "[other](README.zh-CN.md) text `make help` ![one](docs/a.png)\n```sh\nmake demo    # shows it\n# words\n\n```\n";
        let translation = "![das](docs/a.png) `make help`\n```sh\nmake demo  # zeigt es\n```\n[english](README.md)\n";
        let mut found = (parts(page), parts(translation));
        found.0.sort();
        found.1.sort();
        assert_eq!(found.0, found.1);
        assert_eq!(
            found.0,
            [
                "`make help`",
                "a link to README.md",
                "a link to docs/a.png",
                "the line `make demo`"
            ]
        );
    }
}
