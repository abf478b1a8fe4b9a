//! A gateway of sessions, put together: watches, admission, enforcement, status and lease.

use std::{io::Write, net::IpAddr, sync::Arc, time::Duration};

use kube::Client;
use novasphere_core::console_session::{
    endpoints::Endpoints,
    grant::{IssueError, NewGrant},
};
use novasphere_crd::ConsoleSession;
use novasphere_dataplane::{
    admission::{Admitted, Observer},
    audit::{AuditEvent, AuditLog, AuditRecord},
    gateway::Gateway,
    limits::ConnectionLimiter,
    metrics::StreamMetrics,
    registry::Transport,
};
use novasphere_runtime::{
    access::{AccessReviewer, UserInfo},
    apply::Applier,
    client::{self, ClientError},
    events,
    health::GateHandle,
    metrics::Metrics as RuntimeMetrics,
    optimistic::UpdateError,
    optional_api::OptionalApis,
    shutdown::Shutdown,
    tasks::{TaskEnded, Tasks},
    watch::Guard,
};
use novasphere_wire::close::StreamEnd;

use crate::{
    admit::{SessionAdmission, entry},
    enforce::{Enforcer, GatewayLease, HolderNameError, lease},
    plane::{Clients, SessionPlane, SessionTimes},
    readiness,
    view::{OPTIONAL_APIS, SessionCaches, SessionView, Watches, session_id},
    write::{FIELD_MANAGER, UsageWriter},
};

/// The name under which gateways report events.
pub const REPORTER: &str = "novasphere/console";

/// What a gateway is given from outside.
pub struct SessionGatewayOptions {
    /// How to connect to the cluster.
    pub kube_config: kube::Config,
    /// Only sessions of this namespace; all when it is absent.
    pub watch_namespace: Option<String>,
    /// Namespace of the gateway's lease: its own.
    pub namespace: String,
    /// Name of this process among the replicas, for example its Pod's name. A random part is added.
    pub instance: String,
    /// Where viewers connect; for the status of sessions that are made for one connection.
    pub endpoints: Endpoints,
    /// Limits before authentication.
    pub limiter: ConnectionLimiter,
    /// How long a viewer waits at most for a desktop that sleeps or starts.
    pub wake_timeout: Duration,
    /// How long the place of a viewer who was let in is kept for them; zero: not at all.
    pub resume_window: Duration,
    /// Counts streams.
    pub metrics: StreamMetrics,
    /// Counts what the watches see.
    pub runtime_metrics: RuntimeMetrics,
    /// Opened when the caches are filled; it shows what may not be read.
    pub ready: GateHandle,
    /// Where the audit log goes.
    pub audit: Box<dyn Write + Send>,
    /// When to stop.
    pub shutdown: Shutdown,
}

