//! Controllers for tests: in this process, where a fault can cut them off, or as
//! the real program, which signals can stop and kill.

use std::{
    fs::File,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use novasphere_controller::config::{ControllerConfig, LeaderElectionConfig};
use novasphere_core::console_session::endpoints::Endpoints;
use novasphere_runtime::{client, health::Health, metrics::Metrics, shutdown::Shutdown};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::{runtime::Runtime, task::JoinHandle};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt};

use crate::{
    account::Account,
    cluster::Cluster,
    fault::Fault,
    namespace, paths,
    wait::{self, Seen},
};

/// How long a controller that is asked to stop may take.
const GRACE: Duration = Duration::from_secs(20);

/// The configuration of a controller for one namespace. It leads without a lease: that of one that was killed would only make
/// its successor wait.
#[must_use]
pub fn config_for(namespace: &str) -> ControllerConfig {
    ControllerConfig {
        watch_namespace: Some(namespace.to_owned()),
        leader_election: LeaderElectionConfig {
            enabled: false,
            ..LeaderElectionConfig::default()
        },
        ..ControllerConfig::default()
    }
}

/// A controller with threads of its own in this process.
pub struct InProcess {
    runtime: Option<Runtime>,
    task: Option<JoinHandle<Result<(), novasphere_controller::RunError>>>,
    shutdown: Shutdown,
    registry: Arc<Registry>,
    health: Health,
}

impl InProcess {
    /// Starts one as `account`; its log goes to `log`.
    ///
    /// # Errors
    /// When its threads or its client cannot be made.
    pub async fn start(
        cluster: &Cluster,
        account: &Account,
        config: ControllerConfig,
        fault: &Fault,
        log: &Path,
    ) -> Result<Self> {
        let runtime = runtime(log)?;
        let kube_config = account.config(cluster).await?;
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let shutdown = Shutdown::new(GRACE);
        let health = Health::default();
        let task = {
            // The client's tasks belong to the runtime that it is made in.
            let _inside = runtime.enter();
            let options = novasphere_controller::Options {
                config,
                endpoints: Endpoints {
                    public_url: Some("https://console.example.org".to_owned()),
                    vnc_address: Some("console.example.org:5900".to_owned()),
                },
                connection: client::Builder::new(kube_config.clone())?.layer(fault),
                lease_client: client::Builder::new(kube_config)?.build()?,
                namespace: account.namespace.clone(),
                instance: "in-process".to_owned(),
                health: health.clone(),
                metrics,
                shutdown: shutdown.clone(),
            };
            runtime.spawn(novasphere_controller::run(options))
        };
        Ok(Self {
            runtime: Some(runtime),
            task: Some(task),
            shutdown,
            registry: Arc::new(registry),
            health,
        })
    }

    /// Starts one for the namespace of a case, as `account`.
    ///
    /// # Errors
    /// As [`InProcess::start`] and [`InProcess::ready`].
    pub async fn start_ready(
        context: &namespace::Context<'_>,
        account: &Account,
        config: ControllerConfig,
    ) -> Result<Self> {
        let log = context.output.join("controller.log");
        let controller = Self::start(context.cluster, account, config, &Fault::new(None), &log).await?;
        controller.ready().await?;
        Ok(controller)
    }

    /// The same with an account `controller` of its own and the usual configuration.
    ///
    /// # Errors
    /// As [`InProcess::start_ready`], and when the account cannot be made.
    pub async fn start_usual(context: &namespace::Context<'_>) -> Result<Self> {
        let account = Account::create(context.cluster, &context.namespace, "controller").await?;
        Self::start_ready(context, &account, config_for(&context.namespace)).await
    }

    /// Returns when its caches are filled.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn ready(&self) -> Result<()> {
        wait::until("the controller is ready", wait::SHORT, || async {
            Ok(Seen::some(
                (self.runs() && self.health.is_ready()).then_some(()),
                "it has ended, or a gate is closed",
            ))
        })
        .await
    }

    /// Whether it has not ended by itself.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.task.as_ref().is_some_and(|task| !task.is_finished())
    }

    /// How many reconciles it has done.
    ///
    /// # Errors
    /// When its metrics cannot be written as text.
    pub fn reconciles(&self) -> Result<u64> {
        self.counter("novasphere_reconciles_total")
    }

    /// Returns when it has done `count` more.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn reconciles_pass(&self, count: u64) -> Result<()> {
        let wanted = self.reconciles()? + count;
        wait::until(format!("{count} more reconciles"), wait::SHORT, || async {
            let done = self.reconciles()?;
            Ok(Seen::some(
                (done >= wanted).then_some(()),
                format!("{done} of {wanted}"),
            ))
        })
        .await
    }

    /// The sum of one of its counters over all labels.
    ///
    /// # Errors
    /// When its metrics cannot be written as text.
    pub fn counter(&self, name: &str) -> Result<u64> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(sum(&text, name))
    }

    /// Stops it as SIGTERM does and returns how it ended.
    ///
    /// # Errors
    /// The controller's own, or that it did not end in time.
    pub async fn stop(mut self) -> Result<()> {
        self.shutdown.trigger();
        let task = self.task.take().context("it was started")?;
        tokio::time::timeout(GRACE, task)
            .await
            .map_err(|_| anyhow!("the controller did not stop within {GRACE:?}"))???;
        Ok(())
    }

    /// Ends it as SIGKILL does: nothing is finished or given back.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The sum of a counter in the text form of metrics, over all its labels.
