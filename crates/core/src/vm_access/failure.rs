//! The reasons and messages of conditions for writes and calls that did not succeed.

use super::reason::{ServicesReason, VirtualMachineReason};
use crate::failure::{Failure, FailureKind};

pub(super) fn of_virtual_machine(failure: &Failure) -> (VirtualMachineReason, String) {
    use VirtualMachineReason as Reason;
    let said = &failure.message;
    match failure.kind {
        FailureKind::NotOwned => (Reason::VirtualMachineTaken, said.clone()),
        FailureKind::Rejected | FailureKind::NodePortInUse(_) => (
            Reason::Rejected,
            format!("The VirtualMachine was refused: {said}. Change spec.virtualMachine.template as it says."),
        ),
        FailureKind::QuotaExceeded => (Reason::QuotaExceeded, quota(said)),
        FailureKind::Forbidden => (Reason::Forbidden, forbidden(said)),
        FailureKind::NamespaceTerminating => (Reason::NamespaceTerminating, said.clone()),
        FailureKind::Unavailable => (Reason::ApiUnavailable, unavailable(said)),
    }
}

pub(super) fn of_service(failure: &Failure) -> (ServicesReason, String) {
    use ServicesReason as Reason;
    let said = &failure.message;
    match failure.kind {
        FailureKind::NotOwned => (Reason::ServiceTaken, said.clone()),
        FailureKind::NodePortInUse(port) => (
            Reason::NodePortInUse,
            format!(
                "node port {port} belongs to another Service of the cluster; choose another nodePort, or leave it out \
                 to get a free one. `kubectl get services -A | grep {port}` shows the holder."
            ),
        ),
        FailureKind::Rejected => (
            Reason::Rejected,
            format!("it was refused: {said}. Change the entry in spec.services as it says."),
        ),
        FailureKind::QuotaExceeded => (Reason::QuotaExceeded, quota(said)),
        FailureKind::Forbidden => (Reason::Forbidden, forbidden(said)),
        FailureKind::NamespaceTerminating => (Reason::NamespaceTerminating, said.clone()),
        FailureKind::Unavailable => (Reason::ApiUnavailable, unavailable(said)),
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
    format!("The API server did not do it: {said}. It is tried again.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_port_clash_is_told_from_other_refusals() {
        let clash = "Service \"web-ssh\" is invalid: spec.ports[0].nodePort: Invalid value: 30022: provided port is already allocated";
        let clash = Failure::new(FailureKind::NodePortInUse(30022), clash);
        assert!(!clash.needs_spec_change(), "it heals when the holder goes");
        let (reason, message) = of_service(&clash);
        assert_eq!(reason, ServicesReason::NodePortInUse);
        assert!(message.contains("30022"));

        let range = "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767";
        let (reason, message) = of_service(&Failure::new(FailureKind::Rejected, range));
        assert_eq!(reason, ServicesReason::Rejected);
        assert!(message.contains("30000-32767"));
    }
}
