//! `VirtualMachineReady` and `status.virtualMachine`.

use novasphere_foreign::kubevirt::PowerSubresource;
use serde_json::json;

use super::*;

#[test]
fn a_machine_is_ready_when_it_is_as_wanted() {
    for (wanted, printed, expected) in [
        ("", "Running", "True Running"),
        ("", "Migrating", "False NotReady"),
        ("", "Stopped", "True Stopped"),
        ("", "Paused", "True Paused"),
        ("Running", "Running", "True Running"),
        ("Running", "Stopped", "False ChangingPower"),
        ("Running", "Paused", "True Paused"),
        ("Stopped", "Stopped", "True Stopped"),
        ("Stopped", "Running", "False ChangingPower"),
        ("Stopped", "Paused", "False ChangingPower"),
        ("Paused", "Paused", "True Paused"),
        ("Paused", "Running", "False ChangingPower"),
        ("Paused", "Stopped", "False ChangingPower"),
    ] {
        let expected = if (wanted, printed) == ("Running", "Paused") {
            "False ChangingPower"
        } else {
            expected
        };
        Found::wanting(wanted).printing(printed).machine_is(expected);
    }
    Found::wanting("Running")
        .machine(json!({"printableStatus": "Migrating", "ready": true}))
        .machine_is("True Running");
}

#[test]
fn a_machine_on_its_way_or_in_error_is_not_ready_whatever_is_wanted() {
    for wanted in ["", "Running", "Stopped", "Paused"] {
        for reason in [
            "Starting",
            "Stopping",
            "Terminating",
            "Provisioning",
            "WaitingForVolumeBinding",
            "WaitingForReceiver",
            "ErrorUnschedulable",
            "ErrImagePull",
            "ImagePullBackOff",
            "ErrorPvcNotFound",
            "DataVolumeError",
            "CrashLoopBackOff",
        ] {
            Found::wanting(wanted)
                .printing(reason)
                .machine_is(&format!("False {reason}"));
        }
        Found::wanting(wanted)
            .printing("SomethingNew")
            .machine_is("False UnknownStatus");
        Found::wanting(wanted).machine(json!({})).machine_is("False Pending");
    }
}

