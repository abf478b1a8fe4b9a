//! Machines that do not come to the state that is wanted, and why: the situations that people report, each with what the status says.

use serde_json::json;

use super::*;

const LONG_AGO: &str = "2026-01-01T11:00:00Z";
const JUST_NOW: &str = "2026-01-01T11:59:30Z";

/// A situation.
struct Stuck {
    name: &'static str,
    wanted: &'static str,
    printed: &'static str,
    conditions: Value,
    instance: Option<Value>,
    launcher: Option<&'static str>,
    /// The reason and the time of the condition that is there.
    before: Option<(&'static str, &'static str)>,
    expected: &'static str,
    words: &'static [&'static str],
}

impl Default for Stuck {
    fn default() -> Self {
        Self {
            name: "",
            wanted: "Running",
            printed: "Starting",
            conditions: json!([]),
            instance: None,
            launcher: None,
            before: None,
            expected: "",
            words: &[],
        }
    }
}

fn not_synchronized(message: &str) -> Value {
    json!([{"type": "Synchronized", "status": "False", "reason": "FailedCreate", "message": message}])
}

fn unscheduled(message: &str) -> Value {
    json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}])
}

fn run(phase: &str, made: &str) -> Value {
    json!({
        "metadata": {"name": "web-1", "uid": "i", "creationTimestamp": made}, "status": {"phase": phase, "nodeName": "node-1"},
    })
}

fn refused(name: &'static str, message: &str, expected: &'static str, words: &'static [&'static str]) -> Stuck {
    Stuck {
        name,
        conditions: not_synchronized(message),
        instance: Some(run("Pending", JUST_NOW)),
        expected,
        words,
        ..Stuck::default()
    }
}

fn unschedulable(name: &'static str, message: &str, words: &'static [&'static str]) -> Stuck {
    Stuck {
        name,
        printed: "ErrorUnschedulable",
        conditions: unscheduled(message),
        instance: Some(run("Scheduling", JUST_NOW)),
        expected: "False ErrorUnschedulable",
        words,
        ..Stuck::default()
    }
}

fn waits(name: &'static str, launcher: &'static str, words: &'static [&'static str]) -> Stuck {
    Stuck {
        name,
        instance: Some(run("Scheduling", LONG_AGO)),
        launcher: Some(launcher),
        expected: "False StartDelayed",
        words,
        ..Stuck::default()
    }
}

/// Admission refuses the Pod.
fn refusals() -> Vec<Stuck> {
    let failed = "False StartFailed";
    vec![
        refused(
            "quota of Pods",
            "failed to create virtual machine pod: pods \"virt-launcher-web-1-x7k2p\" is forbidden: exceeded quota: no-more-pods, \
             requested: pods=1, used: pods=0, limited: pods=0",
            "False QuotaExceeded",
            &["the Pod is forbidden: exceeded quota: no-more-pods", "Raise the quota"],
        ),
        refused(
            "LimitRange",
            "pods \"virt-launcher-web-1-x\" is forbidden: maximum memory usage per Container is 64Mi, but limit is 300Mi",
            failed,
            &["kubectl describe limitrange"],
        ),
        refused(
            "priority class",
            "pods \"virt-launcher-web-1-x\" is forbidden: no PriorityClass with name non-preemtible was found",
            failed,
            &[
                "no PriorityClass with name non-preemtible",
                "Correct scheduling.priorityClassName",
            ],
        ),
        refused(
            "Pod Security",
            "pods \"virt-launcher-web-1-x\" is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation",
            failed,
            &["label it `privileged`"],
        ),
        refused(
            "Multus network",
            "failed to locate network attachment definition a/lan",
            failed,
            &["Make the NetworkAttachmentDefinition"],
        ),
        refused(
            "admission webhook",
            "admission webhook \"validate.kyverno.svc\" denied the request: no latest tag",
            failed,
            &["no latest tag", "A policy of the cluster"],
        ),
        refused(
            "host device",
            "HostDevice example.com/x is not permitted in permittedHostDevices configuration",
            failed,
            &["not among those that KubeVirt's configuration permits"],
        ),
        Stuck {
            name: "the condition of the run alone",
            instance: Some(json!({
                "metadata": {"name": "web-1", "creationTimestamp": JUST_NOW},
                "status": {"phase": "Pending", "conditions": not_synchronized("exceeded quota: q")},
            })),
            expected: "False QuotaExceeded",
            words: &["exceeded quota: q"],
            ..Stuck::default()
        },
        Stuck {
            name: "the instance is refused",
            printed: "Stopped",
            conditions: json!([{"type": "Failure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: vmis"}]),
            expected: "False KubeVirtFailure",
            words: &["exceeded quota: vmis", "Raise the quota"],
            ..Stuck::default()
        },
    ]
}

