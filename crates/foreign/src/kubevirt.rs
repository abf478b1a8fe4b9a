//! KubeVirt (`kubevirt.io/v1`), by hand from `kubevirt.io/api` v1.8.2 `core/v1/types.go` and `schema.go`.

use k8s_openapi::{Resource as _, apimachinery::pkg::apis::meta::v1::Time};
use serde::{Deserialize, Serialize};

use crate::{CompactJson, object::namespaced_object};

/// The label that KubeVirt puts on a launcher Pod, since v1.7.0, and that Services select by.
pub const LABEL_VMI_ID: &str = "vmi.kubevirt.io/id";

/// The label that KubeVirt puts on a launcher Pod with the UID of the `VirtualMachineInstance`.
pub const LABEL_CREATED_BY: &str = "kubevirt.io/created-by";

namespaced_object! {
    /// A machine as wanted, whether it runs or not.
    ///
    /// The same type is what novasphere applies and what it caches. `spec` is free-form, because users may override any
    /// part of it; it is kept as text (see [`CompactJson`]).
    VirtualMachine, "kubevirt.io"/"v1", "virtualmachines" {
        /// `VirtualMachineSpec`.
        spec("spec"): CompactJson,
        /// What KubeVirt says about it; never applied.
        status("status"): VirtualMachineStatus,
    }
}

namespaced_object! {
    /// One run of a machine. It has the name of its `VirtualMachine`; novasphere only reads it.
    VirtualMachineInstance, "kubevirt.io"/"v1", "virtualmachineinstances" {
        /// What was asked for, with instance type and preference filled in.
        spec("spec"): VirtualMachineInstanceSpec,
        /// What KubeVirt says about it.
        status("status"): VirtualMachineInstanceStatus,
    }
}

/// `VirtualMachineStatus`, as far as novasphere reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualMachineStatus {
    /// A `VirtualMachineInstance` exists.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub created: bool,
    /// The machine runs and passes its readiness probe.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ready: bool,
    /// KubeVirt's one-word state. Empty until virt-controller has looked at the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub printable_status: Option<String>,
    /// The machine's own conditions and those of its instance, copied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Starts and stops that were asked for and not yet carried out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub state_change_requests: Vec<StateChangeRequest>,
    /// Failed starts in a row, and when KubeVirt tries again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_failure: Option<StartFailure>,
    /// The snapshot that is being taken. KubeVirt refuses to unpause during one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_in_progress: Option<String>,
}

/// A condition of a KubeVirt or CDI object. They are not `metav1.Condition`: reason and message may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Condition {
    /// Its type, for example `Failure`.
    #[serde(rename = "type", default)]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    #[serde(default)]
    pub status: String,
    /// One word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A start or stop that virt-api has written down for virt-controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct StateChangeRequest {
    /// `Start` or `Stop`.
    #[serde(default)]
    pub action: String,
    /// The instance that a stop is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// Failed starts in a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartFailure {
    /// How many.
    #[serde(default)]
    pub consecutive_fail_count: i32,
    /// When KubeVirt tries again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_timestamp: Option<Time>,
}

/// `VirtualMachineInstanceSpec`, as far as novasphere reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct VirtualMachineInstanceSpec {
    /// The virtual hardware.
    #[serde(default)]
    pub domain: Domain,
}

/// The virtual hardware of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Domain {
    /// Virtual processors as asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuTopology>,
    /// Memory as asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// The devices that are there unless told otherwise.
    #[serde(default, skip_serializing_if = "Devices::is_usual")]
    pub devices: Devices,
}

/// `Devices`, as far as they decide which consoles a machine has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Devices {
    /// Whether it has a screen. KubeVirt takes a missing value as `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoattach_graphics_device: Option<bool>,
    /// Whether it has a serial console. KubeVirt takes a missing value as `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoattach_serial_console: Option<bool>,
}

impl Devices {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "skip_serializing_if passes a reference"
    )]
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// Sockets, cores and threads. KubeVirt takes a missing one as 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct CpuTopology {
    /// Cores per socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<u32>,
    /// Sockets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sockets: Option<u32>,
    /// Threads per core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
}

impl CpuTopology {
    /// The number of virtual processors that the guest sees.
    #[must_use]
    pub fn vcpus(&self) -> u32 {
        let at_least_one = |count: Option<u32>| count.unwrap_or(1).max(1);
        at_least_one(self.cores)
            .saturating_mul(at_least_one(self.sockets))
            .saturating_mul(at_least_one(self.threads))
    }
}

/// Memory of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Memory {
    /// What the guest sees, a Kubernetes quantity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<String>,
}

/// `VirtualMachineInstanceStatus`, as far as novasphere reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualMachineInstanceStatus {
    /// Empty, `Pending`, `Scheduling`, `Scheduled`, `Running`, `Succeeded`, `Failed`, `WaitingForSync` or `Unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The node it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Among others `Ready`, `Paused`, `AgentConnected`, `DataVolumesReady`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Network interfaces with their addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<NetworkInterface>,
    /// What the guest agent says about the guest; empty without an agent.
    #[serde(default, rename = "guestOSInfo", skip_serializing_if = "Option::is_none")]
    pub guest_os_info: Option<GuestOsInfo>,
    /// Virtual processors as they are now.
    #[serde(default, rename = "currentCPUTopology", skip_serializing_if = "Option::is_none")]
    pub current_cpu_topology: Option<CpuTopology>,
    /// Memory as it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryStatus>,
}

/// One network interface of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkInterface {
    /// The name of its network in the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// All its addresses; KubeVirt's `ipAddress` is the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_addresses: Vec<String>,
    /// Hardware address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Its name inside the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface_name: Option<String>,
}

