//! Services to ports of a guest.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use novasphere_crd::{AccessServicePort, PortProtocol, ServiceType};

use super::super::validated::ValidatedService;
use crate::{
    label::{Component, Owner},
    name::launcher_pod_selector,
};

/// The Service object of a service.
pub(super) fn build(owner: &Owner, machine: &str, service: &ValidatedService) -> Service {
    let service_type = match service.service_type {
        ServiceType::ClusterIP => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    };
    let source_ranges = service
        .source_ranges
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    Service {
        metadata: ObjectMeta {
            name: Some(service.object_name.to_string()),
            namespace: Some(owner.namespace.clone()),
            labels: Some(owner.labels(Component::Service)),
            annotations: (!service.annotations.is_empty()).then(|| service.annotations.clone()),
            owner_references: Some(vec![owner.reference()]),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            type_: Some(service_type.to_owned()),
            selector: Some(launcher_pod_selector(machine)),
            ports: Some(service.ports.iter().map(port).collect()),
            // Both families where the cluster has both, the one that it has elsewhere.
            ip_family_policy: Some("PreferDualStack".to_owned()),
            load_balancer_source_ranges: (!source_ranges.is_empty()).then_some(source_ranges),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn port(port: &AccessServicePort) -> ServicePort {
    let protocol = match port.protocol {
        PortProtocol::Tcp => "TCP",
        PortProtocol::Udp => "UDP",
    };
    ServicePort {
        name: Some(port.name.clone()),
        port: port.port.into(),
        target_port: Some(IntOrString::Int(port.target_port.unwrap_or(port.port).into())),
        node_port: port.node_port.map(Into::into),
        protocol: Some(protocol.to_owned()),
        app_protocol: None,
    }
}
