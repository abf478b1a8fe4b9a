//! Who may connect to a desktop, and to what it may connect.

use std::collections::BTreeMap;

use ipnet::IpNet;
use k8s_openapi::{
    api::networking::v1::{
        IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
        NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use novasphere_crd::{Cidr, EgressPort, EgressRule, NetworkIngress, ServiceType};

use super::{
    super::{
        KEY_WORKSPACE, SSH_PORT, VNC_PORT,
        validated::{ValidatedNetwork, ValidatedWorkspace},
    },
    pod,
};
use crate::{label::Component, routes::observed::RoutePeer};

/// Where clouds answer a machine's questions about itself, credentials included. Most do so at a link-local address, each at its own
/// (AWS, Azure and Google 169.254.169.254, AWS also 169.254.170.2 and .23, Scaleway 169.254.42.42, Tencent 169.254.0.23), so all of these are
/// left out; a desktop needs none but that of [`NODE_LOCAL_DNS`]. Beside them: Alibaba; Azure's host agent, which gives certificates and
/// settings to every client; AWS (two), Google, Scaleway and Oracle by IPv6.
const METADATA_RANGES: &[&str] = &[
    "169.254.0.0/16",
    "100.100.100.200/32",
    "168.63.129.16/32",
    "fe80::/10",
    "fd00:ec2::254/128",
    "fd00:ec2::23/128",
    "fd20:ce::254/128",
    "fd00:42::42/128",
    "fd00:c1::a9fe:a9fe/128",
];

/// Where the node-local DNS cache answers (kubernetes/dns, `NodeLocal DNSCache`).
const NODE_LOCAL_DNS: &str = "169.254.20.10/32";

const KEY_NAMESPACE: &str = "kubernetes.io/metadata.name";

/// Where novasphere's console gateways run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayLocation {
    /// Their namespace.
    pub namespace: String,
}

/// Whether an address range has nothing but metadata addresses.
pub(in super::super) fn is_metadata(cidr: Cidr) -> bool {
    let is_dns = NODE_LOCAL_DNS.parse().is_ok_and(|dns: IpNet| dns == cidr.get());
    !is_dns && metadata().any(|hidden| hidden.contains(&cidr.get()))
}

fn metadata() -> impl Iterator<Item = IpNet> {
    METADATA_RANGES.iter().filter_map(|text| text.parse().ok())
}

/// The `NetworkPolicy` of a workspace.
pub(super) fn build(workspace: &ValidatedWorkspace, gateway: &GatewayLocation) -> NetworkPolicy {
    let owner = &workspace.owner;
    let mut labels = owner.labels(Component::Desktop);
    labels.insert(KEY_WORKSPACE.to_owned(), owner.name.clone());
    NetworkPolicy {
        metadata: ObjectMeta {
            name: Some(owner.name.clone()),
            namespace: Some(owner.namespace.clone()),
            labels: Some(labels),
            owner_references: Some(vec![owner.reference()]),
            ..ObjectMeta::default()
        },
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(pod::selector(owner)),
                ..LabelSelector::default()
            }),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(ingress(workspace, gateway)),
            egress: Some(egress(&workspace.network)),
        }),
    }
}

fn ingress(workspace: &ValidatedWorkspace, gateway: &GatewayLocation) -> Vec<NetworkPolicyIngressRule> {
    let mut names = vec![VNC_PORT];
    if workspace.has_ssh() {
        names.push(SSH_PORT);
    }
    let ports: Vec<_> = names
        .into_iter()
        .map(|name| NetworkPolicyPort {
            port: Some(IntOrString::String(name.to_owned())),
            protocol: Some("TCP".to_owned()),
            end_port: None,
        })
        .collect();
    let from = |peer: NetworkPolicyPeer| NetworkPolicyIngressRule {
        from: Some(vec![peer]),
        ports: Some(ports.clone()),
    };
    let mut rules = vec![from(gateway_pods(gateway))];
    rules.extend(workspace.network.route_peers.iter().map(|peer| from(route_pods(peer))));
    if workspace.network.ingress == NetworkIngress::Namespace {
        rules.push(NetworkPolicyIngressRule {
            from: Some(vec![NetworkPolicyPeer {
                pod_selector: Some(LabelSelector::default()),
                ..NetworkPolicyPeer::default()
            }]),
            ports: None,
        });
    }
    // Who asks for ports on nodes or a load balancer wants clients from outside, whose addresses are not known.
    if workspace.service.service_type != ServiceType::ClusterIP {
        rules.push(NetworkPolicyIngressRule {
            from: None,
            ports: Some(ports),
        });
    }
    rules
}

/// The Pods that carry streams: those of the console and apiserver roles, or of both in one.
fn gateway_pods(gateway: &GatewayLocation) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: Some(namespace(&gateway.namespace)),
        pod_selector: Some(LabelSelector {
            match_labels: Some(BTreeMap::from([(
                "app.kubernetes.io/name".to_owned(),
                "novasphere".to_owned(),
            )])),
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: "app.kubernetes.io/component".to_owned(),
                operator: "In".to_owned(),
                values: Some(["all", "apiserver", "console"].map(str::to_owned).to_vec()),
            }]),
        }),
        ip_block: None,
    }
}

