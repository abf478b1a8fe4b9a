//! How the roles write down what they may do in Kubernetes: tables, from which `cargo xtask generate` writes `config/rbac/` and
//! the chart's roles.

/// One permission.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Resources, subresources as `resource/subresource`.
    pub resources: &'static [&'static str],
    /// Names of the objects it is limited to; empty means all.
    pub names: &'static [&'static str],
    /// Kubernetes' own verbs, in the order read, write, delete.
    pub verbs: &'static [&'static str],
    /// Why it is needed; written as a comment above the rule.
    pub reason: &'static str,
}

/// Resources of the rules that are in no namespace.
const CLUSTER_SCOPED: &[(&str, &str)] = &[
    ("", "namespaces"),
    ("", "nodes"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "apiservices"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
    ("storage.k8s.io", "storageclasses"),
];

impl Rule {
    /// Whether it is about objects that are in no namespace. No `RoleBinding` grants it.
    #[must_use]
    pub fn is_cluster_scoped(&self) -> bool {
        self.resources
            .iter()
            .any(|resource| CLUSTER_SCOPED.contains(&(self.group, resource)))
    }
}

impl RoleRules {
    /// Its rules of the core group's Secrets, with the verbs that they give on Secrets of any name.
    fn secrets(&self) -> impl Iterator<Item = &'static Rule> {
        let all = self.cluster.iter().chain(self.namespace).copied().flatten();
        all.filter(|rule| rule.group.is_empty() && rule.resources.contains(&"secrets") && rule.names.is_empty())
    }

    /// Whether its account could create a Secret into which Kubernetes writes the token of another account, and read it
    /// (kubernetes.io/service-account-token). RBAC alone cannot prevent that, because a `create` is limited by no name.
    #[must_use]
    pub fn could_take_tokens(&self, also: &[Rule]) -> bool {
        let also = also.iter().filter(|rule| rule.resources.contains(&"secrets"));
        let mut verbs: Vec<&str> = self.secrets().flat_map(|rule| rule.verbs).copied().collect();
        verbs.extend(also.flat_map(|rule| rule.verbs).copied());
        let any = |wanted: &[&str]| verbs.iter().any(|verb| wanted.contains(verb));
        any(&["create", "update", "patch"]) && any(&["get", "list", "watch"])
    }
}

/// A `Role` that Kubernetes itself makes, to which a role of the program is bound.
#[derive(Clone, Copy, Debug)]
pub struct BuiltInRole {
    /// Its name.
    pub name: &'static str,
    /// Its namespace.
    pub namespace: &'static str,
    /// What the name of the binding ends in.
    pub suffix: &'static str,
}

/// What one role of the program may do.
#[derive(Clone, Copy, Debug)]
pub struct RoleRules {
    /// Where the tables are written down, for the heads of generated files.
    pub source: &'static str,
    /// Permissions in every namespace.
    pub cluster: &'static [&'static [Rule]],
    /// Permissions in its own namespace.
    pub namespace: &'static [&'static [Rule]],
    /// Built-in roles that it is bound to.
    pub built_in: &'static [BuiltInRole],
}
