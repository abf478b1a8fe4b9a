//! The Service to a desktop.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use novasphere_crd::ServiceType;

use super::{
    super::{KEY_WORKSPACE, SSH_PORT, VNC_PORT, node_ports::NodePorts, service_name, validated::ValidatedWorkspace},
    pod,
};
use crate::{label::Component, service};

/// The port of the Service that answers VNC; the same as in the Pod.
pub(in crate::vnc_workspace) const VNC_SERVICE_PORT: u16 = 5901;

/// The port of the Service that answers SSH, where clients look for it.
pub(in crate::vnc_workspace) const SSH_SERVICE_PORT: u16 = 22;

/// The Service of a workspace.
#[must_use]
pub fn build(workspace: &ValidatedWorkspace, ports: NodePorts) -> Service {
    let owner = &workspace.owner;
    let mut labels = owner.labels(Component::Desktop);
    labels.insert(KEY_WORKSPACE.to_owned(), owner.name.clone());
    let service = &workspace.service;
    let on_nodes = service.service_type != ServiceType::ClusterIP;
    let port = |name: &str, port: u16, node_port: Option<u16>| ServicePort {
        name: Some(name.to_owned()),
        port: port.into(),
        target_port: Some(IntOrString::String(name.to_owned())),
        node_port: node_port.filter(|_| on_nodes).map(Into::into),
        protocol: Some("TCP".to_owned()),
        app_protocol: None,
    };
    let mut all = vec![port(VNC_PORT, VNC_SERVICE_PORT, ports.vnc)];
    if workspace.has_ssh() {
        all.push(port(SSH_PORT, SSH_SERVICE_PORT, ports.ssh));
    }
    Service {
        metadata: ObjectMeta {
            name: Some(service_name(&owner.name)),
            namespace: Some(owner.namespace.clone()),
            labels: Some(labels),
            annotations: service::annotations(&service.settings),
            owner_references: Some(vec![owner.reference()]),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            selector: Some(pod::selector(owner)),
            ports: Some(all),
            ..service::spec(service.service_type, &service.settings)
        }),
        status: None,
    }
}
