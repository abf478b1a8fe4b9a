//! The reconcile of a `VncWorkspace`: dereference, validate, plan, build, apply, status.
//!
//! An invalid spec still hibernates and expires, and its home stays or goes as the spec says.

mod apply;
mod crash_backoff;
mod dereference;
mod last_inputs;
mod node_ports;
mod reclaim;
mod snapshots;
mod status;
mod teardown;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{Client, Resource as _, ResourceExt as _, runtime::controller::Action};
use novasphere_core::{
    child::ChildOutcome,
    pause::pause_of,
    routes::plan::{PlannedRoute, service_annotations},
    vnc_workspace::{
        FINALIZER,
        applied::{Applied, PodOutcome},
        build::{GatewayLocation, Prepared, build},
        delay, expiry,
        lifecycle::{LifecycleDecision, decide_for},
        node_ports::PortChoice,
        plan::{Followup, Plan, SyncPlan, own_pod, own_service, plan},
        references::{References, WorkspaceSettings},
        service_name,
        validate::{ValidateError, validate},
        validated::ValidatedWorkspace,
    },
};
use novasphere_crd::VncWorkspace;
use novasphere_runtime::{apply::Applier, cache::Cache, events::Reporter, optional_api::OptionalApis};

pub(crate) use self::{crash_backoff::CrashBackoff, last_inputs::LastInputs, node_ports::NodePortAllocator};
use self::{status::WrittenStatus, teardown::Expiry};
use crate::{
    caches::Caches,
    children::Children,
    reconciler::{ReconcileError, Reconciler},
    routes::Routes,
    status::emit,
    status_throttle::StatusThrottle,
};

/// Field manager of everything that this controller applies, and the name under which it emits events.
pub const VNC_WORKSPACE_MANAGER: &str = "novasphere/vncworkspace";

/// A spec that refers to something which does not exist is reconciled again after this time.
const REFERENCE_RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// What all reconciles share.
pub(crate) struct Context {
    /// For reads; writes go through the applier.
    pub(crate) client: Client,
    pub(crate) apis: OptionalApis,
    pub(crate) caches: Arc<Caches>,
    pub(crate) applier: Applier,
    pub(crate) reporter: Reporter,
    pub(crate) status_throttle: StatusThrottle,
    pub(crate) node_ports: NodePortAllocator,
    pub(crate) last_inputs: LastInputs,
    pub(crate) crash_backoff: CrashBackoff,
    pub(crate) gateway: GatewayLocation,
    pub(crate) settings: Arc<WorkspaceSettings>,
    pub(crate) routes: Arc<Routes>,
    /// Nothing is written for any object.
    pub(crate) paused: bool,
}

/// What one reconcile starts from. Nothing of it changes on the way: what was read again later is passed on by itself.
#[derive(Clone, Copy)]
struct Reconciliation<'a> {
    workspace: &'a VncWorkspace,
    references: &'a References,
    context: &'a Context,
}

/// The objects of a valid spec.
struct Desired<'a> {
    valid: &'a ValidatedWorkspace,
    ports: PortChoice,
    prepared: Prepared,
    routes: Vec<PlannedRoute>,
}

impl Reconciler for Context {
    type Kind = VncWorkspace;

    const NAME: &'static str = "vncworkspace";

    fn cache(&self) -> &Cache<VncWorkspace> {
        &self.caches.vnc_workspaces
    }

    async fn reconcile(&self, workspace: &VncWorkspace) -> Result<Action, ReconcileError> {
        if let Some(pause) = pause_of(&workspace.metadata, self.paused) {
            Box::pin(status::write_paused(workspace, pause, self)).await?;
            return Ok(Action::await_change());
        }
        let references = Box::pin(dereference::dereference(workspace, self)).await?;
        let now = Timestamp::now();
        let mut validated = validate(workspace, &references);
        let routes = validated.as_mut().map(|valid| self.plan_routes(valid));
        let routes = routes.unwrap_or_default();
        let decision = decide_for(workspace, &references, now);
        let reconciliation = Reconciliation {
            workspace,
            references: &references,
            context: self,
        };
        let mut children = Children::new(&self.applier);
        let mut gives_up_at = None;
        let applied = match plan(workspace, &references, decision.as_ref(), now) {
            Plan::Nothing => None,
            Plan::Delete(plan) => {
                gives_up_at = plan.gives_up_at;
                Box::pin(teardown::delete(reconciliation, &mut children, &plan, now)).await?
            }
            Plan::Sync(plan) => {
                if let Some(told) = expiry::last_words(workspace, decision.as_ref()) {
                    // Before anything goes.
                    Box::pin(emit(&self.reporter, &workspace.object_ref(&()), vec![told])).await;
                }
                let desired = reconciliation.build(validated.as_ref().ok(), decision.as_ref(), routes);
                let synced = Box::pin(reconciliation.sync(&mut children, &plan, desired)).await;
                if synced.is_err() {
                    // Nobody knows whether it came to its Service.
                    self.node_ports.give_back(&workspace.uid().unwrap_or_default());
                }
                synced?
            }
        };
        let Some(applied) = applied else {
            return Ok(Action::await_change());
        };
        let written = Box::pin(status::write(
            reconciliation,
            validated.as_ref(),
            decision.as_ref(),
            &applied,
            now,
        ))
        .await?;
        let ends_at = written.status.expires_at.as_ref().map(|time| time.0);
        let deadline = decision.map_or(ends_at, |decision| decision.next);
        let may_mend = validated.as_ref().is_err_and(ValidateError::may_recover);
        let reference_retry = may_mend.then_some(REFERENCE_RETRY_INTERVAL);
        let next = next_look(&written, &applied, deadline, gives_up_at, now);
        let next = next.into_iter().chain(reference_retry).min();
        if let Some(reason) = children.retry() {
            return Err(ReconcileError::Incomplete { reason, next });
        }
        Ok(next.map_or_else(Action::await_change, Action::requeue))
    }
}

