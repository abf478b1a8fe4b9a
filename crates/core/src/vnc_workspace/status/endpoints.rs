//! `RoutesReady`, and where the desktop is reached.

use novasphere_crd::{ServiceType, WorkspaceEndpoints, condition as types};

use super::{
    super::{SSH_PORT, VNC_PORT, reason::RoutesReason},
    Observed,
};
use crate::{condition::NewCondition, service_ports::port};

pub(super) fn routes(observed: &Observed<'_>) -> NewCondition {
    let type_ = types::ROUTES_READY;
    if observed.workspace.spec.routes.is_empty() {
        return NewCondition::new_true(type_, RoutesReason::NoRoutes, "No route is wanted.");
    }
    let names: Vec<_> = observed
        .workspace
        .spec
        .routes
        .iter()
        .map(|route| route.name.as_str())
        .collect();
    NewCondition::new_false(
        type_,
        RoutesReason::NoGatewayConfigured,
        format!(
            "No gateway is configured for the controller, so these routes lead nowhere: {}. Remove spec.routes, and use spec.service of \
             type NodePort or LoadBalancer.",
            names.join(", ")
        ),
    )
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
        ServiceType::LoadBalancer => {
            let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
            let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref()?.first().cloned());
            ingress.and_then(|ingress| ingress.ip.or(ingress.hostname))
        }
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
