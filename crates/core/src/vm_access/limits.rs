//! What machines that are made from a template may have: the administrator decides.

use crate::allowed_names::{AllowedNames, FREE_KEYS};

/// Annotations of `KubeVirt` that say something about the one machine alone. `hooks.kubevirt.io/` is not among them: it runs any image beside
/// the machine.
const MACHINE_ANNOTATIONS: &[&str] = &[
    "vm.kubevirt.io/*",
    "kubevirt.io/allow-pod-bridge-network-live-migration",
    "kubevirt.io/ignitiondata",
    "kubevirt.io/keep-launcher-alive-after-failure",
];

/// Labels by which guides have people name a machine.
const MACHINE_LABELS: &[&str] = &[
    "kubevirt.io/domain",
    "kubevirt.io/os",
    "kubevirt.io/size",
    "kubevirt.io/vm",
];

/// The taints that Kubernetes lets every Pod tolerate for a while.
const USUAL_TOLERATIONS: &[&str] = &["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// What the Pods of a machine may have that reaches beyond the machine: others' traffic, others' room, others' networks.
///
/// Users who may make `VmAccess` objects need not have the right to make Pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineLimits {
    /// Keys of labels.
    pub labels: AllowedNames,
    /// Keys of annotations.
    pub annotations: AllowedNames,
    /// Priority classes.
    pub priority_classes: AllowedNames,
    /// Schedulers.
    pub schedulers: AllowedNames,
    /// Keys of taints that may be tolerated.
    pub tolerations: AllowedNames,
    /// Namespaces whose networks may be joined, beside the machine's own.
    pub network_namespaces: AllowedNames,
    /// Keys of annotations of its Services.
    pub service_annotations: AllowedNames,
}

impl MachineLimits {
    /// No limits, for tests that are about something else.
    #[must_use]
    pub fn unlimited() -> Self {
        let all = || AllowedNames::new(["*"]);
        Self {
            labels: all(),
            annotations: all(),
            priority_classes: all(),
            schedulers: all(),
            tolerations: all(),
            network_namespaces: all(),
            service_annotations: all(),
        }
    }
}

impl Default for MachineLimits {
    fn default() -> Self {
        let with_free_keys = |keys: &[&'static str]| AllowedNames::new([&[FREE_KEYS][..], keys].concat());
        Self {
            labels: with_free_keys(MACHINE_LABELS),
            annotations: with_free_keys(MACHINE_ANNOTATIONS),
            priority_classes: AllowedNames::default(),
            schedulers: AllowedNames::new(["default-scheduler"]),
            tolerations: AllowedNames::new(USUAL_TOLERATIONS.iter().copied()),
            network_namespaces: AllowedNames::default(),
            // Who may make Services of type LoadBalancer here may tell the load balancer how.
            service_annotations: AllowedNames::new(["*"]),
        }
    }
}
