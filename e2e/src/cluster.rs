//! Clusters of the test bed, started by the program `novacluster`.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

use anyhow::{Context, Result, bail, ensure};
use http::{HeaderName, HeaderValue};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use parking_lot::Mutex;
use serde::Deserialize;

use crate::{audit::AuditLog, install, paths};

/// The name of the cluster that the tests of one run share, and how the others' begin. `E2E_CLUSTER` chooses another one, for a run
/// beside others.
fn shared_name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| std::env::var("E2E_CLUSTER").unwrap_or_else(|_| "e2e".to_owned()))
}

/// A running cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// Its name, as `novacluster --name` takes it.
    pub name: String,
    /// The kubeconfig of its administrator.
    pub kubeconfig: PathBuf,
    audit_log: PathBuf,
    #[serde(default)]
    parts: Vec<Part>,
}

/// One of its programs.
#[derive(Clone, Debug, Deserialize)]
pub struct Part {
    /// `etcd`, `kube-apiserver` and so on.
    pub name: String,
    /// Its process.
    #[serde(default)]
    pub pid: u32,
    /// Whether the process runs.
    #[serde(default)]
    pub running: bool,
}

/// A cluster of one test, taken down when it is dropped, also by a panic.
#[derive(Debug)]
pub struct OwnCluster(Cluster);

impl std::ops::Deref for OwnCluster {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.0
    }
}

impl Drop for OwnCluster {
    fn drop(&mut self) {
        if keep() {
            eprintln!("kept the cluster {} (E2E_KEEP is set)", self.name);
            return;
        }
        if let Err(error) = novacluster(&["--name", &self.name, "down"]) {
            eprintln!("the cluster {} is not down: {error:#}", self.name);
        }
    }
}

/// `E2E_KEEP=1` leaves clusters running for a look, and for the next run.
#[must_use]
pub fn keep() -> bool {
    std::env::var("E2E_KEEP").is_ok_and(|value| !value.is_empty() && value != "0")
}

/// Whether this process may make namespaces of the kernel, which a node needs.
#[must_use]
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

impl Cluster {
    /// Starts etcd, kube-apiserver, kube-controller-manager and kube-scheduler
    /// without a node, with foreign CRDs (`kubevirt`, `cdi`, …) and ours.
    ///
    /// # Errors
    /// When it does not come up, with the last lines of `novacluster`.
    pub fn control_plane(name: &str, crds: &[&str]) -> Result<OwnCluster> {
        Self::control_plane_by(start, name, crds)
    }

    /// A cluster with a node and KubeVirt's CRDs, but without KubeVirt, for a test that installs and removes novasphere.
    ///
    /// # Errors
    /// When it does not come up, with the last lines of `novacluster`.
    pub fn own_node(name: &str) -> Result<OwnCluster> {
        let name = format!("{}-{name}", shared_name());
        Ok(OwnCluster(start(&name, &["up", "--node", "--crds", "kubevirt"])?))
    }

    /// A cluster with a node, storage with snapshots and our CRDs, for a test that runs controllers of its own on it.
    ///
    /// # Errors
    /// When it does not come up, with the last lines of `novacluster`.
    pub fn own_storage(name: &str) -> Result<OwnCluster> {
        let name = format!("{}-{name}", shared_name());
        let cluster = OwnCluster(start(&name, &["up", "--csi"])?);
        cluster.apply_own_crds()?;
        Ok(cluster)
    }

    /// A cluster with a node, a real KubeVirt and our CRDs, beside others.
    ///
    /// # Errors
    /// When it does not come up, with the last lines of `novacluster`.
    pub fn own_kubevirt(name: &str) -> Result<OwnCluster> {
        let name = format!("{}-{name}", shared_name());
        let cluster = OwnCluster(start(&name, &["up", "--kubevirt"])?);
        cluster.apply_own_crds()?;
        Ok(cluster)
    }

    fn control_plane_by(
        start: impl Fn(&str, &[&str]) -> Result<Self>,
        name: &str,
        crds: &[&str],
    ) -> Result<OwnCluster> {
        let name = format!("{}-{name}", shared_name());
        let crds = crds.join(",");
        let mut arguments = vec!["up"];
        if !crds.is_empty() {
            arguments.extend(["--crds", &crds]);
        }
        let cluster = OwnCluster(start(&name, &arguments)?);
        cluster.apply_own_crds()?;
        Ok(cluster)
    }

