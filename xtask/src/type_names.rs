//! A type name stands once in the workspace: a reader who meets it knows which type it is. Types that play the same part for
//! sibling kinds or roles share a name on purpose; they are listed here.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::files;

/// Folders with Rust sources, by what a reader has in mind at once: the product, and the cluster tests, whose fixtures are named
/// after what they run.
const SOURCES: &[&[&str]] = &[&["crates", "xtask/src", "images/desktop/probe"], &["e2e/src"]];

/// Names of parts that siblings have alike, and what they are for each of them.
const SIBLINGS: &[(&str, &str)] = &[
    ("Applied", "what was applied for an object of a kind"),
    ("ConfigError", "why a configuration is invalid"),
    ("Context", "what the reconciles of a kind share"),
    ("HandshakeError", "why a handshake failed"),
    ("Observed", "what a status is computed from"),
    ("Outcome", "what a step had as its result"),
    ("Part", "the part of a spec that is invalid"),
    ("Prepared", "the children of an object, before they are applied"),
    ("Progress", "how far a handshake is"),
    ("References", "the objects that a spec names"),
    ("RunError", "why a role ended"),
    ("TlsConfig", "the certificate of a listener"),
    (
        "Transport",
        "how a viewer is connected, in the API and in the data plane",
    ),
    ("ValidateError", "why a spec is invalid"),
    ("ValidatedNetwork", "a network of a spec, validated"),
    ("ValidatedService", "a Service of a spec, validated"),
    ("Watches", "the watches of a view, and those of the controller"),
];

const KEYWORDS: &[&str] = &["struct", "enum", "trait", "type", "union"];

/// One line per name that two types have without being siblings.
pub(crate) fn ambiguous(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for folders in SOURCES {
        found.extend(ambiguous_in(root, folders)?);
    }
    Ok(found)
}

fn ambiguous_in(root: &Path, folders: &[&str]) -> anyhow::Result<Vec<String>> {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for folder in folders {
        for path in files::walk(&root.join(folder))? {
            let is_source = path.extension().is_some_and(|extension| extension == "rs");
            // Integration tests and fuzz targets are crates of their own.
            let relative = path.strip_prefix(root)?.to_path_buf();
            if is_source && !has_part(&relative, &["tests", "fuzz", "target", "benches"]) {
                let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
                for (line, name) in types(&text) {
                    let place = format!("{}:{line}", relative.display());
                    places.entry(name.to_owned()).or_default().push(place);
                }
            }
        }
    }
    let is_sibling = |name: &str| SIBLINGS.iter().any(|(sibling, _)| *sibling == name);
    let mut found = Vec::new();
    for (name, places) in places {
        if places.len() > 1 && !is_sibling(&name) {
            found.push(format!(
                "{name} is the name of {} types: {}. Rename all but one, or say in xtask/src/type_names.rs what part they share",
                places.len(),
                places.join(", ")
            ));
        }
    }
    Ok(found)
}

fn has_part(path: &Path, names: &[&str]) -> bool {
    PathBuf::from(path)
        .components()
        .any(|part| part.as_os_str().to_str().is_some_and(|part| names.contains(&part)))
}

/// Line and name of each type that other modules can name.
fn types(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let Some(rest) = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) ")) else {
            continue;
        };
        let mut words = rest.split_whitespace();
        if words.next().is_some_and(|word| KEYWORDS.contains(&word))
            && let Some(name) = words.next()
        {
            let end = name.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
            found.push((index + 1, end.and_then(|end| name.get(..end)).unwrap_or(name)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_found_that_other_modules_can_name() {
        let text = "pub struct A<T> {\n    pub enum B {\nstruct C;\npub(crate) type D = u8;\npub(super) trait E {}\npub fn f() {}\npub struct G;\n";
        assert_eq!(types(text), [(1, "A"), (2, "B"), (4, "D"), (7, "G")]);
    }
}