/// The guest's operating system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GuestOsInfo {
    /// For example `Debian GNU/Linux`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For example `Debian GNU/Linux 13 (trixie)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pretty_name: Option<String>,
    /// For example `13`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Memory of a running instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryStatus {
    /// What the guest has now, a Kubernetes quantity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_current: Option<String>,
}

/// A power call of KubeVirt's subresource API. All are `PUT` with an optional JSON body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PowerSubresource {
    /// `virtualmachines/start`, answered 202.
    Start,
    /// `virtualmachines/stop`, answered 202.
    Stop,
    /// `virtualmachines/restart`, answered 202.
    Restart,
    /// `virtualmachineinstances/pause`, answered 200.
    Pause,
    /// `virtualmachineinstances/unpause`, answered 200.
    Unpause,
}

impl PowerSubresource {
    /// The name of the subresource.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Pause => "pause",
            Self::Unpause => "unpause",
        }
    }

    /// The kind that it is of.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Start | Self::Stop | Self::Restart => "VirtualMachine",
            Self::Pause | Self::Unpause => "VirtualMachineInstance",
        }
    }

    /// The path of the call for the machine `name` in `namespace`.
    #[must_use]
    pub fn path(self, namespace: &str, name: &str) -> String {
        let plural = match self {
            Self::Start | Self::Stop | Self::Restart => VirtualMachine::URL_PATH_SEGMENT,
            Self::Pause | Self::Unpause => VirtualMachineInstance::URL_PATH_SEGMENT,
        };
        let verb = self.name();
        format!("/apis/subresources.kubevirt.io/v1/namespaces/{namespace}/{plural}/{name}/{verb}")
    }
}

#[cfg(test)]
mod tests {
    use kube::Resource;
    use serde_json::json;

    use super::{CpuTopology, PowerSubresource, VirtualMachine, VirtualMachineInstance};
    use crate::CompactJson;

    #[test]
    fn a_virtual_machine_is_written_with_its_kind_and_without_a_status() {
        let mut machine = VirtualMachine {
            spec: Some(CompactJson::from(json!({"runStrategy": "Manual"}))),
            ..Default::default()
        };
        machine.metadata.name = Some("web-1".into());
        assert_eq!(
            serde_json::to_value(&machine).unwrap(),
            json!({
                "apiVersion": "kubevirt.io/v1",
                "kind": "VirtualMachine",
                "metadata": {"name": "web-1"},
                "spec": {"runStrategy": "Manual"},
            })
        );
        assert_eq!(
            VirtualMachine::url_path(&(), Some("a")),
            "/apis/kubevirt.io/v1/namespaces/a/virtualmachines"
        );
    }

    #[test]
    fn a_live_virtual_machine_is_read_back() {
        let machine: VirtualMachine = serde_json::from_value(json!({
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachine",
            "metadata": {"name": "web-1", "uid": "u"},
            "spec": {"running": true},
            "status": {
                "created": true,
                "printableStatus": "Running",
                "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": null, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                "stateChangeRequests": [{"action": "Stop", "uid": "x"}],
                "volumeSnapshotStatuses": [{"name": "root", "enabled": false}],
            },
        }))
        .unwrap();
        let status = machine.status.unwrap();
        assert_eq!(status.printable_status.as_deref(), Some("Running"));
        assert_eq!(status.conditions[0].type_, "Ready");
        assert_eq!(status.state_change_requests[0].action, "Stop");
    }

    #[test]
    fn a_live_instance_is_read_back() {
        let instance: VirtualMachineInstance = serde_json::from_value(json!({
            "metadata": {"name": "web-1"},
            "spec": {"domain": {"cpu": {"cores": 2, "sockets": 2}, "memory": {"guest": "1Gi"}, "devices": {}}},
            "status": {
                "phase": "Running",
                "guestOSInfo": {"prettyName": "Debian GNU/Linux 13 (trixie)"},
                "currentCPUTopology": {"cores": 2, "sockets": 2, "threads": 1},
                "memory": {"guestCurrent": "1Gi"},
                "interfaces": [{"name": "default", "ipAddress": "10.0.0.7", "ipAddresses": ["10.0.0.7"], "mac": "02:00:00:00:00:01"}],
            },
        }))
        .unwrap();
        let status = instance.status.unwrap();
        assert_eq!(status.current_cpu_topology.unwrap().vcpus(), 4);
        assert_eq!(status.interfaces[0].ip_addresses, ["10.0.0.7"]);
        assert_eq!(status.memory.unwrap().guest_current.as_deref(), Some("1Gi"));
        assert_eq!(
            status.guest_os_info.unwrap().pretty_name.as_deref(),
            Some("Debian GNU/Linux 13 (trixie)")
        );
    }

    #[test]
    fn a_missing_or_zero_part_of_the_topology_counts_as_one() {
        assert_eq!(
            CpuTopology {
                cores: Some(3),
                sockets: None,
                threads: Some(0)
            }
            .vcpus(),
            3
        );
    }

    #[test]
    fn power_paths_are_those_of_kubevirt() {
        let base = "/apis/subresources.kubevirt.io/v1/namespaces/a";
        for (call, path) in [
            (PowerSubresource::Start, "virtualmachines/b/start"),
            (PowerSubresource::Stop, "virtualmachines/b/stop"),
            (PowerSubresource::Restart, "virtualmachines/b/restart"),
            (PowerSubresource::Pause, "virtualmachineinstances/b/pause"),
            (PowerSubresource::Unpause, "virtualmachineinstances/b/unpause"),
        ] {
            assert_eq!(call.path("a", "b"), format!("{base}/{path}"));
        }
    }
}
