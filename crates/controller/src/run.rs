//! The controller from start to end.

use std::{sync::Arc, time::Duration};

use kube::Client;
use novasphere_core::{console_session::endpoints::Endpoints, label, vnc_workspace::build::GatewayLocation};
use novasphere_runtime::{
    apply::Applier,
    client,
    events::Reporter,
    health::{Health, ReadinessGate},
    lease::{Leadership, LeaseElection, LeaseError, Timings},
    metrics::Metrics,
    optional_api::OptionalApis,
    shutdown::Shutdown,
    watch::{BadObject, Guard},
};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    LEASE_NAME,
    caches::Caches,
    config::ControllerConfig,
    console_session::{self, CONSOLE_SESSION_MANAGER, Gateways},
    reconciler,
    status_throttle::StatusThrottle,
    undecodable,
    vm_access::{self, VM_ACCESS_MANAGER},
    vnc_workspace::{self, VNC_WORKSPACE_MANAGER},
    watches::{OPTIONAL_APIS, Queues, Watches},
};

/// At most so many undecodable objects wait to be reported; more are logged and counted all the same.
const BAD_OBJECTS: usize = 64;

/// What the role is given from outside.
pub struct Options {
    /// Its section of the configuration file.
    pub config: ControllerConfig,
    /// Where viewers reach the gateways, for the status of sessions.
    pub endpoints: Endpoints,
    /// Makes the client for all reads and writes; writes are gated by the lease.
    pub connection: client::Builder,
    /// The client that renews the lease, which cannot be gated by it.
    pub lease_client: Client,
    /// Namespace of the lease, unless the configuration names one, and of the gateways' leases.
    pub namespace: String,
    /// Name of this process among the replicas, for example its Pod's name. A random part is added.
    pub instance: String,
    /// Where readiness is told.
    pub health: Health,
    /// Where reconciles, writes and the lease are counted.
    pub metrics: Metrics,
    /// When to stop.
    pub shutdown: Shutdown,
}

/// Why the controller ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configured lease cannot work.
    #[error("controller.leaderElection: {0}")]
    Lease(#[from] LeaseError),
    /// The client could not be made.
    #[error(transparent)]
    Client(#[from] client::ClientError),
    /// The first look at the cluster failed.
    #[error(
        "cannot find out which APIs the cluster serves: {0}. Check that the API server is reachable and that this account may read them"
    )]
    Discovery(#[source] kube::Error),
    /// Another replica may write now. The process ends, so that none of its caches or queues outlives its term.
    #[error("the lease ran out or was taken by another replica; this process ends and comes back as standby")]
    LeadershipLost,
    /// A watch ended, which it never should.
    #[error("a watch or the lease task ended by itself; the process ends to start over")]
    TaskEnded,
}

/// Runs until `options.shutdown` or until the lease is lost.
///
/// # Errors
///
/// [`RunError`]; the process should end and be started again.
pub async fn run(options: Options) -> Result<(), RunError> {
    let Options {
        config,
        endpoints,
        connection,
        lease_client,
        namespace,
        instance,
        health,
        metrics,
        shutdown,
    } = options;
    let caches_gate = health.gate(ReadinessGate::ControllerCaches);

    let (leadership, election) = election(&config, lease_client, &namespace, &instance, &metrics)?;
    let client = connection.write_gate(leadership.clone()).build()?;
    let apis = OptionalApis::watch(client.clone(), OPTIONAL_APIS, metrics.clone(), shutdown.clone())
        .await
        .map_err(RunError::Discovery)?;
    let (bad_objects, bad_object_reports) = mpsc::channel(BAD_OBJECTS);
    let guard = Guard {
        metrics: metrics.clone(),
        tell: Some(bad_objects),
    };
    let watches = watches(&config, &namespace, &client, &apis, guard);
    let mut tasks = JoinSet::new();
    watches.spawn(&mut tasks);
    if !caches_are_filled(&watches.caches, &mut tasks, &shutdown).await? {
        return Ok(());
    }
    caches_gate.ready();
    // Not before: one whose lists fail would keep the others from leading. The lease outlives the last reconcile, and is given back
    // only after it.
    let lease_shutdown = Shutdown::new(shutdown.grace());
    let mut lease_task = JoinSet::new();
    if let Some(election) = election {
        lease_task.spawn(election.run(lease_shutdown.clone()));
    }

    let role = Role {
        config,
        namespace,
        endpoints,
        instance,
        client,
        apis,
        metrics,
        watches,
        leadership,
        shutdown,
    };
    let result = tokio::select! {
        () = role.shutdown.wait() => Ok(()),
        () = role.leadership.wait_for_leadership() => role.lead(bad_object_reports, &mut tasks).await,
        _ = tasks.join_next() => Err(RunError::TaskEnded),
        // Without an election there is no such task, and an empty set is done at once.
        Some(_) = lease_task.join_next() => Err(RunError::TaskEnded),
    };
    if result.is_ok() {
        lease_shutdown.trigger();
        while lease_task.join_next().await.is_some() {}
    }
    result
}

