//! The roles of the process, each as tasks.

use std::{io::Write, path::PathBuf};

use anyhow::Context;
use kube::Config;
use novasphere::{Configuration, GatewaySettings, Role, RoleSelection, follow_gateways};
use novasphere_api::audit::ApiAudit;
use novasphere_dataplane::audit::output::{AuditFile, AuditSocket};
use novasphere_runtime::{client, health::ReadinessGate, kubernetes_version, shutdown::Shutdown, tasks::Tasks};
use novasphere_sessions::{ServingOptions, SessionGateway, SessionGatewayOptions, StartError};
use tokio::task::JoinSet;

use super::{Process, Streams};

/// What the roles are made of, and those that run.
pub(crate) struct Roles {
    pub(crate) role: RoleSelection,
    pub(crate) kube_config: Config,
    pub(crate) instance: String,
    pub(crate) configuration: Configuration,
    /// What the configuration was read from.
    pub(crate) config_file: Option<PathBuf>,
    pub(crate) process: Process,
    pub(crate) running: JoinSet<anyhow::Result<()>>,
}

/// How the start of what carries streams went.
pub(crate) enum Start {
    /// It carries streams.
    Ready(Box<SessionGateway>),
    /// No role of the process carries streams.
    NotNeeded,
    /// The process was asked to stop first.
    Stopped,
}

impl Roles {
    /// Says in the log and in `/readyz` when the cluster is too old.
    ///
    /// # Errors
    ///
    /// When the connection to the cluster cannot be configured.
    pub(crate) fn follow_kubernetes_version(&self, tasks: &mut Tasks) -> anyhow::Result<()> {
        let client = client::Builder::new(self.kube_config.clone())?.build()?;
        let gate = self.process.health.gate(ReadinessGate::KubernetesVersion);
        // The task opens it as well, but may begin later.
        gate.ready();
        tasks.spawn("version of Kubernetes", kubernetes_version::follow(client, gate));
        Ok(())
    }

    /// Starts what carries streams, when a role of this process does.
    ///
    /// # Errors
    ///
    /// When the audit log cannot be opened or the cluster refuses what the gateway needs.
    pub(crate) async fn gateway(&mut self, tasks: &mut Tasks) -> anyhow::Result<Start> {
        let Some(Streams { limiter, metrics }) = self.process.streams.take() else {
            return Ok(Start::NotNeeded);
        };
        let settings = &self.process.gateway;
        let options = SessionGatewayOptions {
            kube_config: self.kube_config.clone(),
            watch_namespace: settings.watch_namespace.clone(),
            namespace: self.kube_config.default_namespace.clone(),
            instance: self.instance.clone(),
            endpoints: self.configuration.endpoints.clone(),
            limiter,
            wake_timeout: settings.wake_timeout,
            resume_window: settings.resume_window,
            metrics,
            runtime_metrics: self.process.metrics.clone(),
            ready: self.process.health.gate(ReadinessGate::Sessions),
            audit: audit(settings)?,
            shutdown: self.process.shutdown.clone(),
        };
        match SessionGateway::start(options, tasks).await {
            Ok(gateway) => Ok(Start::Ready(Box::new(gateway))),
            Err(StartError::Stopped) => Ok(Start::Stopped),
            Err(error) => Err(error).context("the console gateway cannot start"),
        }
    }

    /// Starts the roles, those with streams behind `gateway`.
    ///
    /// # Errors
    ///
    /// When the connection to the cluster cannot be configured.
    pub(crate) fn start(&mut self, gateway: Option<&SessionGateway>) -> anyhow::Result<()> {
        for spec in self.role.specs() {
            match (spec.role, gateway) {
                (Role::Controller, _) => self.controller()?,
                (Role::Console, Some(gateway)) => self.console(gateway),
                (Role::Apiserver, Some(gateway)) => self.apiserver(gateway),
                (Role::Api, _) => self.api()?,
                // Where a role carries streams, `gateway` was started.
                (Role::Console | Role::Apiserver, None) => {}
            }
        }
        Ok(())
    }

    fn controller(&mut self) -> anyhow::Result<()> {
        let options = novasphere_controller::Options {
            config: self.configuration.controller.clone(),
            endpoints: self.configuration.endpoints.clone(),
            route_settings: follow_gateways(
                self.config_file.clone(),
                &self.configuration,
                self.process.metrics.clone(),
                self.process.shutdown.clone(),
            ),
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
        let options = self.serving(self.configuration.console.clone(), gateway);
        self.running.spawn(async {
            let ended = novasphere_console::run(options).await;
            ended.context("the console gateway ended")
        });
    }

    fn apiserver(&mut self, gateway: &SessionGateway) {
        let Some(metrics) = self.process.api.take() else {
            return;
        };
        let options = self.serving(self.configuration.apiserver.clone(), gateway);
        self.running.spawn(async {
            let ended = novasphere_apiserver::run(options, metrics).await;
            ended.context("the aggregated API ended")
        });
    }

    fn api(&mut self) -> anyhow::Result<()> {
        let settings = &self.process.gateway;
        let options = novasphere_api::ApiOptions {
            config: self.configuration.api.clone(),
            endpoints: self.configuration.endpoints.clone(),
            namespace: self.kube_config.default_namespace.clone(),
            own: client::Builder::new(self.kube_config.clone())?.build()?,
            kube_config: self.kube_config.clone(),
            watch_namespace: settings.watch_namespace.clone(),
            health: self.process.health.clone(),
            metrics: self.process.metrics.clone(),
            audit: ApiAudit::new(self.instance.clone(), audit(settings)?),
            shutdown: self.process.shutdown.clone(),
        };
        self.running.spawn(async {
            let ended = Box::pin(novasphere_api::run(options)).await;
            ended.context("the REST API ended")
        });
        Ok(())
    }

    /// What a role that carries streams is given, with its section of the configuration.
    fn serving<C>(&self, config: C, gateway: &SessionGateway) -> ServingOptions<C> {
        ServingOptions {
            config,
            endpoints: self.configuration.endpoints.clone(),
            gateway: gateway.clone(),
            namespace: self.kube_config.default_namespace.clone(),
            health: self.process.health.clone(),
            metrics: self.process.metrics.clone(),
            shutdown: self.process.shutdown.clone(),
        }
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
            result = result.and(ended.context("a role panicked").flatten());
        }
        result
    }
}

/// What the audit log is written to.
fn audit(settings: &GatewaySettings) -> anyhow::Result<Box<dyn Write + Send>> {
    match (&settings.audit_log, &settings.audit_socket) {
        (None, None) => Ok(Box::new(std::io::stdout())),
        (Some(path), None) => {
            let file = AuditFile::open(path);
            let file = file.with_context(|| format!("gateway.auditLog: cannot open {}", path.display()))?;
            Ok(Box::new(file))
        }
        (None, Some(path)) => {
            let socket = AuditSocket::open(path);
            let socket = socket.with_context(|| format!("gateway.auditSocket: cannot send to {}", path.display()))?;
            Ok(Box::new(socket))
        }
        (Some(_), Some(_)) => anyhow::bail!(
            "gateway.auditLog and gateway.auditSocket are both set, and the audit log goes to one place; remove one of them"
        ),
    }
}
