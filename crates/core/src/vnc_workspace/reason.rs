//! Reasons of conditions: one word each, all of them in `docs/workspace.md`.

use strum::{EnumIter, IntoStaticStr};

/// Reasons of `PodReady`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, IntoStaticStr)]
pub enum PodReason {
    /// The desktop answers.
    Running,
    /// The Pod is being made, or its programs start.
    Starting,
    /// The home cannot be made or used, so no Pod is made.
    HomeNotReady,
    /// An old Pod is ending before the next one is made.
    Stopping,
    /// The desktop sleeps.
    Hibernated,
    /// The workspace's time is over.
    Expired,
    /// The workspace is being deleted.
    Deleting,
    /// The spec contradicts itself.
    InvalidSpec,
    /// No node takes the Pod.
    Unschedulable,
    /// The desktop runs and its probe does not succeed.
    NotAnswering,
    /// The Pod names a Secret, `ConfigMap` or claim that does not exist.
    VolumeNotFound,
    /// The image cannot be pulled.
    ImagePullError,
    /// The container cannot be started.
    ContainerError,
    /// The desktop used too much memory.
    OutOfMemory,
    /// The desktop ends again and again.
    CrashLoop,
    /// The Pod as a whole ended, soon after it was made.
    Ended,
    /// A quota of the namespace is used up.
    QuotaExceeded,
    /// A `LimitRange` refuses the Pod.
    LimitRangeViolation,
    /// Pod Security refuses the Pod.
    PodSecurityViolation,
    /// A port on nodes belongs to another Service.
    NodePortInUse,
    /// All ports on nodes of the configured range are taken.
    NodePortsUsedUp,
    /// An object of that name was not made for this workspace.
    NameTaken,
    /// The apiserver refuses an object.
    Rejected,
    /// A right is missing.
    Forbidden,
    /// The namespace is being deleted.
    NamespaceTerminating,
    /// The apiserver did not answer.
    ApiUnavailable,
}

/// Reasons of `StorageReady`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, IntoStaticStr)]
pub enum StorageReason {
    /// The home is bound.
    Bound,
    /// The volume is made when the desktop first starts.
    WaitingForPod,
    /// The volume is being made.
    Provisioning,
    /// The volume grows.
    Resizing,
    /// A snapshot is being taken before the home or the workspace goes.
    TakingSnapshot,
    /// A snapshot could not be taken; the home stays.
    SnapshotFailed,
    /// The spec refers to something that is not there.
    InvalidSpec,
    /// Another part of the spec is invalid, so nothing was looked at.
    NotChecked,
    /// The storage class does not exist.
    StorageClassNotFound,
    /// There is no default storage class, and none is named.
    NoDefaultStorageClass,
    /// A claim of that name was not made for this workspace.
    HomeTaken,
    /// The volume is gone.
    VolumeLost,
    /// The storage class does not let volumes grow.
    CannotGrow,
    /// A quota of the namespace is used up.
    QuotaExceeded,
    /// A `LimitRange` refuses the claim.
    LimitRangeViolation,
    /// The apiserver refuses the claim.
    Rejected,
    /// A right is missing.
    Forbidden,
    /// The namespace is being deleted.
    NamespaceTerminating,
    /// The apiserver did not answer.
    ApiUnavailable,
}

/// Reasons of `Hibernated`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, IntoStaticStr)]
pub enum HibernatedReason {
    /// It sleeps because the spec says so.
    Asked,
    /// It sleeps because there was no input.
    Idle,
    /// It sleeps because of the schedule.
    Schedule,
    /// It is awake.
    Awake,
    /// It is awake and going to sleep soon.
    SleepsSoon,
    /// Its time is over.
    Expired,
    /// The spec is invalid, so it was left as it was.
    InvalidSpec,
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator as _;

    use super::*;
    use crate::routes::reason::RoutesReason;

    fn all() -> Vec<(&'static str, &'static str)> {
        let pod = PodReason::iter().map(|reason| ("PodReady", <&str>::from(reason)));
        let storage = StorageReason::iter().map(|reason| ("StorageReady", <&str>::from(reason)));
        let hibernated = HibernatedReason::iter().map(|reason| ("Hibernated", <&str>::from(reason)));
        let routes = RoutesReason::iter().map(|reason| ("RoutesReady", <&str>::from(reason)));
        pod.chain(storage).chain(hibernated).chain(routes).collect()
    }

    /// A row of the guide's table for every condition and reason, and none for what is gone.
    #[test]
    fn the_guide_explains_every_reason_and_no_other() {
        let guide = include_str!("../../../../docs/workspace.md");
        let mut rows = Vec::new();
        for line in guide.lines() {
            let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
            if let [_, condition, _, reason, ..] = cells.as_slice()
                && ["PodReady", "StorageReady", "Hibernated", "RoutesReady"].contains(condition)
            {
                rows.push((*condition, *reason));
            }
        }
        let all = all();
        let missing: Vec<_> = all.iter().filter(|reason| !rows.contains(reason)).collect();
        assert!(missing.is_empty(), "docs/workspace.md lacks rows for {missing:?}");
        let gone: Vec<_> = rows.iter().filter(|row| !all.contains(row)).collect();
        assert!(
            gone.is_empty(),
            "docs/workspace.md explains what no longer exists: {gone:?}"
        );
    }
}
