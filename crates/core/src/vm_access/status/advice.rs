//! What to do about the words of others: advice follows the cause that they name, not the state in which they are said.

/// A cause, by words of it, and what to do.
type Cause = (&'static [&'static str], &'static str);

/// Why virt-controller cannot make the Pod of a machine (kubevirt/kubevirt `pkg/virt-controller/watch/vmi/vmi.go`, and the admission of
/// Kubernetes).
const REFUSALS: &[Cause] = &[
    (
        &["exceeded quota"],
        "Raise the quota of the namespace, or make room in it; KubeVirt tries again by itself",
    ),
    (
        &["failed quota", "must specify"],
        "The quota of the namespace wants limits: give the machine limits by overrides (domain.resources.limits), or a LimitRange with defaults",
    ),
    (
        &["usage per Container", "usage per Pod", "limit to request ratio"],
        "A LimitRange of the namespace allows other sizes (`kubectl describe limitrange`); ask for memory and cpu within them, or have it changed",
    ),
    (
        &["PriorityClass", "priority class"],
        "Correct scheduling.priorityClassName (`kubectl get priorityclass`), or ask the administrator for that class",
    ),
    (
        &["violates PodSecurity"],
        "The namespace enforces a Pod Security level that machines do not meet; ask the administrator to label it `privileged`",
    ),
    (
        &[
            "network-attachment-definition",
            "network attachment definition",
            "NetworkAttachmentDefinition",
        ],
        "Make the NetworkAttachmentDefinition, or correct networks",
    ),
    (
        &["PVC", "persistentvolumeclaim", "PersistentVolumeClaim"],
        "Make the claim, or correct its name",
    ),
    (
        &["serviceaccount"],
        "Make the ServiceAccount; each namespace has one called default unless somebody deleted it",
    ),
    (
        &["RuntimeClass", "runtimeclass"],
        "Ask the administrator for the RuntimeClass",
    ),
    (
        &["admission webhook"],
        "A policy of the cluster refuses the machine's Pod; change the machine as it says, or ask the administrator",
    ),
    (
        &["GPU", "host device", "HostDevice", "is not permitted"],
        "The device is not among those that KubeVirt's configuration permits; correct its name, or ask the administrator",
    ),
    (
        &["is being terminated", "being deleted"],
        "The namespace is being deleted; use another one",
    ),
];

/// Why the Pod of a machine waits on its node, in the words of the kubelet and of attach and network plugins.
const WAITS: &[Cause] = &[
    (
        &["ErrImagePull", "ImagePullBackOff", "pull image", "pulling image"],
        "Correct the image or its pullSecret",
    ),
    (
        &["secret \"", "secrets \""],
        "Make the Secret, or correct the field that names it",
    ),
    (
        &["configmap \"", "configmaps \""],
        "Make the ConfigMap, or correct the field that names it",
    ),
    (
        &["Multi-Attach", "exclusively attached"],
        "Another Pod uses the claim on another node; stop that one, or use a claim that several nodes can mount",
    ),
    (
        &["persistentvolumeclaim", "FailedAttachVolume", "FailedMount"],
        "`kubectl describe pvc` and the driver of the volume say more",
    ),
    (
        &["FailedCreatePodSandBox", "network", "cni"],
        "The network plugin of the node does not give the Pod its network; check networks and the plugin",
    ),
];

/// Why no node takes the Pod of a machine, in the words of the scheduler's plugins (kubernetes/kubernetes `pkg/scheduler/framework/plugins`).
const UNSCHEDULABLE: &[Cause] = &[
    (
        &["persistentvolumeclaim \""],
        "Make the claim that is named, or correct the disk that names it",
    ),
    (
        &[
            "unbound immediate PersistentVolumeClaims",
            "persistent volumes to bind",
            "volume node affinity conflict",
            "PersistentVolumeClaim",
        ],
        "`kubectl describe pvc` says what the claim waits for; often its storage class does not exist",
    ),
    (
        &["node affinity/selector", "node selector", "node affinity"],
        "No node has the labels that are asked for: correct scheduling.nodeSelector and affinity, and the CPU model, or label a node",
    ),
    (
        &["untolerated taint", "had taint"],
        "The nodes have a taint: tolerate it in scheduling.tolerations, or use other nodes",
    ),
    (
        &["devices.kubevirt.io/kvm"],
        "No node offers hardware virtualization: enable it there, or have KubeVirt emulate it (useEmulation)",
    ),
    (
        &[
            "Insufficient cpu",
            "Insufficient memory",
            "Insufficient ephemeral-storage",
            "Too many pods",
        ],
        "Make room or add a node, or ask for less cpu and memory",
    ),
];

/// The words by which the scheduler says that nodes lack something, before its name.
const INSUFFICIENT: &str = "Insufficient ";

/// Resources of which [`UNSCHEDULABLE`] speaks.
const COMMON_RESOURCES: &[&str] = &["cpu", "memory", "ephemeral-storage", "devices.kubevirt.io/kvm"];

/// What to do when `KubeVirt` cannot make the Pod of a machine.
pub(super) fn of_refusal(said: &str) -> &'static str {
    first(REFUSALS, said).unwrap_or("Change the machine as it says; the events of `kubectl describe vmi` may say more")
}

/// Whether a quota is what stands in the way.
pub(super) fn is_quota(said: &str) -> bool {
    said.contains("exceeded quota")
}

/// What to do when the Pod of a machine waits on its node.
pub(super) fn of_wait(said: &str) -> &'static str {
    first(WAITS, said).unwrap_or("The events of the Pod say more (`kubectl describe pod`)")
}

