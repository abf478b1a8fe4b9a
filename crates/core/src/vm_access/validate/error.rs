//! Why a `VmAccess` is invalid.

use std::borrow::Cow;

use novasphere_crd::RAW_OBJECT_BYTES_LIMIT;

use crate::name::NameError;

/// Why a `VmAccess` is invalid until a user changes it.
///
/// Most of these are refused at admission already, by the rules in the schema; they are checked here as well, because an
/// object may be older than a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidateError {
    /// The object has no name, namespace or UID.
    #[error("the object has no name, namespace or UID: it does not come from an apiserver")]
    NoIdentity,
    /// Not exactly one of several fields is given.
    #[error("{field}: give exactly one of {options}")]
    NotExactlyOne {
        /// The object with the fields.
        field: String,
        /// The fields.
        options: &'static str,
    },
    /// A name is malformed.
    #[error("{field}: {source}")]
    Name {
        /// Where it stands.
        field: Cow<'static, str>,
        /// What is wrong.
        source: NameError,
    },
    /// A field is given together with one that excludes it.
    #[error("{field}: {problem}")]
    Excluded {
        /// Where it stands.
        field: Cow<'static, str>,
        /// What excludes it, and what to do.
        problem: &'static str,
    },
    /// An override of a field that novasphere decides.
    #[error("spec.virtualMachine.template.overrides.{field}: {problem}")]
    Override {
        /// The field.
        field: String,
        /// Why it may not be overridden, and what to do.
        problem: &'static str,
    },
    /// The machine would read what is not shared with machines.
    #[error(
        "{field}: there is no {kind} {name} with the label novasphere.io/shared-with-machines=true in this namespace; make or label it, \
         or ask a user who may change it to do so"
    )]
    NotShared {
        /// The field of the `VmAccess`.
        field: String,
        /// The kind of the object.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The machine would use or copy the home of a workspace.
    #[error("{field}: the {kind} {name} holds the home of a workspace, which no machine reads; name another one")]
    HomeOfWorkspace {
        /// The field of the `VmAccess`.
        field: String,
        /// The kind of the object.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The machine asks for what no machine gets.
    #[error("{field}: {problem}")]
    Refused {
        /// The field of the `VmAccess`.
        field: String,
        /// Why not, and what to do.
        problem: &'static str,
    },
    /// The machine asks for what the administrator has not allowed.
    #[error(
        "{field}: {value:?} is not allowed for machines; remove it, or ask the administrator to add it to controller.machines.{setting} in \
         the configuration"
    )]
    NotAllowed {
        /// The field of the `VmAccess`.
        field: String,
        /// What it asks for.
        value: String,
        /// The setting that would allow it.
        setting: &'static str,
    },
    /// A free field that is larger than what is kept.
    #[error(
        "{field}: {bytes} bytes are more than the {RAW_OBJECT_BYTES_LIMIT} that novasphere keeps of it; shorten it"
    )]
    TooLarge {
        /// The field of the `VmAccess`.
        field: String,
        /// How large it is.
        bytes: u64,
    },
    /// SSH keys cannot be put into the user data.
    #[error("spec.virtualMachine.template.sshAuthorizedKeys: {0}")]
    SshKeys(&'static str),
    /// The user data is longer than `KubeVirt` takes.
    #[error(
        "spec.virtualMachine.template.cloudInit: user data and SSH keys make {length} bytes together, and KubeVirt takes \
         {} inline; put all of it into a Secret under the key userdata and name that in cloudInit.secretRef",
        super::cloud_init::USER_DATA_BYTES_LIMIT
    )]
    UserDataTooLong {
        /// How long it is, in bytes.
        length: usize,
    },
    /// Services are wanted, and the machine is not on the Pod network.
    #[error(
        "spec.services: Services reach a guest by the Pod network, and the template has none; add `{{name: default, pod: {{}}}}` \
         to spec.virtualMachine.template.networks"
    )]
    NoPodNetwork,
    /// A Service would have an annotation that it may not have.
    #[error("spec.services[{service}].annotations: {key:?} {problem}")]
    ServiceAnnotation {
        /// The service's name.
        service: String,
        /// The annotation.
        key: String,
        /// Why not, and what to do.
        problem: &'static str,
    },
    /// A route leads to a service or port that is not there.
    #[error(
        "spec.routes[{route}]: spec.services has no TCP port {port} in a service {service:?}; correct one of the two"
    )]
    RouteTarget {
        /// The route's name.
        route: String,
        /// The service that it names.
        service: String,
        /// The port that it names.
        port: u16,
    },
}

/// Which condition an error belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// `VirtualMachineReady`.
    VirtualMachine,
    /// `ServicesReady`.
    Services,
    /// `RoutesReady`.
    Routes,
}

impl ValidateError {
    /// One word for the condition, the event and the metric.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        "InvalidSpec"
    }

    /// Whether it may become valid without a change of the spec.
    #[must_use]
    pub const fn may_recover(&self) -> bool {
        matches!(self, Self::NotShared { .. } | Self::HomeOfWorkspace { .. })
    }

    /// Which condition it belongs to.
    #[must_use]
    pub fn part(&self) -> Part {
        match self {
            Self::NoPodNetwork | Self::ServiceAnnotation { .. } => Part::Services,
            Self::RouteTarget { .. } => Part::Routes,
            _ => Part::VirtualMachine,
        }
    }
}
