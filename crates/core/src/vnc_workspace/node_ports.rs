//! Ports on nodes, from ranges of the controller's configuration.

use std::collections::BTreeSet;

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
    use super::*;

    #[test]
    fn what_is_asked_for_comes_before_what_is_held_before_what_is_free() {
        let range = PortRange {
            first: 30000,
            last: 30002,
        };
        let taken = BTreeSet::from([30000]);
        assert_eq!(choose(range, Some(31000), Some(30002), &taken), Some(31000));
        assert_eq!(choose(range, None, Some(30002), &taken), Some(30002));
        assert_eq!(choose(range, None, Some(0), &taken), Some(30001));
        assert_eq!(choose(range, None, None, &BTreeSet::from([30000, 30001, 30002])), None);
    }
}
