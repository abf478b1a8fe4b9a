//! The ports of a Service, as all kinds read them.

use k8s_openapi::api::core::v1::{Service, ServicePort};

/// The ports.
#[must_use]
pub fn ports(service: &Service) -> &[ServicePort] {
    service
        .spec
        .as_ref()
        .and_then(|spec| spec.ports.as_deref())
        .unwrap_or_default()
}

/// The port of a name.
#[must_use]
pub fn port<'a>(service: &'a Service, name: &str) -> Option<&'a ServicePort> {
    ports(service).iter().find(|port| port.name.as_deref() == Some(name))
}

/// The port on nodes; 0 stands for none.
#[must_use]
pub fn node_port(port: &ServicePort) -> Option<u16> {
    u16::try_from(port.node_port?).ok().filter(|port| *port != 0)
}
