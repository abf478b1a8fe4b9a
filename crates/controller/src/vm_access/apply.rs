//! Step 4: makes the cluster have what was built.

mod ports;

use std::{fmt::Debug, sync::Arc};

use k8s_openapi::{NamespaceResourceScope, api::core::v1::Service};
use kube::{Resource, ResourceExt};
use novasphere_core::{
    label::Owner,
    vm_access::{
        build::Prepared,
        failure::{Failure, FailureKind},
        observed::{Applied, AppliedService},
    },
};
use novasphere_runtime::{
    apply::{ApplyError, Outcome},
    cache::Cache,
    lease::NotLeader,
};
use serde::{Serialize, de::DeserializeOwned};

use super::Context;

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
        Some(desired) => Some(apply_one(&desired, &context.caches.virtual_machines, context, &mut retry).await?),
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
    let first = apply_one(desired, services, context, &mut first_retry).await?;
    if ports::take_back(desired, first.as_ref().ok(), owner, context).await? {
        return apply_one(desired, services, context, retry).await;
    }
    *retry = retry.or(first_retry);
    Ok(first)
}

async fn apply_one<K>(
    desired: &K,
    cache: &Cache<K>,
    context: &Context,
    retry: &mut Option<&'static str>,
) -> Result<Result<K, Failure>, NotLeader>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug,
{
    let live = cache.get(&desired.namespace().unwrap_or_default(), &desired.name_any());
    match context.applier.apply(desired, live.as_deref()).await {
        Ok(Outcome::Unchanged(object)) => Ok(Ok(object)),
        Ok(Outcome::Created(object) | Outcome::Patched(object)) => {
            cache.written(object.clone());
            Ok(Ok(object))
        }
        Err(ApplyError::NotLeader(lost)) => Err(lost),
        Err(error) => {
            tracing::info!(kind = %K::kind(&()), name = desired.name_any(), %error, "not applied");
            if retries(&error) {
                *retry = Some(error.reason());
            }
            Ok(Err(failure(&error)))
        }
    }
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

/// Whether to try again without an event. Beside what is transient by itself, these end by a change that no watch of ours
/// shows: a quota is raised, a right is given, a foreign Service that holds the name or the port goes.
fn retries(error: &ApplyError) -> bool {
    error.is_transient()
        || matches!(
            error,
            ApplyError::NotOwned { .. }
                | ApplyError::Forbidden(_)
                | ApplyError::Invalid(_)
                | ApplyError::QuotaExceeded(_)
                | ApplyError::NotFound(_)
        )
}

pub(super) fn failure(error: &ApplyError) -> Failure {
    let kind = match error {
        ApplyError::NotOwned { .. } => FailureKind::NotOwned,
        ApplyError::Invalid(_) => FailureKind::Rejected,
        ApplyError::QuotaExceeded(_) => FailureKind::QuotaExceeded,
        ApplyError::Forbidden(_) => FailureKind::Forbidden,
        ApplyError::NamespaceTerminating(_) => FailureKind::NamespaceTerminating,
        ApplyError::Conflict(_)
        | ApplyError::AlreadyExists(_)
        | ApplyError::NotFound(_)
        | ApplyError::NotLeader(_)
        | ApplyError::Timeout(_)
        | ApplyError::Transport(_)
        | ApplyError::Internal(_) => FailureKind::Unavailable,
    };
    Failure::new(kind, error.to_string())
}
