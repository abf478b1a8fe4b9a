//! Which crate may import which: the walls of `docs/ARCHITECTURE.md`. The table here is the one source; the page's picture is
//! generated from it, and `cargo metadata` is held against it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::{
    files::{Files, MARK},
    yaml::at,
};

/// What one crate of the workspace may import.
struct Wall {
    name: &'static str,
    /// What it holds, in few words.
    holds: &'static str,
    /// Crates of ours, without the prefix `novasphere-`.
    ours: &'static [&'static str],
    /// Crates of others that it must not import.
    forbidden: &'static [Forbidden],
}

/// A crate of others, or some of its features.
struct Forbidden {
    name: &'static str,
    /// Empty: the crate as a whole.
    features: &'static [&'static str],
}

const fn all_of(name: &'static str) -> Forbidden {
    Forbidden { name, features: &[] }
}

/// Asynchronous IO.
const TOKIO: Forbidden = all_of("tokio");
/// Requests to an API server.
const KUBE_CLIENT: Forbidden = Forbidden {
    name: "kube",
    features: &["client", "config", "runtime", "ws", "unstable-runtime", "rustls-tls"],
};

/// Bottom to top: a crate may import only crates that stand before it.
const WALLS: &[Wall] = &[
    Wall {
        name: "crd",
        holds: "our kinds",
        ours: &[],
        forbidden: &[TOKIO, KUBE_CLIENT, all_of("hyper")],
    },
    Wall {
        name: "foreign",
        holds: "kinds of others",
        ours: &[],
        forbidden: &[TOKIO, KUBE_CLIENT, all_of("hyper")],
    },
    Wall {
        name: "wire",
        holds: "codecs",
        ours: &[],
        forbidden: &[
            TOKIO,
            all_of("tokio-util"),
            all_of("kube"),
            all_of("k8s-openapi"),
            all_of("hyper"),
            all_of("futures"),
        ],
    },
    Wall {
        name: "runtime",
        holds: "what every role needs",
        ours: &[],
        forbidden: &[],
    },
    Wall {
        name: "core",
        holds: "decisions, pure",
        ours: &["crd", "foreign"],
        forbidden: &[TOKIO, KUBE_CLIENT, all_of("hyper"), all_of("tracing")],
    },
    Wall {
        name: "dataplane",
        holds: "streams",
        ours: &["wire", "runtime"],
        forbidden: &[],
    },
    Wall {
        name: "sessions",
        holds: "who may enter, what ends a stream",
        ours: &["crd", "foreign", "core", "runtime", "wire", "dataplane"],
        forbidden: &[],
    },
    Wall {
        name: "controller",
        holds: "role",
        ours: &["crd", "foreign", "core", "runtime", "sessions"],
        forbidden: &[],
    },
    Wall {
        name: "console",
        holds: "role",
        ours: &["crd", "core", "runtime", "wire", "dataplane", "sessions"],
        forbidden: &[],
    },
    Wall {
        name: "apiserver",
        holds: "role",
        ours: &["crd", "core", "runtime", "wire", "dataplane", "sessions"],
        forbidden: &[],
    },
    Wall {
        name: "api",
        holds: "role",
        ours: &["crd", "foreign", "core", "runtime"],
        forbidden: &[],
    },
    Wall {
        name: "check",
        holds: "looks at an installation",
        ours: &["crd", "runtime", "wire", "dataplane"],
        forbidden: &[],
    },
    Wall {
        name: "novasphere",
        holds: "the program",
        ours: &[
            "crd",
            "core",
            "runtime",
            "dataplane",
            "sessions",
            "controller",
            "console",
            "apiserver",
            "api",
            "check",
        ],
        forbidden: &[],
    },
];

/// Programs that are no part of the product. They stand above it: no crate of the product may import them.
const OUTSIDE: &[&str] = &["novasphere-e2e", "novasphere-probe", "xtask"];

const PREFIX: &str = "novasphere-";
const PAGE: &str = "docs/ARCHITECTURE.md";
const BEGIN: &str = "<!-- imports: ";
const END: &str = "<!-- imports: end -->";

