//! What the controller may do in Kubernetes, and the roles for people: one
//! table, from which `cargo xtask generate` writes `config/rbac/` and the
//! chart's roles.
//!
//! A rule is here because a line of this crate needs it. Add the rule with the
//! request that needs it, and take it away with the last such request.

use novasphere_runtime::optional_api;
pub use novasphere_runtime::rbac::Rule;

/// Name of the lease that the leader holds, in the controller's own namespace.
pub const LEASE_NAME: &str = "novasphere-controller";

const READ: &[&str] = &["get", "list", "watch"];
const FOLLOW: &[&str] = &["list", "watch"];
const MAKE: &[&str] = &["get", "list", "watch", "create", "patch"];
const OWN: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];

/// Permissions in every namespace, for a `ClusterRole`.
pub const CLUSTER_RULES: &[Rule] = &[
    Rule {
        group: "novasphere.io",
        resources: &["vmaccesses"],
        names: &[],
        verbs: READ,
        reason: "Watch the kind that is reconciled.",
    },
    Rule {
        group: "novasphere.io",
        resources: &["vmaccesses/status"],
        names: &[],
        verbs: &["patch"],
        reason: "Write status by server-side apply.",
    },
    Rule {
        group: "novasphere.io",
        resources: &["consolesessions"],
        names: &[],
        verbs: &["get", "list", "watch", "delete"],
        reason: "Watch console sessions, read them again after a conflict, and delete finished ones.",
    },
    Rule {
        group: "novasphere.io",
        resources: &["consolesessions/status"],
        names: &[],
        verbs: &["update", "patch"],
        reason: "Write status at its resource version; patch reports a session that cannot be read.",
    },
    Rule {
        group: "kubevirt.io",
        resources: &["virtualmachines"],
        names: &[],
        verbs: MAKE,
        reason: "Make and change the virtual machines of VmAccess templates, which go with their owner; watch adopted ones.",
    },
    Rule {
        group: "kubevirt.io",
        resources: &["virtualmachineinstances"],
        names: &[],
        verbs: FOLLOW,
        reason: "Report where a virtual machine runs and its addresses.",
    },
    Rule {
        group: "subresources.kubevirt.io",
        resources: &[
            "virtualmachines/start",
            "virtualmachines/stop",
            "virtualmachines/restart",
        ],
        names: &[],
        verbs: &["update"],
        reason: "Power of adopted virtual machines, and restartedAt.",
    },
    Rule {
        group: "subresources.kubevirt.io",
        resources: &["virtualmachineinstances/pause", "virtualmachineinstances/unpause"],
        names: &[],
        verbs: &["update"],
        reason: "power.state Paused, and back.",
    },
    Rule {
        group: "novasphere.io",
        resources: &["vncworkspaces"],
        names: &[],
        verbs: &["get", "list", "watch", "patch", "delete"],
        reason: "Watch desktops; patch sets the finalizer that saves a home, delete removes one that has expired.",
    },
    Rule {
        group: "novasphere.io",
        resources: &["vncworkspaces/status"],
        names: &[],
        verbs: &["patch"],
        reason: "Write status by server-side apply.",
    },
    Rule {
        group: "",
        resources: &["pods", "persistentvolumeclaims"],
        names: &[],
        verbs: OWN,
        reason: "The Pod and the home of a VncWorkspace.",
    },
    Rule {
        group: "",
        resources: &["pods/resize"],
        names: &[],
        verbs: &["patch"],
        reason: "Change CPU and memory of a desktop that runs.",
    },
    Rule {
        group: "",
        resources: &["secrets"],
        names: &[],
        verbs: &["get", "create", "patch"],
        reason: "The credentials of a VncWorkspace, and whether a Secret that it names is shared, by their names; no list, so no other is found.",
    },
    Rule {
        group: "",
        resources: &["configmaps"],
        names: &[],
        verbs: &["get"],
        reason: "Whether a ConfigMap that a VmAccess names is shared with machines, by its name; only its metadata is asked for.",
    },
    Rule {
        group: "networking.k8s.io",
        resources: &["networkpolicies"],
        names: &[],
        verbs: MAKE,
        reason: "Let console gateways alone reach a desktop.",
    },
    Rule {
        group: "snapshot.storage.k8s.io",
        resources: &["volumesnapshots"],
        names: &[],
        verbs: OWN,
        reason: "Snapshots of homes, and their removal beyond backup.keep.",
    },
    Rule {
        group: "storage.k8s.io",
        resources: &["storageclasses"],
        names: &[],
        verbs: FOLLOW,
        reason: "Say why a home is not bound.",
    },
    Rule {
        group: "",
        resources: &["services"],
        names: &[],
        verbs: OWN,
        reason: "The Services of a VmAccess and of a VncWorkspace.",
    },
    Rule {
        group: "",
        resources: &["nodes"],
        names: &[],
        verbs: FOLLOW,
        reason: "Addresses at which a NodePort answers.",
    },
    optional_api::DEFINITIONS,
    optional_api::API_SERVICES,
    Rule {
        group: "",
        resources: &["events"],
        names: &[],
        verbs: &["list"],
        reason: "Say why a Pod that takes long to start waits, in the words of its node.",
    },
    Rule {
        group: "events.k8s.io",
        resources: &["events"],
        names: &[],
        verbs: &["create", "patch"],
        reason: "Report what happened; patch counts a repeated event up.",
    },
];

