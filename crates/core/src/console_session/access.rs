//! Who may view a console, control it, and have a token: Kubernetes RBAC decides, asked by `SubjectAccessReview`.

use k8s_openapi::api::authorization::v1::ResourceAttributes;
use novasphere_crd::{ConsoleProtocol, ConsoleSessionSpec, SessionTargetKind};

/// The API group of our subresources.
pub const SUBRESOURCES_GROUP: &str = "subresources.novasphere.io";

/// What a user wants to do with a console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConsoleRight {
    /// See it.
    View,
    /// Use keyboard, pointer, clipboard and power as well.
    Control,
}

/// The right to the console of a target.
///
/// `KubeVirt` does not tell view from control, so for a bare `VirtualMachine` or
/// `VirtualMachineInstance` both are its `get`.
#[must_use]
pub fn console_right(
    kind: SessionTargetKind,
    protocol: ConsoleProtocol,
    namespace: &str,
    name: &str,
    right: ConsoleRight,
) -> ResourceAttributes {
    let verb = match right {
        ConsoleRight::View => "get",
        ConsoleRight::Control => "update",
    };
    let (group, version, resource, subresource, verb) = match (kind, protocol) {
        (SessionTargetKind::VmAccess, _) => (
            SUBRESOURCES_GROUP,
            novasphere_crd::VERSION,
            "vmaccesses",
            "console",
            verb,
        ),
        (SessionTargetKind::VncWorkspace, _) => (
            SUBRESOURCES_GROUP,
            novasphere_crd::VERSION,
            "vncworkspaces",
            "console",
            verb,
        ),
        (SessionTargetKind::VirtualMachine | SessionTargetKind::VirtualMachineInstance, ConsoleProtocol::Vnc) => (
            "subresources.kubevirt.io",
            "v1",
            "virtualmachineinstances",
            "vnc",
            "get",
        ),
        (SessionTargetKind::VirtualMachine | SessionTargetKind::VirtualMachineInstance, ConsoleProtocol::Serial) => (
            "subresources.kubevirt.io",
            "v1",
            "virtualmachineinstances",
            "console",
            "get",
        ),
        // No session has this one. KubeVirt's own way to a machine's ssh is to forward its port.
        (SessionTargetKind::VirtualMachine | SessionTargetKind::VirtualMachineInstance, ConsoleProtocol::Ssh) => (
            "subresources.kubevirt.io",
            "v1",
            "virtualmachineinstances",
            "portforward",
            "get",
        ),
    };
    attributes(group, version, resource, subresource, verb, namespace, name)
}

/// The right to a token of a session.
#[must_use]
pub fn token_right(namespace: &str, name: &str) -> ResourceAttributes {
    attributes(
        SUBRESOURCES_GROUP,
        novasphere_crd::VERSION,
        "consolesessions",
        "token",
        "create",
        namespace,
        name,
    )
}

fn attributes(
    group: &str,
    version: &str,
    resource: &str,
    subresource: &str,
    verb: &str,
    namespace: &str,
    name: &str,
) -> ResourceAttributes {
    ResourceAttributes {
        group: Some(group.to_owned()),
        version: Some(version.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: Some(subresource.to_owned()),
        verb: Some(verb.to_owned()),
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        ..ResourceAttributes::default()
    }
}

/// Whether the session's own list lets a user have a token. Their Kubernetes rights are asked beside it.
#[must_use]
pub fn may_have_token(spec: &ConsoleSessionSpec, user: &str, groups: &[String]) -> bool {
    let is_open = spec.users.is_empty() && spec.groups.is_empty();
    is_open
        || spec.users.iter().any(|listed| listed == user)
        || spec.groups.iter().any(|listed| groups.contains(listed))
}

#[cfg(test)]
mod tests;
