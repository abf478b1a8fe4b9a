//! The generated parts of the chart, and the copy of the CRDs for kustomize.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use crate::{
    files::{Files, yaml_header},
    yaml,
};

/// CRDs for `config/crd` and for the chart, from the files of `crds/`.
pub(crate) fn files(root: &Path, crds: &Files) -> anyhow::Result<Files> {
    versions_agree(root)?;
    let mut files = Files::new();
    let mut names = Vec::new();
    for (path, content) in crds {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .context("a CRD file without a name")?;
        files.push((Path::new("config/crd/bases").join(name), content.clone()));
        files.push((
            Path::new("charts/novasphere/templates/crds").join(name),
            crd_template(content)?,
        ));
        names.push(name);
    }
    let mut kustomization = yaml_header("crds/");
    kustomization.push_str("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n");
    for name in names {
        writeln!(kustomization, "  - bases/{name}")?;
    }
    files.push((PathBuf::from("config/crd/kustomization.yaml"), kustomization));
    Ok(files)
}

/// The manifest of a CRD as a template: switchable, and kept on uninstall.
fn crd_template(manifest: &str) -> anyhow::Result<String> {
    const METADATA: &str = "\nmetadata:\n";
    let (header, manifest) = manifest.split_once('\n').context("a CRD without a header")?;
    let (head, rest) = manifest.split_once(METADATA).context("a CRD without metadata")?;
    if rest.starts_with("  annotations:") {
        bail!("a CRD with annotations: merge them with the one for helm.sh/resource-policy");
    }
    let escaped = rest.replace("{{", "{{ `{{` }}");
    Ok(format!(
        "{header}\n{{{{- if .Values.crds.install }}}}\n{head}{METADATA}  {{{{- if .Values.crds.keep }}}}\n  annotations:\n    \
         helm.sh/resource-policy: keep\n  {{{{- end }}}}\n{escaped}{{{{- end }}}}\n"
    ))
}

/// The chart's two versions are those of the program.
fn versions_agree(root: &Path) -> anyhow::Result<()> {
    let path = root.join("charts/novasphere/Chart.yaml");
    let chart = yaml::read(&path)?;
    for field in ["version", "appVersion"] {
        let found = chart.get(field).and_then(|version| version.as_str());
        if found != Some(env!("CARGO_PKG_VERSION")) {
            bail!(
                "{}: {field} must be {}, as in Cargo.toml",
                path.display(),
                env!("CARGO_PKG_VERSION")
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crd_becomes_a_template_that_can_be_switched_off_and_kept() {
        let template =
            crd_template("# made\napiVersion: x/v1\nkind: Y\nmetadata:\n  name: z\nspec: \"{{ a }}\"\n").unwrap();
        assert_eq!(
            template,
            "# made\n{{- if .Values.crds.install }}\napiVersion: x/v1\nkind: Y\nmetadata:\n  {{- if .Values.crds.keep }}\n  annotations:\n    \
             helm.sh/resource-policy: keep\n  {{- end }}\n  name: z\nspec: \"{{ `{{` }} a }}\"\n{{- end }}\n"
        );
    }
}