/// What the controller may do for one kind of gateway. The chart gives it where such a gateway is configured.
#[derive(Clone, Copy, Debug)]
pub struct GatewayRules {
    /// The field of `gateways[]` in the configuration.
    pub field: &'static str,
    /// How the names of its roles end, and the folder in `config/gateway`.
    pub suffix: &'static str,
    /// Permissions in every namespace, for a `ClusterRole`.
    pub rules: &'static [Rule],
    /// The object whose status has a gateway's addresses: group, resources, and the field with its name.
    pub address_source: (&'static str, &'static [&'static str], &'static str),
}

/// For each kind of gateway.
pub const GATEWAY_RULES: &[GatewayRules] = &[
    GatewayRules {
        field: "traefik",
        suffix: "traefik",
        rules: &[
            Rule {
                group: "traefik.io",
                resources: &["ingressroutetcps", "ingressroutes", "middlewaretcps", "middlewares"],
                names: &[],
                verbs: OWN,
                reason: "The routes of VmAccess and VncWorkspace, as Traefik reads them.",
            },
            Rule {
                group: "traefik.containo.us",
                resources: &["ingressroutetcps", "ingressroutes", "middlewaretcps", "middlewares"],
                names: &[],
                verbs: OWN,
                reason: "The same for Traefik before 2.10.",
            },
        ],
        address_source: ("", &["services"], "service"),
    },
    GatewayRules {
        field: "kong",
        suffix: "kong",
        rules: &[
            Rule {
                group: "configuration.konghq.com",
                resources: &["tcpingresses", "kongplugins"],
                names: &[],
                verbs: OWN,
                reason: "The routes of VmAccess and VncWorkspace, as Kong reads them.",
            },
            Rule {
                group: "networking.k8s.io",
                resources: &["ingresses"],
                names: &[],
                verbs: OWN,
                reason: "Routes with HTTP.",
            },
            Rule {
                group: "gateway.networking.k8s.io",
                resources: &["tcproutes", "tlsroutes"],
                names: &[],
                verbs: OWN,
                reason: "Routes where Kong has no TCPIngress any more.",
            },
        ],
        address_source: ("", &["services"], "service"),
    },
    GatewayRules {
        field: "gatewayApi",
        suffix: "gateway-api",
        rules: &[Rule {
            group: "gateway.networking.k8s.io",
            resources: &["tcproutes", "tlsroutes", "httproutes"],
            names: &[],
            verbs: OWN,
            reason: "The routes of VmAccess and VncWorkspace.",
        }],
        address_source: ("gateway.networking.k8s.io", &["gateways"], "gateway"),
    },
];

/// Permissions in the controller's own namespace, for a `Role`.
pub const NAMESPACE_RULES: &[Rule] = &[
    Rule {
        group: "coordination.k8s.io",
        resources: &["leases"],
        names: &[],
        verbs: &["create"],
        reason: "Make the leader's lease; a create cannot be limited by name.",
    },
    Rule {
        group: "coordination.k8s.io",
        resources: &["leases"],
        names: &[LEASE_NAME],
        verbs: &["get", "update"],
        reason: "Take, renew and release the leader's lease.",
    },
    Rule {
        group: "coordination.k8s.io",
        resources: &["leases"],
        names: &[],
        verbs: &["list", "watch", "delete"],
        reason: "Know the gateways that live, and clear the leases of dead ones; their names are not known before.",
    },
];

/// The controller's Deployment in a release called `novasphere`; the chart has the name of the release itself in its place.
pub const DEPLOYMENT_NAME: &str = "novasphere-controller";

/// Permissions of `prepare-uninstall` in every namespace, or in the one that is watched, for a `ClusterRole`.
pub const UNINSTALL_CLUSTER_RULES: &[Rule] = &[Rule {
    group: "novasphere.io",
    resources: &["vncworkspaces"],
    names: &[],
    verbs: &["list", "patch"],
    reason: "Find the workspaces with the finalizer, and take it off; only metadata is read, and a policy refuses every other change.",
}];

/// Permissions of `prepare-uninstall` in the namespace of the installation, for a `Role`.
pub const UNINSTALL_NAMESPACE_RULES: &[Rule] = &[
    Rule {
        group: "apps",
        resources: &["deployments/scale"],
        names: &[DEPLOYMENT_NAME],
        verbs: &["get", "patch"],
        reason: "Stop the controller, which would set the finalizer again.",
    },
    Rule {
        group: "",
        resources: &["pods"],
        names: &[],
        verbs: &["list"],
        reason: "See when the last Pod of the controller has gone.",
    },
];

/// A `ClusterRole` for people.
#[derive(Clone, Copy, Debug)]
pub struct UserRole {
    /// Its name in the cluster.
    pub name: &'static str,
    /// The built-in role that holds these rules as well, by aggregation.
    pub aggregates_to: &'static str,
    /// What it allows.
    pub rules: &'static [Rule],
}

const KINDS: &[&str] = &["vmaccesses", "consolesessions", "vncworkspaces"];

/// The roles for people. Each holds what the one before it allows.
pub const USER_ROLES: &[UserRole] = &[
    UserRole {
        name: "novasphere-viewer",
        aggregates_to: "view",
        rules: &[SEE],
    },
    UserRole {
        name: "novasphere-operator",
        aggregates_to: "edit",
        rules: &[SEE, CHANGE],
    },
    UserRole {
        name: "novasphere-admin",
        aggregates_to: "admin",
        rules: &[SEE, CHANGE, CLEAR],
    },
];

const SEE: Rule = Rule {
    group: "novasphere.io",
    resources: KINDS,
    names: &[],
    verbs: READ,
    reason: "See the objects and their status.",
};

const CHANGE: Rule = Rule {
    group: "novasphere.io",
    resources: KINDS,
    names: &[],
    verbs: &["create", "update", "patch", "delete"],
    reason: "Make, change and delete them one by one. Status stays the controller's.",
};

const CLEAR: Rule = Rule {
    group: "novasphere.io",
    resources: KINDS,
    names: &[],
    verbs: &["deletecollection"],
    reason: "Delete all of a namespace at once.",
};

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = &'static Rule> {
        CLUSTER_RULES
            .iter()
            .chain(NAMESPACE_RULES)
            .chain(UNINSTALL_CLUSTER_RULES)
            .chain(UNINSTALL_NAMESPACE_RULES)
            .chain(GATEWAY_RULES.iter().flat_map(|gateway| gateway.rules))
            .chain(USER_ROLES.iter().flat_map(|role| role.rules))
    }

    #[test]
    fn every_rule_is_whole_and_says_why() {
        for rule in all() {
            assert!(!rule.resources.is_empty() && !rule.verbs.is_empty(), "{rule:?}");
            assert!(rule.reason.ends_with('.'), "{rule:?}");
        }
    }

    #[test]
    fn nothing_is_granted_by_a_wildcard() {
        for rule in all() {
            for word in rule
                .resources
                .iter()
                .chain(rule.verbs)
                .chain(rule.names)
                .chain([&rule.group])
            {
                assert!(!word.contains('*'), "{rule:?}");
            }
        }
    }

    #[test]
    fn people_do_not_write_status() {
        for rule in USER_ROLES.iter().flat_map(|role| role.rules) {
            assert_eq!(rule.resources, KINDS, "{rule:?}");
        }
    }

    #[test]
    fn no_rule_lets_anybody_grant_rights_or_find_secrets() {
        for rule in all() {
            assert_ne!(rule.group, "rbac.authorization.k8s.io", "{rule:?}");
            if rule.resources.contains(&"secrets") {
                assert_eq!(
                    (rule.resources, rule.verbs),
                    (&["secrets"][..], &["get", "create", "patch"][..])
                );
            }
            for verb in ["bind", "escalate", "impersonate"] {
                assert!(!rule.verbs.contains(&verb), "{rule:?}");
            }
        }
    }
}