/// No node takes the Pod.
fn unschedulables() -> Vec<Stuck> {
    vec![
        unschedulable(
            "memory",
            "0/1 nodes are available: 1 Insufficient memory.",
            &["Make room"],
        ),
        unschedulable(
            "selector",
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
            &["scheduling.nodeSelector"],
        ),
        unschedulable(
            "GPU",
            "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
            &["No node has nvidia.com/gpu free"],
        ),
        unschedulable(
            "no KVM",
            "0/1 nodes are available: 1 Insufficient devices.kubevirt.io/kvm.",
            &["hardware virtualization"],
        ),
        unschedulable(
            "taint",
            "0/1 nodes are available: 1 node(s) had untolerated taint {dedicated: db}.",
            &["scheduling.tolerations"],
        ),
        unschedulable(
            "missing claim",
            "0/1 nodes are available: persistentvolumeclaim \"team-data\" not found. not found",
            &["Make the claim that is named"],
        ),
        unschedulable(
            "unbound claim",
            "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found",
            &["`kubectl describe pvc`"],
        ),
        unschedulable(
            "volume of another zone",
            "0/1 nodes are available: 1 node(s) had volume node affinity conflict.",
            &["`kubectl describe pvc`"],
        ),
    ]
}

/// The Pod waits on its node.
fn on_the_node() -> Vec<Stuck> {
    vec![
        waits(
            "missing Secret",
            "FailedMount: MountVolume.SetUp failed for volume \"c\" : secret \"user-data\" not found",
            &[
                "since 2026-01-01T11:00:00Z",
                "secret \"user-data\" not found",
                "Make the Secret",
            ],
        ),
        waits(
            "missing ConfigMap",
            "FailedMount: MountVolume.SetUp failed for volume \"c\" : configmap \"sysprep\" not found",
            &["Make the ConfigMap"],
        ),
        waits(
            "attached elsewhere",
            "FailedAttachVolume: Multi-Attach error for volume \"pvc-1\" Volume is already exclusively attached to one node",
            &["Another Pod uses the claim"],
        ),
        waits(
            "network plugin",
            "FailedCreatePodSandBox: plugin type=\"multus\" failed (add): cannot find the network",
            &["network plugin"],
        ),
        waits(
            "image",
            "ImagePullBackOff: Back-off pulling image \"x\"",
            &["Correct the image"],
        ),
        waits(
            "something new",
            "Odd: nobody has seen this before",
            &["nobody has seen this before", "kubectl describe pod"],
        ),
    ]
}

/// Nobody says anything.
fn silent() -> Vec<Stuck> {
    let delayed = "False StartDelayed";
    vec![
        Stuck {
            name: "starts",
            instance: Some(run("Scheduling", JUST_NOW)),
            expected: "False Starting",
            words: &["The machine starts."],
            ..Stuck::default()
        },
        Stuck {
            name: "no Pod",
            instance: Some(run("Pending", LONG_AGO)),
            expected: delayed,
            words: &["has made no Pod", "virt-controller"],
            ..Stuck::default()
        },
        Stuck {
            name: "Pod not ready",
            instance: Some(run("Scheduling", LONG_AGO)),
            expected: delayed,
            words: &["kubectl describe pod -l vmi.kubevirt.io/id=web-1"],
            ..Stuck::default()
        },
        Stuck {
            name: "virt-handler",
            instance: Some(run("Scheduled", LONG_AGO)),
            expected: delayed,
            words: &["check virt-handler on node node-1"],
            ..Stuck::default()
        },
        Stuck {
            name: "no run",
            before: Some(("Starting", LONG_AGO)),
            expected: delayed,
            words: &["no VirtualMachineInstance"],
            ..Stuck::default()
        },
        Stuck {
            name: "was something else before",
            before: Some(("Provisioning", LONG_AGO)),
            expected: "False Starting",
            ..Stuck::default()
        },
    ]
}

/// On the way to other states.
fn other_ways() -> Vec<Stuck> {
    let going = json!({
        "metadata": {"name": "web-1", "creationTimestamp": LONG_AGO, "deletionTimestamp": LONG_AGO},
        "status": {"phase": "Running", "nodeName": "node-1"},
    });
    vec![
        Stuck {
            name: "stops",
            wanted: "Stopped",
            printed: "Stopping",
            expected: "False Stopping",
            words: &["The machine shuts down."],
            ..Stuck::default()
        },
        Stuck {
            name: "does not stop",
            wanted: "Stopped",
            printed: "Stopping",
            instance: Some(going),
            expected: "False Stopping",
            words: &[
                "since 2026-01-01T11:00:00Z",
                "node node-1",
                "virtctl stop web-1 --force",
            ],
            ..Stuck::default()
        },
        Stuck {
            name: "stopping is refused",
            wanted: "Stopped",
            printed: "Stopping",
            conditions: not_synchronized("server error. command SyncVMI failed"),
            expected: "False Stopping",
            words: &["KubeVirt says: FailedCreate: server error. command SyncVMI failed."],
            ..Stuck::default()
        },
        Stuck {
            name: "waits for a migration",
            printed: "WaitingForReceiver",
            before: Some(("WaitingForReceiver", LONG_AGO)),
            expected: "False WaitingForReceiver",
            words: &["since 2026-01-01T11:00:00Z", "at its source"],
            ..Stuck::default()
        },
        Stuck {
            name: "power does not follow",
            wanted: "Stopped",
            printed: "Running",
            before: Some(("ChangingPower", LONG_AGO)),
            expected: "False ChangingPower",
            words: &["has not followed since 2026-01-01T11:00:00Z"],
            ..Stuck::default()
        },
        Stuck {
            name: "power is refused",
            wanted: "Stopped",
            printed: "Running",
            conditions: not_synchronized("the server is currently unable"),
            expected: "False ChangingPower",
            words: &["KubeVirt says: FailedCreate: the server is currently unable."],
            ..Stuck::default()
        },
    ]
}

