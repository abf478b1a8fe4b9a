//! Node addresses that a client of a node port can use.

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;

/// How many nodes are named. Every node answers on a node port; a few are enough for a user, and naming all would
/// rewrite every status whenever a node comes or goes.
pub const NODES_LIMIT: usize = 3;

/// The label of nodes that load balancers leave out.
const KEY_EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// Addresses of a few nodes, in the order of their names: the external one where a node has one, else the internal one.
///
/// Nodes that are not ready, and those kept out of load balancing, are left out as long as others remain.
pub fn addresses<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Vec<String> {
    let mut nodes: Vec<(bool, String, String)> = nodes
        .into_iter()
        .filter_map(|node| Some((!is_suitable(node), node.name_any(), address(node)?)))
        .collect();
    nodes.sort();
    let any_suitable = nodes.first().is_some_and(|(unsuitable, ..)| !unsuitable);
    nodes
        .into_iter()
        .filter(|(unsuitable, ..)| !(any_suitable && *unsuitable))
        .map(|(.., address)| address)
        .take(NODES_LIMIT)
        .collect()
}

fn is_suitable(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready =
        conditions.is_some_and(|conditions| conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"));
    ready && !node.labels().contains_key(KEY_EXCLUDED)
}

fn address(node: &Node) -> Option<String> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    let of_type = |type_: &str| {
        addresses
            .iter()
            .find(|address| address.type_ == type_)
            .map(|a| a.address.clone())
    };
    of_type("ExternalIP").or_else(|| of_type("InternalIP"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, ready: bool, addresses: &[(&str, &str)]) -> Node {
        let addresses: Vec<_> = addresses
            .iter()
            .map(|(type_, address)| json!({"type": type_, "address": address}))
            .collect();
        let ready = if ready { "True" } else { "False" };
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "status": {"conditions": [{"type": "Ready", "status": ready}], "addresses": addresses},
        }))
        .unwrap()
    }

    #[test]
    fn external_addresses_go_first_and_few_nodes_are_named() {
        let nodes = [
            node("d", true, &[("InternalIP", "10.0.0.4")]),
            node(
                "b",
                true,
                &[
                    ("Hostname", "b"),
                    ("InternalIP", "10.0.0.2"),
                    ("ExternalIP", "203.0.113.2"),
                ],
            ),
            node("c", true, &[("InternalIP", "10.0.0.3")]),
            node("a", false, &[("InternalIP", "10.0.0.1")]),
            node("e", true, &[("InternalIP", "10.0.0.5")]),
            node("f", true, &[("Hostname", "f")]),
        ];
        assert_eq!(addresses(&nodes), ["203.0.113.2", "10.0.0.3", "10.0.0.4"]);
    }

    #[test]
    fn unsuitable_nodes_are_better_than_none() {
        let mut excluded = node("a", true, &[("InternalIP", "10.0.0.1")]);
        excluded.labels_mut().insert(KEY_EXCLUDED.into(), String::new());
        assert_eq!(addresses([&excluded]), ["10.0.0.1"]);
        let other = node("b", true, &[("InternalIP", "10.0.0.2")]);
        assert_eq!(addresses([&excluded, &other]), ["10.0.0.2"]);
    }
}
