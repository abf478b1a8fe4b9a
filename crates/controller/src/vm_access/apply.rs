//! Step 4: makes the cluster have what was built.

mod order;
mod orphan;
mod ports;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use novasphere_core::{
    failure::Failure,
    label::Owner,
    vm_access::{
        build::{Prepared, PreparedService},
        observed::{Applied, AppliedService},
    },
};
use novasphere_foreign::kubevirt::VirtualMachine;
use novasphere_runtime::{apply::WriteError, lease::NotLeader};

use self::order::{Step, order};
use super::Context;
use crate::applying::apply_one;

/// What was applied, and whether trying again without a change may help.
pub(super) struct ApplyResult {
    pub(super) applied: Applied,
    pub(super) retry: Option<&'static str>,
}

/// Applies the virtual machine first, because it takes longest to become ready, then deletes the Services that are no longer
/// wanted, because one that is may need their node ports, then applies the others. One failure does not stop the rest.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more: then nothing of what it saw is worth telling.
pub(super) async fn apply(prepared: Prepared, owner: &Owner, context: &Context) -> Result<ApplyResult, NotLeader> {
    let Prepared {
        virtual_machine,
        services,
    } = prepared;
    let mut retry = None;
    let virtual_machine = match virtual_machine {
        Some(desired) => Some(apply_machine(&desired, owner, context, &mut retry).await?),
        None => None,
    };
    prune(&services, owner, context, &mut retry).await?;
    let services = apply_services(&services, owner, context, &mut retry).await?;
    let applied = Applied {
        virtual_machine,
        services,
    };
    Ok(ApplyResult { applied, retry })
}

/// Applies the machine. That it shall outlive its owner is made true also when the rest is refused.
async fn apply_machine(
    desired: &VirtualMachine,
    owner: &Owner,
    context: &Context,
    retry: &mut Option<&'static str>,
) -> Result<Result<VirtualMachine, Failure>, NotLeader> {
    let result = apply_one(&context.applier, desired, &context.caches.virtual_machines, retry).await?;
    if result.is_err() && desired.metadata.owner_references.is_none() {
        orphan::let_go(desired, owner, context).await?;
    }
    Ok(result)
}

/// Applies the Services so that a node port which moves from one to another is given up before it is asked for. The result is in
/// the order of the spec.
async fn apply_services(
    services: &[PreparedService],
    owner: &Owner,
    context: &Context,
    retry: &mut Option<&'static str>,
) -> Result<Vec<AppliedService>, NotLeader> {
    let live = context.caches.services.indexed(&owner.uid);
    let mut applied = Vec::with_capacity(services.len());
    for step in order(services, &live) {
        match step {
            Step::Release(service, node_ports) => ports::release(service, &node_ports, context).await?,
            Step::Apply(prepared) => applied.push(AppliedService {
                name: prepared.name.clone(),
                result: apply_service(&prepared.service, owner, context, retry).await?,
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
    context: &Context,
    retry: &mut Option<&'static str>,
) -> Result<Result<Service, Failure>, NotLeader> {
    let services = &context.caches.services;
    let mut first_retry = None;
    let first = apply_one(&context.applier, desired, services, &mut first_retry).await?;
    if ports::take_back(desired, first.as_ref().ok(), owner, context).await? {
        return apply_one(&context.applier, desired, services, retry).await;
    }
    *retry = retry.or(first_retry);
    Ok(first)
}

/// Deletes the Services of `owner` that are not among `wanted`. They are found by owner, so that one which was made just before
/// its process died is found as well.
async fn prune(
    wanted: &[PreparedService],
    owner: &Owner,
    context: &Context,
    retry: &mut Option<&'static str>,
) -> Result<(), NotLeader> {
    let is_wanted = |name: &str| wanted.iter().any(|wanted| wanted.service.name_any() == name);
    let orphans = context.caches.services.indexed(&owner.uid);
    let orphans = orphans
        .into_iter()
        .filter(|service| service.metadata.deletion_timestamp.is_none() && !is_wanted(&service.name_any()));
    for orphan in orphans.collect::<Vec<Arc<_>>>() {
        match context.applier.delete(orphan.as_ref()).await {
            Ok(_) => context.caches.services.deleted(&orphan),
            Err(WriteError::NotLeader(lost)) => return Err(lost),
            Err(error) => {
                tracing::warn!(service = orphan.name_any(), %error, "cannot delete a Service that is no longer wanted");
                *retry = Some(error.reason());
            }
        }
    }
    Ok(())
}
