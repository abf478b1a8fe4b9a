//! What a desktop waits for that has been on its way for long.
//!
//! Its Pod's status tells of a node that is missing and of an image that cannot be pulled. What keeps the kubelet from starting a container, and
//! what the probe of one that runs says, is in the Pod's events alone.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::ResourceExt as _;

use super::{
    build::pod::CONTAINER_NAME,
    failure::{Explained, has_ended, is_ready},
    reason::PodReason,
};
use crate::time::{after, whole_second};

/// A desktop may be on its way for this long before its condition says what it waits for; and while it waits, that is looked at again after
/// this time, because no event of ours says that another one was written.
pub const LOOK_INTERVAL: Duration = Duration::from_mins(1);

/// The longest text of the kubelet that is told, in characters.
const WORDS_LENGTH_LIMIT: usize = 500;

/// Since when a Pod that is not ready is on its way, when it is.
fn since(pod: &Pod) -> Option<Timestamp> {
    let is_on_its_way = !is_ready(pod) && !has_ended(pod) && pod.metadata.deletion_timestamp.is_none();
    let made = pod.metadata.creation_timestamp.as_ref().filter(|_| is_on_its_way)?;
    Some(made.0)
}

/// Whether its events have to be asked for.
#[must_use]
pub fn is_overdue(pod: &Pod, now: Timestamp) -> bool {
    since(pod).is_some_and(|since| after(since, LOOK_INTERVAL) <= now)
}

/// When to look at it again, unless something changes before.
#[must_use]
pub fn next_look(pod: &Pod, now: Timestamp) -> Option<Timestamp> {
    let first = after(since(pod)?, LOOK_INTERVAL);
    Some(if first > now { first } else { after(now, LOOK_INTERVAL) })
}

/// What a Pod waits for that is on its way for long; nothing while it only takes its time. `warnings` are its events.
#[must_use]
pub fn of_delay(pod: &Pod, warnings: &[Event], now: Timestamp) -> Option<Explained<PodReason>> {
    let since = since(pod).filter(|since| after(*since, LOOK_INTERVAL) <= now)?;
    let name = pod.name_any();
    if let Some(desktop) = desktop(pod)
        && let Some(running) = desktop.state.as_ref().and_then(|state| state.running.as_ref())
    {
        let since = running.started_at.as_ref().map_or(since, |time| time.0);
        let is_late = after(since, LOOK_INTERVAL) <= now;
        return is_late.then(|| does_not_answer(&name, since, newest(pod, warnings, |reason| reason == "Unhealthy")));
    }
    let words = newest(pod, warnings, |reason| reason != "Unhealthy").or_else(|| preparation(pod));
    let since = whole_second(since);
    Some(match words {
        Some(words) if is_missing(&words) => (
            PodReason::VolumeNotFound,
            format!(
                "The desktop cannot start, because its Pod names something that does not exist: {words}. Make it, or correct spec.env or \
                 spec.podOverrides; the desktop starts as soon as it is there."
            ),
        ),
        Some(words) => (
            PodReason::Starting,
            format!(
                "The desktop has been starting since {since}, and waits: {words}. `kubectl describe pod {name}` has all that its node says."
            ),
        ),
        None => (
            PodReason::Starting,
            format!(
                "The desktop has been starting since {since}, and nothing says why. See `kubectl describe pod {name}`."
            ),
        ),
    })
}

fn desktop(pod: &Pod) -> Option<&ContainerStatus> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    containers.iter().find(|container| container.name == CONTAINER_NAME)
}

/// The init container that runs. One that is restarted always is a sidecar, which nothing waits for once it has started.
fn preparation(pod: &Pod) -> Option<String> {
    let statuses = pod.status.as_ref()?.init_container_statuses.as_ref()?;
    let running = statuses
        .iter()
        .filter(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()));
    let specs = pod.spec.as_ref().and_then(|spec| spec.init_containers.as_ref());
    let is_sidecar = |name: &str| {
        let mut specs = specs.into_iter().flatten();
        specs.any(|spec| spec.name == name && spec.restart_policy.as_deref() == Some("Always"))
    };
    let mut names = running
        .map(|status| status.name.as_str())
        .filter(|name| !is_sidecar(name));
    names
        .next()
        .map(|name| format!("its init container {name} has not ended"))
}

