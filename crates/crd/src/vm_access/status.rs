//! What was found out about a `VmAccess`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{PortProtocol, RouteStatus, ServiceType, condition, schema::tidy};

/// The observed state of a `VmAccess`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = tidy)]
pub struct VmAccessStatus {
    /// The `metadata.generation` that this status was worked out from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// `Ready`, which sums up `VirtualMachineReady`, `ServicesReady` and `RoutesReady`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "condition::list_schema")]
    pub conditions: Vec<Condition>,

    /// The virtual machine as it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_machine: Option<VmAccessMachineStatus>,

    /// The Services, in the order of the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub services: Vec<AccessServiceStatus>,

    /// The routes, in the order of the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub routes: Vec<RouteStatus>,

    /// How many console sessions are open on the machine.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub active_sessions: u32,
}

/// A virtual machine as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VmAccessMachineStatus {
    /// The name of the `VirtualMachine`.
    pub name: String,

    /// Its UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,

    /// What `KubeVirt` prints as its status, such as `Running`, `Stopped` or `ErrorUnschedulable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub printable_status: Option<String>,

    /// The node it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,

    /// How many CPUs the guest has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,

    /// The memory that the guest has, such as `2Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,

    /// Where the root disk comes from, such as a container image or a claim's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,

    /// The guest's operating system, as its agent tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_os: Option<String>,

    /// The guest's network interfaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub interfaces: Vec<InterfaceStatus>,
}

/// A network interface of a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InterfaceStatus {
    /// The network's name in the machine; absent when only the guest knows the interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,

    /// The MAC address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<String>,

    /// The addresses, the main one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub ip_addresses: Vec<String>,
}

/// A Service as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessServiceStatus {
    /// The name in the spec.
    pub name: String,

    /// The name of the Service object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,

    /// How it is reached.
    #[serde(default)]
    pub r#type: ServiceType,

    /// Where a client can reach its first port, `host:port`: an address of the load balancer, of a node, or of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,

    /// Addresses and host names by which it is reached, the best one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub addresses: Vec<String>,

    /// The ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub ports: Vec<AccessServicePortStatus>,
}

/// A port of a Service as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessServicePortStatus {
    /// The port's name.
    pub name: String,

    /// The port on `addresses`, but for type `NodePort`.
    pub port: u16,

    /// The port on every node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_port: Option<u16>,

    /// The transport.
    #[serde(default)]
    pub protocol: PortProtocol,
}
