//! The controller from start to end.

use std::{sync::Arc, time::Duration};

use kube::{Client, runtime::reflector::ObjectRef};
use novasphere_core::{
    allowed_names::AllowedNames,
    console_session::endpoints::Endpoints,
    label,
    routes::gateway::RouteSettings,
    vnc_workspace::{build::GatewayLocation, references::WorkspaceSettings},
};
use novasphere_runtime::{
    apply::Applier,
    client,
    events::Reporter,
    health::{Health, ReadinessGate},
    lease::{Leadership, LeaseElection, LeaseError, Timings},
    metrics::Metrics,
    optimistic::Updater,
    optional_api::OptionalApis,
    queue::Queue,
    shutdown::Shutdown,
    tasks::{TaskEnded, Tasks},
    watch::{Guard, UndecodableObject},
};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::{
    LEASE_NAME,
    caches::Caches,
    config::ControllerConfig,
    console_session::{self, CONSOLE_SESSION_MANAGER},
    readiness,
    reconciler::{self, Reconciler},
    routes::Routes,
    status_throttle::StatusThrottle,
    undecodable,
    vm_access::{self, VM_ACCESS_MANAGER},
    vnc_workspace::{self, VNC_WORKSPACE_MANAGER},
    watches::{OPTIONAL_APIS, Queues, Watches},
};

/// Undecodable objects that wait to be reported; more are logged and counted all the same.
const UNDECODABLE_LIMIT: usize = 64;