    /// The cluster with a node, storage with snapshots and a real KubeVirt that
    /// the tests of this process share. It is started by the first test that asks.
    ///
    /// # Errors
    /// When it does not come up; every test that asks gets the same error.
    pub fn shared() -> Result<&'static Self> {
        static CLUSTER: OnceLock<Result<Cluster, String>> = OnceLock::new();
        let cluster = CLUSTER.get_or_init(|| {
            let cluster =
                take_or_start(shared_name(), &["up", "--csi", "--kubevirt"]).map_err(|error| format!("{error:#}"))?;
            *started().lock() = true;
            Ok(cluster)
        });
        cluster.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// [`Cluster::shared`] with novasphere installed by its chart.
    ///
    /// # Errors
    /// As [`Cluster::shared`], and when the controller does not become ready.
    pub fn with_novasphere() -> Result<&'static Self> {
        static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();
        let cluster = Self::shared()?;
        let installed = INSTALLED.get_or_init(|| install::install(cluster).map_err(|error| format!("{error:#}")));
        installed
            .as_ref()
            .map_err(|error| anyhow::anyhow!("install novasphere: {error}"))?;
        Ok(cluster)
    }

    /// The control plane, with the CRDs of KubeVirt, snapshots and ours but no
    /// controller of any, that the tests of this process share.
    ///
    /// # Errors
    /// As [`Cluster::shared`].
    pub fn plane() -> Result<&'static Self> {
        static HANDLE: OnceLock<Cluster> = OnceLock::new();
        let cluster = PLANE.get_or_init(|| {
            Self::control_plane_by(take_or_start, "plane", &["kubevirt", "snapshot"])
                .map(Some)
                .map(Mutex::new)
                .map_err(|error| format!("{error:#}"))
        });
        let own = cluster.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
        if let Some(handle) = HANDLE.get() {
            return Ok(handle);
        }
        let own = own.lock();
        let own = own.as_ref().context("the control plane is already down")?;
        Ok(HANDLE.get_or_init(|| own.0.clone()))
    }

    /// Takes down what the tests of this process shared.
    ///
    /// # Errors
    /// When something of it is left.
    pub fn end_shared() -> Result<()> {
        if let Some(Ok(plane)) = PLANE.get() {
            drop(plane.lock().take());
        }
        let started = *started().lock();
        match (started, keep()) {
            (false, _) => {}
            (true, true) => eprintln!("kept the cluster {} (E2E_KEEP is set)", shared_name()),
            (true, false) => drop(novacluster(&["--name", shared_name(), "down"])?),
        }
        Ok(())
    }

    /// A client with the rights of the administrator.
    ///
    /// # Errors
    /// When the kubeconfig is not usable.
    pub async fn client(&self) -> Result<Client> {
        Ok(Client::try_from(self.config("novasphere-e2e").await?)?)
    }

    /// The administrator's configuration; requests name `user_agent`, by which
    /// the audit log tells one program from another.
    ///
    /// # Errors
    /// When the kubeconfig is not usable.
    pub async fn config(&self, user_agent: &str) -> Result<Config> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        config.headers.push((
            HeaderName::from_static("user-agent"),
            HeaderValue::from_str(user_agent)?,
        ));
        Ok(config)
    }

    /// A file of the cluster's certificates and keys, such as `front-proxy-ca.crt`.
    #[must_use]
    pub fn pki(&self, file: &str) -> PathBuf {
        self.kubeconfig.with_file_name("pki").join(file)
    }

    /// The log of all writes.
    #[must_use]
    pub fn audit(&self) -> AuditLog {
        AuditLog::new(self.audit_log.clone())
    }

    /// Stops and starts one program of the cluster, `etcd` for instance, and
    /// returns when it is ready.
    ///
    /// # Errors
    /// When it does not come back.
    pub fn restart(&self, part: &str) -> Result<()> {
        novacluster(&["--name", &self.name, "restart", part]).map(drop)
    }

    /// Stops one program of the cluster and leaves it stopped.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&self, part: &str) -> Result<()> {
        novacluster(&["--name", &self.name, "stop", part]).map(drop)
    }

    /// Adds foreign CRDs to the running cluster.
    ///
    /// # Errors
    /// When the apiserver does not serve them in time.
    pub fn add_crds(&self, crds: &[&str]) -> Result<()> {
        novacluster(&["--name", &self.name, "up", "--crds", &crds.join(",")]).map(drop)
    }

    /// The programs of the cluster as they are now.
    ///
    /// # Errors
    /// When the cluster is gone.
    pub fn parts(&self) -> Result<Vec<Part>> {
        Ok(status(&self.name)?.parts)
    }

    /// Runs kubectl as the administrator and returns its standard output.
    ///
    /// # Errors
    /// When kubectl fails, with its standard error.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let output = self.kubectl_output(arguments)?;
        ensure!(
            output.status.success(),
            "kubectl {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs kubectl as the administrator and returns whatever came of it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn kubectl_output(&self, arguments: &[&str]) -> Result<Output> {
        self.tool("kubectl", arguments)
    }

    /// Runs helm as the administrator and returns its standard output.
    ///
    /// # Errors
    /// When helm fails, with its standard error.
    pub fn helm(&self, arguments: &[&str]) -> Result<String> {
        let output = self.tool("helm", arguments)?;
        ensure!(
            output.status.success(),
            "helm {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Imports a container image, a docker archive, into the node.
    ///
    /// # Errors
    /// When the cluster has no node or the archive is not readable.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        let archive = archive.to_str().context("the path of the image is not UTF-8")?;
        novacluster(&["--name", &self.name, "load-image", archive]).map(drop)
    }

    fn tool(&self, tool: &str, arguments: &[&str]) -> Result<Output> {
        let mut all = vec!["--name", self.name.as_str(), tool];
        all.extend(arguments);
        run(&all)
    }

    fn apply_own_crds(&self) -> Result<()> {
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": novasphere_crd::crds()});
        let file = paths::output("")?.join(format!("{}-crds.json", self.name));
        std::fs::write(&file, serde_json::to_string(&list)?)?;
        let file = file.to_str().context("the path of the repository is not UTF-8")?;
        // On a machine with two cores a cluster that has just started can be too busy for a request with all definitions.
        retried(APPLY_TRIES, || {
            self.kubectl(&["apply", "--server-side", "--filename", file])
        })?;
        self.kubectl(&[
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "--filename",
            file,
        ])?;
        Ok(())
    }
}

