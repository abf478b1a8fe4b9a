//! Why a `VmAccess` is invalid.

use std::borrow::Cow;

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

    /// Which condition it belongs to.
    #[must_use]
    pub fn part(&self) -> Part {
        match self {
            Self::NoPodNetwork => Part::Services,
            Self::RouteTarget { .. } => Part::Routes,
            _ => Part::VirtualMachine,
        }
    }
}