/// What the role is given from outside.
pub struct Options {
    /// Its section of the configuration file.
    pub config: ControllerConfig,
    /// Where viewers reach the gateways, for the status of sessions.
    pub endpoints: Endpoints,
    /// The gateways that carry routes, as the configuration file names them now.
    pub route_settings: watch::Receiver<Arc<RouteSettings>>,
    /// Makes the client for all reads and writes; writes are gated by the lease.
    pub connection: client::Builder,
    /// The client that renews the lease, which cannot be gated by it.
    pub lease_client: Client,
    /// Namespace of the lease, unless the configuration names one, and of the gateways' leases.
    pub namespace: String,
    /// Name of this process among the replicas, for example its Pod's name. A random part is added.
    pub instance: String,
    /// Holds the gate of its readiness.
    pub health: Health,
    /// Counts reconciles, writes and the lease.
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
    /// A watch or the lease task ended, which it never should.
    #[error(transparent)]
    TaskEnded(#[from] TaskEnded),
}

/// Runs until `options.shutdown` or until the lease is lost.
///
/// # Errors
///
/// [`RunError`]; the process should end and be started again.
pub async fn run(options: Options) -> Result<(), RunError> {
    let gate = options.health.gate(ReadinessGate::ControllerCaches);
    let (leadership, election) = election(&options)?;
    let (undecodable_tx, undecodable) = mpsc::channel(UNDECODABLE_LIMIT);
    let role = Role::new(options, leadership, undecodable_tx).await?;
    let mut tasks = Tasks::new();
    role.watches.spawn(&mut tasks);
    let (caches, denied) = (Arc::clone(&role.watches.caches), role.watches.guard.denied.clone());
    tasks.spawn("readiness", readiness::follow(gate.clone(), caches, denied));
    tokio::select! {
        () = readiness::filled(&role.watches.caches) => gate.ready(),
        () = role.shutdown.wait() => return Ok(()),
        ended = tasks.first_end() => return Err(ended.into()),
    }
    // Not before: one whose lists fail would keep the others from leading. The lease outlives the last reconcile, and is given back
    // only after it.
    let lease_shutdown = Shutdown::new(role.shutdown.grace());
    let mut lease_task = Tasks::new();
    if let Some(election) = election {
        lease_task.spawn("leader election", election.run(lease_shutdown.clone()));
    }
    let result = tokio::select! {
        () = role.shutdown.wait() => Ok(()),
        () = role.leadership.wait_for_leadership() => role.lead(undecodable, &mut tasks).await,
        ended = tasks.first_end() => Err(ended.into()),
        ended = lease_task.first_end() => Err(ended.into()),
    };
    if result.is_ok() {
        lease_shutdown.trigger();
        lease_task.join_all().await;
    }
    result
}

/// Says whether this process leads, and the election that it stands in, where there is one.
fn election(options: &Options) -> Result<(Leadership, Option<LeaseElection>), LeaseError> {
    let config = &options.config.leader_election;
    if !config.enabled {
        options.metrics.leading(true);
        return Ok((Leadership::always(), None));
    }
    let election = LeaseElection::new(
        options.lease_client.clone(),
        &options.namespace,
        LEASE_NAME,
        &options.instance,
        Timings::for_duration(config.lease_duration.get()),
        options.metrics.clone(),
    )?;
    Ok((election.leadership(), Some(election)))
}

/// What all parts of the role use.
struct Role {
    config: ControllerConfig,
    namespace: String,
    endpoints: Endpoints,
    instance: String,
    client: Client,
    metrics: Metrics,
    watches: Arc<Watches>,
    leadership: Leadership,
    shutdown: Shutdown,
}

impl Role {
    async fn new(
        options: Options,
        leadership: Leadership,
        undecodable_tx: mpsc::Sender<UndecodableObject>,
    ) -> Result<Self, RunError> {
        let client = options.connection.write_gate(leadership.clone()).build()?;
        let (metrics, shutdown) = (options.metrics, options.shutdown);
        let apis = OptionalApis::watch(client.clone(), &OPTIONAL_APIS, metrics.clone(), shutdown.clone())
            .await
            .map_err(RunError::Discovery)?;
        let routes = Arc::new(Routes::new(options.route_settings, apis.clone()));
        let watches = Watches {
            client: client.clone(),
            namespace: options.config.watch_namespace.clone(),
            apis,
            guard: Guard {
                undecodable_tx: Some(undecodable_tx),
                ..Guard::new(metrics.clone())
            },
            caches: Caches::new(),
            queues: Queues::default(),
            gateway_namespace: options.namespace.clone(),
            gateways: Arc::default(),
            routes,
            node_addresses: Mutex::default(),
        };
        Ok(Self {
            config: options.config,
            namespace: options.namespace,
            endpoints: options.endpoints,
            instance: options.instance,
            client,
            metrics,
            watches: Arc::new(watches),
            leadership,
            shutdown,
        })
    }

    async fn lead(&self, undecodable: mpsc::Receiver<UndecodableObject>, tasks: &mut Tasks) -> Result<(), RunError> {
        tracing::info!("this replica leads");
        self.watches.routes.wait_for_gateways().await;
        self.spawn_leader_tasks(undecodable, tasks);
        self.watches.enqueue_all();
        tokio::select! {
            () = self.reconcile() => {}
            // Running reconciles are dropped: none of their writes would pass the gate any more.
            () = self.leadership.lost() => {}
            ended = tasks.first_end() => return Err(ended.into()),
        }
        if self.shutdown.is_triggered() {
            Ok(())
        } else {
            Err(RunError::LeadershipLost)
        }
    }

    fn spawn_leader_tasks(&self, undecodable: mpsc::Receiver<UndecodableObject>, tasks: &mut Tasks) {
        let context = undecodable::Context {
            client: self.client.clone(),
            applier: self.applier(undecodable::MANAGER),
            caches: Arc::clone(&self.watches.caches),
            reporter: self.reporter(VM_ACCESS_MANAGER),
        };
        tasks.spawn("report undecodable objects", undecodable::report(context, undecodable));
        let (watches, interval) = (Arc::clone(&self.watches), self.config.resync_interval.get());
        tasks.spawn("resync", resync(watches, interval));
        if self.config.paused {
            tracing::warn!(
                "controller.paused is set: nothing is written but what ends sessions, and the condition Paused; set it to false to go on"
            );
            return;
        }
        let (watches, applier) = (Arc::clone(&self.watches), self.applier(CONSOLE_SESSION_MANAGER));
        tasks.spawn("dead gateways", console_session::reap_expired_leases(watches, applier));
    }

