//! Ports on nodes: which workspace has which, so that no two get the same.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Service;
use novasphere_core::{
    label,
    vnc_workspace::{
        SSH_PORT, VNC_PORT,
        node_ports::{NodePorts, PortRange, choose},
        validated::ValidatedWorkspace,
    },
};
use novasphere_crd::ServiceType;
use parking_lot::{Mutex, MutexGuard};

use crate::{
    caches::Caches,
    config::{NodePortsConfig, PortRangeConfig},
};

/// A port that belongs to a Service of somebody else is tried again after this time.
const REFUSED_FOR: Duration = Duration::from_mins(10);

/// The ports that were given out and whose Services the watch may not show yet.
pub(crate) struct Ports {
    vnc: PortRange,
    ssh: PortRange,
    given: Mutex<Given>,
}

#[derive(Default)]
struct Given {
    /// By the UID of the workspace.
    claims: HashMap<String, NodePorts>,
    refused: HashMap<u16, Instant>,
}

/// The ports of a workspace.
#[derive(Default)]
pub(super) struct Claimed {
    pub(super) ports: NodePorts,
    /// For what there is no port left.
    pub(super) used_up: Option<&'static str>,
}

impl Ports {
    pub(crate) fn new(config: &NodePortsConfig) -> Self {
        let range = |range: PortRangeConfig| PortRange {
            first: range.first,
            last: range.last,
        };
        Self {
            vnc: range(config.vnc),
            ssh: range(config.ssh),
            given: Mutex::default(),
        }
    }

    /// The ports that a workspace asks for, has, or gets now.
    pub(super) fn claim(&self, valid: &ValidatedWorkspace, live: Option<&Service>, caches: &Caches) -> Claimed {
        let mut given = self.lock();
        let uid = &valid.owner.uid;
        if valid.service.service_type == ServiceType::ClusterIP {
            given.claims.remove(uid);
            return Claimed::default();
        }
        let live = live.filter(|live| label::owner_uid(&live.metadata) == Some(uid));
        let held = given.claims.get(uid).copied().unwrap_or_default();
        let held_vnc = held.vnc.or_else(|| node_port(live?, VNC_PORT));
        let held_ssh = held.ssh.or_else(|| node_port(live?, SSH_PORT));
        let (asked_vnc, asked_ssh) = (valid.service.vnc_node_port, valid.service.ssh_node_port);
        let is_settled = asked_vnc.or(held_vnc).is_some() && (!valid.has_ssh() || asked_ssh.or(held_ssh).is_some());
        let mut taken = BTreeSet::new();
        if !is_settled {
            taken = given.taken(uid, caches);
            // What it asks for is not given to its other port.
            taken.extend(asked_vnc.into_iter().chain(asked_ssh));
        }
        let vnc = choose(self.vnc, asked_vnc, held_vnc, &taken);
        taken.extend(vnc);
        let ssh = valid
            .has_ssh()
            .then(|| choose(self.ssh, asked_ssh, held_ssh, &taken))
            .flatten();
        let ports = NodePorts { vnc, ssh };
        given.claims.insert(uid.clone(), ports);
        let used_up = match (vnc, ssh) {
            (None, _) => Some("VNC"),
            (_, None) if valid.has_ssh() => Some("SSH"),
            _ => None,
        };
        Claimed { ports, used_up }
    }

    /// Remembers that a port in an apiserver's refusal belongs to somebody else. `false` when a person asked for it, so that no other
    /// one will do.
    pub(super) fn refused(&self, valid: &ValidatedWorkspace, said: &str) -> bool {
        let mut given = self.lock();
        let Some(claim) = given.claims.remove(&valid.owner.uid) else {
            return false;
        };
        let asked = [valid.service.vnc_node_port, valid.service.ssh_node_port];
        let of_ours = [claim.vnc, claim.ssh]
            .into_iter()
            .flatten()
            .filter(|port| said.contains(&format!("Invalid value: {port}:")));
        let mut found = false;
        for port in of_ours {
            if asked.contains(&Some(port)) {
                return false;
            }
            given.refused.insert(port, Instant::now());
            found = true;
        }
        found
    }

    fn lock(&self) -> MutexGuard<'_, Given> {
        self.given.lock()
    }
}

impl Given {
    /// The ports of all others.
    fn taken(&mut self, uid: &str, caches: &Caches) -> BTreeSet<u16> {
        self.claims
            .retain(|owner, _| !caches.vnc_workspaces.indexed(owner).is_empty());
        self.refused.retain(|_, since| since.elapsed() < REFUSED_FOR);
        let claimed = self.claims.iter().filter(|(owner, _)| *owner != uid);
        let claimed = claimed.flat_map(|(_, ports)| [ports.vnc, ports.ssh]).flatten();
        let services = caches.services.store().state();
        let others = services
            .iter()
            .filter(|service| label::owner_uid(&service.metadata) != Some(uid));
        let seen = others.flat_map(|service| service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()));
        let seen = seen.filter_map(|port| u16::try_from(port.node_port?).ok());
        claimed.chain(seen).chain(self.refused.keys().copied()).collect()
    }
}

fn node_port(service: &Service, name: &str) -> Option<u16> {
    let mut ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let port = ports.find(|port| port.name.as_deref() == Some(name))?.node_port?;
    u16::try_from(port).ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::core::v1::{ServicePort, ServiceSpec},
        apimachinery::pkg::apis::meta::v1::ObjectMeta,
    };
    use kube::runtime::watcher::Event;
    use novasphere_core::vnc_workspace::{references::References, validate::validate};
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

    fn one_port() -> Ports {
        Ports::new(&NodePortsConfig {
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
        let (ports, caches) = (one_port(), Caches::new());
        // Another Service of the cluster has the only port.
        caches.services.observe(&Event::InitDone);
        caches.services.observe(&Event::Apply(service(30000)));
        for _ in 0..2 {
            let claimed = ports.claim(&valid("b"), None, &caches);
            assert_eq!((claimed.ports.vnc, claimed.used_up), (None, Some("VNC")));
        }
        caches.services.observe(&Event::Delete(service(30000)));
        let claimed = ports.claim(&valid("b"), None, &caches);
        assert_eq!((claimed.ports.vnc, claimed.used_up), (Some(30000), None));
    }
}