#[must_use]
pub fn sum(text: &str, name: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with(['{', ' ']))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// Threads whose log lines go to a file: several controllers run in this
/// process, and a test that fails needs those of its own.
fn runtime(log: &Path) -> Result<Runtime> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("open {}", log.display()))?;
    let layer = fmt::layer().with_ansi(false).with_writer(Arc::new(file));
    let directives = std::env::var("E2E_LOG");
    let filter = EnvFilter::new(
        directives
            .as_deref()
            .unwrap_or("info,novasphere_controller=debug,novasphere_runtime=debug"),
    );
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(filter).with(layer));
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("controller")
        .on_thread_start(move || {
            // For the life of the thread.
            std::mem::forget(tracing::dispatcher::set_default(&dispatch));
        })
        .enable_all()
        .build()?)
}

/// The program `novasphere controller` as a child process. It is killed when
/// this is dropped.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts it as `account`, named `instance`; its files go to `output`.
    ///
    /// # Errors
    /// When the program cannot be built or started.
    pub fn start(
        cluster: &Cluster,
        account: &Account,
        config: &ControllerConfig,
        instance: &str,
        output: &Path,
    ) -> Result<Self> {
        let file = |kind: &str| output.join(format!("{instance}.{kind}"));
        std::fs::write(file("kubeconfig"), account.kubeconfig(cluster)?)?;
        std::fs::write(
            file("yaml"),
            serde_saphyr::to_string(&serde_json::json!({"controller": config}))?,
        )?;
        let log = file("log");
        let process = Command::new(program()?)
            .args([
                "--log-format",
                "text",
                "--admin-address",
                "127.0.0.1:0",
                "--instance",
                instance,
            ])
            .arg("--kubeconfig")
            .arg(file("kubeconfig"))
            .arg("--config")
            .arg(file("yaml"))
            .arg("controller")
            .stdin(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("start novasphere")?;
        Ok(Self { process, log })
    }

    /// Sends a signal, for example `STOP`.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let status = Command::new("kill")
            .args(["-s", signal, &self.process.id().to_string()])
            .status()?;
        ensure!(status.success(), "signal {signal}: {status}");
        Ok(())
    }

    /// Its resident memory in bytes.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn resident(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kibibytes: u64 = kibibytes
            .context("/proc does not tell VmRSS: it has ended")?
            .trim()
            .parse()?;
        Ok(kibibytes << 10)
    }

    /// Waits until it ends by itself and returns its exit code.
    ///
    /// # Errors
    /// When it does not end in time, or by a signal.
    pub async fn ended(&mut self, bound: Duration) -> Result<i32> {
        let log = self.log.clone();
        let process = &mut self.process;
        let deadline = std::time::Instant::now() + bound;
        loop {
            if let Some(status) = process.try_wait()? {
                return status
                    .code()
                    .with_context(|| format!("it ended by signal {:?}; see {}", status.signal(), log.display()));
            }
            ensure!(
                std::time::Instant::now() < deadline,
                "the controller did not end within {bound:?}; see {}",
                log.display()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Fails only when it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The program, built from this tree: a stale one would test yesterday's code.
///
/// # Errors
/// When it does not build.
pub fn program() -> Result<&'static Path> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let build = || -> Result<PathBuf> {
        if let Some(program) = std::env::var_os("NOVASPHERE") {
            return Ok(PathBuf::from(program));
        }
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--quiet", "--package", "novasphere"])
            .current_dir(paths::repository()?)
            .status()
            .context("start cargo")?;
        ensure!(
            status.success(),
            "novasphere does not build: run `cargo build --package novasphere`"
        );
        Ok(paths::target()?.join("debug/novasphere"))
    };
    let program = PROGRAM.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    program.as_deref().map_err(|error| anyhow!("{error}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_counter_is_summed_over_its_labels() {
        let text = "a_total{x=\"1\"} 3\na_total{x=\"2\"} 4\na_total_other 9\nb_total 1\n";
        assert_eq!(super::sum(text, "a_total"), 7);
        assert_eq!(super::sum(text, "b_total"), 1);
    }
}
