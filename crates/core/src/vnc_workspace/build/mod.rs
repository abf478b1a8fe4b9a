//! [`ValidatedWorkspace`] → the objects that it wants. Nothing here can fail.

mod home;
pub mod network_policy;
pub mod pod;
mod secret;
mod service;

use k8s_openapi::api::{
    core::v1::{PersistentVolumeClaim, Pod, Secret, Service},
    networking::v1::NetworkPolicy,
};

pub(super) use self::service::{SSH_SERVICE_PORT, VNC_SERVICE_PORT};
pub use self::{
    network_policy::GatewayLocation,
    pod::{TEMPLATE_HASH_ANNOTATION, as_live, with_secret},
    secret::{ROTATED_FOR_ANNOTATION, build as build_secret},
    service::build as build_service,
};
use super::{lifecycle::LifecycleDecision, node_ports::NodePorts, validated::ValidatedWorkspace};

/// The objects to apply, in this order.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// The Secret, without its data: they are random, and made once.
    pub secret: Secret,
    /// The home.
    pub home: PersistentVolumeClaim,
    /// Who may connect.
    pub network_policy: NetworkPolicy,
    /// The way in.
    pub service: Service,
    /// The desktop; `None` while it sleeps.
    pub pod: Option<Pod>,
}

/// The objects that `workspace` wants.
#[must_use]
pub fn build(
    workspace: &ValidatedWorkspace,
    decision: &LifecycleDecision,
    ports: NodePorts,
    gateway: &GatewayLocation,
) -> Prepared {
    Prepared {
        secret: secret::build(&workspace.owner, &workspace.rotation, None),
        home: home::build(workspace),
        network_policy: network_policy::build(workspace, gateway),
        service: service::build(workspace, ports),
        pod: decision.is_awake().then(|| pod::build(workspace)),
    }
}
