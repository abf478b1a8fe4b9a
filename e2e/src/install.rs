//! novasphere in a cluster with a node: our image and our chart, as a user
//! installs them.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::{
    cluster::{self, Cluster},
    controller, paths,
};

/// The port of the node that leads to the console gateway's HTTPS.
const PAGE_PORT: u16 = 32_443;

/// The one that leads to its port for stock VNC viewers.
pub const VNC_PORT: u16 = 32_590;

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
    let node = expose(cluster)?;
    cluster.helm(&[
        "upgrade",
        "--install",
        RELEASE,
        chart,
        "--namespace",
        NAMESPACE,
        "--set",
        &format!("image.repository={IMAGE},image.tag={TAG},image.pullPolicy=Never"),
        "--set-string",
        &format!("config.endpoints.publicUrl=https://{node}:{PAGE_PORT},config.endpoints.vncAddress={node}:{VNC_PORT}"),
        // A kept cluster gets the new image under the same name.
        "--set-string",
        &["controller", "console", "apiserver"]
            .map(|role| format!("{role}.podAnnotations.e2e/run={}", std::process::id()))
            .join(","),
        "--wait",
        "--timeout",
        "180s",
    ])?;
    Ok(())
}

/// Makes a Service with ports that are known before novasphere is installed, which is told them, and returns the node's address.
fn expose(cluster: &Cluster) -> Result<String> {
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "console-page", "namespace": NAMESPACE},
        "spec": {
            "type": "NodePort",
            "selector": {"app.kubernetes.io/instance": RELEASE, "app.kubernetes.io/component": "console"},
            "ports": [
                {"name": "web", "port": 443, "targetPort": "web", "nodePort": PAGE_PORT},
                {"name": "vnc", "port": 5900, "targetPort": "vnc", "nodePort": VNC_PORT},
            ],
        },
    });
    let file = paths::output("")?.join("console-page.json");
    std::fs::write(&file, service.to_string())?;
    let file = file.to_str().context("the path of the repository is not UTF-8")?;
    cluster.kubectl(&["apply", "--server-side", "--filename", file])?;
    node_address(cluster)
}

/// The address of the node, at which its ports answer.
///
/// # Errors
/// When it has none.
pub fn node_address(cluster: &Cluster) -> Result<String> {
    let address = r#"jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}"#;
    let address = cluster.kubectl(&["get", "nodes", "--output", address])?;
    ensure!(!address.is_empty(), "the node has no address");
    Ok(address)
}

fn already_exists(error: anyhow::Error) -> Result<String> {
    if error.to_string().contains("AlreadyExists") {
        Ok(String::new())
    } else {
        Err(error)
    }
}
