//! `novasphere`: arguments to roles, nothing else.

mod roles;

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use clap::Parser;
use novasphere::{Arguments, Configuration, Role};
use novasphere_apiserver::metrics::ApiMetrics;
use novasphere_console::config::ConsoleConfig;
use novasphere_dataplane::{limits::ConnectionLimiter, metrics::StreamMetrics};
use novasphere_runtime::{
    admin::AdminServer,
    config,
    health::{Health, ReadinessGate},
    metrics::Metrics,
    open_files,
    shutdown::Shutdown,
    telemetry,
};
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;

use self::roles::Roles;

/// Kubernetes kills a Pod 30 s after SIGTERM by default; this leaves room for the last log lines.
const GRACE: Duration = Duration::from_secs(25);

/// The longest that streams may go on after the request to stop, whatever the configuration says.
const MAX_DRAIN: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = telemetry::init(arguments.common.log_format, &arguments.common.log_filter) {
        eprintln!("novasphere: {error}");
        return ExitCode::FAILURE;
    }
    match start(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // By the log: what reads it line by line as JSON shall find this last line as well.
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn start(arguments: Arguments) -> anyhow::Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider is installed already"))?;
    if arguments.role.carries_streams() {
        open_files::raise();
    }
    let configuration: Configuration = config::load_or_default(arguments.common.config.as_deref())?;
    let shutdown = Shutdown::on_signals(GRACE).context("cannot listen for signals")?;

    let health = Health::default();
    let mut registry = Registry::default();
    let process = Process {
        metrics: Metrics::register(&mut registry),
        streams: (arguments.role.carries_streams()).then(|| Streams::register(&configuration.console, &mut registry)),
        api: (arguments.role.has_apiserver()).then(|| ApiMetrics::register(&mut registry)),
        health: health.clone(),
        shutdown: shutdown.clone(),
    };
    close_gates(arguments.role, &health);
    let admin = AdminServer::bind(arguments.common.admin_address, health, registry)
        .await
        .with_context(|| format!("cannot listen on --admin-address {}", arguments.common.admin_address))?;
    let admin = tokio::spawn(admin.run(shutdown.clone()));

    let result = run(arguments, configuration, process).await;
    shutdown.trigger();
    // It serves until it is dropped, so that the last scrape tells how the end went.
    admin.abort();
    result
}

/// Nobody shall find the process ready before its roles have begun: each of them opens its gate, and only that.
fn close_gates(role: Role, health: &Health) {
    let gates = [
        (role.has_controller(), ReadinessGate::ControllerCaches),
        (role.carries_streams(), ReadinessGate::Sessions),
        (role.has_console(), ReadinessGate::ConsoleListeners),
        (role.has_apiserver(), ReadinessGate::ApiListener),
    ];
    for (_, gate) in gates.into_iter().filter(|(runs, _)| *runs) {
        let _closed = health.gate(gate);
    }
}

/// What all roles of the process share.
struct Process {
    health: Health,
    metrics: Metrics,
    streams: Option<Streams>,
    /// There when the process has the aggregated API.
    api: Option<ApiMetrics>,
    shutdown: Shutdown,
}

/// What the streams of the process are counted by.
struct Streams {
    limiter: ConnectionLimiter,
    metrics: StreamMetrics,
}

impl Streams {
    fn register(config: &ConsoleConfig, registry: &mut Registry) -> Self {
        let limiter = ConnectionLimiter::new(config.limits());
        let metrics = StreamMetrics::register(registry, limiter.clone());
        if config.metrics_per_session {
            metrics.register_sessions(registry);
        }
        Self { limiter, metrics }
    }
}

async fn run(arguments: Arguments, configuration: Configuration, process: Process) -> anyhow::Result<()> {
    let drain = configuration.console.drain_grace.get().min(MAX_DRAIN);
    // They outlive the roles: the last ends of streams are written when nobody listens any more.
    let mut tasks = JoinSet::new();
    let mut roles = Roles {
        role: arguments.role,
        kube_config: arguments.common.kube_config().await?,
        instance: arguments.instance.unwrap_or_else(host_name),
        configuration,
        process,
        running: JoinSet::new(),
    };
    let Some(gateway) = roles.gateway(&mut tasks).await? else {
        return Ok(());
    };
    roles.start(gateway.as_ref())?;
    let result = tokio::select! {
        result = roles.end() => result,
        Some(_) = tasks.join_next() => Err(anyhow::anyhow!("a watch or the lease task ended by itself; the process ends to start over")),
    };
    if let Some(gateway) = gateway {
        gateway.finish(drain).await;
    }
    result
}

/// The host's name, which in a Pod is the Pod's name.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "novasphere".to_owned())
}
