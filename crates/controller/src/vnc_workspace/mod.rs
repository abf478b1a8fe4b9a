//! The reconcile of a `VncWorkspace`: dereference, validate, build, apply, status; and its end, which saves the home.

mod apply;
mod credentials;
mod dereference;
mod end;
mod ports;
mod resize;
mod status;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{Client, runtime::controller::Action};
use novasphere_core::vnc_workspace::{
    build::Gateway,
    lifecycle::{Decision, Memory, State, decide},
    references::References,
    status::Applied,
    validate::{ValidateError, validate},
    validated::ValidatedWorkspace,
};
use novasphere_crd::VncWorkspace;
use novasphere_runtime::{apply::Applier, cache::Cache, events::Reporter, optional_api::OptionalApis};

pub(crate) use self::{dereference::Inputs, ports::Ports};
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
    pub(crate) gateway: Gateway,
}

/// One look at one workspace.
struct Look<'a> {
    workspace: &'a VncWorkspace,
    references: References,
    context: &'a Context,
    /// Why to try again without an event.
    retry: Option<&'static str>,
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
        };
        Box::pin(look.attempt()).await
    }
}

impl Look<'_> {
    async fn attempt(&mut self) -> Result<Action, ReconcileError> {
        let validated = validate(self.workspace, &self.references);
        let now = Timestamp::now();
        let memory = self.workspace.status.as_ref().map(Memory::of).unwrap_or_default();
        let decided = validated
            .as_ref()
            .map(|valid| (valid, decide(&valid.lifecycle, &memory, &self.references.activity, now)));
        let is_deleted = self.workspace.metadata.deletion_timestamp.is_some();
        let applied = match &decided {
            _ if is_deleted => match self.delete().await? {
                Some(applied) => applied,
                None => return Ok(Action::await_change()),
            },
            Ok((valid, decision)) => match Box::pin(self.carry_out(valid, decision)).await? {
                Some(applied) => applied,
                None => return Ok(Action::await_change()),
            },
            Err(_) => Applied::default(),
        };
        let held_back = status::write(self, &decided, &applied, now).await?;
        if let Some(reason) = self.retry {
            return Err(ReconcileError::Incomplete { reason });
        }
        let deadline = match &decided {
            Ok((_, decision)) => decision
                .next
                .map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default()),
            Err(error) => error.may_mend_itself().then_some(LOOK_AGAIN),
        };
        let next = [held_back, deadline].into_iter().flatten().min();
        Ok(next.map_or_else(Action::await_change, Action::requeue))
    }

    /// `None` when the workspace itself was deleted, because its time is over.
    async fn carry_out(
        &mut self,
        valid: &ValidatedWorkspace,
        decision: &Decision,
    ) -> Result<Option<Applied>, ReconcileError> {
        end::keep_finalizer(self).await?;
        let mut applied = Box::pin(apply::apply(self, valid, decision)).await?;
        match decision.state {
            State::Awake { .. } => {}
            State::Asleep(sleep) => end::save_at_hibernation(self, valid, sleep, &mut applied).await?,
            State::Expired => {
                if end::expire(self, valid, &mut applied).await? {
                    return Ok(None);
                }
            }
        }
        end::prune_snapshots(self, valid).await?;
        Ok(Some(applied))
    }

    /// `None` when nothing is left to do.
    async fn delete(&mut self) -> Result<Option<Applied>, ReconcileError> {
        end::delete(self).await
    }
}

/// A valid workspace with what was decided about it, or why it is not valid.
type Decided<'a> = Result<(&'a ValidatedWorkspace, Decision), &'a ValidateError>;