/// What KubeVirt's own word says already.
fn words_of_kubevirt() -> Vec<Stuck> {
    vec![
        Stuck {
            name: "claim",
            printed: "ErrorPvcNotFound",
            conditions: not_synchronized("PVC a/disk does not exist"),
            expected: "False ErrorPvcNotFound",
            words: &["PVC a/disk does not exist"],
            ..Stuck::default()
        },
        Stuck {
            name: "image",
            printed: "ErrImagePull",
            conditions: not_synchronized("manifest unknown"),
            expected: "False ErrImagePull",
            words: &["manifest unknown", "pullSecret"],
            ..Stuck::default()
        },
        Stuck {
            name: "data volume",
            printed: "DataVolumeError",
            conditions: json!([{"type": "DataVolumesReady", "status": "False", "message": "no route to host"}]),
            expected: "False DataVolumeError",
            words: &["no route to host"],
            ..Stuck::default()
        },
        Stuck {
            name: "volume binding",
            printed: "WaitingForVolumeBinding",
            conditions: unscheduled("unbound immediate PersistentVolumeClaims"),
            expected: "False WaitingForVolumeBinding",
            words: &["`kubectl describe pvc`"],
            ..Stuck::default()
        },
        Stuck {
            name: "crash loop",
            printed: "CrashLoopBackOff",
            expected: "False CrashLoopBackOff",
            words: &["serial console"],
            ..Stuck::default()
        },
    ]
}

fn found(stuck: &Stuck) -> Found {
    let status = json!({"printableStatus": stuck.printed, "conditions": stuck.conditions});
    let old = stuck.before.map(|(reason, since)| {
        let condition = json!({
            "type": types::VIRTUAL_MACHINE_READY, "status": "False", "reason": reason, "message": "",
            "lastTransitionTime": since,
        });
        json!({"conditions": [condition]})
    });
    Found {
        instance: stuck.instance.clone(),
        launcher_words: stuck.launcher.map(str::to_owned),
        old: old.unwrap_or_default(),
        ..Found::wanting(stuck.wanted).machine(status)
    }
}

#[test]
fn a_machine_that_is_stuck_says_why_in_the_words_of_who_knows() {
    let all: Vec<Stuck> = [
        refusals(),
        unschedulables(),
        on_the_node(),
        silent(),
        other_ways(),
        words_of_kubevirt(),
    ]
    .into_iter()
    .flatten()
    .collect();
    assert!(all.len() >= 40, "{} situations", all.len());
    for stuck in &all {
        let (condition, message) = found(stuck).condition(types::VIRTUAL_MACHINE_READY);
        assert_eq!(condition, stuck.expected, "{}: {message}", stuck.name);
        for words in stuck.words {
            assert!(message.contains(words), "{}: {message}", stuck.name);
        }
        assert!(
            !message.contains("..") && !message.contains(". ."),
            "{}: {message}",
            stuck.name
        );
    }
}

#[test]
fn a_machine_on_its_way_is_looked_at_again_when_its_time_is_over_and_then_each_minute() {
    let next = |stuck: &Stuck| found(stuck).outcome().next.unwrap().to_string();
    let mut stuck = Stuck {
        instance: Some(run("Scheduling", JUST_NOW)),
        ..Stuck::default()
    };
    assert_eq!(next(&stuck), "2026-01-01T12:00:30Z");
    stuck.instance = Some(run("Scheduling", LONG_AGO));
    assert_eq!(next(&stuck), "2026-01-01T12:01:00Z");
    let runs = Stuck {
        printed: "Running",
        ..Stuck::default()
    };
    assert_eq!(found(&runs).outcome().next, None, "nothing to wait for");
}

#[test]
fn a_refused_pod_is_told_in_the_same_words_each_time() {
    let message = |name: &str| {
        let conditions = not_synchronized(&format!("pods \"{name}\" is forbidden: exceeded quota: q"));
        found(&Stuck {
            conditions,
            ..Stuck::default()
        })
        .condition(types::VIRTUAL_MACHINE_READY)
    };
    assert_eq!(
        message("virt-launcher-web-1-aaaaa"),
        message("virt-launcher-web-1-bbbbb")
    );
}
