//! Settings of the controller role.

use novasphere_core::vnc_workspace::allowed_overrides::AllowedOverrides;
use novasphere_crd::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The `controller` section of the configuration file.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ControllerConfig {
    /// Reconcile only this namespace. The chart then grants rights on objects in it alone, beside reading nodes, storage classes and
    /// definitions. Default: all namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch_namespace: Option<String>,

    /// How many objects of a kind are reconciled at the same time, 1 to 256. Default 8.
    #[schemars(range(min = 1, max = 256))]
    pub concurrency: u16,

    /// How often every object is reconciled without an event. It finds what no watch reported and, when all is as wanted,
    /// writes nothing. Default `1h`.
    pub resync_interval: Duration,

    /// Desktops.
    pub workspaces: WorkspacesConfig,

    /// Which replica writes.
    pub leader_election: LeaderElectionConfig,
}

impl Default for ControllerConfig {
    fn default() -> Self {
        Self {
            watch_namespace: None,
            concurrency: 8,
            resync_interval: Duration::from_hours(1),
            workspaces: WorkspacesConfig::default(),
            leader_election: LeaderElectionConfig::default(),
        }
    }
}

/// Settings for `VncWorkspace` objects.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WorkspacesConfig {
    /// Ports on nodes that are given to desktops whose Service has type `NodePort` or `LoadBalancer`. They must lie in the
    /// cluster's range (`--service-node-port-range`).
    pub node_ports: NodePortsConfig,

    /// What `podOverrides` may set beside what every author of a workspace may: fields of the Pod, and keys of its labels and annotations.
    /// Each of these gives authors of workspaces something that otherwise needs the right to make Pods. Default: nothing.
    pub allowed_overrides: AllowedOverrides,

    /// How long a change of a spec that ends a workspace or deletes snapshots at once waits after it was announced by an event. Default `5m`.
    pub expiry_notice: Duration,
}

impl Default for WorkspacesConfig {
    fn default() -> Self {
        Self {
            node_ports: NodePortsConfig::default(),
            allowed_overrides: AllowedOverrides::default(),
            expiry_notice: Duration::from_mins(5),
        }
    }
}

/// Ranges of ports on nodes.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NodePortsConfig {
    /// For VNC. Default 30000 to 31000.
    pub vnc: PortRangeConfig,

    /// For SSH. Default 31001 to 32000.
    pub ssh: PortRangeConfig,
}

impl Default for NodePortsConfig {
    fn default() -> Self {
        Self {
            vnc: PortRangeConfig {
                first: 30000,
                last: 31000,
            },
            ssh: PortRangeConfig {
                first: 31001,
                last: 32000,
            },
        }
    }
}

/// Ports from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortRangeConfig {
    /// The first port, from 1 to 65535.
    #[schemars(range(min = 1, max = 65535))]
    pub first: u16,

    /// The last port, from 1 to 65535.
    #[schemars(range(min = 1, max = 65535))]
    pub last: u16,
}

/// The lease that makes one of several replicas the one that writes.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LeaderElectionConfig {
    /// Whether to take part at all. `false` only where at most one controller can run. Default `true`.
    pub enabled: bool,

    /// How long a standby waits, after the last renewal that it saw, before it takes over; at least `2s`, in whole seconds.
    /// Default `15s`.
    pub lease_duration: Duration,
}

impl Default for LeaderElectionConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            lease_duration: Duration::from_secs(15),
        }
    }
}