/// Why a gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The process's name does not fit.
    #[error(transparent)]
    Name(#[from] HolderNameError),
    /// The client could not be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The first look at the cluster failed.
    #[error(
        "cannot find out which APIs the cluster serves: {0}. Check that the API server is reachable and that this account may read them"
    )]
    Discovery(#[source] Box<kube::Error>),
    /// The process was asked to stop first.
    #[error("asked to stop before the sessions were read")]
    Stopped,
    /// A watch ended, which it never should.
    #[error(transparent)]
    TaskEnded(#[from] TaskEnded),
}

/// A console gateway of `ConsoleSession` objects. Clones share everything.
#[derive(Clone)]
pub struct SessionGateway {
    plane: Arc<SessionPlane>,
    gateway: Gateway<SessionAdmission>,
    admission: SessionAdmission,
    client: Client,
    applier: Applier,
    lease: GatewayLease,
}

impl SessionGateway {
    /// Starts the watches and everything else that a gateway needs as tasks of `tasks`, takes the lease, and returns when the
    /// caches are filled. The tasks have to live until [`finish`](Self::finish) has returned; none of them ends by itself.
    ///
    /// # Errors
    ///
    /// [`StartError`]; the process should end.
    pub async fn start(options: SessionGatewayOptions, tasks: &mut Tasks) -> Result<Self, StartError> {
        let holder = lease::identity(&options.instance)?;
        let client = client::Builder::new(options.kube_config.clone())?.build()?;
        let console_client = client::Builder::new(options.kube_config)?.without_retries().build()?;
        let view = view_of_cluster(&client, &options.runtime_metrics, &options.shutdown).await?;
        let watches = Watches {
            client: client.clone(),
            namespace: options.watch_namespace,
            guard: Guard::new(options.runtime_metrics.clone()),
            view: view.clone(),
        };
        let applier = Applier::new(client.clone(), FIELD_MANAGER, options.runtime_metrics);
        let clients = Clients {
            client: client.clone(),
            console_client,
            applier: applier.clone(),
            events: events::Reporter::new(&applier, REPORTER, &holder),
        };
        let audit = AuditLog::new(holder.clone(), options.audit);
        tasks.spawn("audit log", audit.clone().run());
        let plane = SessionPlane::start(
            clients,
            view,
            &holder,
            options.endpoints,
            SessionTimes {
                wake_timeout: options.wake_timeout,
                resume_window: options.resume_window,
            },
            audit.clone(),
            tasks,
        );
        let enforcer = Enforcer::new(Arc::clone(&plane));
        let lease = GatewayLease::new(&applier, &options.namespace, &holder);
        follow(&plane, &watches, &enforcer, &lease, options.ready.clone(), tasks);
        let observers = observers(audit, options.metrics, &plane, enforcer);
        let admission = SessionAdmission::new(Arc::clone(&plane));
        let registry = plane.registry.clone();
        let this = Self {
            gateway: Gateway::with_registry(admission.clone(), observers, options.limiter, registry),
            plane,
            admission,
            client,
            applier,
            lease,
        };
        tokio::select! {
            () = this.plane.view.filled() => {
                options.ready.ready();
                Ok(this)
            }
            () = options.shutdown.wait() => Err(StartError::Stopped),
            ended = tasks.first_end() => Err(ended.into()),
        }
    }

    /// Carries streams.
    #[must_use]
    pub fn gateway(&self) -> &Gateway<SessionAdmission> {
        &self.gateway
    }

    /// The sessions and their targets.
    #[must_use]
    pub fn sessions(&self) -> &SessionView {
        &self.plane.view
    }

    /// The users' rights.
    #[must_use]
    pub fn access(&self) -> &AccessReviewer {
        &self.plane.access
    }

    /// The client that everything but consoles goes through.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Writes that are counted with all others of the process.
    #[must_use]
    pub fn applier(&self) -> &Applier {
        &self.applier
    }

    /// The name of this process in leases and connections.
    #[must_use]
    pub fn holder(&self) -> &str {
        &self.plane.holder
    }

    /// Lets a user in whom kube-apiserver has authenticated; the answer goes to [`Gateway::serve_admitted`]. Checks all that a
    /// token's use checks, and the right to the console. A session that is [single-use for one
    /// connection](novasphere_core::console_session::single_use) is started with the same write, so it need not be in the watch
    /// cache yet.
    ///
    /// # Errors
    ///
    /// What the user is told, and why; it is in the audit log already.
    pub async fn admit_user(
        &self,
        session: &ConsoleSession,
        user: &UserInfo,
        client: IpAddr,
        transport: Transport,
    ) -> Result<Admitted, StreamEnd> {
        let admitted = self.admission.admit_user(session, user, client, transport).await;
        if let Err(refusal) = &admitted {
            let subject = entry::subject_of(session, &user.name);
            self.gateway.reject_known(refusal, subject, client, transport);
        }
        admitted
    }

    /// The audit log of this process, for decisions that the caller makes.
    #[must_use]
    pub fn audit(&self) -> &AuditLog {
        &self.plane.audit
    }

    /// Adds a grant to the session's status, as everything that novasphere writes there, and tells of it in the audit log and by an event.
    /// `client` is where the user asks from.
    ///
    /// # Errors
    ///
    /// [`UpdateError`]; nothing was granted then, unless the answer got lost.
    pub async fn grant(
        &self,
        session: &ConsoleSession,
        grant: &NewGrant,
        client: IpAddr,
    ) -> Result<Arc<ConsoleSession>, UpdateError<IssueError>> {
        let granted = self.admission.grant(session, grant).await?;
        let id = session_id(session);
        let what = format!(
            "grant {} for {} s and {} streams",
            grant.id,
            grant.ttl.as_secs(),
            grant.uses
        );
        self.plane.audit.record(
            AuditEvent::TokenGranted,
            &AuditRecord {
                session: Some(id.to_string()),
                session_uid: Some(&id.uid),
                target: Some(entry::target_name(session)),
                user: Some(&grant.user),
                client: Some(client),
                detail: Some(&what),
                ..AuditRecord::default()
            },
        );
        self.plane.reporter.granted(&id, grant);
        Ok(granted)
    }

    /// Drains the streams, writes their ends and gives the lease back. The listeners must have stopped
    /// before. Streams that end by themselves within `grace` do.
    pub async fn finish(&self, grace: Duration) {
        const CLOSE_TIMEOUT: Duration = Duration::from_secs(4);
        self.gateway.registry().drain(grace, CLOSE_TIMEOUT).await;
        self.plane.reporter.flush(CLOSE_TIMEOUT).await;
        self.plane.audit.stop();
        self.lease.release().await;
    }
}

/// The caches, not filled yet, and which optional APIs the cluster serves.
async fn view_of_cluster(
    client: &Client,
    metrics: &RuntimeMetrics,
    shutdown: &Shutdown,
) -> Result<SessionView, StartError> {
    let apis = OptionalApis::watch(client.clone(), OPTIONAL_APIS, metrics.clone(), shutdown.clone())
        .await
        .map_err(|error| StartError::Discovery(Box::new(error)))?;
    let view = SessionView::new(SessionCaches::new(), apis);
    view.caches().show(metrics);
    Ok(view)
}

/// Starts what follows the cluster and the streams as tasks of `tasks`.
fn follow(
    plane: &Arc<SessionPlane>,
    watches: &Watches,
    enforcer: &Enforcer,
    lease: &GatewayLease,
    ready: GateHandle,
    tasks: &mut Tasks,
) {
    let readiness = readiness::follow(ready, plane.view.clone(), watches.guard.denied.clone());
    tasks.spawn("readiness of sessions", readiness);
    let changed = enforcer.clone();
    watches.spawn(tasks, move |change| changed.changed(&change));
    tasks.spawn("usage writer", UsageWriter::new(Arc::clone(plane)).run());
    tasks.spawn("enforcer", enforcer.clone().watch_rights());
    tasks.spawn("gateway lease", lease.clone().keep());
}

fn observers(
    audit: AuditLog,
    metrics: StreamMetrics,
    plane: &SessionPlane,
    enforcer: Enforcer,
) -> Vec<Box<dyn Observer>> {
    vec![
        Box::new(audit),
        Box::new(metrics),
        Box::new(plane.reporter.clone()),
        // Last: it may end the stream at once.
        Box::new(enforcer),
    ]
}

#[cfg(test)]
mod tests;