/// How long until the object has to be looked at again, when nothing about it changes before.
fn next_look(
    written: &WrittenStatus,
    applied: &Applied,
    deadline: Option<Timestamp>,
    gives_up_at: Option<Timestamp>,
    now: Timestamp,
) -> Option<Duration> {
    let look_at_pod = applied.pod.pod().and_then(|pod| delay::next_look(pod, now));
    // One of these that has passed waits for something that has an event of its own, or is tried again.
    let next_backup = written.status.next_backup_at.as_ref().map(|time| time.0);
    let coming = [next_backup, gives_up_at, expiry::next_deletion(&written.status)];
    let coming = coming.into_iter().flatten().filter(|at| *at > now);
    let first = deadline.into_iter().chain(look_at_pod).chain(coming).min();
    let left = first.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
    let backoff = match applied.pod {
        PodOutcome::Waiting(left) => Some(left),
        _ => None,
    };
    [written.held_back, left, backoff].into_iter().flatten().min()
}

impl Context {
    /// Plans the routes, and lets the gateways that carry them connect.
    fn plan_routes(&self, valid: &mut ValidatedWorkspace) -> Vec<PlannedRoute> {
        let planned = self.routes.plan(&valid.owner, &valid.routes, &self.caches);
        valid.network.route_peers = self.routes.peers(&planned);
        for (key, value) in service_annotations(&planned, &service_name(&valid.owner.name)) {
            valid.service.settings.annotations.entry(key).or_insert(value);
        }
        planned
    }
}

impl Reconciliation<'_> {
    /// The objects of a valid spec; `None` while the spec is invalid.
    fn build<'a>(
        &self,
        valid: Option<&'a ValidatedWorkspace>,
        decision: Option<&LifecycleDecision>,
        routes: Vec<PlannedRoute>,
    ) -> Option<Desired<'a>> {
        let (valid, decision) = (valid?, decision?);
        let context = self.context;
        let ports = context.node_ports.allocate(valid, self.own_service(), &context.caches);
        Some(Desired {
            valid,
            ports,
            prepared: build(valid, decision, ports.ports, &context.gateway),
            routes,
        })
    }

    /// Carries out a plan. `None` when the workspace itself was deleted, because its time is over.
    async fn sync(
        self,
        children: &mut Children<'_>,
        plan: &SyncPlan,
        desired: Option<Desired<'_>>,
    ) -> Result<Option<Applied>, ReconcileError> {
        if let Some(wanted) = plan.finalizer {
            // Nothing that it guards is created before it is there.
            let cache = &self.context.caches.vnc_workspaces;
            let applier = children.applier();
            applier.set_finalizer(self.workspace, FINALIZER, wanted, cache).await?;
        }
        let mut applied = match desired {
            Some(desired) => Box::pin(apply::apply(self, children, desired)).await?,
            None => apply::apply_invalid(self, children, plan).await?,
        };
        match &plan.then {
            Followup::Nothing => {}
            Followup::Snapshot(snapshot) => {
                if !matches!(applied.pod, PodOutcome::Ending) {
                    applied.snapshot = snapshots::take_on_hibernate(self, children, snapshot).await?;
                }
            }
            Followup::Expire(snapshot) => {
                let expiry = teardown::expire(self, children, snapshot.as_ref(), &applied);
                match Box::pin(expiry).await? {
                    Expiry::Deleted => return Ok(None),
                    Expiry::NotNow => {}
                    Expiry::PodEnding => applied.pod = PodOutcome::Ending,
                    Expiry::HomeFailed(failure) => applied.home = ChildOutcome::Failed(failure),
                    Expiry::Saving(snapshot) => applied.snapshot = Some(snapshot),
                }
            }
        }
        if let Some(backup) = &plan.backup {
            let taken = snapshots::take_by_schedule(self, children, backup).await?;
            applied.snapshot = applied.snapshot.take().or_else(|| snapshots::failed(&taken));
            applied.backup = Some(taken);
        }
        snapshots::prune(self, children, &plan.expired_snapshots).await?;
        Ok(Some(applied))
    }

    fn own_pod(&self) -> Option<&Pod> {
        own_pod(self.workspace, self.references)
    }

    fn own_service(&self) -> Option<&Service> {
        own_service(self.workspace, self.references)
    }
}
