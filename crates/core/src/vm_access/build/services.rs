//! Services to ports of a guest.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use novasphere_crd::AccessServicePort;

use super::super::validated::ValidatedService;
use crate::{
    label::{Component, Owner},
    name::launcher_pod_selector,
    service,
};

/// The Service object of a service.
pub(super) fn build(owner: &Owner, machine: &str, service: &ValidatedService) -> Service {
    Service {
        metadata: ObjectMeta {
            name: Some(service.object_name.to_string()),
            namespace: Some(owner.namespace.clone()),
            labels: Some(owner.labels(Component::Service)),
            annotations: service::annotations(&service.settings),
            owner_references: Some(vec![owner.reference()]),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            selector: Some(launcher_pod_selector(machine)),
            ports: Some(service.ports.iter().map(port).collect()),
            ..service::spec(service.service_type, &service.settings)
        }),
        status: None,
    }
}

fn port(port: &AccessServicePort) -> ServicePort {
    ServicePort {
        name: Some(port.name.clone()),
        port: port.port.into(),
        target_port: Some(IntOrString::Int(port.target_port.unwrap_or(port.port).into())),
        node_port: port.node_port.map(Into::into),
        protocol: Some(port.protocol.as_str().to_owned()),
        app_protocol: None,
    }
}
