//! Calls of KubeVirt's power API.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::{Method, Request};
use kube::{Client, ResourceExt};
use novasphere_core::vm_access::{
    failure::{Failure, FailureKind},
    observed::LiveMachine,
};
use novasphere_foreign::kubevirt::PowerSubresource;
use novasphere_runtime::apply::ApplyError;

use crate::applying::failure;

/// How long a call is not repeated while the caches show nothing new of the machine.
const EFFECT: Duration = Duration::from_secs(10);

/// The last call for each machine.
///
/// A call changes the machine through KubeVirt's controllers, so its effect is seen later than its answer. A second call in
/// that gap would be refused (409, or 500 "already underway") and reported as a failure that is none.
#[derive(Debug, Default)]
pub(crate) struct PowerCalls {
    last: Mutex<HashMap<String, Call>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Call {
    subresource: PowerSubresource,
    /// Resource versions of the machine and of its instance when it was decided.
    seen: (Option<String>, Option<String>),
    at: Instant,
}

impl PowerCalls {
    /// Makes the call, unless it was made already and its effect is still awaited. Returns whether it was made.
    ///
    /// # Errors
    ///
    /// What KubeVirt or the API server answered.
    pub(super) async fn make(
        &self,
        subresource: PowerSubresource,
        live: LiveMachine<'_>,
        client: &Client,
    ) -> Result<bool, ApplyError> {
        let Some(machine) = live.machine else { return Ok(false) };
        let (namespace, name) = (machine.namespace().unwrap_or_default(), machine.name_any());
        let call = Call {
            subresource,
            seen: (
                machine.resource_version(),
                live.instance.and_then(ResourceExt::resource_version),
            ),
            at: Instant::now(),
        };
        if self.is_awaited(&machine.uid().unwrap_or_default(), &call) {
            return Ok(false);
        }
        let request = Request::builder()
            .method(Method::PUT)
            .uri(subresource.path(&namespace, &name))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(b"{}".to_vec())
            .map_err(|error| ApplyError::Internal(error.to_string()))?;
        client.request_text(request).await.map_err(ApplyError::from)?;
        self.lock().insert(machine.uid().unwrap_or_default(), call);
        Ok(true)
    }

    fn is_awaited(&self, uid: &str, call: &Call) -> bool {
        let mut last = self.lock();
        last.retain(|_, call| call.at.elapsed() < EFFECT);
        last.get(uid)
            .is_some_and(|last| last.subresource == call.subresource && last.seen == call.seen)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Call>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A refused call in the words of the conditions. KubeVirt answers 409 when the machine is not in the state for the call, which
/// the next look may show, so that is no refusal yet.
pub(super) fn refusal(error: &ApplyError) -> Failure {
    match error {
        ApplyError::Conflict(message) => Failure::new(FailureKind::Unavailable, message.clone()),
        other => failure(other),
    }
}
