//! The names that an authority may sign for. People are asked to trust it, so it is limited to novasphere's own names (name
//! constraints, RFC 5280 section 4.2.1.10): who gets hold of its key cannot be another site for them.

use std::{collections::BTreeSet, net::IpAddr};

use rcgen::{CidrSubnet, GeneralSubtree, NameConstraints};
use x509_parser::{
    extensions::{GeneralName, NameConstraints as ParsedConstraints},
    prelude::X509Certificate,
};

/// What every authority may sign for: names of Services, and the machine itself.
const ALWAYS: &[&str] = &["svc", "svc.cluster.local", "localhost", "127.0.0.1", "::1"];

/// More names than replicas of different configurations have together. Above it, names of earlier configurations are forgotten.
const NAMES_LIMIT: usize = 256;

/// Names and addresses; a name stands for all below it, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Every name: an authority that was made before there were scopes.
    Unlimited,
    /// These.
    Names(BTreeSet<String>),
}

impl Scope {
    /// That of an authority for a server of these names.
    pub(super) fn of(names: &[String]) -> Self {
        let own = names.iter().map(|name| subtree_of(name));
        Self::Names(ALWAYS.iter().map(|name| (*name).to_owned()).chain(own).collect())
    }

    /// That of a certificate.
    pub(super) fn read(certificate: &X509Certificate<'_>) -> Self {
        let constraints = certificate.name_constraints().ok().flatten();
        match constraints.and_then(|constraints| permitted(constraints.value)) {
            Some(names) => Self::Names(names),
            None => Self::Unlimited,
        }
    }

    /// That of a successor, which signs for a server of these names as well: replicas may have different names for a while.
    pub(super) fn with(&self, names: &[String]) -> Self {
        let own = Self::of(names);
        match (self, &own) {
            (Self::Names(present), Self::Names(own)) if present.union(own).count() <= NAMES_LIMIT => {
                Self::Names(present.union(own).cloned().collect())
            }
            _ => own,
        }
    }

    /// Whether a client takes a certificate for these names from an authority of this scope.
    pub(super) fn permits(&self, names: &[String]) -> bool {
        match self {
            Self::Unlimited => true,
            Self::Names(permitted) => names.iter().all(|name| is_below(&subtree_of(name), permitted)),
        }
    }

    /// As it is written into a certificate.
    pub(super) fn constraints(&self) -> Option<NameConstraints> {
        let Self::Names(names) = self else { return None };
        let subtree = |name: &String| match name.parse::<IpAddr>() {
            Ok(address @ IpAddr::V4(_)) => GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, 32)),
            Ok(address @ IpAddr::V6(_)) => GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, 128)),
            Err(_) => GeneralSubtree::DnsName(name.clone()),
        };
        Some(NameConstraints {
            permitted_subtrees: names.iter().map(subtree).collect(),
            excluded_subtrees: Vec::new(),
        })
    }
}

/// What permits a name: itself, or what a wildcard is below.
fn subtree_of(name: &str) -> String {
    let name = name.strip_prefix("*.").unwrap_or(name);
    match name.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => name.to_ascii_lowercase(),
    }
}

fn is_below(name: &str, permitted: &BTreeSet<String>) -> bool {
    if permitted.contains(name) {
        return true;
    }
    let is_address = name.parse::<IpAddr>().is_ok();
    let mut parents = name.match_indices('.').filter_map(|(dot, _)| name.get(dot + 1..));
    !is_address && parents.any(|parent| permitted.contains(parent))
}

/// `None` when nothing is limited.
fn permitted(constraints: &ParsedConstraints<'_>) -> Option<BTreeSet<String>> {
    let subtrees = constraints.permitted_subtrees.as_ref()?;
    let name = |base: &GeneralName<'_>| match base {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        // An address and its mask, of the same length.
        GeneralName::IPAddress(bytes) => {
            let (address, _) = bytes.split_at_checked(bytes.len() / 2)?;
            let v4 = <[u8; 4]>::try_from(address).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(address).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    };
    Some(subtrees.iter().filter_map(|subtree| name(&subtree.base)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn own_names_and_services_are_permitted_and_no_other() {
        let scope = Scope::of(&names(&["VMs.example.org", "192.0.2.7", "*.desks.example.net"]));
        for good in [
            "vms.example.org",
            "a.vms.example.org",
            "192.0.2.7",
            "x.desks.example.net",
            "novasphere-console.novasphere-system.svc",
            "novasphere-apiserver.any.svc.cluster.local",
            "localhost",
            "127.0.0.1",
            "::1",
        ] {
            assert!(scope.permits(&names(&[good])), "{good}");
        }
        for bad in [
            "example.org",
            "evil-vms.example.org",
            "bank.example.com",
            "192.0.2.8",
            "2.0.2.7",
        ] {
            assert!(!scope.permits(&names(&["vms.example.org", bad])), "{bad}");
        }
        assert!(Scope::Unlimited.permits(&names(&["bank.example.com"])));
    }

    #[test]
    fn a_successor_keeps_the_names_of_other_replicas_up_to_a_bound() {
        let both = Scope::of(&names(&["a.example.org"])).with(&names(&["b.example.org"]));
        assert!(both.permits(&names(&["a.example.org", "b.example.org"])));
        let many: Vec<String> = (0..NAMES_LIMIT)
            .map(|number| format!("n{number}.example.org"))
            .collect();
        let fresh = Scope::of(&many).with(&names(&["b.example.org"]));
        assert!(fresh.permits(&names(&["b.example.org"])) && !fresh.permits(&names(&["n1.example.org"])));
        let limited = Scope::Unlimited.with(&names(&["b.example.org"]));
        assert!(!limited.permits(&names(&["a.example.org"])));
    }
}
