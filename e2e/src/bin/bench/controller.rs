//! The measured process: `novasphere controller`, on its own.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use novasphere_e2e::fixtures::{
    controller::program,
    wait::{self, Seen},
};
use serde_json::{Value, json};

use crate::{
    process::{self, Process, free_port},
    settings,
};

/// How long the process may take to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_mins(1);

/// A controller ends when it cannot renew its lease in time. On a machine that also runs the API server and the load this says
/// little about the controller, so the lease is long. A successor does not wait for it: it is released at the end.
const LEASE_DURATION: &str = "120s";

/// A running controller, killed when dropped.
pub(crate) struct Controller {
    process: Process,
    admin: u16,
}

impl Controller {
    /// Starts it against the cluster of `kubeconfig`, for all namespaces or for the one where its account has rights. Its log
    /// goes to `target/bench/`.
    pub(crate) fn start(kubeconfig: &Path, namespace: Option<&str>, log: &str) -> Result<Self> {
        Self::start_with(kubeconfig, namespace, &json!([]), log)
    }

    /// The same with a section `gateways` in its configuration.
    pub(crate) fn start_with(kubeconfig: &Path, namespace: Option<&str>, gateways: &Value, log: &str) -> Result<Self> {
        let program = program()?;
        let directory = settings::output()?;
        let configuration = directory.join("controller.yaml");
        let controller = json!({"watchNamespace": namespace, "leaderElection": {"leaseDuration": LEASE_DURATION}});
        let settings = json!({"controller": controller, "gateways": gateways});
        fs::write(&configuration, settings.to_string())?;
        let admin = free_port()?;
        let child = Command::new(program)
            .arg("controller")
            .env("NOVASPHERE_CONFIG", &configuration)
            .env("NOVASPHERE_KUBECONFIG", kubeconfig)
            .env("NOVASPHERE_ADMIN_ADDRESS", format!("127.0.0.1:{admin}"))
            .stdin(Stdio::null())
            .stderr(File::create(directory.join(log))?)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        Ok(Self {
            process: Process(child),
            admin,
        })
    }

    /// Resident memory in MB (10^6 bytes).
    pub(crate) fn resident_megabytes(&self) -> Result<f64> {
        Ok(process::resident(self.process.id())? / 1e6)
    }

    /// The most resident memory that it has had, in MB (10^6 bytes).
    pub(crate) fn peak_megabytes(&self) -> Result<f64> {
        Ok(process::peak(self.process.id())? / 1e6)
    }

    /// CPU time used so far, user and system, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        process::cpu_seconds(self.process.id())
    }

    /// Fails when the process has ended.
    pub(crate) fn runs(&mut self) -> Result<()> {
        match self.process.0.try_wait()? {
            None => Ok(()),
            Some(status) => bail!(
                "the controller ended, {status}: see its log in {}",
                settings::output()?.display()
            ),
        }
    }

    /// How many reconciles have ended, from `/metrics`.
    pub(crate) async fn reconciles(&self) -> Result<u64> {
        let text = self.metrics().await?;
        Ok(text
            .lines()
            .filter(|line| line.starts_with("novasphere_reconcile_duration_seconds_count"))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
            .sum())
    }

    /// Ends the process by SIGTERM.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let killed = Command::new("kill").arg(self.process.id().to_string()).status()?;
        ensure!(killed.success(), "cannot signal the controller");
        wait::until("the controller to end", STOP_TIMEOUT, || {
            let ended = self.process.0.try_wait();
            async move { Ok(Seen::some(ended?, "it still runs")) }
        })
        .await?;
        Ok(())
    }

    async fn metrics(&self) -> Result<String> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.admin)).await?;
        stream
            .write_all(b"GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n")
            .await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}
