//! The Service of a workspace, and the ports on nodes that turn out to belong to somebody else.

use k8s_openapi::api::core::v1::Service;
use novasphere_core::{
    failure::{Failure, FailureKind},
    vnc_workspace::{
        applied::ServiceOutcome, build::build_service, node_ports::PortChoice, validated::ValidatedWorkspace,
    },
};
use novasphere_runtime::{
    apply::{Outcome, WriteError},
    lease::NotLeader,
};

use super::super::Reconciliation;
use crate::children::Children;

/// Ports tried per reconcile.
const PORT_ATTEMPTS_LIMIT: usize = 8;

/// Applies the Service. A port that we chose and that turns out to belong to another Service is left to it, and another one is chosen.
/// While no port is free the Service stays as it is: without one, the apiserver would choose any port of the cluster.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(super) async fn apply(
    of: Reconciliation<'_>,
    children: &mut Children<'_>,
    valid: &ValidatedWorkspace,
    mut desired: Service,
    mut ports: PortChoice,
) -> Result<ServiceOutcome, NotLeader> {
    let (allocator, caches) = (&of.context.node_ports, &of.context.caches);
    for _ in 0..PORT_ATTEMPTS_LIMIT {
        if let Some(port) = ports.exhausted {
            // No event says that a port is free again.
            children.retry_because("NodePortsUsedUp");
            let live = of.own_service().cloned().map(Box::new);
            // The other port of the two.
            allocator.give_back(&valid.owner.uid);
            return Ok(ServiceOutcome::NoFreePort { port, live });
        }
        let result = children.applier().apply(&desired, &caches.services).await;
        let in_use = result.as_ref().err().and_then(WriteError::node_port_in_use);
        if !in_use.is_some_and(|port| allocator.refuse(valid, port)) {
            if result.is_err() {
                allocator.give_back(&valid.owner.uid);
            }
            let outcome = children.record(&desired, result.map(Outcome::into_object))?;
            return Ok(outcome.into());
        }
        ports = allocator.allocate(valid, of.own_service(), caches);
        desired = build_service(valid, ports.ports);
    }
    allocator.give_back(&valid.owner.uid);
    children.retry_because("NodePortInUse");
    let message = "many ports on nodes in a row belong to other Services";
    Ok(ServiceOutcome::Refused(Failure::new(FailureKind::Unavailable, message)))
}
