//! Ports on nodes: which workspace has which, so that no two get the same.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Service;
use novasphere_core::{
    label,
    service_ports::{node_port, port, ports},
    vnc_workspace::{
        SSH_PORT, VNC_PORT,
        node_ports::{NodePorts, PortChoice, PortRange, PortSnapshot, asked_ports, choose_ports, needs_free_port},
        validated::ValidatedWorkspace,
    },
};
use novasphere_crd::ServiceType;
use novasphere_runtime::per_object::PerObject;
use parking_lot::Mutex;

use crate::{
    caches::Caches,
    config::{NodePortsConfig, PortRangeConfig},
};

/// A port that belongs to a Service of somebody else is tried again after this time.
const REFUSED_TTL: Duration = Duration::from_mins(10);

/// Gives out ports. The choice itself is pure ([`choose_ports`]); here is what it depends on, and the lock that keeps two reconciles
/// from choosing the same port before the watch shows the Service of either.
pub(crate) struct NodePortAllocator {
    vnc: PortRange,
    ssh: PortRange,
    allocations: Mutex<Allocations>,
}

#[derive(Default)]
struct Allocations {
    /// What each workspace was given.
    given: PerObject<NodePorts>,
    /// The ports that turned out to belong to somebody else, and when.
    refused: HashMap<u16, Instant>,
}

impl NodePortAllocator {
    pub(crate) fn new(config: &NodePortsConfig) -> Self {
        let range = |range: PortRangeConfig| PortRange {
            first: range.first,
            last: range.last,
        };
        Self {
            vnc: range(config.vnc),
            ssh: range(config.ssh),
            allocations: Mutex::default(),
        }
    }

    /// The ports that a workspace asks for, has, or gets now. `live` is its Service.
    pub(super) fn allocate(&self, valid: &ValidatedWorkspace, live: Option<&Service>, caches: &Caches) -> PortChoice {
        let mut allocations = self.allocations.lock();
        let key = &valid.owner.key();
        if valid.service.service_type == ServiceType::ClusterIP {
            allocations.given.remove(key);
            return PortChoice::default();
        }
        let given = allocations.given.get(key).copied().unwrap_or_default();
        let held = NodePorts {
            vnc: given.vnc.or_else(|| node_port(port(live?, VNC_PORT)?)),
            ssh: given.ssh.or_else(|| node_port(port(live?, SSH_PORT)?)),
        };
        let taken = if needs_free_port(valid, held) {
            allocations.taken(key, caches)
        } else {
            BTreeSet::new()
        };
        let choice = choose_ports(
            valid,
            &PortSnapshot {
                vnc: self.vnc,
                ssh: self.ssh,
                held,
                taken,
            },
        );
        let exists = |key: &str, _: &NodePorts| exists(key, caches);
        allocations.given.insert(key, choice.ports, exists);
        choice
    }

    /// Gives back what a workspace was given, because its Service could not be written: who may not have a Service must not keep ports
    /// from others. The ports of a Service that is there are its own all the same.
    pub(super) fn give_back(&self, uid: &str) {
        self.allocations.lock().given.remove(uid);
    }

    /// Whether a workspace holds ports.
    #[cfg(test)]
    pub(super) fn holds(&self, uid: &str) -> bool {
        self.allocations.lock().given.get(uid).is_some()
    }

    /// Remembers that a port which a workspace was given belongs to somebody else. `false` when a person asked for it, so that no
    /// other one will do.
    pub(super) fn refuse(&self, valid: &ValidatedWorkspace, port: u16) -> bool {
        let mut allocations = self.allocations.lock();
        let Some(given) = allocations.given.remove(&valid.owner.key()) else {
            return false;
        };
        let has = |ports: NodePorts| ports.iter().any(|other| other == port);
        if has(asked_ports(valid)) || !has(given) {
            return false;
        }
        allocations.refused.insert(port, Instant::now());
        true
    }
}

impl Allocations {
    /// The ports of all others than the workspace with this key of [`owner_key`](label::owner_key).
    fn taken(&mut self, key: &str, caches: &Caches) -> BTreeSet<u16> {
        self.given.prune(|key, _| exists(key, caches));
        self.refused.retain(|_, since| since.elapsed() < REFUSED_TTL);
        let given = self.given.iter().filter(|(owner, _)| *owner != key);
        let given = given.flat_map(|(_, ports)| ports.iter());
        let services = caches.services.store().state();
        let others = services
            .iter()
            .filter(|service| label::key_of_owner(&service.metadata).as_deref() != Some(key));
        let seen = others.flat_map(|service| ports(service)).filter_map(node_port);
        given.chain(seen).chain(self.refused.keys().copied()).collect()
    }
}

fn exists(workspace: &str, caches: &Caches) -> bool {
    !caches.vnc_workspaces.indexed(workspace).is_empty()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::core::v1::{ServicePort, ServiceSpec},
        apimachinery::pkg::apis::meta::v1::ObjectMeta,
    };
    use novasphere_core::vnc_workspace::{node_ports::PortName, references::References, validate::validate};
    use novasphere_runtime::watch::WatchEvent;
    use serde_json::json;

    use super::*;

    fn valid(uid: &str) -> ValidatedWorkspace {
        let workspace = json!({
            "apiVersion": "novasphere.io/v1alpha1",
            "kind": "VncWorkspace",
            "metadata": {"name": uid, "namespace": "team", "uid": uid},
            "spec": {"user": "alice", "image": "registry.example.org/desktop:1", "service": {"type": "NodePort"}},
        });
        validate(&serde_json::from_value(workspace).unwrap(), &References::default()).unwrap()
    }

    fn one_port() -> NodePortAllocator {
        NodePortAllocator::new(&NodePortsConfig {
            vnc: PortRangeConfig {
                first: 30000,
                last: 30000,
            },
            ssh: PortRangeConfig {
                first: 31000,
                last: 31000,
            },
        })
    }

    fn service(port: i32) -> Service {
        let port = ServicePort {
            name: Some("vnc".to_owned()),
            port: 5901,
            node_port: Some(port),
            ..ServicePort::default()
        };
        Service {
            metadata: ObjectMeta {
                name: Some("other".to_owned()),
                namespace: Some("team".to_owned()),
                ..ObjectMeta::default()
            },
            spec: Some(ServiceSpec {
                ports: Some(vec![port]),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        }
    }

    #[test]
    fn a_range_that_is_used_up_stays_so_until_a_port_is_free() {
        let (allocator, caches) = (one_port(), Caches::new());
        // Another Service of the cluster has the only port.
        caches.services.observe(&WatchEvent::InitDone);
        caches.services.observe(&WatchEvent::Apply(service(30000)));
        for _ in 0..2 {
            let choice = allocator.allocate(&valid("b"), None, &caches);
            assert_eq!((choice.ports.vnc, choice.exhausted), (None, Some(PortName::Vnc)));
        }
        caches.services.observe(&WatchEvent::Delete(service(30000)));
        let choice = allocator.allocate(&valid("b"), None, &caches);
        assert_eq!((choice.ports.vnc, choice.exhausted), (Some(30000), None));
    }
}