fn watches(config: &ControllerConfig, namespace: &str, client: &Client, apis: &OptionalApis, guard: Guard) -> Watches {
    Watches {
        client: client.clone(),
        namespace: config.watch_namespace.clone(),
        apis: apis.clone(),
        guard,
        caches: Caches::new(),
        queues: Queues::default(),
        gateway_namespace: namespace.to_owned(),
        gateways: Arc::new(Gateways::default()),
    }
}

/// What will say whether this process leads, and the election that it stands in, where there is one.
fn election(
    config: &ControllerConfig,
    client: Client,
    namespace: &str,
    instance: &str,
    metrics: &Metrics,
) -> Result<(Leadership, Option<LeaseElection>), LeaseError> {
    let election = &config.leader_election;
    if !election.enabled {
        metrics.leading(true);
        return Ok((Leadership::always(), None));
    }
    let timings = Timings::for_duration(election.lease_duration.get());
    let election = LeaseElection::new(client, namespace, LEASE_NAME, instance, timings, metrics.clone())?;
    Ok((election.leadership(), Some(election)))
}

/// Returns `false` when the process has to stop before the caches are filled.
async fn caches_are_filled(caches: &Caches, tasks: &mut JoinSet<()>, shutdown: &Shutdown) -> Result<bool, RunError> {
    let filled = async {
        caches.vm_accesses.store().wait_until_ready().await;
        caches.virtual_machines.store().wait_until_ready().await;
        caches.virtual_machine_instances.store().wait_until_ready().await;
        caches.console_sessions.store().wait_until_ready().await;
        caches.gateway_leases.store().wait_until_ready().await;
        caches.services.store().wait_until_ready().await;
        caches.nodes.store().wait_until_ready().await;
        caches.vnc_workspaces.store().wait_until_ready().await;
        caches.pods.store().wait_until_ready().await;
        caches.claims.store().wait_until_ready().await;
        caches.network_policies.store().wait_until_ready().await;
        caches.volume_snapshots.store().wait_until_ready().await;
        caches.storage_classes.store().wait_until_ready().await;
    };
    tokio::select! {
        () = filled => Ok(true),
        () = shutdown.wait() => Ok(false),
        _ = tasks.join_next() => Err(RunError::TaskEnded),
    }
}

/// A replica with filled caches.
struct Role {
    config: ControllerConfig,
    namespace: String,
    endpoints: Endpoints,
    instance: String,
    client: Client,
    apis: OptionalApis,
    metrics: Metrics,
    watches: Watches,
    leadership: Leadership,
    shutdown: Shutdown,
}

