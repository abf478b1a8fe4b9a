//! novasphere in a cluster with a node: our image and our chart, as a user
//! installs them.

use anyhow::{Context, Result, ensure};

use crate::{cluster::Cluster, paths};

/// The namespace of the installation.
pub const NAMESPACE: &str = "novasphere-system";

/// The Helm release, which is also the prefix of its objects' names.
pub const RELEASE: &str = "novasphere";

/// Loads the image that the Makefile has built and installs the chart.
///
/// # Errors
/// When the image was not built, or the controller does not become ready.
pub fn install(cluster: &Cluster) -> Result<()> {
    let image = paths::target()?.join("images/novasphere.tar");
    ensure!(
        image.exists(),
        "{} does not exist: run `make images`, or `make test` for all",
        image.display()
    );
    cluster.load_image(&image)?;
    let chart = paths::repository()?.join("charts/novasphere");
    let chart = chart.to_str().context("the path of the repository is not UTF-8")?;
    cluster.helm(&[
        "upgrade",
        "--install",
        RELEASE,
        chart,
        "--namespace",
        NAMESPACE,
        "--create-namespace",
        "--wait",
        "--timeout",
        "120s",
    ])?;
    Ok(())
}
