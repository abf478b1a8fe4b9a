//! Ports of a live Service of ours that must go: those that somebody else put there, and those that another Service of ours needs.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use kube::ResourceExt;
use novasphere_core::{
    label::{self, Owner},
    service_ports::{node_port, ports},
};
use novasphere_runtime::{apply::WriteError, lease::NotLeader};
use serde_json::{Value, json};

use super::Context;

/// Makes the ports of the live Service those of `desired`, when it has others after an apply that answered `applied` or was
/// refused. Returns whether it did.
///
/// Server-side apply leaves items of a list to the manager that wrote them, so a port that a person added would stay reachable, and
/// one that they changed would stay beside ours, which the apiserver refuses for ever ("Duplicate value" of the name). A
/// merge patch replaces the whole list.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(super) async fn reset_ports(
    desired: &Service,
    applied: Option<&Service>,
    owner: &Owner,
    context: &Context,
) -> Result<bool, NotLeader> {
    let namespace = desired.namespace().unwrap_or_default();
    let cached = context.caches.services.get(&namespace, &desired.name_any());
    let Some(live) = applied.or(cached.as_deref()) else {
        return Ok(false);
    };
    let ours = label::owner_uid(&live.metadata) == Some(&owner.uid) && live.metadata.deletion_timestamp.is_none();
    if !ours || !has_others(ports(live), ports(desired)) {
        return Ok(false);
    }
    tracing::info!(namespace, name = desired.name_any(), "resetting the ports of a Service");
    patch_spec(live, json!({"ports": ports(desired)}), context).await
}

/// Makes a live Service of ours give up these node ports, which other Services of ours need. Applying it afterwards gives it what
/// it is to have.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(super) async fn free_node_ports(
    live: &Service,
    node_ports: &BTreeSet<u16>,
    context: &Context,
) -> Result<(), NotLeader> {
    tracing::info!(
        namespace = live.namespace(),
        name = live.name_any(),
        ?node_ports,
        "moving node ports between Services"
    );
    patch_spec(live, without(live, node_ports), context).await?;
    Ok(())
}

/// The spec that has none of `node_ports`. A Service keeps at least one port; the last one is taken off the nodes.
fn without(live: &Service, node_ports: &BTreeSet<u16>) -> Value {
    let is_freed = |port: &&ServicePort| node_port(port).is_some_and(|port| node_ports.contains(&port));
    let kept: Vec<_> = ports(live).iter().filter(|port| !is_freed(port)).collect();
    if !kept.is_empty() {
        return json!({ "ports": kept });
    }
    let off_nodes = ports(live).iter().map(|port| ServicePort {
        node_port: None,
        ..port.clone()
    });
    // Source ranges are for load balancers alone.
    json!({"type": "ClusterIP", "ports": off_nodes.collect::<Vec<_>>(), "loadBalancerSourceRanges": null})
}

/// Replaces fields of the spec of `live`, lists as a whole. Returns whether that succeeded.
async fn patch_spec(live: &Service, spec: Value, context: &Context) -> Result<bool, NotLeader> {
    let patch = json!({ "spec": spec });
    match context
        .applier
        .merge_unchanged(live, patch, &context.caches.services)
        .await
    {
        Ok(_) => Ok(true),
        Err(WriteError::NotLeader(lost)) => Err(lost),
        Err(error) => {
            tracing::info!(name = live.name_any(), %error, "the ports were not changed");
            Ok(false)
        }
    }
}

/// Whether `live` has a port that is none of `desired`. The apiserver identifies a port by number and protocol
/// (k8s.io/api/core/v1/types.go, `ServiceSpec.Ports`).
fn has_others(live: &[ServicePort], desired: &[ServicePort]) -> bool {
    let key = |port: &ServicePort| (port.port, port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()));
    live.iter()
        .any(|port| !desired.iter().any(|wanted| key(wanted) == key(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: i32, protocol: Option<&str>) -> ServicePort {
        ServicePort {
            port: number,
            protocol: protocol.map(str::to_owned),
            ..ServicePort::default()
        }
    }

    #[test]
    fn a_service_gives_up_what_is_asked_for_and_keeps_a_port() {
        let on_nodes = |name: &str, node_port| json!({"name": name, "port": 22, "nodePort": node_port});
        let live = |ports: Value| -> Service {
            serde_json::from_value(json!({"spec": {"type": "NodePort", "ports": ports}})).unwrap()
        };
        let both = live(json!([on_nodes("a", 30001), on_nodes("b", 30002)]));
        assert_eq!(
            without(&both, &BTreeSet::from([30001])),
            json!({"ports": [on_nodes("b", 30002)]})
        );
        let last = without(&live(json!([on_nodes("a", 30001)])), &BTreeSet::from([30001]));
        assert_eq!(last["type"], "ClusterIP");
        assert_eq!(last["ports"], json!([{"name": "a", "port": 22}]));
    }

    #[test]
    fn a_port_is_known_by_number_and_protocol() {
        let desired = [port(53, Some("UDP")), port(80, None)];
        assert!(!has_others(&[port(80, Some("TCP"))], &desired));
        assert!(!has_others(&[], &desired));
        assert!(has_others(&[port(53, Some("TCP"))], &desired));
        assert!(has_others(&[port(80, None), port(81, None)], &desired));
    }
}
