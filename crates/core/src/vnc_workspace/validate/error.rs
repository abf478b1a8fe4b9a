//! Why a `VncWorkspace` is invalid.

use novasphere_crd::RAW_OBJECT_BYTES_LIMIT;

/// Why a `VncWorkspace` is invalid until a user changes it, or something that it refers to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidateError {
    /// The object has no name, namespace or UID.
    #[error("the object has no name, namespace or UID: it does not come from an apiserver")]
    NoIdentity,
    /// An override of a field that novasphere decides.
    #[error("spec.podOverrides.{field}: {problem}")]
    Override {
        /// The field.
        field: String,
        /// Why it may not be overridden, and what to do.
        problem: &'static str,
    },
    /// A free field that is larger than what is kept.
    #[error(
        "spec.podOverrides: {0} bytes are more than the {RAW_OBJECT_BYTES_LIMIT} that novasphere keeps of it; shorten it"
    )]
    TooLarge(u64),
    /// The Pod with its overrides is none.
    #[error(
        "spec.podOverrides: the result is not a Pod: {0}. Correct the field; the names are those of a PodTemplateSpec"
    )]
    NoPod(String),
    /// Kubernetes has no such field.
    #[error("spec.podOverrides.{0}: a PodTemplateSpec has no such field; correct or remove it")]
    UnknownField(String),
    /// The Pod with its overrides would not pass Pod Security `restricted`.
    #[error(
        "spec.podOverrides: {field} would weaken Pod Security: {problem}. A desktop runs under the level restricted"
    )]
    PodSecurity {
        /// The field of the Pod.
        field: String,
        /// What it must be.
        problem: &'static str,
    },
    /// A variable that the image reads.
    #[error("spec.env[{0}]: novasphere sets this variable; remove it")]
    ReservedVariable(String),
    /// The Service would have an annotation that it may not have.
    #[error("spec.service.annotations: {key:?} {problem}")]
    ServiceAnnotation {
        /// The annotation.
        key: String,
        /// Why not, and what to do.
        problem: &'static str,
    },
    /// An end before the beginning.
    #[error(
        "spec.lifecycle.expiresAt: {expires} is before the workspace was made ({made}), so it would end at once; correct the time. Nothing is \
         made, changed or deleted before that"
    )]
    ExpiresBeforeCreation {
        /// The end.
        expires: jiff::Timestamp,
        /// The beginning.
        made: jiff::Timestamp,
    },
    /// A time zone of the desktop that is not known.
    #[error("spec.timeZone: there is no time zone {0:?} in the IANA database; write one such as Asia/Shanghai")]
    DesktopTimeZone(String),
    /// A time zone of the schedule that is not known.
    #[error(
        "spec.lifecycle.schedule.timeZone: there is no time zone {0:?} in the IANA database; write one such as Europe/Berlin"
    )]
    TimeZone(String),
    /// A cron expression with numbers out of range.
    #[error(
        "spec.lifecycle.schedule.{field}: {text:?} is not a cron expression; write minute (0-59), hour (0-23), day (1-31), month (1-12) \
         and day of week (0-7), such as 0 8 * * 1-5"
    )]
    Cron {
        /// The field.
        field: &'static str,
        /// What it says.
        text: String,
    },
    /// A time zone of the backup that is not known.
    #[error("spec.backup.timeZone: there is no time zone {0:?} in the IANA database; write one such as Europe/Berlin")]
    BackupTimeZone(String),
    /// A schedule of the backup with numbers out of range.
    #[error(
        "spec.backup.schedule: {0:?} is not a cron expression; write minute (0-59), hour (0-23), day (1-31), month (1-12) and day of week \
         (0-7), such as 0 3 * * *"
    )]
    BackupSchedule(String),
    /// A schedule of the backup that no day fulfils.
    #[error("spec.backup.schedule: {0:?} never comes, because no month has that day; correct the day or the month")]
    BackupNeverComes(String),
    /// Egress to a metadata address alone.
    #[error("spec.network.egress: {0} is a cloud's metadata address, which desktops never reach; remove the rule")]
    MetadataAddress(String),
    /// Snapshots are wanted, and the cluster does not serve them.
    #[error(
        "{0} needs volume snapshots, and the cluster does not serve snapshot.storage.k8s.io/v1; install the snapshot-controller and its \
         CRDs, or change the field"
    )]
    NoSnapshotApi(&'static str),
    /// The snapshot to restore does not exist.
    #[error(
        "spec.storage.restoreFrom: there is no VolumeSnapshot {0} in this namespace; recreate the workspace with another name"
    )]
    SnapshotNotFound(String),
    /// The snapshots of the cluster have not been listed yet.
    #[error(
        "spec.storage.restoreFrom: the snapshots of the cluster have not been listed yet, so it is not known whether there is a \
         VolumeSnapshot {0}; it is looked for again by itself"
    )]
    SnapshotsUnlisted(String),
    /// The Pod would read more than is looked at.
    #[error("spec.podOverrides: the Pod names more than {0} Secrets and claims; name fewer")]
    TooManyReferences(usize),
    /// The Pod would read a Secret that is not shared with desktops.
    #[error(
        "{field}: desktops may not read the Secret {secret}; remove the field, or ask a user who may change the Secret to label it \
         novasphere.io/shared-with-desktops=true"
    )]
    SecretNotShared {
        /// The field of the workspace.
        field: String,
        /// The Secret.
        secret: String,
    },
    /// The Pod would mount a claim that is not shared with desktops.
    #[error(
        "{field}: desktops may not mount the PersistentVolumeClaim {claim}; remove the volume, or ask a user who may change the claim to \
         label it novasphere.io/shared-with-desktops=true"
    )]
    ClaimNotShared {
        /// The field of the workspace.
        field: String,
        /// The claim.
        claim: String,
    },
    /// The Pod would mount a claim that does not exist.
    #[error(
        "{field}: there is no PersistentVolumeClaim {claim} in this namespace; correct the name, or make the claim with the label \
         novasphere.io/shared-with-desktops=true"
    )]
    VolumeNotFound {
        /// The field of the workspace.
        field: String,
        /// The claim.
        claim: String,
    },
    /// The Pod would mount the home of another workspace.
    #[error("{field}: the PersistentVolumeClaim {claim} is the home of another workspace; remove the volume")]
    HomeOfOther {
        /// The field of the workspace.
        field: String,
        /// The claim.
        claim: String,
    },
    /// The claim to take over does not exist.
    #[error(
        "spec.storage.restoreFrom: there is no PersistentVolumeClaim {0} that a workspace left in this namespace; recreate the \
         workspace with another name"
    )]
    ClaimNotFound(String),
    /// The claim to take over is the home of another workspace.
    #[error(
        "spec.storage.restoreFrom: the PersistentVolumeClaim {0} is the home of another workspace that still exists; delete that first"
    )]
    ClaimInUse(String),
}

/// Which condition an error belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// `PodReady`.
    Pod,
    /// `StorageReady`.
    Storage,
}

impl ValidateError {
    /// Which condition it belongs to.
    #[must_use]
    pub const fn part(&self) -> Part {
        match self {
            Self::NoSnapshotApi(_)
            | Self::SnapshotNotFound(_)
            | Self::SnapshotsUnlisted(_)
            | Self::ClaimNotFound(_)
            | Self::ClaimInUse(_)
            | Self::BackupTimeZone(_)
            | Self::BackupSchedule(_)
            | Self::BackupNeverComes(_) => Part::Storage,
            _ => Part::Pod,
        }
    }

    /// Whether it may become valid without a change of the spec.
    #[must_use]
    pub fn may_recover(&self) -> bool {
        matches!(
            self,
            Self::NoSnapshotApi(_)
                | Self::SnapshotNotFound(_)
                | Self::SnapshotsUnlisted(_)
                | Self::ClaimNotFound(_)
                | Self::ClaimInUse(_)
                | Self::SecretNotShared { .. }
                | Self::ClaimNotShared { .. }
                | Self::VolumeNotFound { .. }
                | Self::HomeOfOther { .. }
        )
    }
}
