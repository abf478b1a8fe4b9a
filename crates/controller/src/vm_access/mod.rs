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
    label,
    pause::pause_of,
    vm_access::{
        build::build,
        limits::MachineLimits,
        observed::{Applied, LiveMachine},
        power::{PowerDecision, decide},
        references::References,
        status::{Observed, status},
        validate::{ValidateError, validate},
        validated::ValidatedVmAccess,
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
    children::Children,
    reconciler::{ReconcileError, Reconciler},
    routes::Routes,
    status_throttle::StatusThrottle,
};

/// Field manager of everything that this controller applies, and the name under which it emits events.
pub const VM_ACCESS_MANAGER: &str = "novasphere/vmaccess";

/// A spec that names what is not shared with machines is reconciled again after this time: no watch shows the label.
const REFERENCE_RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// What all reconciles share.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) apis: OptionalApis,
    pub(crate) caches: Arc<Caches>,
    pub(crate) applier: Applier,
    pub(crate) reporter: Reporter,
    pub(crate) status_throttle: StatusThrottle,
    pub(crate) power_calls: PowerCalls,
    pub(crate) limits: Arc<MachineLimits>,
    pub(crate) routes: Arc<Routes>,
    /// Nothing is written for any object.
    pub(crate) paused: bool,
}

impl Reconciler for Context {
    type Kind = VmAccess;

    const NAME: &'static str = "vmaccess";

    fn cache(&self) -> &Cache<VmAccess> {
        &self.caches.vm_accesses
    }

    async fn reconcile(&self, vm_access: &VmAccess) -> Result<Action, ReconcileError> {
        if vm_access.metadata.deletion_timestamp.is_some() {
            // Owner references take everything with it; creating children now would only delay that.
            return Ok(Action::await_change());
        }
        if let Some(pause) = pause_of(&vm_access.metadata, self.paused) {
            status::write_paused(vm_access, pause, self).await?;
            return Ok(Action::await_change());
        }
        attempt(vm_access, self).await
    }
}

async fn attempt(vm_access: &VmAccess, context: &Context) -> Result<Action, ReconcileError> {
    let references = dereference::dereference(vm_access, context).await?;
    let validated = validate(vm_access, &references);
    let mut children = Children::new(&context.applier);
    let outcome = match &validated {
        Ok(valid) => apply(vm_access, valid, &references, &mut children, context).await?,
        Err(_) => ApplyOutcome::default(),
    };
    let now = Timestamp::now();
    let wanted = status(&Observed {
        vm_access,
        validated: validated.as_ref(),
        references: &references,
        applied: outcome.applied.as_ref(),
        power: &outcome.power,
        power_failure: outcome.power_failure.as_ref(),
        node_addresses: &context.caches.node_addresses(),
        active_sessions: context.caches.active_sessions(vm_access),
        now,
    });
    let held_back = status::write(vm_access, &wanted.status, context).await?;
    let deadline = wanted
        .next
        .map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default());
    let unseen = has_unseen_writes(vm_access, &references, context).then_some(MAX_LAG + Duration::from_secs(1));
    let may_recover = validated.as_ref().is_err_and(ValidateError::may_recover);
    let reference_retry = may_recover.then_some(REFERENCE_RETRY_INTERVAL);
    let next = [held_back, deadline, unseen, outcome.power_pending, reference_retry];
    let next = next.into_iter().flatten().min();
    if let Some(reason) = children.retry() {
        return Err(ReconcileError::Incomplete { reason, next });
    }
    Ok(next.map_or_else(Action::await_change, Action::requeue))
}

/// What was done for a valid object.
#[derive(Default)]
struct ApplyOutcome {
    applied: Option<Applied>,
    power: PowerDecision,
    power_failure: Option<Failure>,
    /// When to check whether a power call had an effect.
    power_pending: Option<Duration>,
}

async fn apply(
    vm_access: &VmAccess,
    valid: &ValidatedVmAccess,
    references: &References,
    children: &mut Children<'_>,
    context: &Context,
) -> Result<ApplyOutcome, ReconcileError> {
    let routes = context.routes.plan(&valid.owner, &valid.routes, &context.caches);
    let applied = apply::apply(vm_access, build(valid, routes), &valid.owner, children, context).await?;
    let live = LiveMachine {
        machine: applied
            .virtual_machine
            .applied()
            .or(references.virtual_machine.as_deref()),
        instance: references.virtual_machine_instance.as_deref(),
    };
    let power = decide(valid, live, Timestamp::now());
    let (mut power_pending, mut power_failure) = (None, None);
    if let Some(call) = power.call {
        match context.power_calls.make(call, live, &context.applier).await {
            Ok(pending) => {
                if pending.is_some_and(|pending| pending.is_new) {
                    report_call(vm_access, references, call, power.warning, context).await;
                }
                power_pending = pending.map(|pending| pending.left);
            }
            Err(WriteError::NotLeader(lost)) => return Err(lost.into()),
            Err(error) => {
                children.retry_because(error.reason());
                power_failure = Some(power::refusal(&error));
            }
        }
    }
    Ok(ApplyOutcome {
        applied: Some(applied),
        power,
        power_failure,
        power_pending,
    })
}

async fn report_call(
    vm_access: &VmAccess,
    references: &References,
    call: PowerSubresource,
    warning: Option<&str>,
    context: &Context,
) {
    let reason = match call {
        PowerSubresource::Start => "Started",
        PowerSubresource::Stop => "Stopped",
        PowerSubresource::Restart => "Restarted",
        PowerSubresource::Pause => "Paused",
        PowerSubresource::Unpause => "Unpaused",
    };
    let note = format!(
        "Asked KubeVirt to {} the virtual machine {}, as spec.power says",
        call.name(),
        references.virtual_machine_name
    );
    context
        .reporter
        .normal(&vm_access.object_ref(&()), reason, "Power", &note)
        .await;
    if let Some(warning) = warning {
        let about = vm_access.object_ref(&());
        context
            .reporter
            .warning(&about, "RunStrategyLost", "Power", warning)
            .await;
    }
}

/// Whether a write of ours is believed over a cache that has not shown it. If what it shows next is a deletion that was missed,
/// no event comes, so the object is reconciled again.
fn has_unseen_writes(vm_access: &VmAccess, references: &References, context: &Context) -> bool {
    let namespace = vm_access.namespace().unwrap_or_default();
    let machine = context
        .caches
        .virtual_machines
        .is_pending(&namespace, &references.virtual_machine_name);
    machine
        || label::own_key(&vm_access.metadata).is_some_and(|key| {
            context
                .caches
                .services
                .indexed(&key)
                .iter()
                .any(|service| context.caches.services.is_pending(&namespace, &service.name_any()))
        })
}
