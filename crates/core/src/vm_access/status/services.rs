//! `ServicesReady` and `status.services`.

use k8s_openapi::api::core::v1::{Service, ServicePort};
use novasphere_crd::{
    AccessServicePortStatus, AccessServiceStatus, PortProtocol, ServiceType, VmAccessStatus, condition as types,
};
use serde_json::Value;

use super::{
    super::{
        failure::of_service,
        hardware::{PortObstacle, port_obstacle},
        observed::LiveMachine,
        reason::ServicesReason,
        validate::Part,
        validated::ValidatedService,
    },
    Observed, invalid,
};
use crate::{balancer, child::ChildOutcome, condition::NewCondition, service_ports::ports};

/// How many addresses of a Service the status has at most.
const ADDRESSES_LIMIT: usize = 32;

/// `ServicesReady`.
pub(super) fn finding(observed: &Observed<'_>, live: LiveMachine<'_>) -> NewCondition {
    let type_ = types::SERVICES_READY;
    let vm_access = match observed.validated {
        Err(error) => return invalid(type_, error, Part::Services, ServicesReason::InvalidSpec),
        Ok(vm_access) => vm_access,
    };
    if vm_access.services.is_empty() {
        return NewCondition::new_true(type_, ServicesReason::NoServices, "No Service is wanted.");
    }
    let machine = live.machine.and_then(|machine| machine.spec.as_ref());
    let machine = machine.map(novasphere_foreign::CompactJson::to_value);
    let problems: Vec<_> = vm_access
        .services
        .iter()
        .filter_map(|service| problem(observed, service).or_else(|| not_reached(machine.as_ref()?, service)))
        .collect();
    match problems.first() {
        None => NewCondition::new_true(
            type_,
            ServicesReason::AllReady,
            "All Services exist and have addresses.",
        ),
        Some((reason, _)) => {
            let messages: Vec<_> = problems.iter().map(|(_, message)| message.as_str()).collect();
            NewCondition::new_false(type_, *reason, messages.join(" "))
        }
    }
}

fn problem(observed: &Observed<'_>, service: &ValidatedService) -> Option<(ServicesReason, String)> {
    let (reason, message) = match applied(observed, &service.name) {
        None | Some(ChildOutcome::NotTried) => (ServicesReason::ApiUnavailable, "it was not applied yet.".to_owned()),
        Some(ChildOutcome::Failed(failure)) => of_service(failure),
        Some(ChildOutcome::Applied(live)) if service.service_type == ServiceType::LoadBalancer && balancer::addresses(live).is_empty() => (
            ServicesReason::LoadBalancerPending,
            "the cluster has given it no address yet. A cloud provider, MetalLB or K3s' ServiceLB does that; without one, use \
             type NodePort."
                .to_owned(),
        ),
        Some(ChildOutcome::Applied(_)) => return None,
    };
    Some((reason, format!("Service {}: {message}", service.name)))
}

/// Why a Service that exists cannot reach the machine.
fn not_reached(machine: &Value, service: &ValidatedService) -> Option<(ServicesReason, String)> {
    let (reason, message) = match port_obstacle(machine, &service.ports)? {
        PortObstacle::NoPodNetwork => (
            ServicesReason::NoPodNetwork,
            "the machine is not on the Pod network, by which Services reach a guest. Add a network with pod: {} and an interface of its \
             name to the VirtualMachine, or remove the service."
                .to_owned(),
        ),
        PortObstacle::NotForwarded {
            interface,
            forwarded,
            missing,
        } => (
            ServicesReason::PortNotForwarded,
            format!(
                "the interface {interface} of the VirtualMachine forwards only {forwarded}, so {missing} cannot be reached. Add it to the \
                 ports of the interface, or remove that list to forward all."
            ),
        ),
    };
    Some((reason, format!("Service {}: {message}", service.name)))
}

/// `status.services`. A Service that could not be applied keeps what was known about it.
pub(super) fn details(observed: &Observed<'_>, old: &VmAccessStatus) -> Vec<AccessServiceStatus> {
    let Ok(vm_access) = observed.validated else {
        return old.services.clone();
    };
    let detail = |service: &ValidatedService| match applied(observed, &service.name) {
        Some(ChildOutcome::Applied(live)) => Some(detail(service, live, observed.node_addresses)),
        _ => old.services.iter().find(|old| old.name == service.name).cloned(),
    };
    vm_access.services.iter().filter_map(detail).collect()
}

fn applied<'a>(observed: &Observed<'a>, name: &str) -> Option<&'a ChildOutcome<Service>> {
    let service = observed.applied?.services.iter().find(|service| service.name == name)?;
    Some(&service.outcome)
}

fn detail(service: &ValidatedService, live: &Service, node_addresses: &[String]) -> AccessServiceStatus {
    let addresses = match service.service_type {
        ServiceType::ClusterIP => cluster_ips(live),
        ServiceType::NodePort => node_addresses.to_vec(),
        ServiceType::LoadBalancer => balancer::addresses(live),
    };
    let ports: Vec<_> = ports(live).iter().filter_map(port).collect();
    let first_port = ports.first().and_then(|port| match service.service_type {
        ServiceType::NodePort => port.node_port,
        ServiceType::ClusterIP | ServiceType::LoadBalancer => Some(port.port),
    });
    let endpoint = addresses
        .first()
        .zip(first_port)
        .map(|(address, port)| endpoint(address, port));
    AccessServiceStatus {
        name: service.name.clone(),
        service_name: Some(service.object_name.to_string()),
        r#type: service.service_type,
        endpoint,
        addresses: addresses.into_iter().take(ADDRESSES_LIMIT).collect(),
        ports,
    }
}

fn endpoint(address: &str, port: u16) -> String {
    if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}

fn port(port: &ServicePort) -> Option<AccessServicePortStatus> {
    Some(AccessServicePortStatus {
        name: port.name.clone().unwrap_or_default(),
        port: u16::try_from(port.port).ok()?,
        node_port: port
            .node_port
            .and_then(|port| u16::try_from(port).ok())
            .filter(|port| *port != 0),
        protocol: match port.protocol.as_deref() {
            Some("UDP") => PortProtocol::Udp,
            Some("SCTP") => PortProtocol::Sctp,
            _ => PortProtocol::Tcp,
        },
    })
}

fn cluster_ips(live: &Service) -> Vec<String> {
    let Some(spec) = &live.spec else { return Vec::new() };
    let all = spec
        .cluster_ips
        .clone()
        .or_else(|| Some(vec![spec.cluster_ip.clone()?]));
    all.into_iter()
        .flatten()
        .filter(|address| !address.is_empty() && address != "None")
        .collect()
}
