//! Applying one child of an object: what every kind does alike.

use kube::{Resource, ResourceExt};
use novasphere_core::failure::{Failure, FailureKind};
use novasphere_runtime::{
    apply::{ApiReason, Applier, WriteError},
    cache::Cache,
    lease::NotLeader,
    namespaced::Namespaced,
};

/// Applies `desired` over what the cache has of it. `retry` is set when trying again without an event may help.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more: then nothing of what it saw is worth telling.
pub(crate) async fn apply_one<K: Namespaced>(
    applier: &Applier,
    desired: &K,
    cache: &Cache<K>,
    retry: &mut Option<&'static str>,
) -> Result<Result<K, Failure>, NotLeader> {
    match applier.apply(desired, cache).await {
        Ok(outcome) => Ok(Ok(outcome.into_object())),
        Err(error) => Ok(Err(refused::<K>(desired, &error, retry)?)),
    }
}

/// A refusal in the words of the conditions.
///
/// # Errors
///
/// [`NotLeader`], as above.
pub(crate) fn refused<K: Resource<DynamicType = ()>>(
    desired: &K,
    error: &WriteError,
    retry: &mut Option<&'static str>,
) -> Result<Failure, NotLeader> {
    if let WriteError::NotLeader(lost) = error {
        return Err(*lost);
    }
    tracing::info!(kind = %K::kind(&()), name = desired.name_any(), %error, "not applied");
    if retries(error) {
        *retry = Some(error.reason());
    }
    Ok(failure(error))
}

/// Whether to try again without an event. Beside what is transient by itself, these end by a change that no watch of ours
/// shows: a quota is raised, a right is given, a foreign Service that holds the name or the port goes.
fn retries(error: &WriteError) -> bool {
    match error {
        WriteError::NotOwned { .. } => true,
        WriteError::Api { reason, .. } => *reason != ApiReason::NamespaceTerminating,
        WriteError::NotLeader(_) | WriteError::Internal(_) => false,
    }
}

pub(crate) fn failure(error: &WriteError) -> Failure {
    let kind = match error {
        WriteError::NotOwned { .. } => FailureKind::NotOwned,
        WriteError::Api { reason, .. } => match reason {
            ApiReason::Invalid => FailureKind::Rejected,
            ApiReason::QuotaExceeded => FailureKind::QuotaExceeded,
            ApiReason::Forbidden => FailureKind::Forbidden,
            ApiReason::NamespaceTerminating => FailureKind::NamespaceTerminating,
            ApiReason::Conflict
            | ApiReason::AlreadyExists
            | ApiReason::NotFound
            | ApiReason::Timeout
            | ApiReason::Unavailable => FailureKind::Unavailable,
        },
        WriteError::NotLeader(_) | WriteError::Internal(_) => FailureKind::Unavailable,
    };
    Failure::new(kind, error.to_string())
}
