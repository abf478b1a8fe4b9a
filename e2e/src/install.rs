//! novasphere in a cluster with a node: our image and our chart, as a user
//! installs them.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{
    cluster::{self, Cluster},
    controller, paths,
};

/// The namespace of the installation.
pub const NAMESPACE: &str = "novasphere-system";

/// The Helm release, which is also the prefix of its objects' names.
pub const RELEASE: &str = "novasphere";

const IMAGE: &str = "localhost/novasphere";
const TAG: &str = "e2e";

/// Makes the image from the program of this tree and installs the chart with it.
///
/// # Errors
/// When something does not build, or the controller does not become ready.
pub fn install(cluster: &Cluster) -> Result<()> {
    let archive = paths::output("")?.join("novasphere.tar");
    let output = Command::new(cluster::program()?)
        .arg("image")
        .arg("--binary")
        .arg(controller::program()?)
        .args(["--image", &format!("{IMAGE}:{TAG}"), "--out"])
        .arg(&archive)
        .output()
        .context("start novacluster image")?;
    ensure!(
        output.status.success(),
        "novacluster image: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    cluster.load_image(&archive)?;
    let chart = paths::repository()?.join("charts/novasphere");
    let chart = chart.to_str().context("the path of the repository is not UTF-8")?;
    cluster
        .kubectl(&["create", "namespace", NAMESPACE])
        .or_else(already_exists)?;
    cluster.kubectl(&[
        "label",
        "--overwrite",
        "namespace",
        NAMESPACE,
        "pod-security.kubernetes.io/enforce=restricted",
    ])?;
    cluster.helm(&[
        "upgrade",
        "--install",
        RELEASE,
        chart,
        "--namespace",
        NAMESPACE,
        "--set",
        &format!("image.repository={IMAGE},image.tag={TAG},image.pullPolicy=Never"),
        // A kept cluster gets the new image under the same name.
        "--set-string",
        &format!("controller.podAnnotations.e2e/run={}", std::process::id()),
        "--wait",
        "--timeout",
        "180s",
    ])?;
    Ok(())
}

fn already_exists(error: anyhow::Error) -> Result<String> {
    if error.to_string().contains("AlreadyExists") {
        Ok(String::new())
    } else {
        Err(error)
    }
}
