//! The reconcile of a `VmAccess`: dereference, validate, build, apply, status.

mod apply;
mod dereference;
mod power;
mod status;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{Client, Resource, ResourceExt, runtime::controller::Action};
use novasphere_core::{
    failure::Failure,
    vm_access::{
        build::build,
        observed::{Applied, LiveMachine},
        power::{PowerDecision, decide},
        references::References,
        status::{Observed, status},
        validate::validate,
        validated::ValidatedVmAccess,
        virtual_machine_name,
    },
};
use novasphere_crd::VmAccess;
use novasphere_foreign::kubevirt::PowerSubresource;
use novasphere_runtime::{
    apply::{Applier, WriteError},
    cache::Cache,
    events::Reporter,
    optional_api::OptionalApis,
    read_your_writes::MAX_LAG,
};

pub(crate) use self::power::PowerCalls;
use crate::{
    caches::Caches,
    reconciler::{ReconcileError, Reconciler},
    status_writes::StatusWrites,
};

/// What all reconciles share.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) apis: OptionalApis,
    pub(crate) caches: Arc<Caches>,
    pub(crate) applier: Applier,
    pub(crate) reporter: Reporter,
    pub(crate) status_writes: StatusWrites,
    pub(crate) power_calls: PowerCalls,
}

impl Reconciler for Context {
    type Kind = VmAccess;

    const NAME: &'static str = "vmaccess";

    fn cache(&self) -> &Cache<VmAccess> {
        &self.caches.vm_accesses
    }

    async fn reconcile(&self, vm_access: &VmAccess) -> Result<Action, ReconcileError> {
        if vm_access.metadata.deletion_timestamp.is_some() {
            // Owner references take everything with it; making children now would only delay that.
            return Ok(Action::await_change());
        }
        attempt(vm_access, self).await
    }
}

async fn attempt(vm_access: &VmAccess, context: &Context) -> Result<Action, ReconcileError> {
    let references = dereference::dereference(vm_access, context);
    let validated = validate(vm_access, &references);
    let done = match &validated {
        Ok(valid) => carry_out(vm_access, valid, &references, context).await?,
        Err(_) => CarriedOut::default(),
    };
    let now = Timestamp::now();
    let outcome = status(&Observed {
        vm_access,
        validated: validated.as_ref(),
        references: &references,
        applied: done.applied.as_ref(),
        power: &done.power,
        power_failure: done.power_failure.as_ref(),
        node_addresses: &context.caches.node_addresses(),
        active_sessions: context.caches.active_sessions(vm_access),
        now,
    });
    let held_back = status::write(vm_access, &outcome.status, context).await?;
    let deadline = outcome
        .next
        .map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default());
    let unseen = has_unseen_writes(vm_access, context).then_some(MAX_LAG + Duration::from_secs(1));
    let next = [held_back, deadline, unseen, done.look_again]
        .into_iter()
        .flatten()
        .min();
    if let Some(reason) = done.retry {
        return Err(ReconcileError::Incomplete { reason, next });
    }
    Ok(next.map_or_else(Action::await_change, Action::requeue))
}

/// What was done for a valid object.
#[derive(Default)]
struct CarriedOut {
    applied: Option<Applied>,
    power: PowerDecision,
    power_failure: Option<Failure>,
    /// Why to try again without an event.
    retry: Option<&'static str>,
    /// When to see whether a power call had an effect.
    look_again: Option<Duration>,
}

async fn carry_out(
    vm_access: &VmAccess,
    valid: &ValidatedVmAccess,
    references: &References,
    context: &Context,
) -> Result<CarriedOut, ReconcileError> {
    let apply::ApplyResult { applied, retry } = apply::apply(build(valid), &valid.owner, context).await?;
    let made = applied
        .virtual_machine
        .as_ref()
        .and_then(|machine| machine.as_ref().ok());
    let live = LiveMachine {
        machine: made.or(references.virtual_machine.as_deref()),
        instance: references.virtual_machine_instance.as_deref(),
    };
    let power = decide(valid, live, Timestamp::now());
    let mut done = CarriedOut {
        power,
        retry,
        ..CarriedOut::default()
    };
    if let Some(call) = done.power.call {
        match context.power_calls.make(call, live, &context.client).await {
            Ok(awaited) => {
                if awaited.is_some_and(|awaited| awaited.is_new) {
                    report_call(vm_access, call, context).await;
                }
                done.look_again = awaited.map(|awaited| awaited.left);
            }
            Err(WriteError::NotLeader(lost)) => return Err(lost.into()),
            Err(error) => {
                done.retry = Some(error.reason());
                done.power_failure = Some(power::refusal(&error));
            }
        }
    }
    done.applied = Some(applied);
    Ok(done)
}

async fn report_call(vm_access: &VmAccess, call: PowerSubresource, context: &Context) {
    let (reason, said) = match call {
        PowerSubresource::Start => ("Started", "start"),
        PowerSubresource::Stop => ("Stopped", "stop"),
        PowerSubresource::Restart => ("Restarted", "restart"),
        PowerSubresource::Pause => ("Paused", "pause"),
        PowerSubresource::Unpause => ("Unpaused", "unpause"),
    };
    let note = format!(
        "Asked KubeVirt to {said} the virtual machine {}, as spec.power says",
        virtual_machine_name(vm_access)
    );
    context
        .reporter
        .normal(&vm_access.object_ref(&()), reason, "Power", &note)
        .await;
}

/// Whether a write of ours is believed over a cache that has not shown it. If what it shows next is a deletion that was missed,
/// no event comes, so the caller looks again.
fn has_unseen_writes(vm_access: &VmAccess, context: &Context) -> bool {
    let namespace = vm_access.namespace().unwrap_or_default();
    let machine = context
        .caches
        .virtual_machines
        .is_pending(&namespace, &virtual_machine_name(vm_access));
    machine
        || vm_access.uid().is_some_and(|uid| {
            context
                .caches
                .services
                .indexed(&uid)
                .iter()
                .any(|service| context.caches.services.is_pending(&namespace, &service.name_any()))
        })
}
