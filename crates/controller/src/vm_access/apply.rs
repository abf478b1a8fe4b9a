//! Makes the cluster have what was built.

mod drop_owner;
mod order;
mod ports;
mod reused_volumes;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use novasphere_core::{
    child::ChildOutcome,
    label::Owner,
    vm_access::{
        build::{Prepared, PreparedService},
        observed::{Applied, AppliedService},
        run_strategy,
    },
};
use novasphere_crd::VmAccess;
use novasphere_foreign::kubevirt::VirtualMachine;
use novasphere_runtime::{
    apply::{Outcome, WriteError},
    lease::NotLeader,
};

use self::order::{Step, order};
use super::Context;
use crate::children::Children;

/// Applies the virtual machine first, because it takes longest to become ready, then deletes the Services that are no longer
/// wanted, because one that is may need their node ports, then applies the others, and the routes to them. One failure does not stop the
/// rest.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(super) async fn apply(
    vm_access: &VmAccess,
    prepared: Prepared,
    owner: &Owner,
    children: &mut Children<'_>,
    context: &Context,
) -> Result<Applied, NotLeader> {
    let Prepared {
        virtual_machine,
        repeats_run_strategy,
        services,
        routes,
    } = prepared;
    let virtual_machine = match virtual_machine {
        Some(desired) => {
            let reused = reused_volumes::find(&desired, context).await;
            let outcome = apply_machine(&desired, repeats_run_strategy, owner, children, context).await?;
            if outcome.applied().is_some() {
                reused_volumes::report(vm_access, &reused, context).await;
            }
            outcome
        }
        None => ChildOutcome::NotTried,
    };
    prune(&services, owner, children, context).await?;
    let services = apply_services(&services, owner, children, context).await?;
    Ok(Applied {
        virtual_machine,
        services,
        routes: context.routes.apply(routes, owner, children, &context.caches).await?,
    })
}

/// Applies the machine. Its owner is taken off, when it is to outlive it, also when the rest is refused.
async fn apply_machine(
    desired: &VirtualMachine,
    repeats_run_strategy: bool,
    owner: &Owner,
    children: &mut Children<'_>,
    context: &Context,
) -> Result<ChildOutcome<VirtualMachine>, NotLeader> {
    let (applier, machines) = (children.applier(), &context.caches.virtual_machines);
    let result = if repeats_run_strategy {
        applier.apply_repeating(desired, machines, run_strategy::repeat).await
    } else {
        applier.apply(desired, machines).await
    };
    let outcome = children.record(desired, result.map(Outcome::into_object))?;
    if outcome.failure().is_some() && desired.metadata.owner_references.is_none() {
        drop_owner::drop_owner(desired, owner, context).await?;
    }
    Ok(outcome)
}

/// Applies the Services so that a node port which moves from one to another is given up before it is asked for. The result is in
/// the order of the spec.
async fn apply_services(
    services: &[PreparedService],
    owner: &Owner,
    children: &mut Children<'_>,
    context: &Context,
) -> Result<Vec<AppliedService>, NotLeader> {
    let live = context.caches.services.indexed(&owner.key());
    let mut applied = Vec::with_capacity(services.len());
    for step in order(services, &live) {
        match step {
            Step::Free(service, node_ports) => ports::free_node_ports(service, &node_ports, context).await?,
            Step::Apply(prepared) => applied.push(AppliedService {
                name: prepared.name.clone(),
                outcome: apply_service(&prepared.service, owner, children, context).await?,
            }),
        }
    }
    applied.sort_by_key(|applied| services.iter().position(|service| service.name == applied.name));
    Ok(applied)
}

/// Applies a Service, once more when it had ports of somebody else.
async fn apply_service(
    desired: &Service,
    owner: &Owner,
    children: &mut Children<'_>,
    context: &Context,
) -> Result<ChildOutcome<Service>, NotLeader> {
    let services = &context.caches.services;
    let first = children.applier().apply(desired, services).await;
    let first = first.map(Outcome::into_object);
    if ports::reset_ports(desired, first.as_ref().ok(), owner, context).await? {
        return children.apply(desired, services).await;
    }
    children.record(desired, first)
}

/// Deletes the Services of `owner` that are not among `wanted`. They are found by owner, so that one which was created just before
/// its process died is found as well.
async fn prune(
    wanted: &[PreparedService],
    owner: &Owner,
    children: &mut Children<'_>,
    context: &Context,
) -> Result<(), NotLeader> {
    let is_wanted = |name: &str| wanted.iter().any(|wanted| wanted.service.name_any() == name);
    let orphans = context.caches.services.indexed(&owner.key());
    let orphans = orphans
        .into_iter()
        .filter(|service| service.metadata.deletion_timestamp.is_none() && !is_wanted(&service.name_any()));
    for orphan in orphans.collect::<Vec<Arc<_>>>() {
        match children.applier().delete(orphan.as_ref()).await {
            Ok(_) => context.caches.services.deleted(&orphan),
            Err(WriteError::NotLeader(lost)) => return Err(lost),
            Err(error) => {
                tracing::warn!(service = orphan.name_any(), %error, "cannot delete a Service that is no longer wanted");
                children.retry_because(error.reason());
            }
        }
    }
    Ok(())
}
