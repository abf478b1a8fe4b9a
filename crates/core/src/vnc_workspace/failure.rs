//! Reasons and messages of conditions for what keeps a desktop from running.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{ContainerStateTerminated, ContainerStatus, PersistentVolumeClaim, Pod},
    storage::v1::StorageClass,
};

use super::{
    applied::CrashLoop,
    build::pod::CONTAINER_NAME,
    home::made_for,
    reason::{PodReason, StorageReason},
    references::References,
    validated::Home,
};
use crate::failure::{Failure, FailureKind};

/// An explained failure.
pub type Explained<R> = (R, String);

/// A write of the Pod, its Secret, Service or `NetworkPolicy` that was refused.
#[must_use]
pub fn of_write(what: &str, failure: &Failure) -> Explained<PodReason> {
    let said = &failure.message;
    match failure.kind {
        FailureKind::NotOwned => (
            PodReason::NameTaken,
            format!("The name of the {what} is taken: {said}."),
        ),
        FailureKind::QuotaExceeded => (
            PodReason::QuotaExceeded,
            format!(
                "A quota of the namespace is used up, so the {what} cannot be made: {said}. Lower spec.resources, let other workspaces \
                 hibernate, or ask the administrator for more; it is tried again."
            ),
        ),
        FailureKind::Forbidden if said.contains("violates PodSecurity") => (
            PodReason::PodSecurityViolation,
            format!("Pod Security of the namespace refuses the Pod: {said}. Remove the field from spec.podOverrides."),
        ),
        FailureKind::Forbidden if is_limit(said) => (
            PodReason::LimitRangeViolation,
            format!("A LimitRange of the namespace refuses the Pod: {said}. Change spec.resources so that it fits."),
        ),
        // The words of its admission plugin (k8s.io/apiserver `pkg/admission/plugin/resourcequota/controller.go`).
        FailureKind::Forbidden if said.contains(": must specify ") => (
            PodReason::QuotaExceeded,
            format!("A quota of the namespace wants to know sizes: {said}. Set them in spec.resources."),
        ),
        FailureKind::Forbidden => (
            PodReason::Forbidden,
            format!("The {what} may not be made: {said}. Ask the administrator; it is tried again."),
        ),
        FailureKind::NodePortInUse(_) => (
            PodReason::NodePortInUse,
            format!(
                "A port on nodes belongs to another Service of the cluster: {said}. Choose another one in \
                     spec.service.nodePorts, or leave it out to get a free one; it is tried again."
            ),
        ),
        FailureKind::Rejected => (
            PodReason::Rejected,
            format!("The {what} is refused: {said}. Change the spec as it says."),
        ),
        FailureKind::NamespaceTerminating => (PodReason::NamespaceTerminating, said.clone()),
        FailureKind::Unavailable => (
            PodReason::ApiUnavailable,
            format!("The API server did not do it: {said}. It is tried again."),
        ),
    }
}

/// A write of the home that was refused.
#[must_use]
pub fn of_home_write(home: &str, failure: &Failure, references: &References) -> Explained<StorageReason> {
    let said = &failure.message;
    match failure.kind {
        FailureKind::NotOwned => (StorageReason::HomeTaken, home_taken(home, references)),
        FailureKind::QuotaExceeded => (
            StorageReason::QuotaExceeded,
            format!(
                "A quota of the namespace is used up, so there is no room for the home, or for more of it: {said}. A home that is there \
                 goes on with the size that it has. Delete homes that nobody needs, or ask the administrator for more; it is tried again."
            ),
        ),
        FailureKind::Forbidden | FailureKind::Rejected if is_limit(said) => (
            StorageReason::LimitRangeViolation,
            format!(
                "A LimitRange of the namespace refuses the home, or the size that it is to grow to: {said}. Raise spec.storage.size so that it \
                 fits; as a size cannot be lowered, recreate the workspace for a smaller one."
            ),
        ),
        FailureKind::Forbidden if said.contains("only dynamically provisioned pvc can be resized") => (
            StorageReason::CannotGrow,
            format!(
                "The home cannot grow and goes on with the size that it has: {said}. Ask the administrator to set allowVolumeExpansion of \
                 its storage class, if the driver can; else make a larger home in another workspace. It is tried again."
            ),
        ),
        FailureKind::Forbidden => (
            StorageReason::Forbidden,
            format!("The home may not be made or changed: {said}. Ask the administrator; it is tried again."),
        ),
        FailureKind::Rejected | FailureKind::NodePortInUse(_) => (
            StorageReason::Rejected,
            format!("The home is refused: {said}. Change spec.storage as it says."),
        ),
        FailureKind::NamespaceTerminating => (StorageReason::NamespaceTerminating, said.clone()),
        FailureKind::Unavailable => (
            StorageReason::ApiUnavailable,
            format!("The API server did not do it: {said}. It is tried again."),
        ),
    }
}