fn does_not_answer(pod: &str, since: Timestamp, words: Option<String>) -> Explained<PodReason> {
    let words = words.map(|words| format!(": {words}")).unwrap_or_default();
    (
        PodReason::NotAnswering,
        format!(
            "The desktop has run since {} and does not answer{words}. Check that spec.image keeps the image contract: VNC at port 5901 and \
             /usr/bin/novasphere-probe. `kubectl logs {pod} -c {CONTAINER_NAME}` has its output.",
            whole_second(since)
        ),
    )
}

/// Whether these are the kubelet's or scheduler's words for an object that is not there.
fn is_missing(words: &str) -> bool {
    let words = words.to_lowercase();
    let is_named = ["secret", "configmap", "persistentvolumeclaim"]
        .iter()
        .any(|kind| words.contains(kind));
    is_named && (words.contains("not found") || words.contains("references non-existent"))
}

/// The newest warning about the Pod whose reason counts, in one line.
fn newest(pod: &Pod, warnings: &[Event], counts: impl Fn(&str) -> bool) -> Option<String> {
    let uid = pod.uid();
    let counting = warnings.iter().filter(|event| {
        let is_warning = event.type_.as_deref() == Some("Warning");
        is_warning && event.involved_object.uid == uid && counts(event.reason.as_deref().unwrap_or_default())
    });
    let event = counting.max_by_key(|event| time_of(event))?;
    let texts = [event.reason.as_deref(), event.message.as_deref()]
        .into_iter()
        .flatten();
    let texts: Vec<String> = texts
        .map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
        .map(|text| text.trim_end_matches('.').to_owned())
        .filter(|text| !text.is_empty())
        .collect();
    let text = texts.join(": ");
    let words: String = text
        .chars()
        .filter(|character| !character.is_control())
        .take(WORDS_LENGTH_LIMIT)
        .collect();
    (!words.is_empty()).then_some(words)
}