/// One line per import that the table forbids, and per crate that it lacks or names in vain.
pub(crate) fn forbidden(root: &Path) -> anyhow::Result<Vec<String>> {
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(root)
        .output()
        .context("run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("parse what cargo metadata printed")?;
    let packages = at(&metadata, "/packages").as_array().context("no packages")?;
    Ok([upward(), check(packages)].concat())
}

/// Rows that import what does not stand before them: with those the table would allow a circle.
fn upward() -> Vec<String> {
    let mut found = Vec::new();
    for (index, wall) in WALLS.iter().enumerate() {
        let below: Vec<&str> = WALLS.iter().take(index).map(|wall| wall.name).collect();
        let above = wall.ours.iter().filter(|import| !below.contains(*import));
        found.extend(above.map(|import| {
            format!(
                "xtask/src/imports.rs: `{}` lets in `{import}`, which is not below it",
                wall.name
            )
        }));
    }
    found
}

fn check(packages: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen = Vec::new();
    for package in packages {
        let name = at(package, "/name").as_str().unwrap_or_default();
        if OUTSIDE.contains(&name) {
            continue;
        }
        let short = name.strip_prefix(PREFIX).unwrap_or(name);
        seen.push(short);
        match WALLS.iter().find(|wall| wall.name == short) {
            Some(wall) => {
                let imports = at(package, "/dependencies").as_array().into_iter().flatten();
                found.extend(imports.filter_map(|import| wall.refuses(import)));
            }
            None => found.push(format!("{name}: xtask/src/imports.rs does not say what it may import")),
        }
    }
    let missing = WALLS.iter().filter(|wall| !seen.contains(&wall.name));
    found.extend(missing.map(|wall| format!("xtask/src/imports.rs: the workspace has no crate `{}`", wall.name)));
    found
}

impl Wall {
    /// Why an import is not allowed; none when it is. Tests and build scripts may import what they like of others, but
    /// nothing of ours that the crate itself may not.
    fn refuses(&self, import: &Value) -> Option<String> {
        let name = at(import, "/name").as_str().unwrap_or_default();
        let is_ours = at(import, "/path").is_string();
        if is_ours {
            let short = name.strip_prefix(PREFIX).unwrap_or(name);
            return (!self.ours.contains(&short)).then(|| self.complaint(name));
        }
        if at(import, "/kind").is_string() {
            return None;
        }
        let forbidden = self.forbidden.iter().find(|forbidden| forbidden.name == name)?;
        if forbidden.features.is_empty() {
            return Some(self.complaint(name));
        }
        let features: Vec<&str> = at(import, "/features")
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let feature = forbidden.features.iter().find(|feature| features.contains(*feature))?;
        Some(self.complaint(&format!("{name} with feature `{feature}`")))
    }

    fn complaint(&self, import: &str) -> String {
        format!(
            "crates/{}: it must not import {import} (see {PAGE}, \"Imports\")",
            self.name
        )
    }
}

/// The page with the picture of the table in it.
pub(crate) fn files(root: &Path) -> anyhow::Result<Files> {
    let page = std::fs::read_to_string(root.join(PAGE)).with_context(|| format!("read {PAGE}"))?;
    let (before, rest) = page
        .split_once(BEGIN)
        .with_context(|| format!("{PAGE} has no line {BEGIN}"))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("{PAGE} has no line {END}"))?;
    let picture = picture()?;
    let page = format!("{before}{BEGIN}{MARK} from xtask/src/imports.rs -->\n\n{picture}\n{END}{after}");
    Ok(vec![(PathBuf::from(PAGE), page)])
}

/// The crates by layers, the program on top, with what each may import.
fn picture() -> Result<String, std::fmt::Error> {
    let mut layers: BTreeMap<&str, usize> = BTreeMap::new();
    for wall in WALLS {
        let below = wall.ours.iter().filter_map(|import| layers.get(import)).max();
        let layer = below.map_or(0, |layer| layer + 1);
        layers.insert(wall.name, layer);
    }
    let top = layers.values().max().copied().unwrap_or_default();
    let mut text = String::new();
    for layer in (0..=top).rev() {
        for wall in WALLS.iter().filter(|wall| layers.get(wall.name) == Some(&layer)) {
            let imports = if wall.ours.is_empty() {
                "nothing of ours".to_owned()
            } else {
                wall.ours.join(", ")
            };
            let walls: Vec<String> = wall.forbidden.iter().map(Forbidden::words).collect();
            let walls = if walls.is_empty() {
                String::new()
            } else {
                format!("; no {}", walls.join(", "))
            };
            writeln!(text, "    {:<11} {:<34} -> {imports}{walls}", wall.name, wall.holds)?;
        }
        if layer > 0 {
            text.push('\n');
        }
    }
    Ok(text)
}

impl Forbidden {
    fn words(&self) -> String {
        if self.features.is_empty() {
            self.name.to_owned()
        } else {
            format!("{} client", self.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const WALL: Wall = Wall {
        name: "a",
        holds: "",
        ours: &["b"],
        forbidden: &[TOKIO, KUBE_CLIENT],
    };

    #[test]
    fn only_what_the_table_names_is_let_in() {
        let ours = |name: &str| json!({"name": name, "path": "/x", "kind": "dev", "features": []});
        assert_eq!(WALL.refuses(&ours("novasphere-b")), None);
        assert!(WALL.refuses(&ours("novasphere-c")).is_some());
    }

    #[test]
    fn crates_of_others_are_walled_off_but_for_tests() {
        let other = |name: &str, kind: Value, feature: &str| json!({"name": name, "kind": kind, "features": [feature]});
        assert!(WALL.refuses(&other("tokio", Value::Null, "net")).is_some());
        assert!(WALL.refuses(&other("tokio", json!("dev"), "net")).is_none());
        assert!(WALL.refuses(&other("kube", Value::Null, "client")).is_some());
        assert!(WALL.refuses(&other("kube", Value::Null, "derive")).is_none());
        assert!(WALL.refuses(&other("serde", Value::Null, "derive")).is_none());
    }

    #[test]
    fn a_crate_without_a_row_is_named() {
        let found = check(&[json!({"name": "novasphere-new", "dependencies": []})]);
        assert!(
            found.iter().any(|line| line.starts_with("novasphere-new: ")),
            "{found:?}"
        );
    }

    #[test]
    fn no_row_lets_in_a_row_above_it() {
        assert_eq!(upward(), Vec::<String>::new());
    }

    #[test]
    fn every_row_is_in_the_picture() {
        let picture = picture().unwrap();
        for wall in WALLS {
            assert!(picture.contains(&format!("    {} ", wall.name)), "{picture}");
        }
    }
}
