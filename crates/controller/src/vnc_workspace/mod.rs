//! The reconcile of a `VncWorkspace`: dereference, validate, build, apply, status; and its end, which saves the home.
//!
//! While the spec cannot be carried out, what there is sleeps and ends all the same, and its home stays or goes as the spec says.

mod apply;
mod credentials;
mod dereference;
mod end;
mod ends;
mod keep;
mod ports;
mod resize;
mod status;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{Client, runtime::controller::Action};
use novasphere_core::{
    label::Owner,
    vnc_workspace::{
        build::GatewayLocation,
        lifecycle::{DesktopState, LifecycleDecision, decide_for},
        references::References,
        status::Applied,
        validate::{ValidateError, ends_at, validate},
        validated::ValidatedWorkspace,
    },
};
use novasphere_crd::VncWorkspace;
use novasphere_runtime::{apply::Applier, cache::Cache, events::Reporter, optional_api::OptionalApis};

pub(crate) use self::{dereference::Inputs, ends::Ends, ports::Ports};
use crate::{
    caches::Caches,
    reconciler::{ReconcileError, Reconciler},
    status_writes::StatusWrites,
};

/// A spec that refers to something which is not there is looked at again after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What all reconciles share.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) apis: OptionalApis,
    pub(crate) caches: Arc<Caches>,
    pub(crate) applier: Applier,
    pub(crate) reporter: Reporter,
    pub(crate) status_writes: StatusWrites,
    pub(crate) ports: Ports,
    pub(crate) inputs: Inputs,
    pub(crate) ends: Ends,
    pub(crate) gateway: GatewayLocation,
}

/// One look at one workspace.
struct Look<'a> {
    workspace: &'a VncWorkspace,
    references: References,
    context: &'a Context,
    /// Why to try again without an event.
    retry: Option<&'static str>,
    /// When to look again although nothing happens.
    pause: Option<Duration>,
}

impl Reconciler for Context {
    type Kind = VncWorkspace;

    const NAME: &'static str = "vncworkspace";

    fn cache(&self) -> &Cache<VncWorkspace> {
        &self.caches.vnc_workspaces
    }

    async fn reconcile(&self, workspace: &VncWorkspace) -> Result<Action, ReconcileError> {
        let mut look = Look {
            workspace,
            references: dereference::dereference(workspace, self).await?,
            context: self,
            retry: None,
            pause: None,
        };
        Box::pin(look.attempt()).await
    }
}

impl Look<'_> {
    async fn attempt(&mut self) -> Result<Action, ReconcileError> {
        let validated = validate(self.workspace, &self.references);
        let now = Timestamp::now();
        let decision = decide_for(self.workspace, &self.references, now);
        let is_deleted = self.workspace.metadata.deletion_timestamp.is_some();
        let applied = match (&validated, &decision) {
            _ if is_deleted => Box::pin(end::delete(self)).await?,
            (Ok(valid), Some(decision)) => Box::pin(self.carry_out(valid, decision)).await?,
            (_, decision) => Box::pin(self.go_on(decision.as_ref())).await?,
        };
        let Some(applied) = applied else {
            return Ok(Action::await_change());
        };
        let held_back = status::write(self, validated.as_ref(), decision.as_ref(), &applied, now).await?;
        let next = decision.map_or_else(|| ends_at(self.workspace), |decision| decision.next);
        let deadline = next.map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default());
        let mended = validated.err().filter(ValidateError::may_mend_itself);
        let again = mended.map(|_| LOOK_AGAIN);
        let next = [held_back, deadline, again, self.pause].into_iter().flatten().min();
        if let Some(reason) = self.retry {
            return Err(ReconcileError::Incomplete { reason, next });
        }
        Ok(next.map_or_else(Action::await_change, Action::requeue))
    }

    /// `None` when the workspace itself was deleted, because its time is over.
    async fn carry_out(
        &mut self,
        valid: &ValidatedWorkspace,
        decision: &LifecycleDecision,
    ) -> Result<Option<Applied>, ReconcileError> {
        keep::keep_finalizer(self).await?;
        let mut applied = Box::pin(apply::apply(self, valid, decision)).await?;
        keep::keep_home(self, &valid.owner, &mut applied).await?;
        self.finish(&valid.owner, Some(decision.state), applied).await
    }

    /// The same for a spec that cannot be carried out: nothing is made or changed, but the desktop sleeps and ends, and its home stays
    /// or goes, for which the rest of the spec does not matter.
    async fn go_on(&mut self, decision: Option<&LifecycleDecision>) -> Result<Option<Applied>, ReconcileError> {
        let Some(owner) = Owner::of(self.workspace) else {
            return Ok(Some(Applied::default()));
        };
        keep::keep_finalizer(self).await?;
        let mut applied = Applied::default();
        keep::keep_home(self, &owner, &mut applied).await?;
        if decision.is_none_or(LifecycleDecision::is_awake) {
            applied.pod = apply::own_pod(self).map(|pod| Ok(pod.as_ref().clone()));
        } else {
            applied.pod_is_ending = !apply::end_pod(self).await?;
        }
        self.finish(&owner, decision.map(|decision| decision.state), applied)
            .await
    }

    async fn finish(
        &mut self,
        owner: &Owner,
        state: Option<DesktopState>,
        mut applied: Applied,
    ) -> Result<Option<Applied>, ReconcileError> {
        match state {
            None | Some(DesktopState::Awake { .. }) => {}
            Some(DesktopState::Asleep(sleep)) => end::save_at_hibernation(self, owner, sleep, &mut applied).await?,
            Some(DesktopState::Expired) => {
                if Box::pin(end::expire(self, owner, &mut applied)).await? {
                    return Ok(None);
                }
            }
        }
        end::prune_snapshots(self).await?;
        Ok(Some(applied))
    }
}
