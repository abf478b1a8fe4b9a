//! Every state of a `VmAccess` that GitOps tools see, as `docs/gitops.md` has it.

use super::*;
use crate::{
    gitops_states::assert_states,
    pause::{Pause, paused_conditions},
};

fn refused_machine(kind: FailureKind) -> Found {
    Found {
        machine_failure: Some(Failure::new(kind, "no")),
        ..Found::wanting("Running")
    }
}

#[test]
fn the_guide_to_gitops_has_every_state() {
    let mut invalid = Found::wanting("Running").printing("Running");
    invalid.spec["virtualMachine"]["template"]["cloudInit"] = json!({"secretRef": "s"});
    invalid.spec["virtualMachine"]["template"]["sshAuthorizedKeys"] = json!(["ssh-ed25519 AAAA"]);
    let made = || Ok(service(json!({"clusterIP": "10.0.0.1"}), json!({})));
    let mut routed = with_service("ClusterIP", made());
    routed.spec["routes"] = json!([{"name": "r", "service": "s", "port": 22, "tcp": {}}]);
    let without_kubevirt = Found {
        kubevirt: false,
        ..Found::wanting("Running")
    };
    let rejected = Failure::new(FailureKind::Rejected, "no");
    let states = [
        ("runs, as wanted", Found::wanting("Running").printing("Running")),
        ("stopped, as wanted", Found::wanting("Stopped").printing("Stopped")),
        ("frozen, as wanted", Found::wanting("Paused").printing("Paused")),
        ("starts", Found::wanting("Running").printing("Starting")),
        ("its power changes", Found::wanting("Running").printing("Stopped")),
        (
            "an image cannot be pulled",
            Found::wanting("Running").printing("ErrImagePull"),
        ),
        ("the cluster has no KubeVirt", without_kubevirt),
        ("a right is missing", refused_machine(FailureKind::Forbidden)),
        ("waits for an address", with_service("LoadBalancer", made())),
        ("waits for a gateway", routed),
        ("the machine is refused", refused_machine(FailureKind::Rejected)),
        ("a service is refused", with_service("NodePort", Err(rejected))),
        ("the spec contradicts itself", invalid),
    ];
    let mut states: Vec<_> = states
        .iter()
        .map(|(name, found)| ((*name).to_owned(), found.outcome().status.conditions))
        .collect();
    let runs = &states.first().unwrap().1;
    let (paused, _) = paused_conditions(
        runs,
        Pause::PausedByAnnotation,
        "Its machine stays.",
        NOW.parse().unwrap(),
    )
    .unwrap();
    states.push(("paused by a person".to_owned(), paused));
    assert_states("VmAccess", states);
}
