//! The roles of the process, each as tasks.

use std::{fs::File, io::Write, path::Path};

use anyhow::Context;
use kube::Config;
use novasphere::{Configuration, Role};
use novasphere_apiserver::metrics::ApiMetrics;
use novasphere_runtime::{client, health::ReadinessGate, shutdown::Shutdown};
use novasphere_sessions::{SessionGateway, SessionGatewayOptions, StartError};
use tokio::task::JoinSet;

use super::{Process, Streams};

/// What the roles are made of, and those that run.
pub(crate) struct Roles {
    pub(crate) role: Role,
    pub(crate) kube_config: Config,
    pub(crate) instance: String,
    pub(crate) configuration: Configuration,
    pub(crate) process: Process,
    pub(crate) running: JoinSet<anyhow::Result<()>>,
}

/// What carries streams, where a role does.
pub(crate) type Gateway = Option<SessionGateway>;

impl Roles {
    /// Starts what carries streams, when a role of this process does. Returns nothing when the process was asked to stop first.
    ///
    /// # Errors
    ///
    /// When the audit log cannot be opened or the cluster refuses what the gateway needs.
    pub(crate) async fn gateway(&mut self, tasks: &mut JoinSet<()>) -> anyhow::Result<Option<Gateway>> {
        let Some(Streams { limiter, metrics }) = self.process.streams.take() else {
            return Ok(Some(None));
        };
        let ready = self.process.health.gate(ReadinessGate::Sessions);
        let config = &self.configuration.console;
        let options = SessionGatewayOptions {
            kube_config: self.kube_config.clone(),
            watch_namespace: config.watch_namespace.clone(),
            namespace: self.kube_config.default_namespace.clone(),
            instance: self.instance.clone(),
            endpoints: self.configuration.endpoints.clone(),
            limiter,
            wake_timeout: config.wake_timeout(),
            metrics,
            runtime_metrics: self.process.metrics.clone(),
            audit: audit(config.audit_log.as_deref())?,
            shutdown: self.process.shutdown.clone(),
        };
        match SessionGateway::start(options, tasks).await {
            Ok(gateway) => {
                ready.ready();
                Ok(Some(Some(gateway)))
            }
            Err(StartError::Stopped) => Ok(None),
            Err(error) => Err(error).context("the console gateway cannot start"),
        }
    }

    /// Starts the roles, those with streams behind `gateway`.
    ///
    /// # Errors
    ///
    /// When the connection to the cluster cannot be configured.
    pub(crate) fn start(&mut self, gateway: Option<&SessionGateway>) -> anyhow::Result<()> {
        if self.role.has_controller() {
            self.controller()?;
        }
        if let Some(gateway) = gateway {
            if self.role.has_console() {
                self.console(gateway);
            }
            if let Some(metrics) = self.process.api.take() {
                self.apiserver(gateway, metrics);
            }
        }
        Ok(())
    }

    fn controller(&mut self) -> anyhow::Result<()> {
        let options = novasphere_controller::Options {
            config: self.configuration.controller.clone(),
            endpoints: self.configuration.endpoints.clone(),
            namespace: self.kube_config.default_namespace.clone(),
            connection: client::Builder::new(self.kube_config.clone())?,
            lease_client: client::Builder::new(self.kube_config.clone())?.build()?,
            instance: self.instance.clone(),
            health: self.process.health.clone(),
            metrics: self.process.metrics.clone(),
            shutdown: self.process.shutdown.clone(),
        };
        self.running.spawn(async {
            let ended = novasphere_controller::run(options).await;
            ended.context("the controller ended")
        });
        Ok(())
    }

    fn console(&mut self, gateway: &SessionGateway) {
        let options = novasphere_console::Options {
            config: self.configuration.console.clone(),
            endpoints: self.configuration.endpoints.clone(),
            client: gateway.client().clone(),
            gateway: gateway.clone(),
            namespace: self.kube_config.default_namespace.clone(),
            health: self.process.health.clone(),
            shutdown: self.process.shutdown.clone(),
        };
        self.running.spawn(async {
            let ended = novasphere_console::run(options).await;
            ended.context("the console gateway ended")
        });
    }

    fn apiserver(&mut self, gateway: &SessionGateway, metrics: ApiMetrics) {
        let options = novasphere_apiserver::Options {
            config: self.configuration.apiserver.clone(),
            endpoints: self.configuration.endpoints.clone(),
            client: gateway.client().clone(),
            gateway: gateway.clone(),
            namespace: self.kube_config.default_namespace.clone(),
            health: self.process.health.clone(),
            metrics,
            shutdown: self.process.shutdown.clone(),
        };
        self.running.spawn(async {
            let ended = novasphere_apiserver::run(options).await;
            ended.context("the aggregated API ended")
        });
    }

    /// Waits for all roles. The first that ends, ends the others.
    ///
    /// # Errors
    ///
    /// That of the first role that failed.
    pub(crate) async fn end(&mut self) -> anyhow::Result<()> {
        let shutdown: &Shutdown = &self.process.shutdown;
        let mut result = Ok(());
        while let Some(ended) = self.running.join_next().await {
            shutdown.trigger();
            result = result.and(ended.context("a role broke off").flatten());
        }
        result
    }
}

/// Where the audit log goes.
fn audit(file: Option<&Path>) -> anyhow::Result<Box<dyn Write + Send>> {
    let Some(path) = file else {
        return Ok(Box::new(std::io::stdout()));
    };
    let file = File::options().create(true).append(true).open(path);
    let file = file.with_context(|| format!("console.auditLog: cannot open {}", path.display()))?;
    Ok(Box::new(file))
}
