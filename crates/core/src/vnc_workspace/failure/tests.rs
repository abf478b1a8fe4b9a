use std::sync::Arc;

use serde_json::{Value, json};

use super::{super::samples::references, *};

fn pod(status: &Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "alice"}, "status": status})).unwrap()
}

fn container(fields: &Value) -> Pod {
    let mut container =
        json!({"name": "desktop", "image": "desktop:1", "imageID": "", "ready": false, "restartCount": 3});
    crate::merge::merge(&mut container, fields);
    pod(&json!({"phase": "Pending", "containerStatuses": [container]}))
}

#[test]
fn a_pod_says_what_keeps_it_from_running() {
    let unschedulable = json!({"conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"},
    ]});
    let terminated = |reason: &str| json!({"terminated": {"exitCode": 137, "reason": reason}});
    let back_off = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}});
    let waiting = |reason: &str| container(&json!({"state": {"waiting": {"reason": reason, "message": "said so"}}}));
    for (pod, reason, word) in [
        (pod(&unschedulable), PodReason::Unschedulable, "0/3 nodes"),
        (waiting("ErrImagePull"), PodReason::ImagePullError, "spec.image"),
        (waiting("ImagePullBackOff"), PodReason::ImagePullError, "desktop:1"),
        (
            waiting("CreateContainerConfigError"),
            PodReason::ContainerError,
            "said so",
        ),
        (
            container(&json!({"state": back_off, "lastState": terminated("OOMKilled")})),
            PodReason::OutOfMemory,
            "limits.memory",
        ),
        (
            container(&json!({"state": back_off, "lastState": {"terminated": {
                "exitCode": 128, "reason": "StartError", "message": "exec: \"/nothing\": no such file or directory: unknown",
            }}})),
            PodReason::ContainerError,
            "/nothing",
        ),
        (
            container(&json!({"state": back_off, "lastState": terminated("Error")})),
            PodReason::CrashLoop,
            "ended 3 time(s)",
        ),
    ] {
        let (found, message) = of_pod(&pod).unwrap();
        assert_eq!(found, reason, "{message}");
        assert!(message.contains(word), "{message}");
    }
    let homeless = json!({"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found",
    }]});
    assert_eq!(of_pod(&pod(&homeless)), None, "StorageReady tells the cause");
    assert_eq!(of_pod(&waiting("ContainerCreating")), None);
    assert_eq!(of_pod(&pod(&json!({"phase": "Pending"}))), None);
    let between = json!({"state": {"running": {}}, "lastState": terminated("Error"), "started": false});
    assert_eq!(of_pod(&container(&between)).unwrap().0, PodReason::CrashLoop);
    let once = json!({"state": {"running": {}}, "lastState": terminated("Error"), "started": false, "restartCount": 1});
    assert_eq!(of_pod(&container(&once)), None);
    let started = json!({"state": {"running": {}}, "lastState": terminated("Error"), "started": true});
    assert_eq!(of_pod(&container(&started)), None);
    let restarted = container(&json!({"ready": true, "state": {"running": {}}, "lastState": terminated("OOMKilled")}));
    assert_eq!(of_pod(&restarted), None);
}

#[test]
fn advice_follows_the_cause_for_which_no_node_takes_the_pod() {
    for (said, reason, advice) in [
        (
            "0/3 nodes are available: 3 Insufficient cpu.",
            PodReason::Unschedulable,
            "Lower spec.resources",
        ),
        (
            "0/3 nodes are available: 3 Insufficient nvidia.com/gpu",
            PodReason::Unschedulable,
            "spec.gpu",
        ),
        (
            "0/3 nodes are available: 3 Too many pods",
            PodReason::Unschedulable,
            "Let other workspaces hibernate",
        ),
        (
            "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector",
            PodReason::Unschedulable,
            ". Correct nodeSelector or affinity",
        ),
        (
            "0/3 nodes are available: 3 node(s) had untolerated taint(s)",
            PodReason::Unschedulable,
            ". Ask the administrator which nodes",
        ),
        (
            "0/3 nodes are available: 3 node(s) had volume node affinity conflict",
            PodReason::Unschedulable,
            "A volume can be used",
        ),
        (
            "0/3 nodes are available: 3 node(s) were unschedulable",
            PodReason::Unschedulable,
            "maintenance",
        ),
        (
            "0/3 nodes are available: 3 of another kind",
            PodReason::Unschedulable,
            "ask of a node",
        ),
        (
            "0/3 nodes are available: persistentvolumeclaim \"team-data\" not found. not found",
            PodReason::VolumeNotFound,
            "Make the claim, or correct spec.podOverrides",
        ),
    ] {
        let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": said});
        let (found, message) = of_pod(&pod(&json!({"conditions": [condition]}))).unwrap();
        assert_eq!(found, reason, "{message}");
        assert!(message.contains(advice), "{message}");
        assert_eq!(
            message.contains("Lower"),
            advice.contains("Lower") || said.contains("Insufficient"),
            "{message}"
        );
    }
}

