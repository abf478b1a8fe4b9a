//! What the apiserver role may do in Kubernetes.
//!
//! A rule is here because a line of this crate needs it, or of the gateway in `novasphere-console` that carries its streams:
//! those are that crate's own table. Add the rule with the request that needs it, and take it away with the last such request.

use novasphere_runtime::rbac::Rule;

use crate::{API_SERVICE, GROUP};

/// Built-in `Role` in `kube-system` that lets a server read whom to believe.
pub const AUTHENTICATION_READER: &str = "extension-apiserver-authentication-reader";

/// Permissions in every namespace, for a `ClusterRole`, beside those of the console gateway.
pub const CLUSTER_RULES: &[Rule] = &[
    Rule {
        group: "novasphere.io",
        resources: &["consolesessions"],
        names: &[],
        verbs: &["create", "delete"],
        reason: "Create a session for one connection, and delete it when nobody enters.",
    },
    Rule {
        group: "apiregistration.k8s.io",
        resources: &["apiservices"],
        names: &[API_SERVICE],
        verbs: &["patch"],
        reason: "Write the bundle of novasphere's own authority into its APIService.",
    },
];

/// What a role for people allows beside the objects themselves, by the role's name.
#[must_use]
pub fn user_rules(role: &str) -> &'static [Rule] {
    match role {
        "novasphere-viewer" => &[LOOK],
        "novasphere-operator" | "novasphere-admin" => &[LOOK, DRIVE, TOKEN],
        _ => &[],
    }
}

const LOOK: Rule = Rule {
    group: GROUP,
    resources: &["vmaccesses/console", "vncworkspaces/console", "consolesessions/connect"],
    names: &[],
    verbs: &["get"],
    reason: "View a console; keyboard, pointer, clipboard and power do not reach the guest.",
};

const DRIVE: Rule = Rule {
    group: GROUP,
    resources: &["vmaccesses/console", "vncworkspaces/console"],
    names: &[],
    verbs: &["update"],
    reason: "Control a console.",
};

const TOKEN: Rule = Rule {
    group: GROUP,
    resources: &["consolesessions/token"],
    names: &[],
    verbs: &["create"],
    reason: "Get a token, which opens the session's console without Kubernetes credentials for a short time.",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_whole_says_why_and_names_no_wildcard() {
        for rule in CLUSTER_RULES.iter().chain(user_rules("novasphere-admin")) {
            assert!(!rule.resources.is_empty() && !rule.verbs.is_empty(), "{rule:?}");
            assert!(rule.reason.ends_with('.'), "{rule:?}");
            for word in rule.resources.iter().chain(rule.verbs).chain([&rule.group]) {
                assert!(!word.contains('*'), "{rule:?}");
            }
        }
    }

    #[test]
    fn a_viewer_may_not_control() {
        let viewer = user_rules("novasphere-viewer");
        assert!(viewer.iter().all(|rule| rule.verbs == ["get"]));
        let operator = user_rules("novasphere-operator");
        assert!(operator.iter().any(|rule| rule.verbs == ["update"]));
    }
}
