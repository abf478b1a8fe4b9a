//! Two gateways with one port.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use kube::core::DynamicObject;
use serde_json::Value;

use super::{
    super::{
        gateway::{AddressSource, EntryPoint, RouteGateway, RouteGateways},
        observed::{ObservedGateway, address},
    },
    Examination, FindingReason, GatewayFinding, GatewayLook, GatewaySurroundings,
};

/// Ports that two gateways reach at the same address. Of one Service or `Gateway`, the check of the configuration refuses that.
pub(super) fn findings(gateways: &RouteGateways, surroundings: &GatewaySurroundings<'_>) -> Vec<GatewayFinding> {
    let mut claims: BTreeMap<(String, u16), Vec<(&RouteGateway, &EntryPoint)>> = BTreeMap::new();
    for gateway in gateways.all() {
        let look = surroundings.looks.get(&gateway.name);
        let observed = look.map_or(ObservedGateway::Unread, |look| observed(gateway, look));
        for entry_point in gateway.ports() {
            // A host name of the configuration may stand for several addresses.
            if let Ok(Some(place)) = address(&observed, None, entry_point, surroundings.node_addresses) {
                claims.entry(place).or_default().push((gateway, entry_point));
            }
        }
    }
    let is_shared = |claims: &&Vec<(&RouteGateway, &EntryPoint)>| claims.len() > 1;
    claims
        .values()
        .filter(is_shared)
        .flat_map(|claims| claims.iter().map(move |claim| claimed(*claim, claims, surroundings)))
        .collect()
}

fn claimed(
    (gateway, entry_point): (&RouteGateway, &EntryPoint),
    all: &[(&RouteGateway, &EntryPoint)],
    surroundings: &GatewaySurroundings<'_>,
) -> GatewayFinding {
    let others = all.iter().filter(|(other, _)| other.name != gateway.name);
    let others: Vec<_> = others
        .map(|(other, theirs)| format!("{}/{}", other.name, theirs.name))
        .collect();
    let unread = GatewayLook::default();
    let examination = Examination {
        gateway,
        look: surroundings.looks.get(&gateway.name).unwrap_or(&unread),
        surroundings,
    };
    examination.error(
        Some(entry_point),
        FindingReason::PortClaimedTwice,
        format!(
            "{} has the port {} of the same address, and both would give it out; name it in one of the two",
            others.join(", "),
            entry_point.port
        ),
    )
}

fn observed(gateway: &RouteGateway, look: &GatewayLook) -> ObservedGateway {
    let read = |object: &Value| -> Option<ObservedGateway> {
        Some(match gateway.address_source()? {
            AddressSource::Service(..) => {
                ObservedGateway::of_service(serde_json::from_value::<Service>(object.clone()).ok()?)
            }
            AddressSource::Gateway(..) => {
                ObservedGateway::of_gateway(&serde_json::from_value::<DynamicObject>(object.clone()).ok()?)
            }
        })
    };
    look.source.found().and_then(read).unwrap_or_default()
}
