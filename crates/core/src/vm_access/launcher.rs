//! What the launcher Pod of a machine says while the machine takes long to start.
//!
//! `KubeVirt` tells of a Pod that cannot be made or scheduled, and not of one that waits on its node: a Secret that is missing, a volume that
//! cannot be attached, a network that the node does not have. The kubelet says so, in events of the Pod.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::ResourceExt as _;
use novasphere_foreign::kubevirt::VirtualMachineInstance;

use crate::time::after;

/// A machine may take this long for a step before the status says what it waits for.
pub const PROGRESS_GRACE: Duration = Duration::from_mins(1);

/// The longest text of the kubelet that is told, in characters.
const WORDS_LENGTH_LIMIT: usize = 500;

/// Whether a run has been starting for so long that its launcher Pod is asked for the cause.
#[must_use]
pub fn is_overdue(instance: &VirtualMachineInstance, now: Timestamp) -> bool {
    let status = instance.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or_default();
    matches!(phase, "" | "Pending" | "Scheduling" | "Scheduled")
        && instance.metadata.deletion_timestamp.is_none()
        && starting_since(instance).is_some_and(|since| after(since, PROGRESS_GRACE) <= now)
}

/// Since when a run starts.
#[must_use]
pub fn starting_since(instance: &VirtualMachineInstance) -> Option<Timestamp> {
    instance.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// Why a Pod does not start, in the words of the kubelet: those of a container that waits, else the newest of `warnings`.
#[must_use]
pub fn words(pod: &Pod, warnings: &[Event]) -> Option<String> {
    let status = pod.status.as_ref()?;
    let containers = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses)
        .flatten();
    let of_container = containers.into_iter().find_map(waiting);
    let uid = pod.uid();
    let of_pod = warnings.iter().filter(|event| event.involved_object.uid == uid);
    let newest = || {
        let event = of_pod.max_by_key(|event| time_of(event))?;
        said(event.reason.as_deref(), event.message.as_deref())
    };
    let words = of_container.or_else(newest)?;
    Some(words.chars().take(WORDS_LENGTH_LIMIT).collect())
}

fn waiting(container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    // In these a container is always at first, and they have no message.
    let reason = waiting
        .reason
        .as_deref()
        .filter(|reason| !["ContainerCreating", "PodInitializing"].contains(reason))?;
    said(Some(reason), waiting.message.as_deref())
}

fn said(reason: Option<&str>, message: Option<&str>) -> Option<String> {
    let texts = [reason, message].into_iter().flatten();
    let texts: Vec<_> = texts
        .map(|text| text.trim().trim_end_matches('.'))
        .filter(|text| !text.is_empty())
        .collect();
    (!texts.is_empty()).then(|| texts.join(": "))
}

fn time_of(event: &Event) -> Option<Timestamp> {
    let series = event
        .series
        .as_ref()
        .and_then(|series| series.last_observed_time.as_ref());
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    let made = event.event_time.as_ref().map(|time| time.0);
    series
        .map(|time| time.0)
        .or(last)
        .or(made)
        .or_else(|| event.metadata.creation_timestamp.as_ref().map(|time| time.0))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: &Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "virt-launcher-x", "uid": "p"}, "status": status})).unwrap()
    }

    fn warning(uid: &str, second: u8, message: &str) -> Event {
        serde_json::from_value(json!({
            "metadata": {"name": "e"}, "involvedObject": {"uid": uid}, "reason": "FailedMount", "message": message,
            "lastTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
        }))
        .unwrap()
    }

    #[test]
    fn the_newest_warning_of_the_pod_is_told() {
        let creating = json!({"containerStatuses": [{
            "name": "compute", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ContainerCreating"}},
        }]});
        let all = [
            warning("p", 1, "older"),
            warning("p", 3, "secret \"user-data\" not found."),
            warning("other", 9, "of another Pod"),
        ];
        assert_eq!(
            words(&pod(&creating), &all).as_deref(),
            Some("FailedMount: secret \"user-data\" not found")
        );
        assert_eq!(words(&pod(&creating), &[]), None);
        assert_eq!(
            words(&pod(&json!({})), &[warning("p", 1, &"x".repeat(5000))])
                .unwrap()
                .len(),
            WORDS_LENGTH_LIMIT
        );
    }

    #[test]
    fn a_container_that_waits_says_more_than_an_event() {
        let waiting = json!({"initContainerStatuses": [{
            "name": "guest", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "CreateContainerConfigError", "message": "secret \"x\" not found"}},
        }]});
        assert_eq!(
            words(&pod(&waiting), &[warning("p", 1, "other")]).as_deref(),
            Some("CreateContainerConfigError: secret \"x\" not found")
        );
    }

    #[test]
    fn only_a_run_that_has_been_starting_for_long_is_looked_at() {
        let now: Timestamp = "2026-01-01T00:02:00Z".parse().unwrap();
        let instance = |phase: &str, made: &str| -> VirtualMachineInstance {
            serde_json::from_value(json!({
                "metadata": {"name": "web-1", "creationTimestamp": made}, "status": {"phase": phase},
            }))
            .unwrap()
        };
        for (phase, made, overdue) in [
            ("Scheduling", "2026-01-01T00:01:00Z", true),
            ("Scheduling", "2026-01-01T00:01:01Z", false),
            ("Scheduled", "2026-01-01T00:00:00Z", true),
            ("Running", "2026-01-01T00:00:00Z", false),
        ] {
            assert_eq!(is_overdue(&instance(phase, made), now), overdue, "{phase} {made}");
        }
    }
}