    /// Reconciles all kinds until no further reconcile is to begin, and finishes what is under way.
    async fn reconcile(&self) {
        let Queues {
            vm_accesses,
            console_sessions,
            vnc_workspaces,
        } = self.watches.queues.clone();
        tokio::join!(
            self.run_reconciler(self.vm_access(), vm_accesses),
            self.run_reconciler(self.console_session(), console_sessions),
            self.run_reconciler(self.vnc_workspace(), vnc_workspaces),
        );
    }

    async fn run_reconciler<R: Reconciler>(&self, reconciler: R, queue: Queue<ObjectRef<R::Kind>>) {
        let (concurrency, metrics) = (self.config.concurrency, self.metrics.clone());
        reconciler::run(Arc::new(reconciler), queue, concurrency, metrics, self.stop()).await;
    }

    fn applier(&self, manager: &str) -> Applier {
        Applier::new(self.client.clone(), manager, self.metrics.clone())
    }

    fn reporter(&self, manager: &str) -> Reporter {
        Reporter::new(&self.applier(manager), manager, &self.instance).counted(self.metrics.clone())
    }

    fn vm_access(&self) -> vm_access::Context {
        vm_access::Context {
            applier: self.applier(VM_ACCESS_MANAGER).owner_label(label::KEY_OWNER_UID),
            reporter: self.reporter(VM_ACCESS_MANAGER),
            client: self.client.clone(),
            apis: self.watches.apis.clone(),
            caches: Arc::clone(&self.watches.caches),
            status_throttle: StatusThrottle::default(),
            power_calls: vm_access::PowerCalls::default(),
            limits: Arc::new(self.config.machines.limits()),
            routes: Arc::clone(&self.watches.routes),
            paused: self.config.paused,
        }
    }

    fn console_session(&self) -> console_session::Context {
        console_session::Context {
            applier: self.applier(CONSOLE_SESSION_MANAGER),
            updater: Updater::new(self.applier(CONSOLE_SESSION_MANAGER)),
            reporter: self.reporter(CONSOLE_SESSION_MANAGER),
            view: self.watches.caches.session_view(self.watches.apis.clone()),
            caches: Arc::clone(&self.watches.caches),
            endpoints: self.endpoints.clone(),
            gateways: Arc::clone(&self.watches.gateways),
            paused: self.config.paused,
        }
    }

    fn vnc_workspace(&self) -> vnc_workspace::Context {
        let config = &self.config.workspaces;
        vnc_workspace::Context {
            applier: self.applier(VNC_WORKSPACE_MANAGER).owner_label(label::KEY_OWNER_UID),
            reporter: self.reporter(VNC_WORKSPACE_MANAGER),
            client: self.client.clone(),
            apis: self.watches.apis.clone(),
            caches: Arc::clone(&self.watches.caches),
            status_throttle: StatusThrottle::default(),
            node_ports: vnc_workspace::NodePortAllocator::new(&config.node_ports),
            last_inputs: vnc_workspace::LastInputs::default(),
            crash_backoff: vnc_workspace::CrashBackoff::default(),
            gateway: GatewayLocation {
                namespace: self.namespace.clone(),
            },
            settings: Arc::new(WorkspaceSettings {
                allowed_overrides: config.allowed_overrides.clone(),
                service_annotations: AllowedNames::new(&config.allowed_service_annotations),
                expiry_notice: config.expiry_notice.get(),
                cluster_ranges: config.cluster_ranges.clone(),
            }),
            routes: Arc::clone(&self.watches.routes),
            paused: self.config.paused,
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

async fn resync(watches: Arc<Watches>, every: Duration) {
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