/// Whose a claim of the home's name is, and how it can be used. Its data are never to be lost by following advice.
fn home_taken(home: &str, references: &References) -> String {
    let former = references.home.as_deref().and_then(|home| made_for(&home.metadata));
    match former {
        Some((name, _)) if references.home_is_used => format!(
            "The PersistentVolumeClaim {home} is the home of the workspace {name}, which is still there. Choose another name for this \
             workspace."
        ),
        Some((name, _)) => format!(
            "The PersistentVolumeClaim {home} is the home of an earlier workspace {name}, kept when that was deleted. To go on with it, delete \
             this workspace and make it again with spec.storage.restoreFrom.persistentVolumeClaimName {home}. To leave it, choose another \
             name. Only to give up its data and begin empty, delete the claim."
        ),
        None => format!(
            "There is a PersistentVolumeClaim {home} that novasphere did not make, and it is left alone. Choose another name for the \
             workspace; or, if nobody needs its data, delete the claim."
        ),
    }
}

/// The words of the admission plugin (kubernetes/kubernetes `plugin/pkg/admission/limitranger/admission.go`).
fn is_limit(said: &str) -> bool {
    said.contains(" usage per ") || said.contains(" limit to request ratio per ")
}

/// Why a home that exists is not bound yet; nothing when it is.
#[must_use]
pub fn of_home(
    claim: &PersistentVolumeClaim,
    home: &Home,
    references: &References,
) -> Option<Explained<StorageReason>> {
    let phase = claim
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or("Pending");
    match phase {
        "Bound" => return None,
        "Lost" => {
            return Some((
                StorageReason::VolumeLost,
                format!(
                    "The volume behind the claim {} is gone. Restore a snapshot in a new workspace.",
                    home.name
                ),
            ));
        }
        _ => {}
    }
    let name = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    Some(of_class(name, home, &references.storage_classes))
}

/// What a claim with the name of this class waits for.
fn of_class(name: Option<&str>, home: &Home, classes: &[Arc<StorageClass>]) -> Explained<StorageReason> {
    let class = name.and_then(|name| {
        classes
            .iter()
            .find(|class| class.metadata.name.as_deref() == Some(name))
    });
    let known = classes
        .iter()
        .filter_map(|class| class.metadata.name.as_deref())
        .collect::<Vec<_>>()
        .join(", ");
    match (name, class) {
        (Some(name), None) if !name.is_empty() => (
            StorageReason::StorageClassNotFound,
            format!(
                "There is no StorageClass {name}. Recreate the workspace with one of these, or ask the administrator for that one: {}.",
                if known.is_empty() { "none exists" } else { &known }
            ),
        ),
        (None, _) => (
            StorageReason::NoDefaultStorageClass,
            format!(
                "The cluster has no default StorageClass. Recreate the workspace with spec.storage.storageClassName, or ask the \
                 administrator for a default one. There are: {}.",
                if known.is_empty() { "none" } else { &known }
            ),
        ),
        (_, Some(class)) if class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer") => (
            StorageReason::WaitingForPod,
            "The volume is made when the desktop first starts.".to_owned(),
        ),
        _ => (
            StorageReason::Provisioning,
            format!(
                "The volume is being made. When that takes long, `kubectl describe persistentvolumeclaim {}` says what its driver says.",
                home.name
            ),
        ),
    }
}

