//! A function fits a screen, so that a reader sees all of it at once. Tests may be longer: a table of cases is read case by case.

use std::{fs, path::Path};

use anyhow::Context;

use crate::files;

/// Folders with Rust sources that are a program.
const SOURCES: &[&str] = &["crates", "xtask/src", "e2e/src", "images/desktop/probe"];

/// Lines between the braces of a function.
const BODY_LINES_LIMIT: usize = 60;

/// Words that may stand before `fn`.
const QUALIFIERS: [&str; 6] = ["pub", "default", "const", "async", "unsafe", "extern"];

/// One line for each function that is longer.
pub(crate) fn too_long(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for folder in SOURCES {
        for path in files::walk(&root.join(folder))? {
            let file = path.strip_prefix(root)?.display().to_string();
            if path.extension().is_none_or(|extension| extension != "rs") || is_test(&file) {
                continue;
            }
            let text = fs::read_to_string(&path).with_context(|| format!("read {file}"))?;
            let long = functions(&text)
                .into_iter()
                .filter(|function| function.body_lines > BODY_LINES_LIMIT);
            found.extend(long.map(|function| {
                format!(
                    "{file}:{}: {} has {} lines; a function fits a screen of {BODY_LINES_LIMIT}",
                    function.line, function.name, function.body_lines
                )
            }));
        }
    }
    Ok(found)
}

fn is_test(file: &str) -> bool {
    ["/tests/", "/fuzz/", "/benches/", "/target/"]
        .iter()
        .any(|part| file.contains(part))
        || file.ends_with("tests.rs")
}

#[derive(Debug, PartialEq, Eq)]
struct Function<'a> {
    line: usize,
    name: &'a str,
    body_lines: usize,
}

/// The functions of a source, without those of the tests at its end. rustfmt ends a body by a brace below the first letter of the function.
fn functions(text: &str) -> Vec<Function<'_>> {
    let program = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines: Vec<_> = program.lines().collect();
    let mut found = Vec::new();
    for (index, &line) in lines.iter().enumerate() {
        let Some(name) = name_of(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let rest = lines.iter().enumerate().skip(index);
        // A declaration without a body, or one on the same line, ends otherwise.
        let Some((head_end, last)) = rest.clone().find(|(_, line)| ends_head(line)) else {
            continue;
        };
        if !last.ends_with('{') {
            continue;
        }
        let mut body = rest.skip(head_end - index + 1);
        if let Some((end, _)) = body.find(|(_, line)| line.trim_start() == "}" && line.len() == indent + 1) {
            found.push(Function {
                line: index + 1,
                name,
                body_lines: end - head_end - 1,
            });
        }
    }
    found
}

fn ends_head(line: &str) -> bool {
    [';', '{', '}'].iter().any(|end| line.trim_end().ends_with(*end))
}

/// The name of the function whose head begins on this line.
fn name_of(line: &str) -> Option<&str> {
    let (before, after) = line.trim_start().split_once("fn ")?;
    let is_qualifier = |word: &str| {
        let word = word.split('(').next().unwrap_or_default();
        QUALIFIERS.contains(&word) || word.starts_with('"')
    };
    if !before.split_whitespace().all(is_qualifier) {
        return None;
    }
    let end = after.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    end.and_then(|end| after.get(..end)).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_function_is_longer_than_a_screen() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        assert_eq!(too_long(root).unwrap(), [""; 0]);
    }

    #[test]
    fn the_lines_of_a_body_are_counted() {
        let text = "trait A {\n    fn declared(&self);\n}\n\nimpl A for B {\n    pub(crate) async fn long(\n        &self,\n    ) -> u8\n    where\n        Self: Sized,\n    {\n        if x {\n            1\n        }\n    }\n\n    fn empty() {}\n}\n\n/// Not a fn here {\npub const fn short() {\n    f();\n}\n\n#[cfg(test)]\nmod tests {\n    fn tested() {\n    }\n}\n";
        let function = |line, name, body_lines| Function { line, name, body_lines };
        assert_eq!(functions(text), [function(6, "long", 3), function(21, "short", 1)]);
    }
}
