//! Several `VmAccess` objects about one machine: one of them decides its power.
//!
//! Two with different states would start and stop the machine against each other for ever.

use kube::ResourceExt as _;
use novasphere_crd::VmAccess;

use super::super::{observed::is_ours, references::References};
use crate::time::creation_order;

/// Why the power that an adopter wants is not carried out.
pub(super) fn power_conflict(vm_access: &VmAccess, references: &References) -> Option<String> {
    if vm_access.spec.power.is_none() || vm_access.spec.virtual_machine.name.is_none() {
        return None;
    }
    let made_it = |other: &&VmAccess| {
        let machine = references.virtual_machine.as_deref();
        other.spec.virtual_machine.template.is_some()
            && machine.is_some_and(|machine| other.uid().is_some_and(|uid| is_ours(&uid, machine)))
    };
    if let Some(maker) = others(references).find(made_it) {
        let maker = maker.name_any();
        return Some(format!(
            "VmAccess {maker} made this machine from its template and decides its power; spec.power is not carried out here. \
             Remove it, and set it there."
        ));
    }
    let older = others(references)
        .filter(|other| other.spec.virtual_machine.name.is_some() && other.spec.power.is_some())
        .filter(|other| creation_order(&other.metadata) < creation_order(&vm_access.metadata));
    let oldest = older.min_by_key(|other| creation_order(&other.metadata))?.name_any();
    Some(format!(
        "VmAccess {oldest} is about the same machine, has spec.power as well and is older, so it decides; spec.power is not \
         carried out here. Remove it from one of the two."
    ))
}

/// Those that act: one that is being deleted does nothing any more.
fn others(references: &References) -> impl Iterator<Item = &VmAccess> {
    let all = references.others.iter().map(AsRef::as_ref);
    all.filter(|other| other.metadata.deletion_timestamp.is_none())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;

    fn vm_access(name: &str, second: u8, spec: &Value) -> VmAccess {
        serde_json::from_value(json!({
            "apiVersion": "novasphere.io/v1alpha1",
            "kind": "VmAccess",
            "metadata": {
                "name": name, "namespace": "a", "uid": name,
                "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
            },
            "spec": spec,
        }))
        .unwrap()
    }

    fn adopter(name: &str, second: u8) -> VmAccess {
        let spec = json!({"virtualMachine": {"name": "web-1"}, "power": {"state": "Stopped"}});
        vm_access(name, second, &spec)
    }

    fn taken(vm_access: &VmAccess, others: &[&VmAccess]) -> Option<String> {
        let machine =
            json!({"metadata": {"name": "web-1", "namespace": "a", "labels": {"novasphere.io/owner-uid": "web-1"}}});
        power_conflict(
            vm_access,
            &References {
                virtual_machine: Some(Arc::new(serde_json::from_value(machine).unwrap())),
                others: others.iter().map(|&other| Arc::new(other.clone())).collect(),
                ..References::default()
            },
        )
    }

    #[test]
    fn the_template_decides_over_an_adopter_and_never_the_other_way() {
        let template = json!({"memory": "1Gi", "rootDisk": {"containerDisk": {"image": "i"}}});
        let maker = vm_access("web-1", 9, &json!({"virtualMachine": {"template": template}}));
        let older = adopter("b", 1);
        let why = taken(&older, &[&maker]).unwrap();
        assert!(why.contains("VmAccess web-1 made this machine"), "{why}");
        assert_eq!(taken(&maker, &[&older]), None);
        // It wants the name and does not have it: the machine was not made for it.
        let mut other = maker.clone();
        other.metadata.uid = Some("another".into());
        assert_eq!(taken(&older, &[&other]), None);
    }

    #[test]
    fn of_two_adopters_the_older_decides_and_then_the_name() {
        let (older, newer) = (adopter("z", 1), adopter("b", 2));
        assert_eq!(taken(&older, &[&newer]), None);
        let why = taken(&newer, &[&older]).unwrap();
        assert!(why.contains("VmAccess z is about the same machine"), "{why}");
        let twin = adopter("a", 2);
        assert_eq!(taken(&twin, &[&newer]), None);
        assert!(taken(&newer, &[&twin, &older]).unwrap().contains("VmAccess z "));
    }

    #[test]
    fn who_wants_no_power_or_is_going_decides_nothing() {
        let (mut older, newer) = (adopter("a", 1), adopter("b", 2));
        older.metadata.deletion_timestamp = newer.metadata.creation_timestamp.clone();
        assert_eq!(taken(&newer, &[&older]), None);
        let without = vm_access("a", 1, &json!({"virtualMachine": {"name": "web-1"}}));
        assert_eq!(taken(&newer, &[&without]), None);
        assert_eq!(taken(&without, &[&adopter("0", 0)]), None);
    }
}
