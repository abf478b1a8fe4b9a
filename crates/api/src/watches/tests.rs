use serde_json::{Value, json};

use super::*;

fn access(name: &str, uid: &str, machine: &str, status: &str) -> VmAccess {
    serde_json::from_value(json!({
        "apiVersion": "novasphere.io/v1alpha1", "kind": "VmAccess",
        "metadata": {"name": name, "namespace": "team", "uid": uid},
        "spec": {"virtualMachine": {"name": machine}},
        "status": {"virtualMachine": {"name": machine, "printableStatus": status}},
    }))
    .unwrap()
}

fn machine(name: &str, status: &str) -> VirtualMachine {
    let value: Value = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": name, "namespace": "team"},
        "status": {"printableStatus": status},
    });
    serde_json::from_value(value).unwrap()
}

fn ids(watched: &Watched) -> Vec<String> {
    watched.machines().iter().map(|row| row.id.clone()).collect()
}

fn see<K>(watched: &Watched, see: fn(&mut Tables, Seen<'_, K>) -> Changes, object: &K) {
    watched.0.tell(see, Seen::Here(object));
}

#[test]
fn a_machine_is_listed_once_by_its_vm_access_or_by_itself() {
    let watched = Watched::default();
    see(&watched, Tables::machine, &machine("web-1", "Running"));
    assert_eq!(ids(&watched), ["team..web-1"]);
    see(&watched, Tables::vm_access, &access("web", "u1", "web-1", "Running"));
    assert_eq!(ids(&watched), ["u1"]);
    see(&watched, Tables::machine, &machine("web-1", "Stopped"));
    assert_eq!(ids(&watched), ["u1"]);
    assert!(watched.find_machine("team.web").is_some());
    watched.0.tell(Tables::vm_access, Seen::Gone("team/web"));
    assert_eq!(ids(&watched), ["team..web-1"], "it outlives its VmAccess");
    assert_eq!(
        watched.find_machine("team.web-1").unwrap().status,
        MachineStatus::Stopped
    );
    watched.0.tell(Tables::machine, Seen::Gone("team/web-1"));
    assert!(ids(&watched).is_empty());
}

#[test]
fn a_machine_that_another_vm_access_names_is_not_listed_by_itself() {
    let watched = Watched::default();
    see(&watched, Tables::machine, &machine("web-1", "Running"));
    see(&watched, Tables::vm_access, &access("one", "u1", "web-1", "Running"));
    see(&watched, Tables::vm_access, &access("two", "u2", "web-1", "Running"));
    watched.0.tell(Tables::vm_access, Seen::Gone("team/two"));
    assert_eq!(ids(&watched), ["u1"]);
    see(&watched, Tables::vm_access, &access("one", "u1", "web-2", "Running"));
    assert_eq!(ids(&watched), ["team..web-1", "u1"], "nothing names it any more");
    let bare = watched.machine_namespaces(MachineKind::VirtualMachine);
    assert_eq!(bare.into_iter().collect::<Vec<_>>(), ["team"]);
}

#[test]
fn what_a_new_list_lacks_is_told_as_gone() {
    let watched = Watched::default();
    let mut changes = watched.changes();
    watched.0.tell(Tables::vm_access, Seen::Began);
    see(&watched, Tables::vm_access, &access("web", "u1", "web-1", "Running"));
    watched.0.tell(Tables::vm_access, Seen::Ended);
    see(&watched, Tables::vm_access, &access("web", "u1", "web-1", "Running"));
    watched.0.tell(Tables::vm_access, Seen::Began);
    watched.0.tell(Tables::vm_access, Seen::Ended);
    let told: Vec<(String, bool)> = std::iter::from_fn(|| changes.try_recv().ok())
        .map(|change| (change.id, change.is_gone))
        .collect();
    assert_eq!(
        told,
        [("u1".to_owned(), false), ("u1".to_owned(), true)],
        "the same row is no change"
    );
    assert_eq!(watched.version(), 2);
}

#[test]
fn a_namespace_has_the_tenant_of_its_label() {
    let watched = Watched::default();
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": "team", "labels": {TENANT_LABEL: "blue"}}})).unwrap();
    see(&watched, Tables::namespace, &namespace);
    let blue = TenantId("blue".to_owned());
    assert_eq!(watched.tenant_of("team"), Some(blue.clone()));
    assert_eq!(watched.namespaces_of(&blue), ["team"]);
    assert_eq!(watched.tenant_of("other"), None);
}
