//! Writes what a [`Transition`] says, alike for every kind: the status now, a little later or not at all, and its events.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::ResourceExt;
use novasphere_core::transition::{EventNote, Transition, WritePriority};
use novasphere_runtime::{
    apply::{Applier, WriteError},
    cache::Cache,
    events::Reporter,
    namespaced::Namespaced,
};
use serde::Serialize;

use crate::status_throttle::StatusThrottle;

/// The action of events that follow from a status.
const ACTION: &str = "Reconcile";

/// Writes the status of objects of one kind.
pub(crate) struct TransitionWriter<'a, K: Namespaced> {
    pub(crate) applier: &'a Applier,
    pub(crate) reporter: &'a Reporter,
    pub(crate) throttle: &'a StatusThrottle,
    pub(crate) cache: &'a Cache<K>,
}

impl<K: Namespaced> TransitionWriter<'_, K> {
    /// Makes the status of `object` be `new`, as soon as `transition` says. `old` is the part of its status that this controller
    /// writes. Returns how long details that were held back still have to wait.
    ///
    /// # Errors
    ///
    /// When the write was refused or did not come through.
    pub(crate) async fn write<S: Serialize + Sync>(
        &self,
        object: &K,
        old: Option<&S>,
        new: &S,
        transition: Transition,
    ) -> Result<Option<Duration>, WriteError> {
        let uid = object.uid().unwrap_or_default();
        let only_details = match transition.priority {
            WritePriority::Never => return Ok(None),
            WritePriority::Soon => true,
            WritePriority::Now => false,
        };
        if only_details && let Some(left) = self.throttle.wait(&uid, Instant::now()) {
            return Ok(Some(left));
        }
        self.applier.apply_status(object, old, new, self.cache).await?;
        self.throttle.written(&uid, only_details, Instant::now());
        emit(self.reporter, &object.object_ref(&()), transition.events).await;
        Ok(None)
    }
}

/// Emits events about an object.
pub(crate) async fn emit(reporter: &Reporter, about: &ObjectReference, events: Vec<EventNote>) {
    for event in events {
        if event.is_warning {
            reporter.warning(about, &event.reason, ACTION, &event.message).await;
        } else {
            reporter.normal(about, &event.reason, ACTION, &event.message).await;
        }
    }
}
