//! What the controller may not write, and what it has to.

use serde_json::{Value, json};

use super::{
    How, Write,
    objects::{
        claim, desk_2, event, grant, lease, machine, marks, network_policy, pod, repeated, secret, service, session,
        with,
    },
    write,
};

/// Pods that the controller may not make or delete.
pub(super) fn desktops(owner: &Value) -> Vec<Write> {
    let none = json!({});
    let desk = || pod("desk-2", &desk_2(owner), &marks("desk-2"));
    let container = "/spec/containers/0/securityContext";
    let token = json!({"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}});
    let host = json!({"name": "h", "hostPath": {"path": "/"}});
    vec![
        write(
            "a Pod without a mark",
            How::Create,
            with(desk(), "/metadata/labels", none.clone()),
        ),
        write(
            "a Pod of nobody",
            How::Create,
            with(desk(), "/metadata/ownerReferences", json!([])),
        ),
        write(
            "a Pod of another name",
            How::Create,
            with(desk(), "/metadata/name", json!("other")),
        ),
        write("hostPath", How::Create, with(desk(), "/spec/volumes/-", host)),
        write("a token", How::Create, with(desk(), "/spec/volumes/-", token)),
        write(
            "the account's token",
            How::Create,
            with(desk(), "/spec/automountServiceAccountToken", json!(true)),
        ),
        write(
            "no seccomp",
            How::Create,
            with(
                desk(),
                "/spec/securityContext/seccompProfile",
                json!({"type": "Unconfined"}),
            ),
        ),
        write(
            "a port of the node",
            How::Create,
            with(
                desk(),
                "/spec/containers/0/ports",
                json!([{"containerPort": 1, "hostPort": 1}]),
            ),
        ),
        write(
            "a system priority",
            How::Create,
            with(desk(), "/spec/priorityClassName", json!("system-node-critical")),
        ),
        write(
            "a sysctl",
            How::Create,
            with(
                desk(),
                "/spec/securityContext/sysctls",
                json!([{"name": "kernel.msgmax", "value": "1"}]),
            ),
        ),
        write(
            "root",
            How::Create,
            with(desk(), "/spec/securityContext/runAsUser", json!(0)),
        ),
        write(
            "root of a container",
            How::Create,
            with(desk(), &format!("{container}/runAsUser"), json!(0)),
        ),
        write(
            "maybe root",
            How::Create,
            with(desk(), "/spec/securityContext/runAsNonRoot", json!(false)),
        ),
        write(
            "a privileged first container",
            How::Create,
            with(
                desk(),
                "/spec/initContainers",
                json!([{
                    "name": "i", "image": "i", "securityContext": {"privileged": true},
                }]),
            ),
        ),
        write(
            "a Pod in kube-system",
            How::Create,
            with(desk(), "/metadata/namespace", json!("kube-system")),
        ),
        write("another's Pod, deleted", How::Delete, pod("theirs", owner, &none)),
    ]
}

/// Pods with something of the node, or with privileges.
pub(super) fn privileged(owner: &Value) -> Vec<Write> {
    let desk = || pod("desk-2", &desk_2(owner), &marks("desk-2"));
    let container = "/spec/containers/0/securityContext";
    let mut all = Vec::new();
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        all.push(write(
            "the node's own",
            How::Create,
            with(desk(), &format!("/spec/{field}"), json!(true)),
        ));
    }
    for (field, value) in [
        ("privileged", json!(true)),
        ("allowPrivilegeEscalation", json!(true)),
        ("capabilities", json!({"add": ["SYS_ADMIN"]})),
    ] {
        // The apiserver takes no privileged container that may not escalate.
        let pod = with(desk(), &format!("{container}/allowPrivilegeEscalation"), json!(true));
        all.push(write(
            "privileges of a container",
            How::Create,
            with(pod, &format!("{container}/{field}"), value),
        ));
    }
    all
}

/// What else it may not.
pub(super) fn of_controller(owner: &Value) -> Vec<Write> {
    let none = json!({});
    let for_account = |type_: &str| {
        let credentials = with(secret("x-credentials", &marks("x"), Some(owner)), "/type", json!(type_));
        with(
            credentials,
            "/metadata/annotations",
            json!({"kubernetes.io/service-account.name": "default"}),
        )
    };
    vec![
        write(
            "a Secret without a mark",
            How::Create,
            secret("x-credentials", &none, Some(owner)),
        ),
        write(
            "a Secret of nobody",
            How::Create,
            secret("x-credentials", &marks("x"), None),
        ),
        write(
            "a Secret that gets a token",
            How::Create,
            for_account("kubernetes.io/service-account-token"),
        ),
        write("a Secret that names an account", How::Create, for_account("Opaque")),
        write(
            "another's Secret",
            How::Merge,
            secret("theirs", &marks("x"), Some(owner)),
        ),
        write(
            "the authority",
            How::Merge,
            secret("novasphere-ca", &marks("x"), Some(owner)),
        ),
        write("a Service without a mark", How::Create, service("x", &none)),
        write("another's Service", How::Merge, service("theirs", &marks("x"))),
        write("another's Service, deleted", How::Delete, service("theirs", &none)),
        write("a claim without a mark", How::Create, claim("x", &none)),
        write("another's claim, deleted", How::Delete, claim("theirs", &none)),
        write(
            "a NetworkPolicy without a mark",
            How::Create,
            network_policy("x", &none),
        ),
        write(
            "another's NetworkPolicy, deleted",
            How::Delete,
            network_policy("theirs", &none),
        ),
        write("a machine without a mark", How::Create, machine("x", &none)),
        write("another's machine", How::Merge, machine("theirs", &marks("x"))),
        write("another's machine, deleted", How::Delete, machine("theirs", &none)),
        write(
            "a lease of another program",
            How::Create,
            lease("kube-scheduler", "evil"),
        ),
        write(
            "a lease of a gateway",
            How::Create,
            lease("novasphere-gateway-b", "evil"),
        ),
        write("another's lease, deleted", How::Delete, lease("somebodys", "evil")),
        write(
            "the leader's lease, deleted",
            How::Delete,
            lease("novasphere-controller", "evil"),
        ),
        write("a session that is open, deleted", How::Delete, session("open", &none)),
        write(
            "the spec of a workspace",
            How::Merge,
            json!({
                "apiVersion": "novasphere.io/v1alpha1", "kind": "VncWorkspace", "metadata": {"name": "desk"}, "spec": {"image": "evil"},
            }),
        ),
        write(
            "the labels of a workspace",
            How::Merge,
            json!({
                "apiVersion": "novasphere.io/v1alpha1", "kind": "VncWorkspace", "metadata": {"name": "desk", "labels": {"evil": "yes"}},
            }),
        ),
        write(
            "a grant",
            How::ReplaceStatus,
            with(session("open", &none), "/status", json!({"grants": [grant("two", 1)]})),
        ),
        write("an event of another program", How::Create, event("x", "kubelet")),
        write("another's event", How::Merge, repeated()),
    ]
}

pub(super) fn good_of_controller(owner: &Value) -> Vec<Write> {
    let annotated = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "desk", "annotations": {"a": "b"}}});
    vec![
        write(
            "a desktop",
            How::Create,
            pod("desk-2", &desk_2(owner), &marks("desk-2")),
        ),
        write("its annotations", How::Merge, annotated),
        write("a desktop, deleted", How::Delete, pod("desk", owner, &json!({}))),
        write(
            "credentials",
            How::Create,
            secret("x-credentials", &marks("x"), Some(owner)),
        ),
        write(
            "credentials again",
            How::Merge,
            secret("desk-credentials", &marks("desk"), Some(owner)),
        ),
        write("a Service", How::Create, service("x", &marks("x"))),
        write(
            "a Service that lost its label",
            How::Merge,
            service("desk", &json!({"app.kubernetes.io/managed-by": null})),
        ),
        write("a Service, deleted", How::Delete, service("desk", &json!({}))),
        write("a home", How::Create, claim("x-home", &marks("x"))),
        write(
            "a home that was taken over",
            How::Merge,
            json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "theirs", "labels": marks("x")},
            }),
        ),
        write("a home, deleted", How::Delete, claim("desk-home", &json!({}))),
        write("a NetworkPolicy", How::Create, network_policy("x", &marks("x"))),
        write("a machine", How::Create, machine("x", &marks("x"))),
        write(
            "a dead gateway's lease, deleted",
            How::Delete,
            lease("novasphere-gateway-a", "a"),
        ),
        write(
            "a session that is over, deleted",
            How::Delete,
            session("over", &json!({})),
        ),
        write(
            "a finalizer",
            How::Merge,
            json!({
                "apiVersion": "novasphere.io/v1alpha1", "kind": "VncWorkspace",
                "metadata": {"name": "desk", "finalizers": ["novasphere.io/home"]},
            }),
        ),
        write("an event", How::Create, event("x", "novasphere/vmaccess")),
    ]
}
