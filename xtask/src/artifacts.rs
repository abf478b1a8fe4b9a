//! The generated files: collected from the modules, then written or compared.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use crate::{
    charts, crds,
    files::{Files, is_marked, read, walk},
    helm::{Helm, OWN_ROUTES},
    imports, kustomize, program, rbac, reference, rest, roles, samples, values,
};

/// Folders that hold generated files, searched for files that are left over.
const FOLDERS: &[&str] = &["crds", "config", "charts", "docs"];

/// Every generated file of the repository.
pub(crate) fn all(root: &Path, helm: &Helm) -> anyhow::Result<BTreeMap<PathBuf, String>> {
    let invalid = samples::invalid_samples(root)?;
    if !invalid.is_empty() {
        bail!("samples do not fit the schemas:\n{}", invalid.join("\n"));
    }
    let crds = crds::files()?;
    let mut files: Files = [
        rbac::files()?,
        roles::files()?,
        charts::files(root, &crds)?,
        crds,
        reference::files()?,
        rest::files()?,
        program::files()?,
        imports::files(root)?,
        values::files(root)?,
    ]
    .concat();
    // The last, because Helm renders templates that are among the others.
    let mut rendered = kustomize::files(&helm.template(root, &files)?)?;
    for routes in OWN_ROUTES {
        let text = helm.template_routes(root, &files, routes)?;
        rendered.extend(kustomize::routes(routes.folder, &text)?);
    }
    files.extend(rendered);
    let mut all = BTreeMap::new();
    for (path, content) in files {
        if all.insert(path.clone(), content).is_some() {
            bail!("{} is generated twice", path.display());
        }
    }
    Ok(all)
}

/// Writes what differs and removes what nothing generates any more.
pub(crate) fn write(root: &Path, files: &BTreeMap<PathBuf, String>) -> anyhow::Result<()> {
    for (path, content) in files {
        let target = root.join(path);
        if read(&target)?.as_ref() == Some(content) {
            continue;
        }
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        }
        fs::write(&target, content).with_context(|| format!("write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    for path in left_over(root, files)? {
        fs::remove_file(root.join(&path)).with_context(|| format!("remove {}", path.display()))?;
        println!("removed {}", path.display());
    }
    Ok(())
}

/// One line per file that is not as it would be written.
pub(crate) fn stale(root: &Path, files: &BTreeMap<PathBuf, String>) -> anyhow::Result<Vec<String>> {
    let mut stale = Vec::new();
    for (path, content) in files {
        match read(&root.join(path))? {
            Some(present) if present == *content => {}
            Some(_) => stale.push(format!("stale: {}", path.display())),
            None => stale.push(format!("missing: {}", path.display())),
        }
    }
    stale.extend(
        left_over(root, files)?
            .iter()
            .map(|path| format!("left over: {}", path.display())),
    );
    if !stale.is_empty() {
        stale.push("Run `cargo xtask generate` and commit the result.".to_owned());
    }
    Ok(stale)
}

fn left_over(root: &Path, files: &BTreeMap<PathBuf, String>) -> anyhow::Result<Vec<PathBuf>> {
    let mut left_over = Vec::new();
    for folder in FOLDERS {
        for path in walk(&root.join(folder))? {
            let relative = path.strip_prefix(root)?.to_path_buf();
            if files.contains_key(&relative) {
                continue;
            }
            if read(&path)?.is_some_and(|text| is_marked(&text)) {
                left_over.push(relative);
            }
        }
    }
    Ok(left_over)
}