/// Applying the same again is harmless.
const APPLY_TRIES: u32 = 3;

fn retried<T>(tries: u32, mut run: impl FnMut() -> Result<T>) -> Result<T> {
    let mut attempt = 1;
    loop {
        match run() {
            Err(error) if attempt < tries && format!("{error:#}").contains("(Timeout)") => {
                eprintln!("try {attempt} of {tries}: {error:#}");
                attempt += 1;
            }
            result => return result,
        }
    }
}

static PLANE: OnceLock<Result<Mutex<Option<OwnCluster>>, String>> = OnceLock::new();

fn started() -> &'static Mutex<bool> {
    static STARTED: Mutex<bool> = Mutex::new(false);
    &STARTED
}

/// Takes over a cluster that an earlier run kept, or starts one.
fn take_or_start(name: &str, arguments: &[&str]) -> Result<Cluster> {
    match status(name) {
        Ok(cluster) if keep() && cluster.parts.iter().all(|part| part.running) => Ok(cluster),
        _ => start(name, arguments),
    }
}

/// Starts a cluster; what a killed run left under its name goes first.
fn start(name: &str, arguments: &[&str]) -> Result<Cluster> {
    let down = || novacluster(&["--name", name, "down"]);
    down()?;
    let mut all = vec!["--name", name];
    all.extend(arguments);
    match novacluster(&all) {
        Ok(_) => status(name),
        Err(error) if keep() => Err(error),
        Err(error) => {
            down()?;
            Err(error)
        }
    }
}

fn status(name: &str) -> Result<Cluster> {
    let output = novacluster(&["--name", name, "status", "--output", "json"])?;
    serde_json::from_slice(&output.stdout).with_context(|| format!("novacluster status of {name}"))
}

fn novacluster(arguments: &[&str]) -> Result<Output> {
    let output = run(arguments)?;
    if output.status.success() {
        return Ok(output);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = stderr.trim().lines().collect();
    let last = lines
        .iter()
        .skip(lines.len().saturating_sub(30))
        .copied()
        .collect::<Vec<_>>();
    bail!(
        "novacluster {}: {}\n{}",
        arguments.join(" "),
        output.status,
        last.join("\n")
    )
}

fn run(arguments: &[&str]) -> Result<Output> {
    Command::new(program()?)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start novacluster {}", arguments.join(" ")))
}

/// The program `novacluster`: that of the environment variable `NOVACLUSTER`, or
/// one built from this tree.
///
/// # Errors
/// When it does not build.
pub fn program() -> Result<&'static Path> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| find_program().map_err(|error| format!("{error:#}")));
    program.as_deref().map_err(|error| anyhow::anyhow!("{error}"))
}

fn find_program() -> Result<PathBuf> {
    if let Some(program) = std::env::var_os("NOVACLUSTER") {
        return Ok(PathBuf::from(program));
    }
    let program = paths::target()?.join("novacluster");
    let status = Command::new("go")
        // The flags of the Makefile: with others all is compiled again.
        .args(["build", "-trimpath", "-buildvcs=false", "-o"])
        .env("CGO_ENABLED", "0")
        .arg(&program)
        .arg("./cmd/novacluster")
        .current_dir(paths::repository()?.join("e2e/cluster"))
        .status()
        .context("the Go tool chain is needed to build novacluster")?;
    ensure!(
        status.success(),
        "novacluster does not build: run `go build ./...` in e2e/cluster"
    );
    Ok(program)
}

/// Holds off another run of these tests from the same tree: both would use
/// the same cluster names.
///
/// # Errors
/// When another run holds it.
pub fn lock() -> Result<File> {
    let path = paths::output("")?.join("lock");
    let file = File::create(&path).with_context(|| format!("make {}", path.display()))?;
    file.try_lock().with_context(|| {
        format!(
            "another run of these tests holds {}: wait for it to end",
            path.display()
        )
    })?;
    Ok(file)
}
