//! Conditions of the three kinds: their types, and the schema of the list that holds them.
//!
//! All are `metav1.Condition` and follow kstatus: `Ready` sums up, `status.observedGeneration` says which spec was read.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// Sums up the others: the object is as its spec wants it.
pub const READY: &str = "Ready";

/// Reason of `Ready` while no controller has looked at the object. The apiserver says it.
pub const PENDING: &str = "Pending";

/// The status of an object that no controller has looked at, which the apiserver shows until one writes the first. An object without any
/// condition would count as ready: kstatus (`kubectl wait`, Flux, Argo CD) calls it `Current`. Gateway API's definitions do the same.
pub(crate) fn pending_status() -> Value {
    json!({
        "conditions": [{
            "type": READY,
            "status": "Unknown",
            "reason": PENDING,
            "message": "No controller has looked at the object yet. If it stays so, check that the controller runs.",
            "lastTransitionTime": "1970-01-01T00:00:00Z",
        }],
    })
}

/// `VmAccess`: the virtual machine exists and is in the wanted power state, or in any state when none is wanted.
pub const VIRTUAL_MACHINE_READY: &str = "VirtualMachineReady";

/// `VmAccess`: all Services exist and, for `LoadBalancer`, have an address.
pub const SERVICES_READY: &str = "ServicesReady";

/// `VmAccess`, `VncWorkspace`: all routes are written, and accepted where the gateway says so.
pub const ROUTES_READY: &str = "RoutesReady";

/// `ConsoleSession`: the target exists and its console can be opened.
pub const TARGET_READY: &str = "TargetReady";

/// `ConsoleSession`: the session is over and opens nothing any more.
pub const CLOSED: &str = "Closed";

/// `VncWorkspace`: the Pod runs and answers.
pub const POD_READY: &str = "PodReady";

/// `VncWorkspace`: the home volume is bound.
pub const STORAGE_READY: &str = "StorageReady";

/// `VncWorkspace`: the Pod is gone on purpose; its reason says who asked.
pub const HIBERNATED: &str = "Hibernated";

/// A person has told the controller to write nothing for the object. It is there while that is so.
pub const PAUSED: &str = "Paused";

/// The schema of a `conditions` list, with the limits of `metav1.Condition` that k8s-openapi leaves out
/// (kubernetes/apimachinery `pkg/apis/meta/v1/types.go`, markers on `Condition`).
pub(crate) fn list_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "description": "One aspect of the object's present state.",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": {
                    "description": "What the condition is about.",
                    "type": "string",
                    "maxLength": 316,
                    "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
                },
                "status": {
                    "description": "Whether it holds.",
                    "type": "string",
                    "enum": ["True", "False", "Unknown"]
                },
                "reason": {
                    "description": "One word for programs: why the status is what it is.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
                },
                "message": {
                    "description": "A sentence for people: what is so, and what to do about it.",
                    "type": "string",
                    "maxLength": 32768
                },
                "lastTransitionTime": {
                    "description": "When the status last changed.",
                    "type": "string",
                    "format": "date-time"
                },
                "observedGeneration": {
                    "description": "The metadata.generation that the condition was worked out from.",
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0
                }
            }
        }
    })
}
