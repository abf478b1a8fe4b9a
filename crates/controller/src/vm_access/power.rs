//! Calls of KubeVirt's power API.

use std::time::{Duration, Instant};

use kube::ResourceExt;
use novasphere_core::{
    failure::{Failure, FailureKind},
    vm_access::observed::LiveMachine,
};
use novasphere_foreign::kubevirt::PowerSubresource;
use novasphere_runtime::{
    apply::{ApiReason, Applier, WriteError},
    per_object::PerObject,
};
use parking_lot::Mutex;

use crate::children::failure;

/// How long a call is not repeated while the caches show nothing new of the machine.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The last call for each machine.
///
/// A call changes the machine through KubeVirt's controllers, so its effect is seen later than its answer. A second call in
/// that gap would be refused (409, or 500 "already underway") and reported as a failure that is none.
#[derive(Debug, Default)]
pub(crate) struct PowerCalls {
    last: Mutex<PerObject<Call>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Call {
    subresource: PowerSubresource,
    /// Resource versions of what shows its effect, when it was decided.
    seen: Versions,
    at: Instant,
}

/// The resource versions of a machine and of its instance.
type Versions = (Option<String>, Option<String>);

/// A call of which an effect is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    /// It was made now and not before.
    pub(super) is_new: bool,
    /// How long until it is made again when it has no effect, which no event would show.
    pub(super) left: Duration,
}

impl PowerCalls {
    /// Makes the call, unless it was made already and its effect is still awaited. `None` when there is no machine.
    ///
    /// # Errors
    ///
    /// What KubeVirt or the API server answered.
    pub(super) async fn make(
        &self,
        subresource: PowerSubresource,
        live: LiveMachine<'_>,
        applier: &Applier,
    ) -> Result<Option<Pending>, WriteError> {
        let Some(machine) = live.machine else { return Ok(None) };
        let (namespace, name) = (machine.namespace().unwrap_or_default(), machine.name_any());
        let call = Call {
            subresource,
            seen: observed_versions(subresource, live),
            at: Instant::now(),
        };
        if let Some(left) = self.left(&machine.uid().unwrap_or_default(), &call) {
            return Ok(Some(Pending { is_new: false, left }));
        }
        let (kind, path) = (subresource.kind(), subresource.path(&namespace, &name));
        applier
            .call_subresource(kind, &machine.metadata, subresource.name(), &path)
            .await?;
        self.record(&machine.uid().unwrap_or_default(), call);
        Ok(Some(Pending {
            is_new: true,
            left: SETTLE_TIMEOUT,
        }))
    }

    /// How long the effect of the same call, made before, is still awaited.
    fn left(&self, uid: &str, call: &Call) -> Option<Duration> {
        let last = self.last.lock();
        let same = |last: &&Call| last.subresource == call.subresource && last.seen == call.seen;
        let last = last.get(uid).filter(same)?;
        let left = SETTLE_TIMEOUT.saturating_sub(call.at.saturating_duration_since(last.at));
        (!left.is_zero()).then_some(left)
    }

    fn record(&self, uid: &str, call: Call) {
        let now = call.at;
        let is_pending = |_: &str, call: &Call| now.saturating_duration_since(call.at) < SETTLE_TIMEOUT;
        self.last.lock().insert(uid, call, is_pending);
    }
}

/// What changes when a call has taken effect.
///
/// A start or stop is written into the machine. Pausing, unpausing and restarting go past it to the instance, while
/// virt-controller goes on to write into the machine what it is about.
fn observed_versions(subresource: PowerSubresource, live: LiveMachine<'_>) -> Versions {
    let instance = live.instance.and_then(ResourceExt::resource_version);
    match subresource {
        PowerSubresource::Start | PowerSubresource::Stop => {
            (live.machine.and_then(ResourceExt::resource_version), instance)
        }
        PowerSubresource::Pause | PowerSubresource::Unpause | PowerSubresource::Restart => (None, instance),
    }
}

/// A refused call as conditions know it. KubeVirt answers 409 when the machine is not in the state for the call, which
/// the next reconcile may show, so that is no refusal yet. It answers 403 to what it does not do at all, such as pausing a machine with a
/// liveness probe (kubevirt/kubevirt `pkg/virt-api/rest/lifecycle.go`).
pub(super) fn refusal(error: &WriteError) -> Failure {
    match error {
        WriteError::Api {
            reason: ApiReason::Conflict,
            message,
            ..
        } => Failure::new(FailureKind::Unavailable, message.clone()),
        WriteError::Api {
            reason: ApiReason::Forbidden,
            message,
            ..
        } if !is_lack_of_rights(message) => Failure::new(FailureKind::Rejected, message.clone()),
        other => failure(other),
    }
}

/// Whether a 401 or 403 is about who asks: `... is forbidden: User "x" cannot update resource ...` from kube-apiserver, and a sentence
/// of the authorizer alone from virt-api. What is forbidden to everybody is `... is forbidden: <why>`.
fn is_lack_of_rights(message: &str) -> bool {
    message
        .split_once(" is forbidden: ")
        .is_none_or(|(_, why)| why.starts_with("User "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(subresource: PowerSubresource, seen: &str, at: Instant) -> Call {
        Call {
            subresource,
            seen: (None, Some(seen.to_owned())),
            at,
        }
    }

    #[test]
    fn a_call_is_awaited_until_its_effect_shows_or_its_time_is_over() {
        let calls = PowerCalls::default();
        let now = Instant::now();
        let again = |subresource, seen, after| calls.left("u", &call(subresource, seen, now + after));
        calls.record("u", call(PowerSubresource::Pause, "7", now));
        assert_eq!(
            again(PowerSubresource::Pause, "7", Duration::ZERO),
            Some(SETTLE_TIMEOUT)
        );
        assert_eq!(again(PowerSubresource::Pause, "8", Duration::ZERO), None);
        assert_eq!(again(PowerSubresource::Unpause, "7", Duration::ZERO), None);
        assert_eq!(
            again(PowerSubresource::Pause, "7", Duration::from_secs(4)),
            Some(SETTLE_TIMEOUT.saturating_sub(Duration::from_secs(4)))
        );
        assert_eq!(again(PowerSubresource::Pause, "7", SETTLE_TIMEOUT), None);
    }

    #[test]
    fn only_a_lack_of_rights_is_told_as_one() {
        let refused = |message: &str| refusal(&WriteError::api(ApiReason::Forbidden, message)).kind;
        let probe = "virtualmachineinstance.kubevirt.io \"web-1\" is forbidden: Pausing VMIs with LivenessProbe is currently not supported";
        assert_eq!(refused(probe), FailureKind::Rejected);
        let rights = "virtualmachineinstances.subresources.kubevirt.io \"web-1\" is forbidden: User \"x\" cannot update resource \"virtualmachineinstances/pause\"";
        for message in [rights, "Unauthorized", "request is not authenticated"] {
            assert_eq!(refused(message), FailureKind::Forbidden, "{message}");
        }
    }
}
