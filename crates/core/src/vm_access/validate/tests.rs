//! Tables: specs and references → what is validated, or what is wrong.

#![allow(
    clippy::needless_pass_by_value,
    reason = "json!({..}) reads better than &json!({..}) in a table"
)]

use std::sync::Arc;

use novasphere_foreign::kubevirt::VirtualMachine;
use serde_json::{Value, json};

use super::{
    super::{
        limits::MachineLimits, reason::VirtualMachineReason, references::Apis, run_strategy::RunStrategy,
        validated::MachineUnavailable,
    },
    *,
};
use crate::{allowed_names::AllowedNames, vm_access::virtual_machine_name};

fn vm_access(spec: Value) -> VmAccess {
    let object = json!({
        "apiVersion": "novasphere.io/v1alpha1",
        "kind": "VmAccess",
        "metadata": {"name": "web-1", "namespace": "a", "uid": "u"},
        "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

fn template(more: &Value) -> Value {
    let mut template = json!({"memory": "1Gi", "rootDisk": {"containerDisk": {"image": "i"}}});
    for (key, value) in more.as_object().unwrap() {
        template[key] = value.clone();
    }
    json!({"virtualMachine": {"template": template}})
}

/// With the name that [`References`] carries.
fn validate(vm_access: &VmAccess, references: &References) -> Result<ValidatedVmAccess, ValidateError> {
    let references = References {
        virtual_machine_name: virtual_machine_name(vm_access),
        ..references.clone()
    };
    super::validate(vm_access, &references)
}

fn references(machine: Option<Value>) -> References {
    References {
        virtual_machine_name: String::new(),
        virtual_machine: machine.map(|machine| Arc::new(serde_json::from_value::<VirtualMachine>(machine).unwrap())),
        virtual_machine_instance: None,
        others: Vec::new(),
        apis: Apis {
            kubevirt: true,
            cdi: true,
        },
        ..References::default()
    }
}

#[test]
fn what_contradicts_itself_is_told_with_its_place_and_a_way_out() {
    let service = json!([{"name": "s", "ports": [{"name": "ssh", "port": 22}]}]);
    let with = |mut spec: Value, field: &str, value: Value| {
        spec[field] = value;
        spec
    };
    for (spec, words, part) in [
        (
            json!({"virtualMachine": {}}),
            "spec.virtualMachine: give exactly one of name and template",
            Part::VirtualMachine,
        ),
        (
            json!({"virtualMachine": {"name": "Web"}}),
            "spec.virtualMachine.name: \"Web\" is not a DNS name",
            Part::VirtualMachine,
        ),
        (
            template(&json!({"rootDisk": {"ephemeral": {"claimName": "a"}, "containerDisk": {"image": "i"}}})),
            "rootDisk: give exactly one of containerDisk",
            Part::VirtualMachine,
        ),
        (
            template(&json!({"disks": [{"name": "d"}]})),
            "disks[d]: give exactly one of",
            Part::VirtualMachine,
        ),
        (
            template(&json!({"disks": [{"name": "d", "dataVolume": {"size": "1Gi", "source": {}}}]})),
            "disks[d].dataVolume.source: give exactly one of http",
            Part::VirtualMachine,
        ),
        (
            template(&json!({"instancetype": {"name": "a"}})),
            "remove cpu and memory, or",
            Part::VirtualMachine,
        ),
        (
            template(&json!({"hostname": "a.b"})),
            "template.hostname: \"a.b\" is not a DNS label",
            Part::VirtualMachine,
        ),
        (
            template(&json!({"networks": [{"name": "n"}]})),
            "networks[n]: give exactly one of pod and multus",
            Part::VirtualMachine,
        ),
        (
            template(&json!({"networks": [{"name": "n", "pod": {}, "binding": "Sriov"}]})),
            "networks[n].binding: Sriov is only for multus",
            Part::VirtualMachine,
        ),
        (
            template(&json!({"networks": [{"name": "n", "multus": {"networkName": "x"}, "binding": "Masquerade"}]})),
            "networks[n].binding: Masquerade is only for pod",
            Part::VirtualMachine,
        ),
        (
            template(&json!({"overrides": {"running": true}})),
            "template.overrides.running: spec.power decides",
            Part::VirtualMachine,
        ),
        (
            with(
                template(&json!({})),
                "power",
                json!({"state": "Stopped", "restartedAt": "2026-01-01T00:00:00Z"}),
            ),
            "spec.power.restartedAt: a stopped or paused machine is not restarted",
            Part::VirtualMachine,
        ),
        (
            with(
                template(&json!({"networks": [{"name": "n", "multus": {"networkName": "x"}}]})),
                "services",
                service.clone(),
            ),
            "the template has none; add `{name: default, pod: {}}`",
            Part::Services,
        ),
        (
            with(
                with(
                    json!({"virtualMachine": {"name": "web-1"}}),
                    "services",
                    service.clone(),
                ),
                "routes",
                json!([{"name": "r", "service": "s", "port": 23, "tcp": {}}]),
            ),
            "spec.routes[r]: spec.services has no TCP port 23 in a service \"s\"",
            Part::Routes,
        ),
    ] {
        let error = validate(&vm_access(spec), &references(None)).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!((error.part(), error.reason()), (part, "InvalidSpec"), "{error}");
    }
}

#[test]
fn an_override_may_put_a_machine_on_the_pod_network() {
    let networks = json!([{"name": "n", "multus": {"networkName": "x"}}]);
    let overrides = json!({"template": {"spec": {"networks": [{"name": "default", "pod": {}}]}}});
    let mut spec = template(&json!({"networks": networks, "overrides": overrides}));
    spec["services"] = json!([{"name": "s", "ports": [{"name": "ssh", "port": 22}]}]);
    assert!(validate(&vm_access(spec), &references(None)).is_ok());
}

#[test]
fn an_object_that_is_not_in_a_cluster_is_refused() {
    let mut object = vm_access(template(&json!({})));
    object.metadata.uid = None;
    assert_eq!(validate(&object, &references(None)), Err(ValidateError::NoIdentity));
}

#[test]
fn what_is_missing_stops_the_machine_and_not_the_services() {
    let mut spec = template(&json!({}));
    spec["services"] = json!([{"name": "s", "ports": [{"name": "ssh", "port": 22}]}]);
    let valid = validate(&vm_access(spec), &References::default()).unwrap();
    let reason = VirtualMachineReason::KubeVirtNotInstalled;
    assert!(matches!(valid.machine, Err(MachineUnavailable { reason: found, .. }) if found == reason));
    assert_eq!(valid.services.len(), 1);
}

fn machine(labels: &Value, controller: Option<&str>) -> Value {
    let owner = |uid: &str| json!([{"apiVersion": "x/v1", "kind": "X", "name": "x", "uid": uid, "controller": true}]);
    json!({
        "metadata": {"name": "web-1", "namespace": "a", "labels": labels, "ownerReferences": controller.map(owner)},
        "spec": {"runStrategy": "Halted"},
    })
}

#[test]
fn only_a_machine_of_ours_is_applied() {
    let ours = json!({"novasphere.io/owner-uid": "u"});
    let of_a_predecessor = json!({"novasphere.io/owner-uid": "older"});
    for (labels, controller, is_ours) in [
        (&ours, Some("u"), true),
        (&ours, None, true),
        (&of_a_predecessor, None, false),
        // It is about to be collected with its owner.
        (&of_a_predecessor, Some("older"), false),
        (&ours, Some("other"), false),
        (&json!({}), None, false),
    ] {
        let references = references(Some(machine(labels, controller)));
        let valid = validate(&vm_access(template(&json!({}))), &references).unwrap();
        assert_eq!(valid.machine.is_ok(), is_ours, "{labels} {controller:?}");
    }
}

#[test]
fn the_run_strategy_is_ours_with_power_and_peoples_without() {
    let strategy = |state: Option<&str>, live: Option<Value>| {
        let mut spec = template(&json!({}));
        if let Some(state) = state {
            spec["power"] = json!({"state": state});
        }
        let live = live.map(|spec| {
            let mut machine = machine(&json!({"novasphere.io/owner-uid": "u"}), Some("u"));
            machine["spec"] = spec;
            machine
        });
        match validate(&vm_access(spec), &references(live)).unwrap().machine {
            Ok(Machine::Owned(machine)) => machine.run_strategy,
            other => panic!("{other:?}"),
        }
    };
    let live = Some(json!({"runStrategy": "RerunOnFailure"}));
    assert_eq!(strategy(Some("Running"), live.clone()), RunStrategy::Wanted("Always"));
    assert_eq!(strategy(Some("Paused"), live.clone()), RunStrategy::Wanted("Always"));
    assert_eq!(strategy(Some("Stopped"), live.clone()), RunStrategy::Wanted("Halted"));
    assert_eq!(strategy(None, None), RunStrategy::Peoples("Manual".into()));
    assert_eq!(strategy(None, live), RunStrategy::Peoples("RerunOnFailure".into()));
    let running = Some(json!({"running": true}));
    assert_eq!(strategy(None, running.clone()), RunStrategy::PeoplesRunning(true));
    // KubeVirt refuses a machine with both fields.
    assert_eq!(strategy(Some("Stopped"), running), RunStrategy::WantedRunning(false));
}

#[test]
fn a_machine_that_was_left_behind_can_be_handed_over() {
    let left_behind = machine(&json!({"novasphere.io/owner-uid": "older"}), None);
    let valid = validate(&vm_access(template(&json!({}))), &references(Some(left_behind))).unwrap();
    let message = valid.machine.unwrap_err().message;
    assert!(
        message.contains("`kubectl label virtualmachine web-1 novasphere.io/owner-uid=u --overwrite`"),
        "{message}"
    );
}

#[test]
fn an_annotation_of_a_service_is_the_administrators_to_allow() {
    let with = |key: &str| {
        let service = json!({"name": "ssh", "ports": [{"name": "ssh", "port": 22}], "annotations": {key: "v"}});
        vm_access(json!({"virtualMachine": {"name": "web-1"}, "services": [service]}))
    };
    let all = references(None);
    assert!(validate(&with("metallb.io/address-pool"), &all).is_ok());
    let error = validate(&with("novasphere.io/applied-hash"), &all).unwrap_err();
    assert!(error.to_string().contains("novasphere's own"), "{error}");
    let some = References {
        limits: Arc::new(MachineLimits {
            service_annotations: AllowedNames::new(["metallb.io/*"]),
            ..MachineLimits::default()
        }),
        ..all
    };
    assert!(validate(&with("metallb.io/address-pool"), &some).is_ok());
    let error = validate(&with("external-dns.alpha.kubernetes.io/hostname"), &some).unwrap_err();
    assert_eq!(error.part(), Part::Services);
    let said = error.to_string();
    assert!(
        said.contains("spec.services[ssh].annotations: \"external-dns.alpha.kubernetes.io/hostname\"")
            && said.contains("controller.machines.allowedServiceAnnotations"),
        "{said}"
    );
}

#[test]
fn what_was_too_large_to_keep_is_refused() {
    for (field, more) in [
        ("overrides", json!({"overrides": {"a": "x".repeat(70_000)}})),
        (
            "scheduling.affinity",
            json!({"scheduling": {"affinity": {"a": "x".repeat(70_000)}}}),
        ),
    ] {
        let mut large = vm_access(template(&more));
        let kept = large.spec.virtual_machine.template.as_mut().unwrap();
        kept.overrides.drop_oversized();
        if let Some(scheduling) = &mut kept.scheduling {
            scheduling.affinity.drop_oversized();
        }
        let error = validate(&large, &references(None)).unwrap_err();
        let said = error.to_string();
        assert!(said.contains(field) && said.contains("65536"), "{said}");
    }
}
