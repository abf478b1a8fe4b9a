use serde_json::json;

use super::*;
use crate::console_session::samples::session;

fn words(attributes: &ResourceAttributes) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    format!(
        "{} {}/{}/{} {}/{}",
        part(&attributes.verb),
        part(&attributes.group),
        part(&attributes.resource),
        part(&attributes.subresource),
        part(&attributes.namespace),
        part(&attributes.name),
    )
}

/// The access table of the guide.
#[test]
fn the_rights_are_those_of_the_table() {
    use ConsoleProtocol::{Serial, Ssh, Vnc};
    use ConsoleRight::{Control, View};
    use SessionTargetKind::{VirtualMachine, VmAccess, VncWorkspace};
    let ours = "subresources.novasphere.io";
    let table = [
        (VmAccess, Vnc, View, format!("get {ours}/vmaccesses/console ns/web")),
        (
            VmAccess,
            Serial,
            Control,
            format!("update {ours}/vmaccesses/console ns/web"),
        ),
        (
            VncWorkspace,
            Vnc,
            View,
            format!("get {ours}/vncworkspaces/console ns/web"),
        ),
        (
            VncWorkspace,
            Vnc,
            Control,
            format!("update {ours}/vncworkspaces/console ns/web"),
        ),
        (
            VncWorkspace,
            Ssh,
            Control,
            format!("update {ours}/vncworkspaces/console ns/web"),
        ),
        (
            VirtualMachine,
            Vnc,
            View,
            "get subresources.kubevirt.io/virtualmachineinstances/vnc ns/web".to_owned(),
        ),
        (
            VirtualMachine,
            Serial,
            Control,
            "get subresources.kubevirt.io/virtualmachineinstances/console ns/web".to_owned(),
        ),
    ];
    for (kind, protocol, right, expected) in table {
        assert_eq!(words(&console_right(kind, protocol, "ns", "web", right)), expected);
    }
    assert_eq!(
        words(&token_right("ns", "look")),
        format!("create {ours}/consolesessions/token ns/look")
    );
}

#[test]
fn the_sessions_list_narrows_who_may_have_a_token() {
    let groups = ["dev".to_owned()];
    let may = |spec| may_have_token(&session(spec).spec, "ann", &groups);
    assert!(may(json!({})));
    assert!(may(json!({"users": ["ann"]})));
    assert!(may(json!({"users": ["ben"], "groups": ["dev"]})));
    assert!(!may(json!({"users": ["ben"]})));
    assert!(!may(json!({"groups": ["ops"]})));
}
