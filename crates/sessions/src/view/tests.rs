use novasphere_crd::VmAccess;
use serde_json::{Value, json};

use super::*;

fn vm_access(name: &str, machine: &str) -> VmAccess {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "team", "uid": name}, "spec": {"virtualMachine": {"name": machine}},
    }))
    .unwrap()
}

fn session(name: &str, target: &Value) -> ConsoleSession {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "team", "uid": name}, "spec": {"targetRef": target},
    }))
    .unwrap()
}

#[test]
fn the_sessions_of_a_machine_are_its_own_and_those_of_every_vm_access_that_stands_for_it() {
    let view = SessionView::with_kubevirt();
    for vm_access in [
        vm_access("one", "web"),
        vm_access("two", "web"),
        vm_access("web", "other"),
    ] {
        view.caches().vm_accesses.observe(&WatchEvent::Apply(vm_access));
    }
    for (name, kind, target) in [
        ("a", "VirtualMachine", "web"),
        ("b", "VmAccess", "one"),
        ("c", "VmAccess", "two"),
        ("d", "VmAccess", "web"),
        ("e", "VirtualMachine", "other"),
        ("f", "VncWorkspace", "web"),
    ] {
        view.observe(&WatchEvent::Apply(session(
            name,
            &json!({"kind": kind, "name": target}),
        )));
    }
    let names = |machine: &str| {
        let mut names: Vec<_> = view
            .sessions_of_machine("team", machine)
            .iter()
            .map(|s| s.name_any())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("web"), ["a", "b", "c"]);
    assert_eq!(names("other"), ["d", "e"]);
    assert!(view.sessions_of_machine("elsewhere", "web").is_empty());
}

#[test]
fn a_token_is_not_known_before_its_session_is() {
    let view = SessionView::with_kubevirt();
    let target = json!({"name": "web"});
    view.observe(&WatchEvent::Apply(session("a", &target)));
    let mut granted = session("a", &target);
    granted.status = serde_json::from_value(json!({"grants": [{
        "id": "1", "sha256": "ab", "user": "ann", "issuedAt": "2026-01-01T00:00:00Z", "notAfter": "2026-01-01T00:05:00Z", "usesLeft": 1,
    }]}))
    .unwrap();
    // Between the index and the cache of an event.
    view.0.index_tokens(&granted, true);
    assert!(view.known_token("ab").is_none());
    view.observe(&WatchEvent::Apply(granted));
    assert_eq!(view.known_token("ab").unwrap().name_any(), "a");
}
