//! One door for writes: what changes an object goes through `runtime::apply::Applier`, which counts it, logs it and gives it a field manager. So
//! no other file has the parameters that kube wants for a write.

use std::{fs, path::Path};

use anyhow::Context;

use crate::files;

/// What every write with kube takes.
const PARAMETERS: [&str; 3] = ["PatchParams", "PostParams", "DeleteParams"];

/// The door, and what does not go through it.
const ALLOWED: &[(&str, &str)] = &[
    ("crates/runtime/src/apply.rs", "the door"),
    ("crates/runtime/src/apply/", "the door"),
    (
        "crates/runtime/src/lease/election.rs",
        "the door knows of leadership, which must not depend on it; it counts by itself",
    ),
    (
        "crates/check/src/",
        "a Job of `helm test`, which serves no metrics; a person reads what it says",
    ),
    (
        "crates/controller/src/uninstall.rs",
        "a Job of `helm uninstall`, which serves no metrics; a person reads what it says",
    ),
    (
        "crates/controller/src/routes/doctor.rs",
        "its SelfSubjectAccessReview and SubjectAccessReview are questions, and are not stored",
    ),
    (
        "crates/api/src/",
        "writes in people's own names, with their rights, which are theirs to be counted: kube-apiserver's audit log has them; what the role writes by \
         itself goes through the door",
    ),
    (
        "crates/novasphere/src/user.rs",
        "a person's command, which serves no metrics; the person reads what it says",
    ),
    (
        "crates/runtime/src/access.rs",
        "a SubjectAccessReview is a question, and is not stored",
    ),
];

/// One line for each file that writes beside the door.
pub(crate) fn beside(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for path in files::walk(&root.join("crates"))? {
        let file = path.strip_prefix(root)?.display().to_string();
        if path.extension().is_none_or(|extension| extension != "rs")
            || is_test(&file)
            || ALLOWED.iter().any(|(allowed, _)| file.starts_with(allowed))
        {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("read {file}"))?;
        found.extend(writes(&text).into_iter().map(|(line, parameters)| {
            format!(
                "{file}:{line}: {parameters} is for a write that nobody counts; write through runtime::apply::Applier, or say in \
                 xtask/src/write_door.rs why not"
            )
        }));
    }
    Ok(found)
}

fn is_test(file: &str) -> bool {
    ["/tests/", "/fuzz/", "/benches/"]
        .iter()
        .any(|part| file.contains(part))
        || file.ends_with("tests.rs")
}

/// Line and name of each parameter of a write, without those of the tests at the end of a file.
fn writes(text: &str) -> Vec<(usize, &'static str)> {
    let program = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = program.lines().enumerate();
    lines
        .flat_map(|(index, line)| {
            let named = PARAMETERS.into_iter().filter(move |name| line.contains(name));
            named.map(move |name| (index + 1, name))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_written_is_counted() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        assert_eq!(beside(root).unwrap(), [""; 0]);
    }

    #[test]
    fn writes_are_found_outside_tests() {
        let text =
            "use kube::api::PostParams;\nfn f() {}\n\n#[cfg(test)]\nmod tests {\n    use kube::api::PatchParams;\n}\n";
        assert_eq!(writes(text), [(1, "PostParams")]);
        assert!(
            is_test("crates/a/src/b/tests.rs")
                && is_test("crates/a/tests/b.rs")
                && !is_test("crates/a/src/attests_b.rs")
        );
    }
}