/// Why a Pod that exists is not ready; nothing when it only takes its time.
#[must_use]
pub fn of_pod(pod: &Pod) -> Option<Explained<PodReason>> {
    let status = pod.status.as_ref()?;
    let scheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled");
    if let Some(condition) = scheduled
        .filter(|condition| condition.status == "False" && condition.reason.as_deref() == Some("Unschedulable"))
    {
        let said = condition.message.as_deref().unwrap_or("no node takes it");
        // The scheduler's words while a volume of a class with immediate binding is being made, or cannot be
        // (kubernetes/kubernetes `pkg/scheduler/framework/plugins/volumebinding/volume_binding.go`). `StorageReady` has the cause.
        if said.contains("unbound immediate PersistentVolumeClaims") {
            return None;
        }
        return Some(unschedulable(said.trim_end_matches('.')));
    }
    let containers = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses)
        .flatten();
    containers.into_iter().find_map(of_container)
}

/// The scheduler's words for what it finds (kubernetes/kubernetes `pkg/scheduler/framework/plugins`), and what helps.
const SCHEDULING_ADVICE: &[(&str, &str)] = &[
    (
        "Insufficient ",
        "Lower spec.resources or spec.gpu, let other workspaces hibernate, or ask the administrator for nodes",
    ),
    (
        "Too many pods",
        "Let other workspaces hibernate, or ask the administrator for nodes",
    ),
    (
        "node affinity/selector",
        "Correct nodeSelector or affinity of spec.podOverrides, or ask the administrator for a node with these labels",
    ),
    (
        "untolerated taint",
        "Ask the administrator which nodes are kept for others, and for a toleration if the desktop is to run there",
    ),
    (
        "volume node affinity conflict",
        "A volume can be used on some nodes alone, which are missing or full; wait for them, or ask the administrator",
    ),
    (
        "unschedulable",
        "Nodes are closed for maintenance; wait, or ask the administrator",
    ),
];

/// No node takes the Pod. The advice follows the cause: no room helps where a label is wrong.
fn unschedulable(said: &str) -> Explained<PodReason> {
    if said.contains("persistentvolumeclaim") && said.contains("not found") {
        let message = format!(
            "The desktop cannot be placed, because a volume of it does not exist: {said}. Make the claim, or correct spec.podOverrides; the \
             desktop starts as soon as it is there."
        );
        return (PodReason::VolumeNotFound, message);
    }
    let fitting = SCHEDULING_ADVICE.iter().filter(|(words, _)| said.contains(words));
    let mut advice: Vec<_> = fitting.map(|(_, advice)| *advice).collect();
    if advice.is_empty() {
        advice.push("Change what spec.podOverrides and spec.gpu ask of a node, or ask the administrator");
    }
    (
        PodReason::Unschedulable,
        format!(
            "No node takes the desktop: {said}. {}. It starts as soon as a node takes it.",
            advice.join(". ")
        ),
    )
}

fn of_container(container: &ContainerStatus) -> Option<Explained<PodReason>> {
    let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
    let reason = waiting
        .and_then(|waiting| waiting.reason.as_deref())
        .unwrap_or_default();
    let said = waiting
        .and_then(|waiting| waiting.message.as_deref())
        .unwrap_or_default();
    let waits = of_waiting(container, reason, said);
    if waits.is_some() {
        return waits;
    }
    let current = container.state.as_ref().and_then(|state| state.terminated.as_ref());
    let last = container
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    let ended = current.or(last)?;
    // One that has started since does not crash, whatever its probe says now.
    if container.ready || container.started == Some(true) || container.name != CONTAINER_NAME && reason.is_empty() {
        return None;
    }
    of_end(container, ended, reason)
}

