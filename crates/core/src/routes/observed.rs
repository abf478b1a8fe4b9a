//! What the cluster says of a gateway: its addresses and ports.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::core::v1::{Service, ServiceSpec, ServiceStatus},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::core::DynamicObject;
use serde_json::{Value, json};

use super::{
    gateway::{AddressSource, EntryPoint, RouteGateway},
    reason::RoutesReason,
};
use crate::{
    balancer,
    service_ports::{node_port, ports},
};

/// The object whose status has the addresses of a gateway.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ObservedGateway {
    /// It was not looked at yet.
    #[default]
    Unread,
    /// The controller may not read it: what the apiserver says.
    Denied(String),
    /// It does not exist.
    Missing,
    /// The Service in front of the gateway.
    Service(Arc<Service>),
    /// The `Gateway`.
    Gateway(Arc<DynamicObject>),
}

impl ObservedGateway {
    /// What is read of a Service. The rest would be news of nothing.
    #[must_use]
    pub fn of_service(service: Service) -> Self {
        let spec = service.spec.unwrap_or_default();
        let balancer = service.status.and_then(|status| status.load_balancer);
        Self::Service(Arc::new(Service {
            metadata: ObjectMeta {
                name: service.metadata.name,
                ..ObjectMeta::default()
            },
            spec: Some(ServiceSpec {
                type_: spec.type_,
                ports: spec.ports,
                cluster_ip: spec.cluster_ip,
                selector: spec.selector,
                ..ServiceSpec::default()
            }),
            status: Some(ServiceStatus {
                load_balancer: balancer,
                ..ServiceStatus::default()
            }),
        }))
    }

    /// What is read of a `Gateway`. Its status counts the routes, too, so it changes with each of them.
    #[must_use]
    pub fn of_gateway(gateway: &DynamicObject) -> Self {
        let at = |pointer: &str| gateway.data.pointer(pointer).cloned().unwrap_or_default();
        let listeners = gateway.data.pointer("/status/listeners").and_then(Value::as_array);
        let condition = |condition: &Value| {
            let field = |name: &str| condition.get(name).cloned().unwrap_or_default();
            json!({
                "type": field("type"), "status": field("status"), "reason": field("reason"), "message": field("message"),
            })
        };
        let listener = |listener: &Value| {
            let conditions = listener.get("conditions").and_then(Value::as_array);
            let conditions: Vec<_> = conditions.into_iter().flatten().map(condition).collect();
            json!({"name": listener.get("name"), "conditions": conditions})
        };
        let listeners: Vec<_> = listeners.into_iter().flatten().map(listener).collect();
        Self::Gateway(Arc::new(DynamicObject {
            types: None,
            metadata: ObjectMeta {
                name: gateway.metadata.name.clone(),
                ..ObjectMeta::default()
            },
            data: json!({
                "spec": {"listeners": at("/spec/listeners")},
                "status": {"addresses": at("/status/addresses"), "listeners": listeners},
            }),
        }))
    }
}

/// Pods of a gateway, for a `NetworkPolicy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePeer {
    /// Their namespace.
    pub namespace: String,
    /// Their labels; all Pods of the namespace when there are none.
    pub labels: BTreeMap<String, String>,
}

/// The Pods of a gateway: those that its Service selects; all of their namespace where that cannot be told. Before the Service was looked at, and
/// without one, none: a policy is not opened wider than it will be.
#[must_use]
pub fn peer(gateway: &RouteGateway, observed: &ObservedGateway) -> Option<RoutePeer> {
    let all_of = |namespace: String| RoutePeer {
        namespace,
        labels: BTreeMap::new(),
    };
    if let Some(namespace) = &gateway.pod_namespace {
        return Some(all_of(namespace.clone()));
    }
    match (gateway.address_source()?, observed) {
        (AddressSource::Service(..), ObservedGateway::Unread | ObservedGateway::Missing) => None,
        (AddressSource::Service(namespace, _), ObservedGateway::Service(service)) => {
            let selector = service.spec.as_ref().and_then(|spec| spec.selector.clone());
            Some(RoutePeer {
                namespace,
                labels: selector.unwrap_or_default(),
            })
        }
        (AddressSource::Service(namespace, _) | AddressSource::Gateway(namespace, _), _) => Some(all_of(namespace)),
    }
}

