//! The reconcile of a `VmAccess`: dereference, validate, build, apply, status.

mod apply;
mod dereference;
mod power;
mod status;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::{
    Client, Resource, ResourceExt,
    runtime::{controller::Action, reflector::ObjectRef},
};
use novasphere_core::vm_access::{
    build::build,
    failure::Failure,
    observed::{Applied, LiveMachine},
    power::{Decision, decide},
    references::References,
    status::{Observed, status},
    validate::validate,
    validated::ValidatedVmAccess,
    virtual_machine_name,
};
use novasphere_crd::VmAccess;
use novasphere_foreign::kubevirt::PowerSubresource;
use novasphere_runtime::{
    apply::{Applier, ApplyError},
    backoff::Backoff,
    events::Reporter,
    lease::NotLeader,
    metrics::Metrics,
    optional_api::OptionalApis,
    read_your_writes::MAX_LAG,
};

pub(crate) use self::{power::PowerCalls, status::StatusWrites};
use crate::caches::Caches;

const CONTROLLER: &str = "vmaccess";

/// What all reconciles share.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) apis: OptionalApis,
    pub(crate) caches: Arc<Caches>,
    pub(crate) applier: Applier,
    pub(crate) reporter: Reporter,
    pub(crate) backoff: Backoff<ObjectRef<VmAccess>>,
    pub(crate) metrics: Metrics,
    pub(crate) status_writes: StatusWrites,
    pub(crate) power_calls: PowerCalls,
}

/// Why a reconcile has to be tried again. What a person should know of it is in the object's conditions already.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    /// Nothing may be written any more; the process is about to end.
    #[error(transparent)]
    NotLeader(#[from] NotLeader),
    /// A child or a power call failed.
    #[error("not everything could be applied: {reason}")]
    Incomplete {
        /// The last failure's reason.
        reason: &'static str,
    },
    /// The status could not be written.
    #[error("the status could not be written: {0}")]
    Status(#[source] ApplyError),
}

impl ReconcileError {
    /// One word for the metric.
    fn reason(&self) -> &'static str {
        match self {
            Self::NotLeader(_) => "NotLeader",
            Self::Incomplete { reason } => reason,
            Self::Status(error) => error.reason(),
        }
    }
}

/// Brings the cluster to what the object says, once.
pub(crate) async fn reconcile(object: Arc<VmAccess>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let began = Instant::now();
    let key = ObjectRef::from_obj(object.as_ref());
    let Some(vm_access) = context.caches.vm_accesses.newest(&key) else {
        return Ok(Action::await_change());
    };
    if vm_access.metadata.deletion_timestamp.is_some() {
        // Owner references take everything with it; making children now would only delay that.
        context.backoff.reset(&key);
        return Ok(Action::await_change());
    }
    let result = attempt(&vm_access, &context).await;
    let reason = result.as_ref().map_or_else(ReconcileError::reason, |_| "Succeeded");
    context.metrics.reconciled(CONTROLLER, reason, began.elapsed());
    if result.is_ok() {
        context.backoff.reset(&key);
    }
    result
}

/// When a failed reconcile is tried again.
// The signature is kube-runtime's.
#[allow(clippy::needless_pass_by_value)]
pub(crate) fn error_policy(object: Arc<VmAccess>, error: &ReconcileError, context: Arc<Context>) -> Action {
    if matches!(error, ReconcileError::NotLeader(_)) {
        return Action::await_change();
    }
    Action::requeue(context.backoff.failure(&ObjectRef::from_obj(object.as_ref())))
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
        now,
    });
    let held_back = match status::write(vm_access, &outcome.status, context).await {
        Ok(held_back) => held_back,
        Err(ApplyError::NotLeader(lost)) => return Err(lost.into()),
        Err(error) => return Err(ReconcileError::Status(error)),
    };
    if let Some(reason) = done.retry {
        return Err(ReconcileError::Incomplete { reason });
    }
    let deadline = outcome
        .next
        .map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default());
    let unseen = has_unseen_writes(vm_access, context).then_some(MAX_LAG + Duration::from_secs(1));
    let next = [held_back, deadline, unseen].into_iter().flatten().min();
    Ok(next.map_or_else(Action::await_change, Action::requeue))
}

/// What was done for a valid object.
#[derive(Default)]
struct CarriedOut {
    applied: Option<Applied>,
    power: Decision,
    power_failure: Option<Failure>,
    /// Why to try again without an event.
    retry: Option<&'static str>,
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
            Ok(made) => {
                if made {
                    report_call(vm_access, call, context).await;
                }
            }
            Err(ApplyError::NotLeader(lost)) => return Err(lost.into()),
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