/// Why a container cannot be started now.
fn of_waiting(container: &ContainerStatus, reason: &str, said: &str) -> Option<Explained<PodReason>> {
    let image = &container.image;
    match reason {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable" => Some((
            PodReason::ImagePullError,
            format!(
                "The image {image} cannot be pulled: {said}. Correct spec.image, or give access to its registry by \
                 spec.podOverrides.spec.imagePullSecrets."
            ),
        )),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            Some(cannot_start(&container.name, said))
        }
        _ => None,
    }
}

/// Why a container has ended. `reason` is why it waits now.
fn of_end(container: &ContainerStatus, ended: &ContainerStateTerminated, reason: &str) -> Option<Explained<PodReason>> {
    match ended.reason.as_deref() {
        Some("OOMKilled") => {
            return Some((
                PodReason::OutOfMemory,
                "The desktop used more memory than it may and was ended; it starts again. Raise spec.resources.limits.memory, or run \
                 fewer programs."
                    .to_owned(),
            ));
        }
        // The container's first program could not be started at all.
        Some("StartError" | "ContainerCannotRun") => {
            return Some(cannot_start(
                &container.name,
                ended.message.as_deref().unwrap_or_default(),
            ));
        }
        _ => {}
    }
    // Also in the moments between two ends, or the condition would change with each of them.
    (reason == "CrashLoopBackOff" || container.restart_count > 1).then(|| {
        (
            PodReason::CrashLoop,
            format!(
                "The container {} ended {} time(s), last with code {}; it starts again with growing pauses. `kubectl logs <pod> -c {} \
                 --previous` says why. Check that spec.image keeps the image contract.",
                container.name, container.restart_count, ended.exit_code, container.name
            ),
        )
    })
}

fn cannot_start(container: &str, said: &str) -> Explained<PodReason> {
    let said = said.trim_end_matches(['.', '\n']);
    (
        PodReason::ContainerError,
        format!("The container {container} cannot be started: {said}. Check spec.env and spec.podOverrides."),
    )
}

/// Whether a Pod has ended for good, so that another one has to be created.
#[must_use]
pub fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Failed" | "Succeeded"))
}

/// How a Pod that has ended says why: in its own words, else in those of a container.
#[must_use]
pub fn end_of(pod: &Pod) -> String {
    let status = pod.status.as_ref();
    let reason = status.and_then(|status| status.reason.as_deref());
    let message = status.and_then(|status| status.message.as_deref());
    let said: Vec<_> = [reason, message]
        .into_iter()
        .flatten()
        .map(|text| text.trim().trim_end_matches('.'))
        .filter(|text| !text.is_empty())
        .collect();
    if !said.is_empty() {
        return said.join(": ");
    }
    let containers = status.and_then(|status| status.container_statuses.as_ref());
    let ended = containers.into_iter().flatten().find_map(|container| {
        let ended = container.state.as_ref()?.terminated.as_ref()?;
        Some((container, ended))
    });
    ended.map_or_else(
        || "it does not say why".to_owned(),
        |(container, ended)| format!("the container {} ended with code {}", container.name, ended.exit_code),
    )
}

/// Pods that were made and ended, more than once.
#[must_use]
pub fn of_crash_loop(crash_loop: &CrashLoop) -> Explained<PodReason> {
    (
        PodReason::Ended,
        format!(
            "The Pod ended {} time(s) soon after it was created: {}. The next one is created after a growing pause, at most 5 minutes. Change \
             spec.resources, spec.gpu or spec.podOverrides as it says, or ask the administrator.",
            crash_loop.exits, crash_loop.message
        ),
    )
}

/// Since when a Pod is ready; nothing while it is not.
#[must_use]
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions
        .into_iter()
        .find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
    // A Pod whose kubelet does not say since when was not ready before it was made.
    let since = ready
        .last_transition_time
        .as_ref()
        .or(pod.metadata.creation_timestamp.as_ref());
    since.map(|time| time.0).filter(|_| is_ready(pod))
}

/// Whether a Pod is ready.
#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

#[cfg(test)]
mod tests;