/// What a gateway lacks for an entry point.
pub type Lack = (RoutesReason, String);

/// Where clients reach an entry point, or what the gateway lacks for that.
///
/// # Errors
///
/// The reason, and what to do.
pub fn address(
    observed: &ObservedGateway,
    host: Option<&str>,
    entry_point: &EntryPoint,
    node_addresses: &[String],
) -> Result<Option<(String, u16)>, Lack> {
    let (found, port) = match observed {
        // Without the right to read it, routes work all the same, where the configuration says what their address is.
        ObservedGateway::Unread | ObservedGateway::Denied(_) if host.is_some() => {
            return Ok(host.map(|host| (host.to_owned(), entry_point.port)));
        }
        ObservedGateway::Unread => return Ok(None),
        ObservedGateway::Denied(said) => {
            return Err((
                RoutesReason::Forbidden,
                format!(
                    "the controller may not read the gateway's Service or Gateway, so nobody is told the address: {said}. Give it the Role \
                     for gateways (docs/gateways.md), or set host of the gateway in its configuration"
                ),
            ));
        }
        ObservedGateway::Missing => {
            return Err((
                RoutesReason::GatewayNotFound,
                "the gateway's Service or Gateway, as the controller's configuration names it, does not exist"
                    .to_owned(),
            ));
        }
        ObservedGateway::Service(service) => of_service(service, entry_point, node_addresses)?,
        ObservedGateway::Gateway(gateway) => (of_gateway(gateway, entry_point)?, entry_point.port),
    };
    match (host, found) {
        (Some(host), _) => Ok(Some((host.to_owned(), entry_point.port))),
        (None, Some(found)) => Ok(Some((found, port))),
        (None, None) => Err((
            RoutesReason::AddressPending,
            "the cluster has given the gateway no address yet. A cloud provider, MetalLB or K3s' ServiceLB does that; without one, \
             set host of the gateway in the controller's configuration"
                .to_owned(),
        )),
    }
}

fn of_service(
    service: &Service,
    entry_point: &EntryPoint,
    node_addresses: &[String],
) -> Result<(Option<String>, u16), Lack> {
    let port = ports(service)
        .iter()
        .find(|port| port.port == i32::from(entry_point.port));
    let Some(port) = port else {
        return Err((
            RoutesReason::EntryPointNotFound,
            format!(
                "the gateway's Service {} has no port {} for the entry point {}; expose it there (docs/gateways.md), or correct the \
                 controller's configuration",
                service.metadata.name.as_deref().unwrap_or_default(),
                entry_point.port,
                entry_point.name
            ),
        ));
    };
    let spec = service.spec.as_ref();
    Ok(match spec.and_then(|spec| spec.type_.as_deref()) {
        Some("LoadBalancer") => (balancer::addresses(service).into_iter().next(), entry_point.port),
        Some("NodePort") => (
            node_addresses.first().cloned(),
            node_port(port).unwrap_or(entry_point.port),
        ),
        _ => {
            let cluster_ip = spec.and_then(|spec| spec.cluster_ip.clone());
            (
                cluster_ip.filter(|address| !address.is_empty() && address != "None"),
                entry_point.port,
            )
        }
    })
}

