//! The reasons of the conditions, one enum for each. `docs/vmaccess.md` has a row for every value.

use strum::{EnumIter, IntoStaticStr};

/// Reasons of `VirtualMachineReady`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, IntoStaticStr)]
pub enum VirtualMachineReason {
    /// It runs, and that is wanted or nothing is.
    Running,
    /// It is stopped, and that is wanted or nothing is.
    Stopped,
    /// It is paused, and that is wanted or nothing is.
    Paused,

    /// It was made, and `KubeVirt` has said nothing about it yet.
    Pending,
    /// It is in another state than wanted, and on its way.
    ChangingPower,
    /// It starts.
    Starting,
    /// It has been starting for more than a minute.
    StartDelayed,
    /// It shuts down.
    Stopping,
    /// It is being deleted.
    Terminating,
    /// Its disks are being filled.
    Provisioning,
    /// Its disks wait for volumes.
    WaitingForVolumeBinding,
    /// It waits for a migration from elsewhere.
    WaitingForReceiver,
    /// It runs and its readiness probe does not pass.
    NotReady,
    /// `KubeVirt` prints a status that this version does not know.
    UnknownStatus,

    /// `KubeVirt` cannot make the Pod of the machine.
    StartFailed,
    /// No node can take it.
    ErrorUnschedulable,
    /// The image of a container disk cannot be pulled.
    ErrImagePull,
    /// The same, and `KubeVirt` waits before it tries again.
    ImagePullBackOff,
    /// A claim that it uses does not exist.
    ErrorPvcNotFound,
    /// CDI could not fill a disk.
    DataVolumeError,
    /// It ends again right after each start.
    CrashLoopBackOff,
    /// `KubeVirt` cannot make the machine from its spec (condition `Failure`).
    KubeVirtFailure,
    /// `KubeVirt` does not let its power be changed as wanted.
    PowerRefused,
    /// Another `VmAccess` decides its power.
    PowerTaken,

    /// The cluster has no `KubeVirt`.
    KubeVirtNotInstalled,
    /// The cluster has no CDI, and a disk needs it.
    CdiNotInstalled,
    /// The machine to adopt does not exist.
    VirtualMachineNotFound,
    /// A machine of this name exists and was not made for this VmAccess.
    VirtualMachineTaken,
    /// The spec contradicts itself.
    InvalidSpec,

    /// `KubeVirt`'s admission refuses the machine.
    Rejected,
    /// The controller lacks a right.
    Forbidden,
    /// A quota of the namespace is used up.
    QuotaExceeded,
    /// The namespace is being deleted.
    NamespaceTerminating,
    /// The apiserver or `KubeVirt` did not answer.
    ApiUnavailable,
}

/// Reasons of `ServicesReady`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, IntoStaticStr)]
pub enum ServicesReason {
    /// All exist and have addresses.
    AllReady,
    /// None is wanted.
    NoServices,

    /// The cluster has given no address for a load balancer yet.
    LoadBalancerPending,
    /// The machine is not on the Pod network.
    NoPodNetwork,
    /// The machine's interface forwards other ports alone.
    PortNotForwarded,
    /// A node port belongs to another Service.
    NodePortInUse,
    /// A Service of this name exists and was not made for this VmAccess.
    ServiceTaken,
    /// The spec contradicts itself.
    InvalidSpec,

    /// The apiserver refuses a Service.
    Rejected,
    /// The controller lacks a right.
    Forbidden,
    /// A quota of the namespace is used up.
    QuotaExceeded,
    /// The namespace is being deleted.
    NamespaceTerminating,
    /// The apiserver did not answer.
    ApiUnavailable,
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator as _;

    use super::*;
    use crate::routes::reason::RoutesReason;

    /// A row of the guide's table for every condition and reason.
    #[test]
    fn the_guide_explains_every_reason() {
        let guide = include_str!("../../../../docs/vmaccess.md");
        let all = VirtualMachineReason::iter()
            .map(|reason| ("VirtualMachineReady", <&str>::from(reason)))
            .chain(ServicesReason::iter().map(|reason| ("ServicesReady", reason.into())))
            .chain(RoutesReason::iter().map(|reason| ("RoutesReady", reason.into())));
        let missing: Vec<_> = all
            .filter(|(condition, reason)| {
                let row = |line: &str| {
                    line.starts_with(&format!("| `{condition}` |")) && line.contains(&format!("| `{reason}` |"))
                };
                !guide.lines().any(row)
            })
            .collect();
        assert!(missing.is_empty(), "docs/vmaccess.md lacks rows for {missing:?}");
    }

    #[test]
    fn the_guide_explains_no_reason_that_is_gone() {
        let guide = include_str!("../../../../docs/vmaccess.md");
        for line in guide.lines() {
            let mut cells = line.split('|').map(str::trim).skip(1);
            let known: Vec<&str> = match cells.next() {
                Some("`VirtualMachineReady`") => VirtualMachineReason::iter().map(Into::into).collect(),
                Some("`ServicesReady`") => ServicesReason::iter().map(Into::into).collect(),
                Some("`RoutesReady`") => RoutesReason::iter().map(Into::into).collect(),
                _ => continue,
            };
            let reason = cells.nth(1).unwrap_or_default().trim_matches('`');
            assert!(known.contains(&reason), "no such reason: {line}");
        }
    }
}
