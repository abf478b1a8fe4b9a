//! What the console role may do in Kubernetes.
//!
//! A rule is here because a line of this crate needs it. Add the rule with the request that needs it, and take it away with
//! the last such request.

use novasphere_runtime::{optional_api, rbac::Rule};

const READ: &[&str] = &["get", "list", "watch"];

/// Permissions in every namespace, for a `ClusterRole`.
pub const CLUSTER_RULES: &[Rule] = &[
    Rule {
        group: "novasphere.io",
        resources: &["consolesessions"],
        names: &[],
        verbs: READ,
        reason: "Find the session of a token, and end streams when it changes.",
    },
    Rule {
        group: "novasphere.io",
        resources: &["consolesessions/status"],
        names: &[],
        verbs: &["update"],
        reason: "Claim a token's use, and note who is connected.",
    },
    Rule {
        group: "novasphere.io",
        resources: &["vmaccesses"],
        names: &[],
        verbs: READ,
        reason: "The console policy of a target, and where its VNC server is.",
    },
    Rule {
        group: "novasphere.io",
        resources: &["vncworkspaces"],
        names: &[],
        verbs: READ,
        reason: "The console policy of a workspace, and whether its desktop answers.",
    },
    Rule {
        group: "novasphere.io",
        resources: &["vncworkspaces/status"],
        names: &[],
        verbs: &["patch"],
        reason: "Wake a desktop that a viewer connects to; an admission policy forbids other changes of the status.",
    },
    Rule {
        group: "kubevirt.io",
        resources: &["virtualmachines", "virtualmachineinstances"],
        names: &[],
        verbs: READ,
        reason: "Whether a target runs, and why its console went away.",
    },
    Rule {
        group: "subresources.kubevirt.io",
        resources: &["virtualmachineinstances/vnc", "virtualmachineinstances/console"],
        names: &[],
        verbs: &["get"],
        reason: "Open consoles.",
    },
    Rule {
        group: "discovery.k8s.io",
        resources: &["endpointslices"],
        names: &[],
        verbs: &["list"],
        reason: "Reach a desktop, and the VNC server that a VmAccess names.",
    },
    Rule {
        group: "authorization.k8s.io",
        resources: &["subjectaccessreviews"],
        names: &[],
        verbs: &["create"],
        reason: "Ask whether a user may view or control a console, when it is opened and while it is open.",
    },
    optional_api::DEFINITIONS,
    optional_api::API_SERVICES,
    Rule {
        group: "events.k8s.io",
        resources: &["events"],
        names: &[],
        verbs: &["create", "patch"],
        reason: "Report connected and rejected viewers; patch counts a repeated event up.",
    },
];

/// Permissions in the gateway's own namespace, for a `Role`.
pub const NAMESPACE_RULES: &[Rule] = &[
    Rule {
        group: "",
        resources: &["secrets"],
        names: &["novasphere-ca"],
        verbs: &["get", "list", "watch", "update"],
        reason: "Issue certificates by novasphere's own authority, and renew it; the Secret is made by the installation, because a create cannot be limited by name.",
    },
    Rule {
        group: "coordination.k8s.io",
        resources: &["leases"],
        names: &[],
        verbs: &["create", "patch", "delete"],
        reason: "The gateway's sign of life; its name has a random part, so it cannot be limited by name.",
    },
];

/// Permissions of the `ClusterRole` that is bound to the gateway where there are workspaces, in every namespace by default, and that an
/// administrator binds in namespaces whose VNC servers have passwords.
pub const PASSWORD_RULES: &[Rule] = &[Rule {
    group: "",
    resources: &["secrets"],
    names: &[],
    verbs: &["get"],
    reason: "Read the VNC password of a desktop, and of a VNC server that a VmAccess names.",
}];

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = &'static Rule> {
        CLUSTER_RULES.iter().chain(NAMESPACE_RULES).chain(PASSWORD_RULES)
    }

    #[test]
    fn every_rule_is_whole_says_why_and_names_no_wildcard() {
        for rule in all() {
            assert!(!rule.resources.is_empty() && !rule.verbs.is_empty(), "{rule:?}");
            assert!(rule.reason.ends_with('.'), "{rule:?}");
            let words = rule.resources.iter().chain(rule.verbs).chain([&rule.group]);
            for word in words {
                assert!(!word.contains('*'), "{rule:?}");
            }
        }
    }

    #[test]
    fn no_secret_can_be_read_in_every_namespace() {
        for rule in CLUSTER_RULES {
            assert!(!rule.resources.contains(&"secrets"), "{rule:?}");
        }
    }
}