/// What to do when no node takes the Pod of a machine. The scheduler may name several causes, each for other nodes.
pub(super) fn of_unschedulable(said: &str) -> String {
    let mut advice: Vec<String> = devices(said)
        .into_iter()
        .map(|device| {
            format!("No node has {device} free: correct the device's name, wait until another machine gives one back, or add a node")
        })
        .collect();
    let known = UNSCHEDULABLE
        .iter()
        .filter(|(words, _)| words.iter().any(|word| said.contains(word)));
    advice.extend(known.map(|(_, advice)| (*advice).to_owned()));
    // One claim is one cause, although two rows know it.
    if advice.len() > 1 && said.contains("persistentvolumeclaim \"") {
        advice.retain(|advice| !advice.contains("describe pvc"));
    }
    if advice.is_empty() {
        return "Change scheduling as it says, or add a node".to_owned();
    }
    advice.join(". ")
}

/// The extended resources that nodes lack.
fn devices(said: &str) -> Vec<&str> {
    let named = said.split(INSUFFICIENT).skip(1);
    let named = named.map(|rest| {
        let end = rest.find([',', ' ', ';']).unwrap_or(rest.len());
        rest.get(..end).unwrap_or_default().trim_end_matches('.')
    });
    let mut devices: Vec<_> = named
        .filter(|name| !COMMON_RESOURCES.contains(name) && !name.is_empty())
        .collect();
    devices.dedup();
    devices
}

fn first(causes: &[Cause], said: &str) -> Option<&'static str> {
    let cause = causes
        .iter()
        .find(|(words, _)| words.iter().any(|word| said.contains(word)));
    cause.map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_follows_the_cause_that_the_scheduler_names() {
        for (said, advice) in [
            (
                "0/3 nodes are available: persistentvolumeclaim \"team-data\" not found. not found",
                "Make the claim that is named",
            ),
            (
                "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found",
                "`kubectl describe pvc`",
            ),
            (
                "0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind",
                "`kubectl describe pvc`",
            ),
            (
                "0/1 nodes are available: 1 node(s) had volume node affinity conflict",
                "`kubectl describe pvc`",
            ),
            (
                "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector",
                "scheduling.nodeSelector",
            ),
            (
                "0/3 nodes are available: 3 node(s) had untolerated taint {gpu: }",
                "scheduling.tolerations",
            ),
            (
                "0/1 nodes are available: 1 Insufficient nvidia.com/TU104GL_Tesla_T4.",
                "No node has nvidia.com/TU104GL_Tesla_T4 free",
            ),
            (
                "0/1 nodes are available: 1 Insufficient devices.kubevirt.io/kvm.",
                "hardware virtualization",
            ),
            ("0/1 nodes are available: 1 Insufficient memory.", "Make room"),
            ("0/1 nodes are available: 1 Too many pods.", "Make room"),
            (
                "0/1 nodes are available: something new.",
                "Change scheduling as it says",
            ),
        ] {
            let found = of_unschedulable(said);
            assert!(found.contains(advice), "{said}: {found}");
            assert!(advice == "Make room" || !found.contains("Make room"), "{said}: {found}");
        }
        let both = of_unschedulable(
            "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't match Pod's node affinity/selector",
        );
        assert!(
            both.contains("scheduling.nodeSelector") && both.contains("Make room"),
            "{both}"
        );
    }

    #[test]
    fn advice_follows_the_cause_that_admission_names() {
        for (said, advice) in [
            (
                "FailedCreate: pods \"x\" is forbidden: exceeded quota: no-more-pods, requested: pods=1",
                "Raise the quota",
            ),
            (
                "FailedCreate: pods \"x\" is forbidden: failed quota: q: must specify limits.cpu for: compute",
                "The quota of the namespace wants",
            ),
            (
                "FailedCreate: maximum memory usage per Container is 64Mi, but limit is 300Mi",
                "A LimitRange",
            ),
            (
                "FailedCreate: no PriorityClass with name non-preemtible was found",
                "Correct scheduling.priorityClassName",
            ),
            (
                "FailedCreate: pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\"",
                "The namespace enforces",
            ),
            (
                "FailedCreate: failed to locate network attachment definition a/lan",
                "Make the NetworkAttachmentDefinition",
            ),
            (
                "FailedCreate: error looking up service account a/default: serviceaccount \"default\" not found",
                "Make the ServiceAccount",
            ),
            (
                "FailedCreate: admission webhook \"policy.example.com\" denied the request: no",
                "A policy of the cluster",
            ),
            (
                "FailedCreate: HostDevice example.com/x is not permitted in permittedHostDevices configuration",
                "The device is not among",
            ),
            ("FailedCreate: something new", "Change the machine as it says"),
        ] {
            assert!(of_refusal(said).starts_with(advice), "{said}: {}", of_refusal(said));
        }
    }

    #[test]
    fn advice_follows_the_cause_that_the_kubelet_names() {
        for (said, advice) in [
            (
                "FailedMount: MountVolume.SetUp failed for volume \"u\" : secret \"user-data\" not found",
                "Make the Secret",
            ),
            (
                "FailedMount: MountVolume.SetUp failed for volume \"u\" : configmap \"c\" not found",
                "Make the ConfigMap",
            ),
            (
                "FailedAttachVolume: Multi-Attach error for volume \"pvc-1\"",
                "Another Pod uses the claim",
            ),
            (
                "FailedMount: Unable to attach or mount volumes",
                "`kubectl describe pvc`",
            ),
            (
                "FailedCreatePodSandBox: plugin type=\"multus\" failed (add)",
                "The network plugin",
            ),
            ("ImagePullBackOff: Back-off pulling image \"x\"", "Correct the image"),
            ("Other: something new", "The events of the Pod"),
        ] {
            assert!(of_wait(said).starts_with(advice), "{said}: {}", of_wait(said));
        }
    }
}
