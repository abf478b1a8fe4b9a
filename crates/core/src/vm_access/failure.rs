//! Writes and calls that did not succeed, in the words of the conditions.

use super::reason::{ServicesReason, VirtualMachineReason};

/// A write or call that was refused or got no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind it is.
    pub kind: FailureKind,
    /// What the apiserver, the admission webhook or `KubeVirt` said.
    pub message: String,
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// An object of this name exists and belongs to somebody else.
    NotOwned,
    /// The content is refused; the same content will be refused again.
    Rejected,
    /// A quota of the namespace is used up.
    QuotaExceeded,
    /// The controller lacks a right.
    Forbidden,
    /// The namespace is being deleted.
    NamespaceTerminating,
    /// Anything that trying again may mend.
    Unavailable,
}

impl Failure {
    /// A failure of `kind` with the words of whoever refused.
    #[must_use]
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// Whether only a change of the spec helps. A node port is free again when its holder goes.
    #[must_use]
    pub fn needs_a_change(&self) -> bool {
        self.kind == FailureKind::Rejected && node_port_in_use(&self.message).is_none()
    }

    pub(super) fn of_virtual_machine(&self) -> (VirtualMachineReason, String) {
        use VirtualMachineReason as Reason;
        let said = &self.message;
        match self.kind {
            FailureKind::NotOwned => (Reason::VirtualMachineTaken, said.clone()),
            FailureKind::Rejected => (
                Reason::Rejected,
                format!("The VirtualMachine was refused: {said}. Change spec.virtualMachine.template as it says."),
            ),
            FailureKind::QuotaExceeded => (Reason::QuotaExceeded, quota(said)),
            FailureKind::Forbidden => (Reason::Forbidden, forbidden(said)),
            FailureKind::NamespaceTerminating => (Reason::NamespaceTerminating, said.clone()),
            FailureKind::Unavailable => (Reason::ApiUnavailable, unavailable(said)),
        }
    }

    pub(super) fn of_service(&self) -> (ServicesReason, String) {
        use ServicesReason as Reason;
        let said = &self.message;
        match self.kind {
            FailureKind::NotOwned => (Reason::ServiceTaken, said.clone()),
            FailureKind::Rejected => match node_port_in_use(said) {
                Some(port) => (
                    Reason::NodePortInUse,
                    format!(
                        "node port {port} belongs to another Service of the cluster; choose another nodePort, or leave it out \
                         to get a free one. `kubectl get services -A | grep {port}` shows the holder."
                    ),
                ),
                None => (
                    Reason::Rejected,
                    format!("it was refused: {said}. Change the entry in spec.services as it says."),
                ),
            },
            FailureKind::QuotaExceeded => (Reason::QuotaExceeded, quota(said)),
            FailureKind::Forbidden => (Reason::Forbidden, forbidden(said)),
            FailureKind::NamespaceTerminating => (Reason::NamespaceTerminating, said.clone()),
            FailureKind::Unavailable => (Reason::ApiUnavailable, unavailable(said)),
        }
    }
}

fn quota(said: &str) -> String {
    format!("A quota of the namespace is used up: {said}. Raise it, or make room; it is tried again.")
}

fn forbidden(said: &str) -> String {
    format!(
        "The controller may not do this: {said}. Check its ClusterRole and the namespaces that it is installed for."
    )
}

fn unavailable(said: &str) -> String {
    format!("No success yet, it is tried again: {said}")
}

/// The node port that the apiserver says is taken, in its sentence
/// `spec.ports[0].nodePort: Invalid value: 30022: provided port is already allocated`
/// (kubernetes/kubernetes `pkg/registry/core/service/portallocator/allocator.go`, `ErrAllocated`).
fn node_port_in_use(said: &str) -> Option<u16> {
    if !said.contains("provided port is already allocated") {
        return None;
    }
    let (_, after) = said.split_once("nodePort: Invalid value: ")?;
    after
        .chars()
        .take_while(char::is_ascii_digit)
        .collect::<String>()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_port_clash_is_told_from_other_refusals() {
        let clash = "Service \"web-ssh\" is invalid: spec.ports[0].nodePort: Invalid value: 30022: provided port is already allocated";
        let clash = Failure::new(FailureKind::Rejected, clash);
        assert!(!clash.needs_a_change(), "it heals when the holder goes");
        let (reason, message) = clash.of_service();
        assert_eq!(reason, ServicesReason::NodePortInUse);
        assert!(message.contains("30022"));

        let range = "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767";
        let (reason, message) = Failure::new(FailureKind::Rejected, range).of_service();
        assert_eq!(reason, ServicesReason::Rejected);
        assert!(message.contains("30000-32767"));
    }

    #[test]
    fn only_refused_content_needs_a_change() {
        assert!(Failure::new(FailureKind::Rejected, "").needs_a_change());
        assert!(!Failure::new(FailureKind::QuotaExceeded, "").needs_a_change());
    }
}
