//! The writes of one reconcile: what became of them, and whether to try again.

use kube::{Resource, ResourceExt};
use novasphere_core::{
    child::ChildOutcome,
    failure::{Failure, FailureKind},
};
use novasphere_runtime::{
    apply::{ApiReason, Applier, Outcome, WriteError},
    cache::Cache,
    lease::NotLeader,
    namespaced::Namespaced,
};

/// Applies the children of one object. A failure of one does not stop the others: it is part of the outcome, and the reason to try
/// again is kept. [`NotLeader`] stops everything, because nothing of what this process saw is worth a condition then.
pub(crate) struct Children<'a> {
    applier: &'a Applier,
    retry: Option<&'static str>,
}

impl<'a> Children<'a> {
    pub(crate) const fn new(applier: &'a Applier) -> Self {
        Self { applier, retry: None }
    }

    /// For writes whose failure means something else than that a child is not as wanted.
    pub(crate) const fn applier(&self) -> &'a Applier {
        self.applier
    }

    /// Why to try again without an event.
    pub(crate) const fn retry(&self) -> Option<&'static str> {
        self.retry
    }

    /// Has the reconcile tried again without an event, for a reason in one word.
    pub(crate) const fn retry_because(&mut self, reason: &'static str) {
        self.retry = Some(reason);
    }

    /// Applies `desired` over what `cache` has of it.
    ///
    /// # Errors
    ///
    /// [`NotLeader`] when this process may not write any more.
    pub(crate) async fn apply<K: Namespaced>(
        &mut self,
        desired: &K,
        cache: &Cache<K>,
    ) -> Result<ChildOutcome<K>, NotLeader> {
        let result = self.applier.apply(desired, cache).await;
        self.record(desired, result.map(Outcome::into_object))
    }

    /// Records what became of a write of `object`.
    ///
    /// # Errors
    ///
    /// [`NotLeader`] when that is why it failed.
    pub(crate) fn record<K, O: Resource<DynamicType = ()>>(
        &mut self,
        object: &O,
        result: Result<K, WriteError>,
    ) -> Result<ChildOutcome<K>, NotLeader> {
        match result {
            Ok(written) => Ok(ChildOutcome::Applied(written)),
            Err(error) => Ok(ChildOutcome::Failed(self.record_failure(object, &error)?)),
        }
    }

    /// Records that a write of `object` failed.
    ///
    /// # Errors
    ///
    /// [`NotLeader`] when that is why.
    pub(crate) fn record_failure<O: Resource<DynamicType = ()>>(
        &mut self,
        object: &O,
        error: &WriteError,
    ) -> Result<Failure, NotLeader> {
        self.record_failure_of(&O::kind(&()), &object.name_any(), error)
    }

    /// The same for an object of a kind without a type.
    ///
    /// # Errors
    ///
    /// [`NotLeader`] when that is why.
    pub(crate) fn record_failure_of(
        &mut self,
        kind: &str,
        name: &str,
        error: &WriteError,
    ) -> Result<Failure, NotLeader> {
        if let WriteError::NotLeader(lost) = error {
            return Err(*lost);
        }
        tracing::info!(kind, name, %error, "not applied");
        if is_worth_a_retry(error) {
            self.retry_because(error.reason());
        }
        Ok(failure(error))
    }
}

/// Whether to try again without an event. Beside what is transient by itself, these end by a change that no watch of ours
/// shows: a quota is raised, a right is given, a foreign Service that holds the name or the port goes.
fn is_worth_a_retry(error: &WriteError) -> bool {
    match error {
        WriteError::NotOwned { .. } => true,
        WriteError::Api { reason, .. } => *reason != ApiReason::NamespaceTerminating,
        WriteError::NotLeader(_) | WriteError::Internal(_) => false,
    }
}

/// A failed write as conditions know it.
pub(crate) fn failure(error: &WriteError) -> Failure {
    let kind = match error {
        WriteError::NotOwned { .. } => FailureKind::NotOwned,
        WriteError::Api { reason, .. } => match reason {
            ApiReason::Invalid => error
                .node_port_in_use()
                .map_or(FailureKind::Rejected, FailureKind::NodePortInUse),
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
