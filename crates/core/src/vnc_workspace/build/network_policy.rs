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
use novasphere_crd::{Cidr, EgressPort, EgressRule, NetworkIngress, PortProtocol, ServiceType};

use super::{
    super::{KEY_WORKSPACE, SSH_PORT, VNC_PORT, validated::ValidatedWorkspace},
    pod,
};
use crate::label::Component;

/// Where clouds answer a machine's questions about itself, credentials included: AWS, Azure, Google and others; AWS' tasks and
/// Pod identities; Alibaba; Azure's host agent, which gives certificates and settings to every client; AWS and Google by IPv6.
const METADATA_RANGES: &[&str] = &[
    "169.254.169.254/32",
    "169.254.170.2/32",
    "169.254.170.23/32",
    "100.100.100.200/32",
    "168.63.129.16/32",
    "fd00:ec2::254/128",
    "fd00:ec2::23/128",
    "fd20:ce::254/128",
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
    metadata().any(|hidden| hidden.contains(&cidr.get()))
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
            egress: Some(egress(workspace.network.egress.as_deref())),
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

fn namespace(name: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Some(BTreeMap::from([(KEY_NAMESPACE.to_owned(), name.to_owned())])),
        ..LabelSelector::default()
    }
}

fn egress(rules: Option<&[EgressRule]>) -> Vec<NetworkPolicyEgressRule> {
    let Some(rules) = rules else {
        // All Pods are named beside all addresses: some CNIs match no Pod by its address.
        let all_pods = NetworkPolicyPeer {
            namespace_selector: Some(LabelSelector::default()),
            ..NetworkPolicyPeer::default()
        };
        let everything = ["0.0.0.0/0", "::/0"]
            .into_iter()
            .filter_map(|all| Some(block(all.parse().ok()?)));
        return vec![NetworkPolicyEgressRule {
            to: Some(std::iter::once(all_pods).chain(everything).collect()),
            ports: None,
        }];
    };
    std::iter::once(name_resolution())
        .chain(rules.iter().map(rule))
        .collect()
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
    let protocol = match port.protocol {
        PortProtocol::Tcp => "TCP",
        PortProtocol::Udp => "UDP",
    };
    NetworkPolicyPort {
        port: Some(IntOrString::Int(port.port.into())),
        end_port: port.end_port.map(Into::into),
        protocol: Some(protocol.to_owned()),
    }
}

/// An address range without the metadata addresses in it.
fn block(net: IpNet) -> NetworkPolicyPeer {
    let except: Vec<_> = metadata()
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
