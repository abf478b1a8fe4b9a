//! The desktop images, made from this tree and put into a node.

use std::{collections::BTreeSet, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;

use crate::{
    cluster::{self, Cluster},
    paths,
};

/// Makes the image of a variant, a folder of `images/`, puts it into the node and returns its name. What was made before
/// from the same things is used again, and cases of one process that want the same wait for the one that makes it.
///
/// # Errors
/// When it cannot be made or the cluster has no node.
pub fn load(cluster: &Cluster, variant: &str) -> Result<String> {
    /// Cluster and variant.
    static LOADED: Mutex<BTreeSet<(String, String)>> = Mutex::new(BTreeSet::new());
    // Held while it is made: two would write the same file.
    let mut loaded = LOADED.lock();
    let name = format!("localhost/novasphere-{variant}:{}", env!("CARGO_PKG_VERSION"));
    let key = (cluster.name.clone(), variant.to_owned());
    if loaded.contains(&key) {
        return Ok(name);
    }
    // Where `make images` has it.
    let archive = paths::target()?.join(format!("images/{variant}.tar"));
    let output = Command::new(cluster::program()?)
        .args(["desktop-image", "--variant", variant, "--image", &name, "--probe"])
        .arg(probe()?)
        .arg("--out")
        .arg(&archive)
        .output()
        .context("start novacluster desktop-image")?;
    ensure!(
        output.status.success(),
        "novacluster desktop-image: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    cluster.load_image(&archive)?;
    loaded.insert(key);
    Ok(name)
}

/// The probe of the images, built from this tree. `NOVASPHERE_PROBE` names another one.
fn probe() -> Result<PathBuf> {
    if let Some(program) = std::env::var_os("NOVASPHERE_PROBE") {
        return Ok(PathBuf::from(program));
    }
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--package", "novasphere-probe"])
        .current_dir(paths::repository()?)
        .status()
        .context("start cargo")?;
    ensure!(
        status.success(),
        "the probe does not build: run `cargo build --package novasphere-probe`"
    );
    Ok(paths::target()?.join("debug/novasphere-probe"))
}
