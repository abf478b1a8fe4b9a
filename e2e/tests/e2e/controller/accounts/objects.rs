//! The objects that accounts try to write.

use novasphere_apiserver::API_SERVICE;
use serde_json::{Value, json};

/// The labels of what novasphere makes.
pub(super) fn marks(name: &str) -> Value {
    json!({"app.kubernetes.io/managed-by": "novasphere", "novasphere.io/owner-uid": "1", "novasphere.io/workspace": name})
}

pub(super) fn pod(name: &str, owner: &Value, labels: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]},
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "desktop", "image": "registry.example.com/desktop:1", "ports": [{"containerPort": 5901}],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    })
}

pub(super) fn secret(name: &str, labels: &Value, owner: Option<&Value>) -> Value {
    let owners: Vec<&Value> = owner.into_iter().collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels, "ownerReferences": owners}, "type": "Opaque"})
}

pub(super) fn service(name: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": labels},
        "spec": {"ports": [{"name": "vnc", "port": 5900}]},
    })
}

pub(super) fn claim(name: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "labels": labels},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    })
}

pub(super) fn network_policy(name: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name, "labels": labels},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
    })
}

pub(super) fn machine(name: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": name, "labels": labels},
        "spec": {"runStrategy": "Halted", "template": {"spec": {"domain": {"devices": {}}}}},
    })
}

pub(super) fn lease(name: &str, holder: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15},
    })
}

pub(super) fn event(name: &str, controller: &str) -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": name},
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": controller, "reportingInstance": "x", "action": "Connect",
        "reason": "Granted", "type": "Normal", "note": "bob got a token", "regarding": {"kind": "ConsoleSession", "name": "open"},
    })
}

/// All that can change of an event: that it happened again.
pub(super) fn repeated() -> Value {
    let series = json!({"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"});
    json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "others"}, "series": series})
}

pub(super) fn session(name: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "novasphere.io/v1alpha1", "kind": "ConsoleSession", "metadata": {"name": name, "labels": labels},
        "spec": {"targetRef": {"name": "web"}},
    })
}

pub(super) fn policy(input: &str) -> Value {
    json!({
        "duration": "1h", "maxViewers": 1, "takeover": "Refuse", "input": input, "clipboard": "None", "power": false, "resize": false,
        "native": true,
    })
}

pub(super) fn grant(id: &str, uses: u32) -> Value {
    json!({
        "id": id, "sha256": "0".repeat(64), "user": "ann", "issuedAt": "2026-01-01T00:00:00Z", "notAfter": "2026-01-01T00:10:00Z",
        "usesLeft": uses,
    })
}

/// The object with one field set. The last part of the path is the field's name; an array is appended to.
pub(super) fn with(mut object: Value, path: &str, value: Value) -> Value {
    let (parent, key) = path.rsplit_once('/').unwrap_or_default();
    match object.pointer_mut(parent) {
        Some(Value::Object(fields)) => drop(fields.insert(key.to_owned(), value)),
        Some(Value::Array(items)) => items.push(value),
        _ => {}
    }
    object
}

/// The owner reference of another workspace, which need not exist.
pub(super) fn desk_2(owner: &Value) -> Value {
    with(owner.clone(), "/name", json!("desk-2"))
}

pub(super) fn api_service(spec: &Value) -> Value {
    json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": API_SERVICE}, "spec": spec})
}
