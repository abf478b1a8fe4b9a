//! Step 4: makes the cluster have what was built.

mod ports;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use novasphere_core::{
    label::Owner,
    vm_access::{
        build::Prepared,
        failure::Failure,
        observed::{Applied, AppliedService},
    },
};
use novasphere_runtime::{apply::ApplyError, lease::NotLeader};

use super::Context;
use crate::applying::apply_one;

/// What was applied, and whether trying again without a change may help.
pub(super) struct ApplyResult {
    pub(super) applied: Applied,
    pub(super) retry: Option<&'static str>,
}

/// Applies the virtual machine first, because it takes longest to become ready, then the Services, then deletes the Services
/// that are no longer wanted. One failure does not stop the others.
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
        Some(desired) => {
            Some(apply_one(&context.applier, &desired, &context.caches.virtual_machines, &mut retry).await?)
        }
        None => None,
    };
    let mut applied = Applied {
        virtual_machine,
        services: Vec::with_capacity(services.len()),
    };
    let mut wanted = Vec::with_capacity(services.len());
    for prepared in services {
        wanted.push(prepared.service.name_any());
        let result = apply_service(&prepared.service, owner, context, &mut retry).await?;
        applied.services.push(AppliedService {
            name: prepared.name,
            result,
        });
    }
    prune(&wanted, owner, context, &mut retry).await?;
    Ok(ApplyResult { applied, retry })
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
    wanted: &[String],
    owner: &Owner,
    context: &Context,
    retry: &mut Option<&'static str>,
) -> Result<(), NotLeader> {
    let orphans = context.caches.services.indexed(&owner.uid);
    let orphans = orphans
        .into_iter()
        .filter(|service| service.metadata.deletion_timestamp.is_none() && !wanted.contains(&service.name_any()));
    for orphan in orphans.collect::<Vec<Arc<_>>>() {
        match context.applier.delete(orphan.as_ref()).await {
            Ok(_) => context.caches.services.deleted(&orphan),
            Err(ApplyError::NotLeader(lost)) => return Err(lost),
            Err(error) => {
                tracing::warn!(service = orphan.name_any(), %error, "cannot delete a Service that is no longer wanted");
                *retry = Some(error.reason());
            }
        }
    }
    Ok(())
}
