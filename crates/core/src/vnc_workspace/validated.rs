//! A `VncWorkspace` that can be carried out: names parsed, references resolved, defaults merged.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::PodSpec, apimachinery::pkg::api::resource::Quantity};
use novasphere_crd::{Cidr, EgressRule, NetworkIngress, ServiceSettings, ServiceType, VolumeAccessMode};

use super::lifecycle::ValidatedLifecycle;
use crate::{
    label::Owner,
    routes::{ValidatedRoute, observed::RoutePeer},
};

/// What is to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedWorkspace {
    /// The workspace itself.
    pub owner: Owner,
    /// The Pod, overrides laid over it.
    pub pod: PodTemplate,
    /// The public keys that SSH lets in; empty without SSH.
    pub authorized_keys: Vec<String>,
    /// The home.
    pub home: Home,
    /// The Service.
    pub service: ValidatedService,
    /// The `NetworkPolicy`.
    pub network: ValidatedNetwork,
    /// When it runs, sleeps and ends.
    pub lifecycle: ValidatedLifecycle,
    /// Snapshots of the home.
    pub backup: SnapshotPolicy,
    /// The routes.
    pub routes: Vec<ValidatedRoute>,
    /// What the annotation says that rotates credentials; empty when there is none.
    pub rotation: String,
}

impl ValidatedWorkspace {
    /// Whether it answers SSH.
    #[must_use]
    pub fn has_ssh(&self) -> bool {
        !self.authorized_keys.is_empty()
    }
}

/// A Pod without its name and owner.
#[derive(Clone, Debug, PartialEq)]
pub struct PodTemplate {
    /// Labels beside those that novasphere sets.
    pub labels: BTreeMap<String, String>,
    /// Annotations beside those that novasphere sets.
    pub annotations: BTreeMap<String, String>,
    /// Its spec. It passes Pod Security `restricted`.
    pub spec: PodSpec,
}

/// A home volume.
#[derive(Clone, Debug, PartialEq)]
pub struct Home {
    /// The claim's name.
    pub name: String,
    /// Where its contents come from.
    pub source: HomeSource,
    /// Its size.
    pub size: Quantity,
    /// Its class; the cluster's default when absent.
    pub storage_class_name: Option<String>,
    /// How nodes may mount it.
    pub access_modes: Vec<VolumeAccessMode>,
    /// Whether it is collected with its workspace.
    pub goes_along: bool,
}

/// Where the contents of a home come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HomeSource {
    /// It begins empty.
    Empty,
    /// A copy of this `VolumeSnapshot`.
    Snapshot(String),
    /// The claim is there already, left by another workspace.
    Claim,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatedService {
    /// How it is reached.
    pub service_type: ServiceType,
    /// The port on nodes for VNC that is asked for.
    pub vnc_node_port: Option<u16>,
    /// The port on nodes for SSH that is asked for.
    pub ssh_node_port: Option<u16>,
    /// How it treats its clients.
    pub settings: ServiceSettings,
}

/// Who may connect to the Pod, and to what it may connect.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedNetwork {
    /// Who may connect beside the console gateway.
    pub ingress: NetworkIngress,
    /// To what it may connect; `None` is everything but metadata addresses and [`Self::cluster_ranges`].
    pub egress: Option<Vec<EgressRule>>,
    /// Addresses of the cluster itself, which the default leaves out.
    pub cluster_ranges: Vec<Cidr>,
    /// The Pods of the gateways that carry its routes. They are known when these are planned.
    pub route_peers: Vec<RoutePeer>,
}

/// Snapshots of a home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// Take one at each hibernation.
    pub on_hibernate: bool,
    /// Take one before the workspace ends because its time is over.
    pub on_expire: bool,
    /// Take one when the workspace is deleted.
    pub on_delete: bool,
    /// The class of snapshots; the driver's default when absent.
    pub class: Option<String>,
    /// How many are kept; all when absent.
    pub keep: Option<usize>,
}
