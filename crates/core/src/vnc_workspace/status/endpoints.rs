//! `RoutesReady`, and where the desktop is reached.

use novasphere_crd::{RouteStatus, ServiceType, VncWorkspaceStatus, WorkspaceEndpoints, condition as types};

use super::{
    super::{SSH_PORT, VNC_PORT},
    Observed,
};
use crate::{balancer, condition::NewCondition, routes::reason::RoutesReason, service_ports::port};

pub(super) fn routes(observed: &Observed<'_>) -> NewCondition {
    let type_ = types::ROUTES_READY;
    if is_left(observed) {
        return NewCondition::new_unknown(type_, RoutesReason::RoutePending, "Nothing is done about routes now.");
    }
    observed.applied.routes.finding(type_)
}

/// `status.routes`, which stays as it is while nothing is done about routes.
pub(super) fn route_details(observed: &Observed<'_>, old: &VncWorkspaceStatus) -> Vec<RouteStatus> {
    if is_left(observed) {
        old.routes.clone()
    } else {
        observed.applied.routes.details(&old.routes)
    }
}

/// Whether routes are wanted and were not looked at: the spec is invalid, or the workspace is about to end.
fn is_left(observed: &Observed<'_>) -> bool {
    observed.applied.routes.planned.is_empty() && !observed.workspace.spec.routes.is_empty()
}

/// Where the desktop is reached from outside novasphere's gateways.
pub(super) fn endpoints(observed: &Observed<'_>) -> Option<WorkspaceEndpoints> {
    let service = observed.applied.service.service()?;
    let spec = service.spec.as_ref()?;
    let service_type = observed.workspace.spec.service.r#type;
    let address = match service_type {
        ServiceType::ClusterIP => spec
            .cluster_ip
            .clone()
            .filter(|address| !address.is_empty() && address != "None"),
        ServiceType::NodePort => observed.node_addresses.first().cloned(),
        ServiceType::LoadBalancer => balancer::addresses(service).into_iter().next(),
    };
    let at = |name: &str| {
        let port = port(service, name)?;
        let number = if service_type == ServiceType::NodePort {
            port.node_port?
        } else {
            port.port
        };
        let address = address.as_ref()?;
        Some(if address.contains(':') {
            format!("[{address}]:{number}")
        } else {
            format!("{address}:{number}")
        })
    };
    Some(WorkspaceEndpoints {
        web: None,
        vnc: at(VNC_PORT),
        ssh: at(SSH_PORT),
    })
}