#[test]
fn refusals_of_admission_are_told_apart() {
    for (kind, said, reason) in [
        (
            FailureKind::QuotaExceeded,
            "exceeded quota: team",
            PodReason::QuotaExceeded,
        ),
        (
            FailureKind::Forbidden,
            "pods \"alice\" is forbidden: violates PodSecurity \"restricted:latest\": host namespaces",
            PodReason::PodSecurityViolation,
        ),
        (
            FailureKind::Forbidden,
            "pods \"alice\" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi",
            PodReason::LimitRangeViolation,
        ),
        (
            FailureKind::Forbidden,
            "pods \"alice\" is forbidden: failed quota: team: must specify requests.memory for: desktop",
            PodReason::QuotaExceeded,
        ),
        (
            FailureKind::Forbidden,
            "User \"a\" cannot patch resource",
            PodReason::Forbidden,
        ),
        (
            FailureKind::NodePortInUse(30001),
            "spec.ports[0].nodePort: Invalid value: 30001: provided port is already allocated",
            PodReason::NodePortInUse,
        ),
    ] {
        assert_eq!(of_write("Pod", &Failure::new(kind, said)).0, reason, "{said}");
    }
}

#[test]
fn a_home_that_is_taken_is_never_to_be_deleted_first() {
    let failure = Failure::new(FailureKind::NotOwned, "it exists");
    let kept =
        json!({"metadata": {"labels": {"novasphere.io/workspace": "alice", "novasphere.io/owner-uid": "alice-0"}}});
    let with = |home: Option<&Value>, home_is_used: bool| References {
        home: home.map(|home| Arc::new(serde_json::from_value(home.clone()).unwrap())),
        home_is_used,
        ..references()
    };
    for (references, says) in [
        (
            with(Some(&kept), false),
            "restoreFrom.persistentVolumeClaimName alice-home",
        ),
        (
            with(Some(&kept), true),
            "is the home of the workspace alice, which is still there",
        ),
        (with(None, false), "that novasphere did not make"),
    ] {
        let (reason, message) = of_home_write("alice-home", &failure, &references);
        assert_eq!(reason, StorageReason::HomeTaken);
        assert!(message.contains(says), "{message}");
        let (choose, delete) = (message.find("hoose another name"), message.find("delete the claim"));
        assert!(
            choose.is_some() && delete.is_none_or(|delete| Some(delete) > choose),
            "{message}"
        );
        assert!(!message.contains("rename"), "a claim cannot be renamed: {message}");
    }
}

#[test]
fn a_home_that_cannot_grow_is_not_told_to_shrink() {
    let said = "persistentvolumeclaims \"alice-home\" is forbidden: only dynamically provisioned pvc can be resized and the \
                storageclass that provisions the pvc must support resize";
    let (reason, message) = of_home_write("alice-home", &Failure::new(FailureKind::Forbidden, said), &references());
    assert_eq!(reason, StorageReason::CannotGrow);
    assert!(
        message.contains("allowVolumeExpansion") && !message.contains("back"),
        "{message}"
    );
}

#[test]
fn a_pod_that_ended_says_why() {
    for (status, said) in [
        (
            json!({"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "Allocate failed. "}),
            "UnexpectedAdmissionError: Allocate failed",
        ),
        (json!({"phase": "Failed", "reason": "Evicted"}), "Evicted"),
        (
            json!({"phase": "Failed", "containerStatuses": [{
                "name": "desktop", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": 3}},
            }]}),
            "the container desktop ended with code 3",
        ),
        (json!({"phase": "Succeeded"}), "it does not say why"),
    ] {
        assert_eq!(end_of(&pod(&status)), said);
    }
}

#[test]
fn a_pod_is_ready_since_its_condition_says_so() {
    let with = |status: &str| {
        pod(&json!({"conditions": [{"type": "Ready", "status": status, "lastTransitionTime": "2026-03-02T08:00:05Z"}]}))
    };
    assert_eq!(ready_since(&with("True")), Some(super::super::samples::at(5)));
    assert_eq!(ready_since(&with("False")), None);
    let mut ending = with("True");
    ending.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
        super::super::samples::at(6),
    ));
    assert_eq!(ready_since(&ending), None);
}

#[test]
fn a_home_that_waits_says_for_what() {
    let valid = super::super::validate::validate(
        &super::super::samples::workspace(&json!({})),
        &super::super::samples::references(),
    )
    .unwrap();
    let found = |class: Option<&str>, mode: &str, phase: &str| {
        let claim = json!({"metadata": {"name": "alice-home"}, "spec": {"storageClassName": class}, "status": {"phase": phase}});
        let mut references = super::super::samples::references();
        let known = json!({"metadata": {"name": "fast"}, "provisioner": "csi", "volumeBindingMode": mode});
        references.storage_classes = vec![std::sync::Arc::new(serde_json::from_value(known).unwrap())];
        of_home(&serde_json::from_value(claim).unwrap(), &valid.home, &references)
    };
    let reason = |class, mode, phase| found(class, mode, phase).map(|(reason, _)| reason);
    assert_eq!(reason(Some("fast"), "Immediate", "Bound"), None);
    assert_eq!(
        reason(Some("fast"), "Immediate", "Pending"),
        Some(StorageReason::Provisioning)
    );
    assert_eq!(
        reason(Some("fast"), "WaitForFirstConsumer", "Pending"),
        Some(StorageReason::WaitingForPod)
    );
    assert_eq!(
        reason(Some("slow"), "Immediate", "Pending"),
        Some(StorageReason::StorageClassNotFound)
    );
    assert_eq!(
        reason(None, "Immediate", "Pending"),
        Some(StorageReason::NoDefaultStorageClass)
    );
    assert_eq!(
        reason(Some("fast"), "Immediate", "Lost"),
        Some(StorageReason::VolumeLost)
    );
    assert!(found(Some("slow"), "Immediate", "Pending").unwrap().1.contains("fast"));
}
