//! Host names of routes: which are allowed, and which are the same.

/// What stands for the namespace of an object.
const NAMESPACE_PLACEHOLDER: &str = "{namespace}";

/// A host name that an administrator allows, for one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern(String);

impl HostPattern {
    /// `pattern` as it is for objects of `namespace`.
    #[must_use]
    pub fn of(pattern: &str, namespace: &str) -> Self {
        Self(pattern.replace(NAMESPACE_PLACEHOLDER, namespace))
    }

    /// Whether it can be meant.
    #[must_use]
    pub fn is_valid(pattern: &str) -> bool {
        pattern == "*" || is_host(&pattern.replace(NAMESPACE_PLACEHOLDER, "namespace"))
    }

    /// Whether a route may have this host, `None` for all hosts. A wildcard is allowed where all that it stands for is.
    #[must_use]
    pub fn allows(&self, host: Option<&str>) -> bool {
        match (self.0.as_str(), host) {
            ("*", _) => true,
            (_, None) => false,
            (pattern, Some(host)) => match pattern.strip_prefix("*.") {
                Some(parent) => is_below(host.strip_prefix("*.").unwrap_or(host), parent) || host == pattern,
                None => host == pattern,
            },
        }
    }
}

/// Whether a request can be for both; `None` is every host.
#[must_use]
pub fn overlap(one: Option<&str>, other: Option<&str>) -> bool {
    let (Some(one), Some(other)) = (one, other) else {
        return true;
    };
    let covers = |wide: &str, host: &str| {
        wide.strip_prefix("*.")
            .is_some_and(|parent| is_below(host.strip_prefix("*.").unwrap_or(host), parent))
    };
    one == other || covers(one, other) || covers(other, one)
}

/// Whether a text is a DNS name in lower case, `*.` allowed in front, and no address.
#[must_use]
pub fn is_host(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    crate::name::DnsSubdomain::parse(name).is_ok() && !is_address
}

fn is_below(host: &str, parent: &str) -> bool {
    host.strip_suffix(parent).is_some_and(|start| start.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(pattern: &str, host: &str) -> bool {
        HostPattern::of(pattern, "team-a").allows(Some(host))
    }

    #[test]
    fn a_host_is_allowed_by_its_name_or_by_a_parent() {
        assert!(allows("vm.example.org", "vm.example.org"));
        assert!(!allows("vm.example.org", "a.vm.example.org"));
        assert!(allows("*.example.org", "a.example.org"));
        assert!(allows("*.example.org", "b.a.example.org"));
        assert!(!allows("*.example.org", "example.org"));
        assert!(!allows("*.example.org", "evilexample.org"));
        assert!(allows("*.example.org", "*.example.org"));
        assert!(allows("*.example.org", "*.a.example.org"));
        assert!(!allows("*.a.example.org", "*.example.org"));
        assert!(!allows("a.example.org", "*.example.org"));
    }

    #[test]
    fn every_namespace_may_have_names_of_its_own() {
        assert!(allows("*.{namespace}.example.org", "vm.team-a.example.org"));
        assert!(!allows("*.{namespace}.example.org", "vm.team-b.example.org"));
        assert!(!allows("*.{namespace}.example.org", "vm.xteam-a.example.org"));
    }

    #[test]
    fn every_host_is_allowed_by_a_star_alone() {
        assert!(HostPattern::of("*", "team-a").allows(None));
        assert!(!HostPattern::of("*.example.org", "team-a").allows(None));
        assert!(allows("*", "anything.example.org"));
    }

    #[test]
    fn hosts_overlap_where_one_request_can_be_for_both() {
        for (one, other) in [
            (Some("a.example.org"), Some("a.example.org")),
            (Some("*.example.org"), Some("a.example.org")),
            (Some("a.b.example.org"), Some("*.example.org")),
            (Some("*.example.org"), Some("*.b.example.org")),
            (None, Some("a.example.org")),
            (None, None),
        ] {
            assert!(overlap(one, other), "{one:?} {other:?}");
            assert!(overlap(other, one), "{one:?} {other:?}");
        }
        assert!(!overlap(Some("a.example.org"), Some("b.example.org")));
        assert!(!overlap(Some("*.a.example.org"), Some("a.example.org")));
    }

    #[test]
    fn an_address_is_no_host() {
        assert!(is_host("vm.example.org") && is_host("*.example.org"));
        assert!(!is_host("10.0.0.1") && !is_host("VM.example.org") && !is_host("a`) || Host(`b") && !is_host(""));
    }
}
