//! `novasphere`: arguments to roles, nothing else.

use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use novasphere::{Arguments, Configuration, Role};
use novasphere_runtime::{
    admin::{AdminServer, Health},
    client, config,
    metrics::Metrics,
    shutdown::Shutdown,
    telemetry,
};
use prometheus_client::registry::Registry;

/// Kubernetes kills a Pod 30 s after SIGTERM by default; this leaves room for the last log lines.
const GRACE: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider is installed already"))?;
    telemetry::init(arguments.common.log_format, &arguments.common.log_filter)?;
    let configuration: Configuration = config::load_or_default(arguments.common.config.as_deref())?;
    let shutdown = Shutdown::on_signals(GRACE).context("cannot listen for signals")?;

    let health = Health::default();
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let admin = AdminServer::bind(arguments.common.admin_address, health.clone(), registry)
        .await
        .with_context(|| format!("cannot listen on --admin-address {}", arguments.common.admin_address))?;
    let admin = tokio::spawn(admin.run(shutdown.clone()));

    let result = run(arguments, configuration, health, metrics, shutdown.clone()).await;
    shutdown.trigger();
    // It serves until it is dropped, so that the last scrape tells how the end went.
    admin.abort();
    result
}

async fn run(
    arguments: Arguments,
    configuration: Configuration,
    health: Health,
    metrics: Metrics,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let kube_config = arguments.common.kube_config().await?;
    match arguments.role {
        // `all` has one role to run until the others are built.
        Role::Controller | Role::All => {
            let options = novasphere_controller::Options {
                config: configuration.controller,
                namespace: kube_config.default_namespace.clone(),
                connection: client::Builder::new(kube_config.clone())?,
                lease_client: client::Builder::new(kube_config)?.build()?,
                instance: arguments.instance.unwrap_or_else(host_name),
                health,
                metrics,
                shutdown,
            };
            novasphere_controller::run(options)
                .await
                .context("the controller ended")
        }
    }
}

/// The host's name, which in a Pod is the Pod's name.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "novasphere".to_owned())
}
