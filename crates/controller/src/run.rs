//! The controller from start to end.

use std::{convert::Infallible, sync::Arc, time::Duration};

use futures::StreamExt;
use kube::{
    Client,
    runtime::{controller, reflector::ObjectRef},
};
use novasphere_core::label;
use novasphere_crd::VmAccess;
use novasphere_runtime::{
    admin::Health,
    apply::Applier,
    backoff::Backoff,
    client,
    events::Reporter,
    lease::{Leadership, LeaseElection, LeaseError},
    metrics::Metrics,
    optional_api::OptionalApis,
    queue::Queue,
    shutdown::Shutdown,
    watch::{BadObject, Guard},
};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    LEASE_NAME,
    caches::Caches,
    config::ControllerConfig,
    undecodable,
    vm_access::{self, Context},
    watches::{OPTIONAL_APIS, Watches},
};

/// Field manager of everything that the VmAccess controller applies, and the name under which it reports events.
pub const VM_ACCESS_MANAGER: &str = "novasphere/vmaccess";

/// Events that come within this time are one reconcile.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// At most so many failing objects are remembered for their back-off.
const BACKOFF_CAPACITY: usize = 20_000;

/// At most so many undecodable objects wait to be reported; more are logged and counted all the same.
const BAD_OBJECTS: usize = 64;

/// What the role is given from outside.
pub struct Options {
    /// Its section of the configuration file.
    pub config: ControllerConfig,
    /// Makes the client for all reads and writes; writes are gated by the lease.
    pub connection: client::Builder,
    /// The client that renews the lease, which cannot be gated by it.
    pub lease_client: Client,
    /// Namespace of the lease, unless the configuration names one.
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
        connection,
        lease_client,
        namespace,
        instance,
        health,
        metrics,
        shutdown,
    } = options;
    let caches_gate = health.gate("controller-caches");

    // The lease outlives the last reconcile, and is given back only after it.
    let lease_shutdown = Shutdown::new(shutdown.grace());
    let mut lease_task = JoinSet::new();
    let leadership = elect(
        &config,
        lease_client,
        &namespace,
        &instance,
        &metrics,
        &lease_shutdown,
        &mut lease_task,
    )?;

    let client = connection.write_gate(leadership.clone()).build()?;
    let apis = OptionalApis::watch(client.clone(), OPTIONAL_APIS, metrics.clone(), shutdown.clone())
        .await
        .map_err(RunError::Discovery)?;
    let caches = Caches::new();
    let (bad_objects, bad_object_reports) = mpsc::channel(BAD_OBJECTS);
    let watches = Watches {
        client: client.clone(),
        namespace: config.watch_namespace.clone(),
        apis: apis.clone(),
        guard: Guard {
            metrics: metrics.clone(),
            tell: Some(bad_objects),
        },
        caches: Arc::clone(&caches),
        queue: Queue::default(),
    };
    let mut tasks = JoinSet::new();
    watches.spawn(&mut tasks);
    if !caches_are_filled(&caches, &mut tasks, &shutdown).await? {
        return Ok(());
    }
    caches_gate.ready();

    let context = Arc::new(Context {
        applier: Applier::new(client.clone(), VM_ACCESS_MANAGER, metrics.clone()).owner_label(label::KEY_OWNER_UID),
        reporter: Reporter::new(client.clone(), VM_ACCESS_MANAGER, &instance),
        client,
        apis,
        caches,
        backoff: Backoff::new(BACKOFF_CAPACITY),
        metrics,
        status_writes: vm_access::StatusWrites::default(),
        power_calls: vm_access::PowerCalls::default(),
    });
    let result = tokio::select! {
        () = shutdown.wait() => Ok(()),
        () = leadership.wait_for_leadership() => {
            lead(&config, &watches, context, &leadership, bad_object_reports, &mut tasks, &shutdown).await
        }
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

fn elect(
    config: &ControllerConfig,
    client: Client,
    namespace: &str,
    instance: &str,
    metrics: &Metrics,
    shutdown: &Shutdown,
    tasks: &mut JoinSet<()>,
) -> Result<Leadership, LeaseError> {
    let election = &config.leader_election;
    if !election.enabled {
        metrics.leading(true);
        return Ok(Leadership::always());
    }
    let namespace = election.namespace.as_deref().unwrap_or(namespace);
    let timings = election.timings();
    let election = LeaseElection::new(client, namespace, LEASE_NAME, instance, timings, metrics.clone())?;
    let leadership = election.leadership();
    tasks.spawn(election.run(shutdown.clone()));
    Ok(leadership)
}

/// Returns `false` when the process has to stop before the caches are filled.
async fn caches_are_filled(caches: &Caches, tasks: &mut JoinSet<()>, shutdown: &Shutdown) -> Result<bool, RunError> {
    let filled = async {
        // The stores are dropped by nobody while `caches` lives, so waiting cannot fail.
        let _ = caches.vm_accesses.store().wait_until_ready().await;
        let _ = caches.virtual_machines.store().wait_until_ready().await;
        let _ = caches.virtual_machine_instances.store().wait_until_ready().await;
        let _ = caches.services.store().wait_until_ready().await;
        let _ = caches.nodes.store().wait_until_ready().await;
    };
    tokio::select! {
        () = filled => Ok(true),
        () = shutdown.wait() => Ok(false),
        _ = tasks.join_next() => Err(RunError::TaskEnded),
    }
}

async fn lead(
    config: &ControllerConfig,
    watches: &Watches,
    context: Arc<Context>,
    leadership: &Leadership,
    bad_object_reports: mpsc::Receiver<BadObject>,
    tasks: &mut JoinSet<()>,
    shutdown: &Shutdown,
) -> Result<(), RunError> {
    tracing::info!("this replica leads");
    tasks.spawn(undecodable::report(Arc::clone(&context), bad_object_reports));
    tasks.spawn(resync(watches.clone(), config.resync_interval.get()));
    watches.enqueue_all();

    let stop = {
        let (shutdown, leadership) = (shutdown.clone(), leadership.clone());
        async move {
            tokio::select! {
                () = shutdown.wait() => {}
                () = leadership.lost() => {}
            }
        }
    };
    let queue = watches
        .queue
        .clone()
        .into_stream()
        .take_until(stop)
        .map(Ok::<ObjectRef<VmAccess>, Infallible>);
    let reconciles = controller::applier(
        |object, context| Box::pin(vm_access::reconcile(object, context)),
        vm_access::error_policy,
        context,
        watches.caches.vm_accesses.store(),
        queue,
        controller::Config::default()
            .debounce(DEBOUNCE)
            .concurrency(config.concurrency.clamp(1, 256)),
    );
    let drain = reconciles.for_each(|result| async move {
        match result {
            // Deleted between its event and its turn.
            Err(controller::Error::ObjectNotFound(_)) | Ok(_) => {}
            Err(error) => tracing::debug!(%error, "a reconcile failed; its status says why"),
        }
    });
    tokio::select! {
        () = drain => {}
        // Running reconciles are dropped: none of their writes would pass the gate any more.
        () = leadership.lost() => {}
        _ = tasks.join_next() => return Err(RunError::TaskEnded),
    }
    if shutdown.is_triggered() {
        Ok(())
    } else {
        Err(RunError::LeadershipLost)
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