impl Role {
    async fn lead(
        &self,
        bad_object_reports: mpsc::Receiver<BadObject>,
        tasks: &mut JoinSet<()>,
    ) -> Result<(), RunError> {
        tracing::info!("this replica leads");
        let vm_access = Arc::new(self.vm_access());
        let console_session = Arc::new(self.console_session());
        let vnc_workspace = Arc::new(self.vnc_workspace());
        let undecodable = undecodable::Context {
            client: self.client.clone(),
            caches: Arc::clone(&self.watches.caches),
            reporter: vm_access.reporter.clone(),
        };
        tasks.spawn(undecodable::report(undecodable, bad_object_reports));
        tasks.spawn(resync(self.watches.clone(), self.config.resync_interval.get()));
        tasks.spawn(console_session::watch_over(self.watches.clone(), self.client.clone()));
        self.watches.enqueue_all();

        let queues = self.watches.queues.clone();
        let (concurrency, metrics) = (self.config.concurrency, &self.metrics);
        let reconciles = async {
            tokio::join!(
                reconciler::run(vm_access, queues.vm_accesses, concurrency, metrics.clone(), self.stop()),
                reconciler::run(
                    console_session,
                    queues.console_sessions,
                    concurrency,
                    metrics.clone(),
                    self.stop()
                ),
                reconciler::run(
                    vnc_workspace,
                    queues.vnc_workspaces,
                    concurrency,
                    metrics.clone(),
                    self.stop()
                ),
            )
        };
        tokio::select! {
            _ = reconciles => {}
            // Running reconciles are dropped: none of their writes would pass the gate any more.
            () = self.leadership.lost() => {}
            _ = tasks.join_next() => return Err(RunError::TaskEnded),
        }
        if self.shutdown.is_triggered() {
            Ok(())
        } else {
            Err(RunError::LeadershipLost)
        }
    }

    fn vm_access(&self) -> vm_access::Context {
        let client = self.client.clone();
        vm_access::Context {
            applier: Applier::new(client.clone(), VM_ACCESS_MANAGER, self.metrics.clone())
                .owner_label(label::KEY_OWNER_UID),
            reporter: Reporter::new(client.clone(), VM_ACCESS_MANAGER, &self.instance),
            client,
            apis: self.apis.clone(),
            caches: Arc::clone(&self.watches.caches),
            status_throttle: StatusThrottle::default(),
            power_calls: vm_access::PowerCalls::default(),
        }
    }

    fn console_session(&self) -> console_session::Context {
        let client = self.client.clone();
        console_session::Context {
            applier: Applier::new(client.clone(), CONSOLE_SESSION_MANAGER, self.metrics.clone()),
            reporter: Reporter::new(client.clone(), CONSOLE_SESSION_MANAGER, &self.instance),
            client,
            apis: self.apis.clone(),
            caches: Arc::clone(&self.watches.caches),
            endpoints: self.endpoints.clone(),
            gateways: Arc::clone(&self.watches.gateways),
        }
    }

    fn vnc_workspace(&self) -> vnc_workspace::Context {
        let client = self.client.clone();
        let config = &self.config.workspaces;
        vnc_workspace::Context {
            applier: Applier::new(client.clone(), VNC_WORKSPACE_MANAGER, self.metrics.clone())
                .owner_label(label::KEY_OWNER_UID),
            reporter: Reporter::new(client.clone(), VNC_WORKSPACE_MANAGER, &self.instance),
            client,
            apis: self.apis.clone(),
            caches: Arc::clone(&self.watches.caches),
            status_throttle: StatusThrottle::default(),
            node_ports: vnc_workspace::NodePortAllocator::new(&config.node_ports),
            last_inputs: vnc_workspace::LastInputs::default(),
            crash_backoff: vnc_workspace::CrashBackoff::default(),
            gateway: GatewayLocation {
                namespace: self.namespace.clone(),
            },
        }
    }

    /// Ends when no further reconcile is to begin.
    fn stop(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let (shutdown, leadership) = (self.shutdown.clone(), self.leadership.clone());
        async move {
            tokio::select! {
                () = shutdown.wait() => {}
                () = leadership.lost() => {}
            }
        }
    }
}

async fn resync(watches: Watches, every: Duration) {
    let mut timer = tokio::time::interval(every.max(Duration::from_secs(1)));
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    timer.tick().await;
    loop {
        timer.tick().await;
        watches.enqueue_all();
    }
}

#[cfg(test)]
mod tests;