#[test]
fn the_words_of_kubevirt_are_told() {
    let condition = |type_: &str, reason: &str, message: &str| json!({"type": type_, "status": "False", "reason": reason, "message": message});
    for (printed, condition, words) in [
        (
            "ErrorUnschedulable",
            condition(
                "PodScheduled",
                "Unschedulable",
                "0/1 nodes are available: 1 Insufficient memory.",
            ),
            "No node can take the machine: Unschedulable: 0/1 nodes are available: 1 Insufficient memory. Make room",
        ),
        (
            "ErrorUnschedulable",
            condition(
                "PodScheduled",
                "Unschedulable",
                "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found",
            ),
            "PersistentVolumeClaims. not found. `kubectl describe pvc` says",
        ),
        (
            "ImagePullBackOff",
            condition("Synchronized", "ImagePullBackOff", "Back-off pulling image \"x\""),
            "cannot be pulled: ImagePullBackOff: Back-off pulling image \"x\". Correct",
        ),
        (
            "ErrorPvcNotFound",
            condition(
                "Synchronized",
                "FailedPvcNotFound",
                "PVC a/web-1-disk does not exist, waiting for it to appear",
            ),
            "does not exist: FailedPvcNotFound: PVC a/web-1-disk does not exist, waiting for it to appear. Make it",
        ),
        (
            "DataVolumeError",
            condition("Ready", "", "no route to host"),
            "could not be filled: no route to host. `kubectl",
        ),
        (
            "Running",
            condition("Ready", "ContainersNotReady", "probe failed"),
            "is not ready: ContainersNotReady: probe failed.",
        ),
    ] {
        let found = Found::wanting("Running").machine(json!({"printableStatus": printed, "conditions": [condition]}));
        let (_, message) = found.condition(types::VIRTUAL_MACHINE_READY);
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn a_machine_that_kubevirt_cannot_make_is_not_ready_although_it_prints_stopped() {
    let failure = json!({
        "type": "Failure", "status": "True", "reason": "FailedFindInstancetype",
        "message": "virtualmachineclusterinstancetypes.instancetype.kubevirt.io \"x\" not found",
    });
    for wanted in ["", "Running", "Stopped"] {
        let status = json!({"printableStatus": "Stopped", "conditions": [failure]});
        let message = Found::wanting(wanted)
            .machine(status)
            .machine_is("False KubeVirtFailure");
        assert!(
            message.contains("FailedFindInstancetype: virtualmachineclusterinstancetypes"),
            "{message}"
        );
    }
}

#[test]
fn a_machine_that_kubevirt_paused_is_not_ready() {
    let paused = json!({"type": "Paused", "status": "True", "reason": "PausedIOError", "message": "VMI was paused, low-level IO error"});
    let status = json!({"printableStatus": "Paused", "conditions": [paused]});
    for wanted in ["", "Running"] {
        let message = Found::wanting(wanted)
            .machine(status.clone())
            .machine_is("False NotReady");
        assert!(message.contains("PausedIOError"), "{message}");
    }
    Found::wanting("Paused").machine(status).machine_is("True Paused");
}

#[test]
fn a_change_that_waits_for_a_restart_is_told() {
    let required =
        json!({"type": "RestartRequired", "status": "True", "message": "a non-live-updatable field was changed"});
    let status = json!({"printableStatus": "Running", "ready": true, "conditions": [required]});
    let message = Found::wanting("Running").machine(status).machine_is("True Running");
    assert!(message.contains("a non-live-updatable field was changed"), "{message}");
}

#[test]
fn what_is_missing_is_told_and_goes_on_by_itself() {
    let without_kubevirt = Found {
        kubevirt: false,
        ..Found::wanting("Running")
    };
    assert!(
        without_kubevirt
            .machine_is("False KubeVirtNotInstalled")
            .contains("goes on by itself")
    );
    assert!(!without_kubevirt.is_stalled());

    let mut adopting = Found::wanting("Running");
    adopting.spec["virtualMachine"] = json!({"name": "web-1"});
    assert!(
        adopting
            .machine_is("False VirtualMachineNotFound")
            .contains("namespace a")
    );
    adopting.instance = Some(json!({"metadata": {"name": "web-1"}, "status": {"phase": "Running"}}));
    assert!(
        adopting
            .machine_is("False VirtualMachineNotFound")
            .contains("VirtualMachineInstance web-1")
    );
    adopting.instance = None;
    adopting.printing("Running").machine_is("True Running");

    let mut needs_cdi = Found::wanting("");
    needs_cdi.spec["virtualMachine"]["template"]["rootDisk"] =
        json!({"dataVolume": {"size": "1Gi", "source": {"blank": {}}}});
    needs_cdi.machine_is("False CdiNotInstalled");
}

#[test]
fn a_machine_of_somebody_else_is_told_and_not_described() {
    let mut found = Found::wanting("Running").printing("Running");
    found.machine.as_mut().unwrap()["metadata"]["labels"] = json!({});
    assert!(
        found
            .machine_is("False VirtualMachineTaken")
            .contains("was not made by novasphere")
    );
    assert_eq!(found.outcome().status.virtual_machine, None);
    found.machine.as_mut().unwrap()["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "Farm", "name": "f", "uid": "x", "controller": true}]);
    assert!(
        found
            .machine_is("False VirtualMachineTaken")
            .contains("belongs to Farm f")
    );
}

#[test]
fn failed_writes_are_told() {
    for (kind, reason, stalls) in [
        (FailureKind::NotOwned, "VirtualMachineTaken", false),
        (FailureKind::Rejected, "Rejected", true),
        (FailureKind::QuotaExceeded, "QuotaExceeded", false),
        (FailureKind::Forbidden, "Forbidden", false),
        (FailureKind::NamespaceTerminating, "NamespaceTerminating", false),
        (FailureKind::Unavailable, "ApiUnavailable", false),
    ] {
        let failure = Some(Failure::new(kind, "spec.template.spec.domain: no such thing"));
        let found = Found {
            machine_failure: failure,
            ..Found::wanting("Running").printing("Running")
        };
        assert!(found.machine_is(&format!("False {reason}")).contains("no such thing"));
        assert_eq!(found.is_stalled(), stalls, "{reason}");
    }
}

#[test]
fn a_machine_that_is_going_is_told_as_such_although_nothing_can_be_applied_to_it() {
    let mut found = Found {
        machine_failure: Some(Failure::new(
            FailureKind::Unavailable,
            "VirtualMachine web-1 is being deleted",
        )),
        ..Found::wanting("Running").printing("Running")
    };
    found.machine.as_mut().unwrap()["metadata"]["deletionTimestamp"] = NOW.into();
    found.machine_is("False Terminating");
}

#[test]
fn power_that_another_one_decides_is_told_and_asks_for_nothing() {
    let mut found = Found::wanting("Stopped").printing("Running");
    found.spec["virtualMachine"] = json!({"name": "web-1"});
    let mut maker = found.vm_access();
    maker.metadata.name = Some("maker".into());
    maker.spec.virtual_machine = novasphere_crd::VirtualMachineSource {
        template: Some(novasphere_crd::VirtualMachineTemplate::default()),
        ..Default::default()
    };
    found.others = vec![maker];
    assert!(found.machine_is("False PowerTaken").contains("VmAccess maker"));
    assert_eq!(found.outcome().next, None);
}

#[test]
fn a_power_change_is_told_until_it_shows() {
    let restart = PowerDecision {
        call: Some(PowerSubresource::Restart),
        ..PowerDecision::default()
    };
    let found = Found {
        power: Some(restart),
        ..Found::wanting("Running").printing("Running")
    };
    assert_eq!(
        found.machine_is("False ChangingPower"),
        "KubeVirt was asked to restart the machine."
    );

    let refused = PowerDecision {
        refused: Some("no".into()),
        ..PowerDecision::default()
    };
    Found {
        power: Some(refused),
        ..Found::wanting("Running").printing("Stopped")
    }
    .machine_is("False PowerRefused");

    for (kind, reason) in [
        (FailureKind::Rejected, "PowerRefused"),
        (FailureKind::Unavailable, "ApiUnavailable"),
    ] {
        let failure = Some(Failure::new(kind, "VM is not running"));
        let found = Found {
            power_failure: failure,
            ..Found::wanting("Stopped").printing("Running")
        };
        assert!(
            found
                .machine_is(&format!("False {reason}"))
                .contains("VM is not running")
        );
    }
}

#[test]
fn the_machine_is_described_by_what_runs_and_else_by_its_spec() {
    let mut found = Found::wanting("").printing("Stopped");
    let described = |found: &Found| serde_json::to_value(found.outcome().status.virtual_machine.unwrap()).unwrap();
    assert_eq!(
        described(&found),
        json!({"name": "web-1", "uid": "machine", "printableStatus": "Stopped", "cpu": 2, "memory": "1Gi", "image": "registry/debian:13"})
    );
    found = found.printing("Running");
    found.instance = Some(json!({
        "metadata": {"name": "web-1"},
        "status": {
            "phase": "Running",
            "nodeName": "node-1",
            "currentCPUTopology": {"cores": 2, "sockets": 2, "threads": 1},
            "memory": {"guestCurrent": "2Gi"},
            "guestOSInfo": {"name": "Debian GNU/Linux", "version": "13"},
            "interfaces": [{"name": "default", "mac": "02:00:00:00:00:01", "ipAddresses": ["10.1.0.7", "fd01::7"]}],
        },
    }));
    assert_eq!(
        described(&found),
        json!({
            "name": "web-1", "uid": "machine", "printableStatus": "Running", "nodeName": "node-1", "cpu": 4, "memory": "2Gi",
            "image": "registry/debian:13", "guestOs": "Debian GNU/Linux 13",
            "interfaces": [{"name": "default", "macAddress": "02:00:00:00:00:01", "ipAddresses": ["10.1.0.7", "fd01::7"]}],
        })
    );
}

#[test]
fn a_machine_without_disks_boots_from_its_first_volume() {
    let mut found = Found::wanting("").printing("Stopped");
    let spec = &mut found.machine.as_mut().unwrap()["spec"]["template"]["spec"];
    spec["domain"]["devices"] = json!({});
    spec["volumes"] = json!([{"name": "os", "containerDisk": {"image": "registry/tiny:1"}}]);
    let described = found.outcome().status.virtual_machine.unwrap();
    assert_eq!(described.image.as_deref(), Some("registry/tiny:1"));
}

#[test]
fn the_image_of_a_data_volume_is_its_source() {
    for (source, image) in [
        (
            json!({"http": {"url": "https://example.com/a.qcow2"}}),
            "https://example.com/a.qcow2",
        ),
        (json!({"pvc": {"name": "golden"}}), "golden"),
        (json!({"blank": {}}), "web-1-root"),
    ] {
        let mut found = Found::wanting("").printing("Stopped");
        let spec = &mut found.machine.as_mut().unwrap()["spec"];
        spec["dataVolumeTemplates"] = json!([{"metadata": {"name": "web-1-root"}, "spec": {"source": source}}]);
        spec["template"]["spec"]["volumes"][1] = json!({"name": "root", "dataVolume": {"name": "web-1-root"}});
        assert_eq!(
            found.outcome().status.virtual_machine.unwrap().image.as_deref(),
            Some(image)
        );
    }
}
