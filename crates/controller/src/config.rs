//! Settings of the controller role.

use novasphere_core::{
    allowed_names::AllowedNames, vm_access::limits::MachineLimits, vnc_workspace::allowed_overrides::AllowedOverrides,
};
use novasphere_crd::{Cidr, Duration};
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

    /// Write nothing for any object, as if each had the annotation `novasphere.io/paused: "true"`; a condition says so. Sessions end all the
    /// same. Default `false`.
    pub paused: bool,

    /// How many objects of a kind are reconciled at the same time, 1 to 256. Default 8.
    #[schemars(range(min = 1, max = 256))]
    pub concurrency: u16,

    /// How often every object is reconciled without an event. It finds what no watch reported and, when all is as wanted,
    /// writes nothing. Default `1h`.
    pub resync_interval: Duration,

    /// Virtual machines that are made from templates.
    pub machines: MachinesConfig,

    /// Desktops.
    pub workspaces: WorkspacesConfig,

    /// Which replica writes.
    pub leader_election: LeaderElectionConfig,
}

impl ControllerConfig {
    /// Whether the process can start with it.
    ///
    /// # Errors
    ///
    /// The setting that is wrong, with what to write.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=256).contains(&self.concurrency) {
            return Err(format!(
                "controller.concurrency is {}; write a number from 1 to 256",
                self.concurrency
            ));
        }
        let ports = &self.workspaces.node_ports;
        for (name, PortRangeConfig { first, last }) in [("vnc", ports.vnc), ("ssh", ports.ssh)] {
            if first == 0 || first > last {
                return Err(format!(
                    "controller.workspaces.nodePorts.{name}: first is {first} and last {last}; write first from 1 to 65535, and last not below it"
                ));
            }
        }
        Ok(())
    }
}

impl Default for ControllerConfig {
    fn default() -> Self {
        Self {
            watch_namespace: None,
            paused: false,
            concurrency: 8,
            resync_interval: Duration::from_hours(1),
            machines: MachinesConfig::default(),
            workspaces: WorkspacesConfig::default(),
            leader_election: LeaderElectionConfig::default(),
        }
    }
}

/// What the template of a `VmAccess`, its `overrides` included, may ask for. Users with the role `novasphere-operator` alone may not make Pods;
/// what is allowed here they may do by a machine. In each list a name that ends in `*` stands for all that begin like it. A list that is given
/// replaces its default.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MachinesConfig {
    /// Keys of labels of the machine's Pods. Services and network policies select Pods by labels. Default: `novasphere.io/x-*` and the
    /// labels by which KubeVirt's guides name a machine, `kubevirt.io/domain`, `os`, `size` and `vm`. At most 64.
    #[schemars(length(max = 64))]
    pub allowed_labels: Vec<String>,

    /// Keys of annotations of the machine's Pods. Default: `novasphere.io/x-*`, `vm.kubevirt.io/*`,
    /// `kubevirt.io/allow-pod-bridge-network-live-migration`, `kubevirt.io/ignitiondata` and
    /// `kubevirt.io/keep-launcher-alive-after-failure`. At most 64.
    #[schemars(length(max = 64))]
    pub allowed_annotations: Vec<String>,

    /// Priority classes. A machine of a higher class takes the room of others. Default: none. At most 64.
    #[schemars(length(max = 64))]
    pub allowed_priority_classes: Vec<String>,

    /// Schedulers. Default: `default-scheduler`. At most 64.
    #[schemars(length(max = 64))]
    pub allowed_schedulers: Vec<String>,

    /// Keys of taints that may be tolerated; a toleration without a key needs `*`. Default: `node.kubernetes.io/not-ready` and
    /// `node.kubernetes.io/unreachable`. At most 64.
    #[schemars(length(max = 64))]
    pub allowed_tolerations: Vec<String>,

    /// Namespaces whose `NetworkAttachmentDefinition` objects may be joined, beside those of the machine's own. Default: none. At most 64.
    #[schemars(length(max = 64))]
    pub allowed_network_namespaces: Vec<String>,

    /// Keys of annotations of the Services in `services`. Some of them reach far: with `external-dns.alpha.kubernetes.io/hostname` a Service takes
    /// a name in the DNS, others choose addresses and firewalls of a cloud. Default: all, `*`. At most 64.
    #[schemars(length(max = 64))]
    pub allowed_service_annotations: Vec<String>,
}

impl Default for MachinesConfig {
    fn default() -> Self {
        let limits = MachineLimits::default();
        let names = |allowed: &AllowedNames| allowed.names().to_vec();
        Self {
            allowed_labels: names(&limits.labels),
            allowed_annotations: names(&limits.annotations),
            allowed_priority_classes: names(&limits.priority_classes),
            allowed_schedulers: names(&limits.schedulers),
            allowed_tolerations: names(&limits.tolerations),
            allowed_network_namespaces: names(&limits.network_namespaces),
            allowed_service_annotations: names(&limits.service_annotations),
        }
    }
}

impl MachinesConfig {
    /// As decisions take them.
    pub(crate) fn limits(&self) -> MachineLimits {
        let allowed = |names: &[String]| AllowedNames::new(names);
        MachineLimits {
            labels: allowed(&self.allowed_labels),
            annotations: allowed(&self.allowed_annotations),
            priority_classes: allowed(&self.allowed_priority_classes),
            schedulers: allowed(&self.allowed_schedulers),
            tolerations: allowed(&self.allowed_tolerations),
            network_namespaces: allowed(&self.allowed_network_namespaces),
            service_annotations: allowed(&self.allowed_service_annotations),
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

    /// Keys of annotations of the Service of a desktop, as `controller.machines.allowedServiceAnnotations` has them. Default: all, `*`. At most 64.
    #[schemars(length(max = 64))]
    pub allowed_service_annotations: Vec<String>,

    /// How long a change of a spec that ends a workspace or deletes snapshots at once waits after it was announced by an event. Default `5m`.
    pub expiry_notice: Duration,

    /// The addresses of the cluster itself: of its Pods, Services and nodes, kube-apiserver's included, where that is none of them. A desktop without
    /// `network.egress` reaches none of these but name resolution. Default: none, so that it reaches all of them. At most 64.
    #[schemars(length(max = 64))]
    pub cluster_ranges: Vec<Cidr>,
}

impl Default for WorkspacesConfig {
    fn default() -> Self {
        Self {
            node_ports: NodePortsConfig::default(),
            allowed_overrides: AllowedOverrides::default(),
            allowed_service_annotations: vec!["*".to_owned()],
            expiry_notice: Duration::from_mins(5),
            cluster_ranges: Vec::new(),
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
