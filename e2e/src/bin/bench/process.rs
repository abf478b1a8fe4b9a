//! The measured process: the release build of `novasphere controller`, on its own.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use novasphere_e2e::{
    paths,
    wait::{self, Seen},
};

/// How long the process may take to end after SIGTERM.
const END: Duration = Duration::from_mins(1);

/// A running controller, killed when dropped.
pub(crate) struct Controller {
    child: Child,
    admin: u16,
}

impl Controller {
    /// Starts the release build against the cluster of `kubeconfig`; its log goes to `target/bench/`.
    pub(crate) fn start(kubeconfig: &Path, log: &str) -> Result<Self> {
        let program = paths::target()?.join("release/novasphere");
        ensure!(
            program.exists(),
            "{} is missing: run `make bench`, which builds it",
            program.display()
        );
        let directory = paths::target()?.join("bench");
        fs::create_dir_all(&directory)?;
        let admin = free_port()?;
        let child = Command::new(&program)
            .arg("controller")
            .env("NOVASPHERE_KUBECONFIG", kubeconfig)
            .env("NOVASPHERE_ADMIN_ADDRESS", format!("127.0.0.1:{admin}"))
            .stdin(Stdio::null())
            .stderr(File::create(directory.join(log))?)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        Ok(Self { child, admin })
    }

    /// Resident memory in MB (10^6 bytes).
    pub(crate) fn resident_megabytes(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("no VmRSS in /proc")?;
        let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kibibytes * 1024.0 / 1e6)
    }

    /// CPU time used so far, user and system, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        // Fields 14 and 15 of proc(5) stat, in ticks of which Linux shows 100 a second; the name before them may hold spaces.
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, fields) = stat.rsplit_once(')').context("unexpected /proc stat")?;
        let ticks = |index: usize| -> Result<f64> {
            Ok(fields
                .split_whitespace()
                .nth(index)
                .context("unexpected /proc stat")?
                .parse()?)
        };
        Ok((ticks(11)? + ticks(12)?) / 100.0)
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
        let killed = Command::new("kill").arg(self.child.id().to_string()).status()?;
        ensure!(killed.success(), "cannot signal the controller");
        wait::until("the controller to end", END, || {
            let ended = self.child.try_wait();
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

impl Drop for Controller {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
