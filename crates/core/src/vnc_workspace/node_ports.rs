//! Ports on nodes, from ranges of the controller's configuration.

use std::collections::BTreeSet;

use novasphere_crd::ServiceType;

use super::validated::ValidatedWorkspace;

/// Ports from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

/// The ports on nodes of one workspace; `None` leaves the choice to the apiserver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodePorts {
    /// For VNC.
    pub vnc: Option<u16>,
    /// For SSH.
    pub ssh: Option<u16>,
}

impl NodePorts {
    /// Those that are known.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        [self.vnc, self.ssh].into_iter().flatten()
    }
}

/// A port of a desktop's Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::Display)]
pub enum PortName {
    /// VNC.
    #[strum(to_string = "VNC")]
    Vnc,
    /// SSH.
    #[strum(to_string = "SSH")]
    Ssh,
}

/// The ports of a workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortChoice {
    /// Those that it asks for, has, or gets now.
    pub ports: NodePorts,
    /// The port for which the range has no free one.
    pub exhausted: Option<PortName>,
}

/// The state of the allocator, as far as the choice for one workspace depends on it.
#[derive(Clone, Debug)]
pub struct PortSnapshot {
    /// The range for VNC.
    pub vnc: PortRange,
    /// The range for SSH.
    pub ssh: PortRange,
    /// The ports that the workspace has.
    pub held: NodePorts,
    /// The ports of all others. Empty when no port has to be found: see [`needs_free_port`].
    pub taken: BTreeSet<u16>,
}

/// Whether a workspace that holds these ports needs one that is free. To know which are costs a look at all Services of the cluster.
#[must_use]
pub fn needs_free_port(workspace: &ValidatedWorkspace, held: NodePorts) -> bool {
    let asked = asked_ports(workspace);
    let needs = |asked: Option<u16>, held| asked.or(held).is_none();
    workspace.service.service_type != ServiceType::ClusterIP
        && (needs(asked.vnc, held.vnc) || (workspace.has_ssh() && needs(asked.ssh, held.ssh)))
}

/// The ports that a person asks for.
#[must_use]
pub const fn asked_ports(workspace: &ValidatedWorkspace) -> NodePorts {
    NodePorts {
        vnc: workspace.service.vnc_node_port,
        ssh: workspace.service.ssh_node_port,
    }
}

/// Chooses the ports of a workspace.
#[must_use]
pub fn choose_ports(workspace: &ValidatedWorkspace, snapshot: &PortSnapshot) -> PortChoice {
    if workspace.service.service_type == ServiceType::ClusterIP {
        return PortChoice::default();
    }
    let asked = asked_ports(workspace);
    // What it asks for is not given to its other port.
    let mut taken: BTreeSet<u16> = snapshot.taken.iter().copied().chain(asked.iter()).collect();
    let vnc = choose(snapshot.vnc, asked.vnc, snapshot.held.vnc, &taken);
    taken.extend(vnc);
    let ssh = workspace
        .has_ssh()
        .then(|| choose(snapshot.ssh, asked.ssh, snapshot.held.ssh, &taken))
        .flatten();
    let exhausted = match (vnc, ssh) {
        (None, _) => Some(PortName::Vnc),
        (_, None) if workspace.has_ssh() => Some(PortName::Ssh),
        _ => None,
    };
    PortChoice {
        ports: NodePorts { vnc, ssh },
        exhausted,
    }
}

/// The port for a workspace: the one that it asks for, else the one that it has, else the first free one.
#[must_use]
pub fn choose(range: PortRange, asked: Option<u16>, held: Option<u16>, taken: &BTreeSet<u16>) -> Option<u16> {
    let held = held.filter(|port| *port != 0);
    asked
        .or(held)
        .or_else(|| (range.first..=range.last).find(|port| !taken.contains(port)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::{
            samples::{references, workspace},
            validate::validate,
        },
        *,
    };

    const RANGE: PortRange = PortRange {
        first: 30000,
        last: 30002,
    };

    #[test]
    fn what_is_asked_for_comes_before_what_is_held_before_what_is_free() {
        let range = RANGE;
        let taken = BTreeSet::from([30000]);
        assert_eq!(choose(range, Some(31000), Some(30002), &taken), Some(31000));
        assert_eq!(choose(range, None, Some(30002), &taken), Some(30002));
        assert_eq!(choose(range, None, Some(0), &taken), Some(30001));
        assert_eq!(choose(range, None, None, &BTreeSet::from([30000, 30001, 30002])), None);
    }

    #[test]
    fn two_ports_of_one_desktop_differ() {
        let both = |ports| {
            let spec = json!({
                "ssh": {"authorizedKeys": ["ssh-ed25519 AAAA alice"]},
                "service": {"type": "NodePort", "nodePorts": ports},
            });
            let valid = validate(&workspace(&spec), &references()).unwrap();
            let snapshot = |held| PortSnapshot {
                vnc: RANGE,
                ssh: RANGE,
                held,
                taken: BTreeSet::from([30001]),
            };
            let choice = choose_ports(&valid, &snapshot(NodePorts::default()));
            assert!(!needs_free_port(&valid, choice.ports) || choice.exhausted.is_some());
            (choice.ports.vnc, choice.ports.ssh, choice.exhausted)
        };
        assert_eq!(both(json!(null)), (Some(30000), Some(30002), None));
        assert_eq!(both(json!({"ssh": 30000})), (Some(30002), Some(30000), None));
        assert_eq!(both(json!({"vnc": 30002})), (Some(30002), Some(30000), None));
    }
}