/// The Pods of a gateway that carries a route.
fn route_pods(peer: &RoutePeer) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: Some(namespace(&peer.namespace)),
        pod_selector: (!peer.labels.is_empty()).then(|| LabelSelector {
            match_labels: Some(peer.labels.clone()),
            ..LabelSelector::default()
        }),
        ip_block: None,
    }
}

fn namespace(name: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Some(BTreeMap::from([(KEY_NAMESPACE.to_owned(), name.to_owned())])),
        ..LabelSelector::default()
    }
}

fn egress(network: &ValidatedNetwork) -> Vec<NetworkPolicyEgressRule> {
    // The node-local cache has a link-local address, and Pods that resolve names have one of the cluster.
    let names = std::iter::once(name_resolution());
    match &network.egress {
        Some(rules) => names.chain(rules.iter().map(rule)).collect(),
        None => names.chain(everything(&network.cluster_ranges)).collect(),
    }
}

/// What a desktop may connect to that says nothing of it: all addresses but metadata services and these. `None` is nothing: a rule without
/// peers would be one for all.
fn everything(cluster_ranges: &[Cidr]) -> Option<NetworkPolicyEgressRule> {
    // Where the cluster's addresses are not left out, all Pods are named beside them: some CNIs match no Pod by its address.
    let all_pods = cluster_ranges.is_empty().then(|| NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        ..NetworkPolicyPeer::default()
    });
    let blocks = ["0.0.0.0/0", "::/0"]
        .into_iter()
        .filter_map(|all| block_without(all.parse().ok()?, cluster_ranges));
    let peers: Vec<_> = all_pods.into_iter().chain(blocks).collect();
    (!peers.is_empty()).then_some(NetworkPolicyEgressRule {
        to: Some(peers),
        ports: None,
    })
}

fn name_resolution() -> NetworkPolicyEgressRule {
    let port = |protocol: &str| NetworkPolicyPort {
        port: Some(IntOrString::Int(53)),
        protocol: Some(protocol.to_owned()),
        end_port: None,
    };
    let dns_pods = NetworkPolicyPeer {
        namespace_selector: Some(namespace("kube-system")),
        ..NetworkPolicyPeer::default()
    };
    let cache = NODE_LOCAL_DNS.parse().ok().map(block);
    NetworkPolicyEgressRule {
        to: Some(std::iter::once(dns_pods).chain(cache).collect()),
        ports: Some(vec![port("UDP"), port("TCP")]),
    }
}

fn rule(rule: &EgressRule) -> NetworkPolicyEgressRule {
    let peer = match rule.cidr {
        Some(cidr) => block(cidr.get()),
        None => NetworkPolicyPeer {
            namespace_selector: rule.namespace_selector.clone(),
            pod_selector: rule.pod_selector.clone(),
            ip_block: None,
        },
    };
    NetworkPolicyEgressRule {
        to: Some(vec![peer]),
        ports: (!rule.ports.is_empty()).then(|| rule.ports.iter().copied().map(port).collect()),
    }
}

fn port(port: EgressPort) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(port.port.into())),
        end_port: port.end_port.map(Into::into),
        protocol: Some(port.protocol.as_str().to_owned()),
    }
}

/// An address range without the metadata addresses in it.
fn block(net: IpNet) -> NetworkPolicyPeer {
    peer(net, metadata())
}

/// [`block`] without these ranges, either; `None` when nothing is left.
fn block_without(net: IpNet, ranges: &[Cidr]) -> Option<NetworkPolicyPeer> {
    let ranges = ranges.iter().map(|range| range.get());
    let is_left = !ranges.clone().any(|range| range.contains(&net));
    is_left.then(|| peer(net, metadata().chain(ranges)))
}

