//! The Service in front of a gateway.

use k8s_openapi::api::core::v1::{Service, ServicePort};
use serde_json::Value;

use super::{
    super::{
        gateway::{AddressSource, EntryPoint},
        observed::{ObservedGateway, address},
        reason::RoutesReason,
    },
    Examination, FindingReason, GatewayFinding,
};
use crate::service_ports::ports;

impl Examination<'_> {
    pub(super) fn service(&self, object: &Value, named: &AddressSource) -> Vec<GatewayFinding> {
        let Ok(service) = serde_json::from_value::<Service>(object.clone()) else {
            return vec![self.not_checked(format!("{named} cannot be read as a Service"))];
        };
        let mut findings = self.addresses(&ObservedGateway::of_service(service.clone()));
        findings.extend(self.wrong_ports(&service, named));
        findings.extend(self.hidden_clients(&service, named));
        findings
    }

    /// What stands between clients and each port.
    pub(super) fn addresses(&self, observed: &ObservedGateway) -> Vec<GatewayFinding> {
        let host = self.gateway.host.as_deref();
        let lack = |entry_point: &EntryPoint| {
            let (reason, message) = address(observed, host, entry_point, self.surroundings.node_addresses).err()?;
            // That is of the whole gateway, and told once.
            let place = (reason != RoutesReason::AddressPending).then_some(entry_point);
            Some(self.error(place, FindingReason::of_lack(reason), message))
        };
        self.gateway.ports().filter_map(lack).collect()
    }

    fn wrong_ports(&self, service: &Service, named: &AddressSource) -> Vec<GatewayFinding> {
        let wrong = |entry_point: &EntryPoint| {
            let port = port_of(service, entry_point)?;
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            (protocol != "TCP").then(|| {
                self.error(
                    Some(entry_point),
                    FindingReason::WrongProtocol,
                    format!(
                        "the port {} of {named} is of {protocol}; make it one of TCP",
                        entry_point.port
                    ),
                )
            })
        };
        self.gateway.ports().filter_map(wrong).collect()
    }

    /// Behind another policy, kube-proxy puts the node's address in place of the client's.
    fn hidden_clients(&self, service: &Service, named: &AddressSource) -> Option<GatewayFinding> {
        let spec = service.spec.as_ref()?;
        let is_outside = matches!(spec.type_.as_deref(), Some("LoadBalancer" | "NodePort"));
        (is_outside && spec.external_traffic_policy.as_deref() != Some("Local")).then(|| {
            self.warning(
                None,
                FindingReason::ClientAddressHidden,
                format!(
                    "externalTrafficPolicy of {named} is not Local, so the gateway may see the address of a node in place of the client's, and \
                     routes with allowedSourceRanges cut everybody off or let everybody in. Set it to Local, unless no route has such ranges"
                ),
            )
        })
    }
}

/// The Service's port for an entry point.
pub(super) fn port_of<'a>(service: &'a Service, entry_point: &EntryPoint) -> Option<&'a ServicePort> {
    ports(service)
        .iter()
        .find(|port| port.port == i32::from(entry_point.port))
}
