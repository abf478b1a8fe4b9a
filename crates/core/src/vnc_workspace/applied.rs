//! What became of the objects that a workspace wants.

use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};

use super::{node_ports::PortName, snapshots::PendingSnapshot};
use crate::{child::ChildOutcome, failure::Failure, routes::status::RoutesOutcome};

/// What one reconcile found and did.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The home.
    pub home: ChildOutcome<PersistentVolumeClaim>,
    /// The Service.
    pub service: ServiceOutcome,
    /// The Pod.
    pub pod: PodOutcome,
    /// How Pods ended by themselves before, while the next one has not shown that it lasts.
    pub crash_loop: Option<CrashLoop>,
    /// What else could not be applied, by its kind.
    pub failures: Vec<(&'static str, Failure)>,
    /// The snapshot that is waited for.
    pub snapshot: Option<PendingSnapshot>,
    /// The snapshot that the schedule asks for now, when there is anything to save.
    pub backup: Option<PendingSnapshot>,
    /// What became of the routes.
    pub routes: RoutesOutcome,
}

/// What became of the Pod.
#[derive(Clone, Debug, Default)]
pub enum PodOutcome {
    /// There is none: none is wanted, or it cannot be created yet.
    #[default]
    Absent,
    /// It is there, as wanted or as it was left.
    Present {
        /// The Pod.
        pod: Box<Pod>,
        /// Why it keeps its former resources.
        resize_refused: Option<Failure>,
    },
    /// An old one is being deleted.
    Ending,
    /// It ended by itself, and the next one is created after this time.
    Waiting(Duration),
    /// It could not be applied.
    Refused(Failure),
}

impl PodOutcome {
    /// A Pod that is there.
    #[must_use]
    pub fn present(pod: Pod) -> Self {
        Self::Present {
            pod: Box::new(pod),
            resize_refused: None,
        }
    }

    /// The Pod that is there.
    #[must_use]
    pub fn pod(&self) -> Option<&Pod> {
        match self {
            Self::Present { pod, .. } => Some(pod),
            Self::Absent | Self::Ending | Self::Waiting(_) | Self::Refused(_) => None,
        }
    }
}

/// What became of the Service.
#[derive(Clone, Debug, Default)]
pub enum ServiceOutcome {
    /// Nothing was tried.
    #[default]
    NotTried,
    /// It is as wanted.
    Applied(Box<Service>),
    /// All ports on nodes that the controller gives out for this port are taken.
    NoFreePort {
        /// The port.
        port: PortName,
        /// The Service as it was left.
        live: Option<Box<Service>>,
    },
    /// It could not be applied.
    Refused(Failure),
}

impl ServiceOutcome {
    /// The Service that is there.
    #[must_use]
    pub fn service(&self) -> Option<&Service> {
        match self {
            Self::Applied(service) => Some(service),
            Self::NoFreePort { live, .. } => live.as_deref(),
            Self::NotTried | Self::Refused(_) => None,
        }
    }
}

impl From<ChildOutcome<Service>> for ServiceOutcome {
    fn from(outcome: ChildOutcome<Service>) -> Self {
        match outcome {
            ChildOutcome::NotTried => Self::NotTried,
            ChildOutcome::Applied(service) => Self::Applied(Box::new(service)),
            ChildOutcome::Failed(failure) => Self::Refused(failure),
        }
    }
}

/// Pods that end by themselves, soon after they were created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrashLoop {
    /// Why the last Pod ended.
    pub message: String,
    /// How many Pods ended in a row, this one included.
    pub exits: u32,
}