fn peer(net: IpNet, hidden: impl Iterator<Item = IpNet>) -> NetworkPolicyPeer {
    let except: Vec<_> = hidden
        .filter(|hidden| net.contains(hidden))
        .map(|hidden| hidden.to_string())
        .collect();
    NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: net.to_string(),
            except: (!except.is_empty()).then_some(except),
        }),
        ..NetworkPolicyPeer::default()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    /// Whether a rule of blocks lets through to an address, as an enforcer reads it.
    fn reaches(rules: &[NetworkPolicyEgressRule], address: &str) -> bool {
        let address: IpAddr = address.parse().unwrap();
        let is_in = |net: &String| net.parse::<IpNet>().unwrap().contains(&address);
        let mut blocks = rules
            .iter()
            .filter(|rule| rule.ports.is_none())
            .flat_map(|rule| rule.to.iter().flatten().filter_map(|peer| peer.ip_block.as_ref()));
        blocks.any(|block| is_in(&block.cidr) && !block.except.iter().flatten().any(is_in))
    }

    fn network(egress: Option<Vec<EgressRule>>, cluster_ranges: &[&str]) -> ValidatedNetwork {
        ValidatedNetwork {
            ingress: NetworkIngress::GatewayOnly,
            egress,
            cluster_ranges: cluster_ranges.iter().map(|range| range.parse().unwrap()).collect(),
            route_peers: Vec::new(),
        }
    }

    fn names_all_pods(rules: &[NetworkPolicyEgressRule]) -> bool {
        let mut peers = rules.iter().flat_map(|rule| rule.to.iter().flatten());
        peers.any(|peer| peer.namespace_selector == Some(LabelSelector::default()))
    }

    #[test]
    fn a_desktop_reaches_nothing_of_the_cluster_by_default_where_its_ranges_are_known() {
        let rules = egress(&network(
            None,
            &["10.96.0.0/12", "10.244.0.0/16", "fd00:10::/32", "192.0.2.8/32"],
        ));
        for own in ["10.96.0.1", "10.244.3.7", "fd00:10::1", "192.0.2.8", "169.254.169.254"] {
            assert!(!reaches(&rules, own), "{own}");
        }
        for other in ["10.1.2.3", "10.112.0.1", "fd00:11::1", "192.0.2.9", "2001:db8::1"] {
            assert!(reaches(&rules, other), "{other}");
        }
        assert!(!names_all_pods(&rules), "a Pod is reached by its labels");
        assert!(names_all_pods(&egress(&network(None, &[]))));
    }

    #[test]
    fn a_rule_that_names_addresses_of_the_cluster_opens_them() {
        let named = serde_json::from_value(serde_json::json!([{"cidr": "10.96.0.0/16"}])).unwrap();
        let rules = egress(&network(named, &["10.96.0.0/12"]));
        assert!(reaches(&rules, "10.96.0.1") && !reaches(&rules, "10.97.0.1"));
    }

    #[test]
    fn where_all_addresses_are_the_clusters_none_is_open() {
        // No `except` may be all of its block, and a rule without peers is one for all.
        let one_family = egress(&network(None, &["0.0.0.0/0"]));
        assert!(!reaches(&one_family, "192.0.2.1") && reaches(&one_family, "2001:db8::1"));
        let both = egress(&network(None, &["0.0.0.0/0", "::/0"]));
        assert_eq!(both, [name_resolution()]);
    }

    #[test]
    fn a_desktop_reaches_no_metadata_service_by_default() {
        let rules = egress(&network(None, &[]));
        for service in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "169.254.42.42",
            "169.254.0.23",
            "100.100.100.200",
            "168.63.129.16",
            "fe80::a9fe:a9fe",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fd00:42::42",
            "fd00:c1::a9fe:a9fe",
        ] {
            assert!(!reaches(&rules, service), "{service}");
        }
        for other in ["192.0.2.1", "169.253.255.255", "10.0.0.1", "2001:db8::1", "fd00:42::43"] {
            assert!(reaches(&rules, other), "{other}");
        }
    }

    #[test]
    fn the_pods_of_a_gateway_are_named_by_namespace_and_labels() {
        let labels = BTreeMap::from([("app".to_owned(), "traefik".to_owned())]);
        let peer = |labels: &BTreeMap<String, String>| {
            route_pods(&RoutePeer {
                namespace: "kube-system".to_owned(),
                labels: labels.clone(),
            })
        };
        let some = peer(&labels);
        assert_eq!(some.namespace_selector, Some(namespace("kube-system")));
        assert_eq!(some.pod_selector.unwrap().match_labels, Some(labels));
        // No selector is all Pods of that namespace, and no address of another.
        let all = peer(&BTreeMap::new());
        assert_eq!((all.pod_selector, all.ip_block), (None, None));
        assert!(all.namespace_selector.is_some());
    }

    #[test]
    fn names_are_resolved_whatever_else_is_allowed() {
        let allowed = [
            network(None, &[]),
            network(None, &["10.96.0.0/12"]),
            network(Some(Vec::new()), &[]),
        ];
        for rules in allowed.iter().map(egress) {
            let dns = rules.first().unwrap();
            let ports: Vec<_> = dns
                .ports
                .iter()
                .flatten()
                .map(|port| port.port.clone().unwrap())
                .collect();
            assert_eq!(ports, [IntOrString::Int(53), IntOrString::Int(53)]);
            let mut blocks = dns.to.iter().flatten().filter_map(|peer| peer.ip_block.as_ref());
            assert!(blocks.any(|block| block.cidr == NODE_LOCAL_DNS && block.except.is_none()));
        }
    }

    #[test]
    fn a_range_of_nothing_else_is_told_apart() {
        let is = |text: &str| is_metadata(text.parse().unwrap());
        assert!(is("169.254.169.254/32") && is("169.254.0.0/16") && is("169.254.42.0/24") && is("fe80::/64"));
        assert!(!is("169.254.20.10/32") && !is("169.0.0.0/8") && !is("0.0.0.0/0") && !is("fd00::/8"));
    }
}