fn of_gateway(gateway: &DynamicObject, entry_point: &EntryPoint) -> Result<Option<String>, Lack> {
    let list = |pointer: &str| {
        let found = gateway.data.pointer(pointer).and_then(Value::as_array);
        found.map(Vec::as_slice).unwrap_or_default()
    };
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let is_named = |listener: &&Value| listener.get("name").and_then(Value::as_str) == Some(&entry_point.name);
    let Some(listener) = list("/spec/listeners").iter().find(is_named) else {
        return Err((
            RoutesReason::EntryPointNotFound,
            format!(
                "the Gateway {} has no listener {}; add it there, or correct the controller's configuration",
                gateway.metadata.name.as_deref().unwrap_or_default(),
                entry_point.name
            ),
        ));
    };
    if let Some(port) = listener.get("port").and_then(Value::as_u64)
        && port != u64::from(entry_point.port)
    {
        return Err((
            RoutesReason::EntryPointNotFound,
            format!(
                "the listener {} has port {port} and the controller's configuration says {}; correct one of the two",
                entry_point.name, entry_point.port
            ),
        ));
    }
    let status = list("/status/listeners").iter().find(is_named);
    let conditions = status.and_then(|status| status.get("conditions")?.as_array());
    let refused = conditions.into_iter().flatten().find(|condition| {
        let type_ = text(condition, "type").unwrap_or_default();
        let status = text(condition, "status").unwrap_or_default();
        ["Accepted", "Programmed", "ResolvedRefs"].contains(&type_.as_str()) && status == "False"
    });
    if let Some(condition) = refused {
        return Err((
            RoutesReason::EntryPointNotFound,
            format!(
                "the listener {} does not work: {}: {}",
                entry_point.name,
                text(condition, "reason").unwrap_or_default(),
                text(condition, "message").unwrap_or_default()
            ),
        ));
    }
    let addresses = list("/status/addresses").iter();
    let addresses = addresses.filter_map(|address| text(address, "value"));
    Ok(balancer::sorted(addresses).into_iter().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &[&str] = &["192.0.2.1"];

    fn entry_point() -> EntryPoint {
        EntryPoint {
            name: "vnc-0".to_owned(),
            port: 5900,
            listen_port: None,
        }
    }

    fn found(observed: &ObservedGateway, host: Option<&str>) -> Result<Option<(String, u16)>, Lack> {
        let nodes: Vec<_> = NODES.iter().map(|node| (*node).to_owned()).collect();
        address(observed, host, &entry_point(), &nodes)
    }

    fn service(spec: &Value, ingress: &Value) -> ObservedGateway {
        let service = json!({
            "metadata": {"name": "traefik"},
            "spec": spec,
            "status": {"loadBalancer": {"ingress": ingress}},
        });
        ObservedGateway::of_service(serde_json::from_value(service).unwrap())
    }

    #[test]
    fn clients_use_what_the_service_offers() {
        let port = json!([{"name": "vnc-0", "port": 5900, "nodePort": 30900}]);
        let balanced = |ingress: &Value| service(&json!({"type": "LoadBalancer", "ports": port}), ingress);
        let at = |host: &str, port| Ok(Some((host.to_owned(), port)));
        assert_eq!(
            found(&balanced(&json!([{"ip": "203.0.113.7"}])), None),
            at("203.0.113.7", 5900)
        );
        assert_eq!(
            found(&balanced(&json!([{"hostname": "lb.example.org"}])), None),
            at("lb.example.org", 5900)
        );
        assert_eq!(
            found(&balanced(&json!([])), Some("gw.example.org")),
            at("gw.example.org", 5900)
        );
        assert_eq!(
            found(&balanced(&json!([])), None).unwrap_err().0,
            RoutesReason::AddressPending
        );
        let on_nodes = service(&json!({"type": "NodePort", "ports": port}), &json!([]));
        assert_eq!(found(&on_nodes, None), at("192.0.2.1", 30900));
        let inside = service(&json!({"clusterIP": "10.0.0.9", "ports": port}), &json!([]));
        assert_eq!(found(&inside, None), at("10.0.0.9", 5900));
    }

    /// Else every route would be told another address after each change of the list.
    #[test]
    fn the_address_does_not_depend_on_the_order_of_the_list() {
        let port = json!([{"name": "vnc-0", "port": 5900}]);
        let balanced = |ingress: &[Value]| service(&json!({"type": "LoadBalancer", "ports": port}), &json!(ingress));
        let mut all = vec![
            json!({"hostname": "a.example.org"}),
            json!({"ip": "2001:db8::1"}),
            json!({"ip": "192.0.2.20"}),
            json!({"ip": "192.0.2.3"}),
        ];
        for _ in 0..all.len() {
            all.rotate_left(1);
            let expected = Ok(Some(("192.0.2.3".to_owned(), 5900)));
            assert_eq!(found(&balanced(&all), None), expected, "{all:?}");
        }
        let listener = json!({"name": "vnc-0", "port": 5900, "protocol": "TCP"});
        for addresses in [["192.0.2.9", "192.0.2.10"], ["192.0.2.10", "192.0.2.9"]] {
            let values: Vec<_> = addresses.iter().map(|value| json!({"value": value})).collect();
            let gateway = json!({
                "metadata": {"name": "consoles"},
                "spec": {"listeners": [listener]},
                "status": {"addresses": values},
            });
            let gateway = ObservedGateway::of_gateway(&serde_json::from_value(gateway).unwrap());
            assert_eq!(found(&gateway, None), Ok(Some(("192.0.2.9".to_owned(), 5900))));
        }
    }

    #[test]
    fn a_policy_is_opened_for_the_pods_of_the_gateway_and_not_before_they_are_known() {
        let gateway = |settings: Value| -> RouteGateway { serde_json::from_value(settings).unwrap() };
        let traefik = gateway(json!({"name": "edge", "traefik": {"namespace": "kube-system", "service": "traefik"}}));
        let found = service(&json!({"selector": {"app": "traefik"}}), &json!([]));
        let labels = |observed: &ObservedGateway| {
            let peer = peer(&traefik, observed)?;
            assert_eq!(peer.namespace, "kube-system");
            Some(peer.labels.len())
        };
        assert_eq!(labels(&found), Some(1));
        assert_eq!(labels(&ObservedGateway::Unread), None);
        assert_eq!(labels(&ObservedGateway::Missing), None);
        // It may be there, and nobody may look.
        assert_eq!(labels(&ObservedGateway::Denied("no".to_owned())), Some(0));
        let named = RouteGateway {
            pod_namespace: Some("edge".to_owned()),
            ..traefik.clone()
        };
        assert_eq!(peer(&named, &ObservedGateway::Unread).unwrap().namespace, "edge");
        let api = gateway(json!({"name": "api", "gatewayApi": {"namespace": "infra", "gateway": "consoles"}}));
        assert_eq!(peer(&api, &ObservedGateway::Unread).unwrap().namespace, "infra");
    }

    #[test]
    fn a_port_that_is_not_exposed_is_told() {
        let other = service(
            &json!({"type": "LoadBalancer", "ports": [{"port": 80}]}),
            &json!([{"ip": "203.0.113.7"}]),
        );
        let (reason, message) = found(&other, Some("gw.example.org")).unwrap_err();
        assert_eq!(reason, RoutesReason::EntryPointNotFound);
        assert!(message.contains("Service traefik has no port 5900"), "{message}");
        assert_eq!(
            found(&ObservedGateway::Missing, None).unwrap_err().0,
            RoutesReason::GatewayNotFound
        );
        assert_eq!(found(&ObservedGateway::Unread, None), Ok(None));
        let denied = ObservedGateway::Denied("services is forbidden".to_owned());
        let (reason, message) = found(&denied, None).unwrap_err();
        assert_eq!(reason, RoutesReason::Forbidden);
        assert!(message.contains("services is forbidden"), "{message}");
        assert_eq!(
            found(&denied, Some("gw.example.org")),
            Ok(Some(("gw.example.org".to_owned(), 5900)))
        );
    }

    fn gateway(listener: &Value, conditions: &Value) -> ObservedGateway {
        let gateway = json!({
            "metadata": {"name": "consoles"},
            "spec": {"listeners": [listener]},
            "status": {
                "addresses": [{"type": "IPAddress", "value": "203.0.113.7"}],
                "listeners": [{"name": "vnc-0", "conditions": conditions}],
            },
        });
        ObservedGateway::of_gateway(&serde_json::from_value(gateway).unwrap())
    }

    #[test]
    fn a_gateway_tells_its_addresses_and_what_is_wrong_with_a_listener() {
        let listener = json!({"name": "vnc-0", "port": 5900, "protocol": "TCP"});
        let good = gateway(&listener, &json!([{"type": "Programmed", "status": "True"}]));
        assert_eq!(found(&good, None), Ok(Some(("203.0.113.7".to_owned(), 5900))));
        let bad = json!([{"type": "Accepted", "status": "False", "reason": "PortUnavailable", "message": "no such entry point"}]);
        let (reason, message) = found(&gateway(&listener, &bad), None).unwrap_err();
        assert_eq!(reason, RoutesReason::EntryPointNotFound);
        assert!(message.contains("PortUnavailable: no such entry point"), "{message}");
        let other = gateway(&json!({"name": "other", "port": 5900}), &json!([]));
        assert!(found(&other, None).unwrap_err().1.contains("no listener vnc-0"));
        let moved = gateway(&json!({"name": "vnc-0", "port": 5901}), &json!([]));
        assert!(found(&moved, None).unwrap_err().1.contains("has port 5901"));
    }
}
