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
