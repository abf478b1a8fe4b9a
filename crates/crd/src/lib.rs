//! The three kinds of `novasphere.io/v1alpha1`: Rust types, `OpenAPI` schemas, CEL rules, defaults and conditions.
//!
//! The types do no IO. Everything that can be decided from one object alone is decided by its schema, at admission;
//! what needs other objects is decided by the controller and told as a condition.
//!
//! Conventions, the same for all kinds:
//! - a one-of is a group of optional fields with a CEL rule, because a structural schema has no tagged union;
//! - an absent field means the default that its text states; constant defaults are written by the apiserver;
//! - lists are bounded, and lists of objects are maps by key, so that server-side apply merges them.

#![allow(
    unreachable_pub,
    reason = "KubeSchema copies each struct with its visibility into a function body"
)]
#![allow(
    clippy::duplicated_attributes,
    reason = "two printed columns may well have the same type"
)]

mod bounds;
mod cidr;
pub mod condition;
mod console_policy;
mod console_session;
mod duration;
mod finished_ttl;
mod object;
mod route;
mod rule;
mod schema;
mod service;
mod vm_access;
mod vnc_workspace;

pub use cidr::{Cidr, CidrError};
pub use console_policy::{Clipboard, ConsoleInput, ConsolePolicy, ConsoleProtocol, Takeover};
pub use console_session::{
    CloseReason, Connection, ConsoleSession, ConsoleSessionSpec, ConsoleSessionStatus, DEFAULT_SESSION_DURATION, Grant,
    GrantedPolicy, LastDisconnect, ResumePlace, SessionEndpoints, SessionPhase, SessionTargetKind, SessionTargetRef,
    Transport, UserExtra,
};
pub use duration::{Duration, DurationError};
pub use finished_ttl::FinishedTtl;
pub use k8s_openapi::{
    api::core::v1::Toleration,
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{Condition, Time},
    },
};
pub use object::{RAW_OBJECT_BYTES_LIMIT, RawObject};
pub use route::{HttpRoute, RouteRule, RouteStatus, TcpRoute, TlsMode, TlsRoute};
pub use service::{
    IpFamily, IpFamilyPolicy, PortProtocol, ServiceSettings, ServiceType, SessionAffinity, TrafficPolicy,
};
pub use vm_access::{
    AccessService, AccessServicePort, AccessServicePortStatus, AccessServiceStatus, BlankSource, CloudInit,
    CloudInitType, ContainerDisk, Cpu, DataVolume, DataVolumeSource, DeletionPolicy, Disk, DiskBus, DiskDevice,
    DiskSource, EmptyDisk, GuestKeyboard, HttpSource, ImagePullPolicy, InstancetypeKind, InstancetypeMatcher,
    InterfaceStatus, MultusNetwork, Network, NetworkBinding, PersistentVolumeClaimDisk, PodNetwork, Power, PowerState,
    PreferenceKind, PreferenceMatcher, PvcSource, RegistrySource, RootDisk, Scheduling, SnapshotSource,
    VirtualMachineSource, VirtualMachineTemplate, VmAccess, VmAccessMachineStatus, VmAccessSpec, VmAccessStatus,
    VmRoute, VncServer, VolumeAccessMode, VolumeMode,
};
pub use vnc_workspace::{
    Backup, Display, EgressPort, EgressRule, EnvVar, EnvVarSource, Gpu, Hibernation, HibernationReason, KeyRef,
    Lifecycle, LifecycleState, NetworkIngress, ReclaimPolicy, RestoreFrom, Schedule, SnapshotStatus, VncWorkspace,
    VncWorkspaceSpec, VncWorkspaceStatus, WorkspaceEndpoints, WorkspaceNetwork, WorkspaceNodePorts, WorkspacePhase,
    WorkspacePort, WorkspaceResources, WorkspaceRoute, WorkspaceService, WorkspaceSsh, WorkspaceStorage,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

/// The API group of the three kinds.
pub const GROUP: &str = "novasphere.io";

/// The only version so far. It may still change incompatibly.
pub const VERSION: &str = "v1alpha1";

/// The definitions of all kinds, as they are installed in a cluster.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    [VmAccess::crd(), ConsoleSession::crd(), VncWorkspace::crd()]
        .map(schema::tidy_root)
        .into()
}
