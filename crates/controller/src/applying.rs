//! Applying one child of an object: what every kind does alike.

use kube::{Resource, ResourceExt};
use novasphere_core::vm_access::failure::{Failure, FailureKind};
use novasphere_runtime::{
    apply::{Applier, ApplyError, Outcome},
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
    let live = cache.get(&desired.namespace().unwrap_or_default(), &desired.name_any());
    match applier.apply(desired, live.as_deref()).await {
        Ok(Outcome::Unchanged(object)) => Ok(Ok(object)),
        Ok(Outcome::Created(object) | Outcome::Patched(object)) => {
            cache.written(object.clone());
            Ok(Ok(object))
        }
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
    error: &ApplyError,
    retry: &mut Option<&'static str>,
) -> Result<Failure, NotLeader> {
    if let ApplyError::NotLeader(lost) = error {
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

pub(crate) fn failure(error: &ApplyError) -> Failure {
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
