//! `novasphere`: arguments to roles, to a check, to the doctor or to the end of an installation, nothing else.

mod start;

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use novasphere::{
    Arguments, Configuration, GatewaySettings, Invocation, Role, RoleSelection, run_doctor, run_uninstall, run_user,
};
use novasphere_apiserver::metrics::ApiMetrics;
use novasphere_check::CheckArguments;
use novasphere_dataplane::{
    limits::{ConnectionLimiter, Limits},
    metrics::StreamMetrics,
};
use novasphere_runtime::{
    admin::AdminServer,
    args::CommonArgs,
    client, config,
    health::Health,
    metrics::{HttpMetrics, Metrics},
    open_files,
    shutdown::Shutdown,
    tasks::Tasks,
    telemetry::{self, TelemetryOptions},
};
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;

use self::start::{Roles, Start};

/// Kubernetes kills a Pod 30 s after SIGTERM by default; this leaves room for the last log lines.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(25);

#[tokio::main]
async fn main() -> ExitCode {
    match Invocation::try_parse_from(std::env::args_os()) {
        Ok(Invocation::Role(arguments)) => serve(arguments).await,
        Ok(Invocation::CheckConsole(common, check)) => match check_console(&common, check).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("novasphere check-console: {error:#}");
                ExitCode::FAILURE
            }
        },
        Ok(Invocation::Doctor(common, topic)) => match install_tls_provider() {
            Ok(()) => run_doctor(&common, &topic).await,
            Err(error) => {
                eprintln!("novasphere: {error:#}");
                ExitCode::FAILURE
            }
        },
        Ok(Invocation::User(common, command)) => match install_tls_provider() {
            Ok(()) => run_user(&common, command).await,
            Err(error) => {
                eprintln!("novasphere: {error:#}");
                ExitCode::FAILURE
            }
        },
        Ok(Invocation::PrepareUninstall(common, arguments)) => match install_tls_provider() {
            Ok(()) => run_uninstall(&common, arguments).await,
            Err(error) => {
                eprintln!("novasphere: {error:#}");
                ExitCode::FAILURE
            }
        },
        Err(error) => error.exit(),
    }
}

/// Looks at an installation, with the rights of who runs it.
async fn check_console(common: &CommonArgs, check: CheckArguments) -> anyhow::Result<()> {
    install_tls_provider()?;
    novasphere_check::run(check, common).await
}

fn install_tls_provider() -> anyhow::Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider is installed already"))
}

/// Runs one or all roles until they end.
async fn serve(arguments: Arguments) -> ExitCode {
    let endpoint = arguments.common.otlp_endpoint();
    let traces = match telemetry::init(TelemetryOptions {
        format: arguments.common.log_format,
        filter: &arguments.common.log_filter,
        otlp_endpoint: endpoint.as_deref(),
        role: arguments.role.name(),
    }) {
        Ok(traces) => traces,
        Err(error) => {
            eprintln!("novasphere: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = start(arguments).await;
    if let Some(traces) = traces {
        traces.shutdown().await;
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // In the log, so that a collector of JSON lines finds this last line as well.
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn start(arguments: Arguments) -> anyhow::Result<()> {
    install_tls_provider()?;
    if arguments.role.carries_streams() {
        open_files::raise();
    }
    let configuration: Configuration = config::load_or_default(arguments.common.config.as_deref())?;
    configuration.check().map_err(anyhow::Error::msg)?;
    let gateway = configuration.gateway_settings()?;
    let shutdown = Shutdown::on_signals(SHUTDOWN_GRACE).context("cannot listen for signals")?;

    let health = Health::default();
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let http = metrics.http();
    let process = Process {
        metrics,
        streams: (arguments.role.carries_streams())
            .then(|| Streams::register(configuration.console.limits(), &gateway, &mut registry, http.clone())),
        api: (arguments.role.has(Role::Apiserver)).then(|| ApiMetrics::register(&mut registry, http)),
        health: health.clone(),
        gateway,
        shutdown: shutdown.clone(),
    };
    declare_gates(arguments.role, &health);
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

/// The process is not ready before its roles have begun: each of them opens its gates, and only those.
fn declare_gates(role: RoleSelection, health: &Health) {
    for gate in role.specs().flat_map(|spec| spec.gates) {
        let _closed = health.gate(*gate);
    }
}

/// What all roles of the process share.
struct Process {
    health: Health,
    metrics: Metrics,
    /// Settings of what carries streams.
    gateway: GatewaySettings,
    streams: Option<Streams>,
    /// There when the process has the aggregated API.
    api: Option<ApiMetrics>,
    shutdown: Shutdown,
}

/// Limits and metrics of the streams of the process.
struct Streams {
    limiter: ConnectionLimiter,
    metrics: StreamMetrics,
}

impl Streams {
    fn register(limits: Limits, settings: &GatewaySettings, registry: &mut Registry, http: HttpMetrics) -> Self {
        let limiter = ConnectionLimiter::new(limits);
        let metrics = StreamMetrics::register(registry, limiter.clone(), http);
        if settings.metrics_per_session {
            metrics.register_sessions(registry);
        }
        Self { limiter, metrics }
    }
}

async fn run(arguments: Arguments, configuration: Configuration, process: Process) -> anyhow::Result<()> {
    let drain_grace = process.gateway.drain_grace;
    // They outlive the roles: the last ends of streams are written when nothing listens any more.
    let mut tasks = Tasks::new();
    let mut roles = Roles {
        role: arguments.role,
        kube_config: client::identified(arguments.common.kube_config().await?, arguments.role.name())?,
        instance: arguments.instance.unwrap_or_else(host_name),
        configuration,
        config_file: arguments.common.config.clone(),
        process,
        running: JoinSet::new(),
    };
    roles.follow_kubernetes_version(&mut tasks)?;
    let gateway = match roles.gateway(&mut tasks).await? {
        Start::Ready(gateway) => Some(gateway),
        Start::NotNeeded => None,
        Start::Stopped => return Ok(()),
    };
    roles.start(gateway.as_deref())?;
    let result = tokio::select! {
        result = roles.end() => result,
        ended = tasks.first_end() => Err(ended.into()),
    };
    if let Some(gateway) = gateway {
        gateway.finish(drain_grace).await;
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
