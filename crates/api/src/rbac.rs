//! What the API role may do in Kubernetes by itself. What people ask for is done in their own names, with their own rights.
//!
//! A rule is here because a line of this crate needs it. Add the rule with the request that needs it, and take it away with the last such request.

use novasphere_runtime::{optional_api, rbac::Rule};

const READ: &[&str] = &["list", "watch"];

/// Permissions in every namespace, for a `ClusterRole`.
pub const CLUSTER_RULES: &[Rule] = &[
    Rule {
        group: "novasphere.io",
        resources: &["vmaccesses"],
        names: &[],
        verbs: READ,
        reason: "Lists of machines, which show each user what they may list.",
    },
    Rule {
        group: "novasphere.io",
        resources: &["vncworkspaces"],
        names: &[],
        verbs: READ,
        reason: "Lists of desktops.",
    },
    Rule {
        group: "novasphere.io",
        resources: &["consolesessions"],
        names: &[],
        verbs: &["list", "watch", "patch"],
        reason: "Lists of sessions; patch revokes those of a login that has ended, and an admission policy forbids any other change.",
    },
    Rule {
        group: "kubevirt.io",
        resources: &["virtualmachines", "virtualmachineinstances"],
        names: &[],
        verbs: READ,
        reason: "Machines that no VmAccess names, and how machines run.",
    },
    Rule {
        group: "",
        resources: &["namespaces"],
        names: &[],
        verbs: READ,
        reason: "Which namespaces belong to which tenant.",
    },
    Rule {
        group: "authorization.k8s.io",
        resources: &["subjectaccessreviews"],
        names: &[],
        verbs: &["create"],
        reason: "Ask what a user may see and do.",
    },
    Rule {
        group: "authentication.k8s.io",
        resources: &["tokenreviews"],
        names: &[],
        verbs: &["create"],
        reason: "Ask whose a token of Kubernetes is.",
    },
    optional_api::DEFINITIONS,
    optional_api::API_SERVICES,
];

/// Permissions in the role's own namespace, for a `Role`.
pub const NAMESPACE_RULES: &[Rule] = &[
    Rule {
        group: "",
        resources: &["secrets"],
        names: &["novasphere-ca"],
        verbs: &["get", "list", "watch", "update"],
        reason: "Issue a certificate by novasphere's own authority, and renew it.",
    },
    Rule {
        group: "",
        resources: &["secrets"],
        names: &[
            "novasphere-login-keys",
            "novasphere-logins-0",
            "novasphere-logins-1",
            "novasphere-logins-2",
            "novasphere-logins-3",
            "novasphere-logins-4",
            "novasphere-logins-5",
            "novasphere-logins-6",
            "novasphere-logins-7",
        ],
        verbs: &["list", "watch", "patch"],
        reason: "Keys of tokens and the logins of all replicas; the Secrets are made by the installation, because a create cannot be limited by name.",
    },
    Rule {
        group: "",
        resources: &["secrets"],
        names: &["novasphere-users"],
        verbs: &["list", "watch"],
        reason: "Local users; administrators write it.",
    },
    Rule {
        group: "",
        resources: &["namespaces"],
        names: &[],
        verbs: &["get"],
        reason: "The UID of the namespace, which tells tokens of one installation from those of another.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::{KEYS_SECRET, LOGIN_SHARDS, LOGINS_SECRET_PREFIX};

    #[test]
    fn every_rule_is_whole_says_why_and_names_no_wildcard() {
        for rule in CLUSTER_RULES.iter().chain(NAMESPACE_RULES) {
            assert!(!rule.resources.is_empty() && !rule.verbs.is_empty(), "{rule:?}");
            assert!(rule.reason.ends_with('.'), "{rule:?}");
            for word in rule.resources.iter().chain(rule.verbs).chain([&rule.group]) {
                assert!(!word.contains('*'), "{rule:?}");
            }
        }
    }

    #[test]
    fn only_secrets_with_names_are_read() {
        for rule in CLUSTER_RULES.iter().chain(NAMESPACE_RULES) {
            assert!(
                !rule.resources.contains(&"secrets") || !rule.names.is_empty(),
                "{rule:?}"
            );
            assert!(
                !rule.resources.contains(&"secrets") || !rule.verbs.contains(&"create"),
                "{rule:?}"
            );
        }
    }

    #[test]
    fn the_secrets_are_those_that_are_used() {
        let names: Vec<&str> = NAMESPACE_RULES.iter().flat_map(|rule| rule.names).copied().collect();
        assert!(names.contains(&KEYS_SECRET));
        for shard in 0..LOGIN_SHARDS {
            assert!(names.contains(&format!("{LOGINS_SECRET_PREFIX}{shard}").as_str()));
        }
        assert!(names.contains(&crate::identity::local::USERS_SECRET));
    }
}