fn time_of(event: &Event) -> Option<Timestamp> {
    let series = event
        .series
        .as_ref()
        .and_then(|series| series.last_observed_time.as_ref());
    let in_series = series.map(|time| time.0);
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    let first = event.event_time.as_ref().map(|time| time.0);
    let made = event.metadata.creation_timestamp.as_ref().map(|time| time.0);
    [in_series, last, first, made].into_iter().flatten().max()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::samples::at, *};

    fn pod(status: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "alice", "uid": "p", "creationTimestamp": at(0).to_string()}, "status": status,
        }))
        .unwrap()
    }

    fn container(state: &Value) -> Pod {
        pod(&json!({"phase": "Pending", "containerStatuses": [{
            "name": "desktop", "image": "i", "imageID": "", "ready": false, "started": false, "restartCount": 0, "state": state,
        }]}))
    }

    fn warning(second: i64, reason: &str, message: &str) -> Event {
        serde_json::from_value(json!({
            "metadata": {"name": "e"}, "involvedObject": {"uid": "p"}, "type": "Warning", "reason": reason, "message": message,
            "lastTimestamp": at(second).to_string(),
        }))
        .unwrap()
    }

    #[test]
    fn a_desktop_on_its_way_for_long_says_what_it_waits_for() {
        let creating = container(&json!({"waiting": {"reason": "ContainerCreating"}}));
        let running = container(&json!({"running": {"startedAt": at(5).to_string()}}));
        let probe = "Startup probe failed: novasphere-probe: no VNC server at 127.0.0.1:5901\n";
        for (pod, event, reason, says) in [
            (
                &running,
                Some(("Unhealthy", probe)),
                PodReason::NotAnswering,
                "no VNC server at 127.0.0.1:5901. Check",
            ),
            (
                &running,
                None,
                PodReason::NotAnswering,
                "has run since 2026-03-02T08:00:05Z and does not answer. Check",
            ),
            (
                &running,
                Some(("FailedMount", "old")),
                PodReason::NotAnswering,
                "does not answer. Check",
            ),
            (
                &creating,
                Some((
                    "FailedMount",
                    "MountVolume.SetUp failed for volume \"v\" : secret \"user-data\" not found",
                )),
                PodReason::VolumeNotFound,
                "secret \"user-data\" not found. Make it",
            ),
            (
                &creating,
                Some((
                    "FailedMount",
                    "MountVolume.SetUp failed for volume \"v\" : configmap \"conf\" not found",
                )),
                PodReason::VolumeNotFound,
                "configmap \"conf\" not found",
            ),
            (
                &creating,
                Some(("FailedMount", "references non-existent secret key: token")),
                PodReason::VolumeNotFound,
                "references non-existent secret key",
            ),
            (
                &creating,
                Some(("FailedAttachVolume", "Multi-Attach error for volume \"pvc-1\"")),
                PodReason::Starting,
                "waits: FailedAttachVolume: Multi-Attach error",
            ),
            (
                &creating,
                Some(("FailedCreatePodSandBox", "failed to setup network for sandbox")),
                PodReason::Starting,
                "failed to setup network",
            ),
            (
                &creating,
                Some((
                    "FailedMount",
                    "driver name csi.example.org not found in the list of registered CSI drivers",
                )),
                PodReason::Starting,
                "not found in the list",
            ),
            (&creating, None, PodReason::Starting, "kubectl describe pod alice"),
            (
                &pod(&json!({"phase": "Pending", "initContainerStatuses": [{
                    "name": "copy", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": {"running": {}},
                }]})),
                None,
                PodReason::Starting,
                "waits: its init container copy has not ended",
            ),
            (
                &pod(&json!({"phase": "Pending"})),
                None,
                PodReason::Starting,
                "since 2026-03-02T08:00:00Z",
            ),
        ] {
            let warnings: Vec<_> = event
                .map(|(reason, message)| warning(20, reason, message))
                .into_iter()
                .collect();
            assert_eq!(of_delay(pod, &warnings, at(59)), None, "{says}: too soon");
            let (found, message) = of_delay(pod, &warnings, at(65)).unwrap();
            assert_eq!(found, reason, "{message}");
            assert!(message.contains(says), "{message}");
        }
    }

    #[test]
    fn a_container_has_a_clock_of_its_own() {
        let restarted = container(&json!({"running": {"startedAt": at(600).to_string()}}));
        assert_eq!(of_delay(&restarted, &[], at(650)), None);
        assert!(of_delay(&restarted, &[], at(660)).is_some());
    }

    #[test]
    fn the_newest_warning_of_this_pod_counts_and_is_bounded() {
        let mut other = warning(90, "FailedMount", "of another Pod");
        other.involved_object.uid = Some("q".to_owned());
        let mut normal = warning(95, "Pulled", "all is well");
        normal.type_ = Some("Normal".to_owned());
        let creating = container(&json!({"waiting": {"reason": "ContainerCreating"}}));
        let all = [
            warning(80, "FailedMount", "newer"),
            warning(70, "FailedMount", "older"),
            other,
            normal,
        ];
        let (_, message) = of_delay(&creating, &all, at(100)).unwrap();
        assert!(message.contains("FailedMount: newer."), "{message}");
        let (_, message) = of_delay(&creating, &[warning(1, "FailedMount", &"x".repeat(9000))], at(100)).unwrap();
        assert!(message.len() < 1000, "{}", message.len());
    }

    #[test]
    fn one_that_is_ready_or_over_is_not_asked_for() {
        let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        for over in [pod(&ready), pod(&json!({"phase": "Failed"}))] {
            assert!(!is_overdue(&over, at(500)));
            assert_eq!(next_look(&over, at(500)), None);
        }
        let on_its_way = pod(&json!({"phase": "Pending"}));
        assert!(!is_overdue(&on_its_way, at(59)) && is_overdue(&on_its_way, at(60)));
        assert_eq!(next_look(&on_its_way, at(20)), Some(at(60)));
        assert_eq!(next_look(&on_its_way, at(60)), Some(at(120)));
    }
}
