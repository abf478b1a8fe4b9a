//! Writes and calls that did not succeed. Each kind explains them in a file `failure.rs` of its own, with its own reasons.

/// A write or call that was refused or got no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind it is.
    pub kind: FailureKind,
    /// The message of the apiserver, the admission webhook or `KubeVirt`.
    pub message: String,
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// An object of this name exists and was not made for this owner.
    NotOwned,
    /// The content is refused; the same content will be refused again.
    Rejected,
    /// This port on nodes belongs to another Service of the cluster.
    NodePortInUse(u16),
    /// A quota of the namespace is used up.
    QuotaExceeded,
    /// The controller lacks a right.
    Forbidden,
    /// The namespace is being deleted.
    NamespaceTerminating,
    /// Anything for which a retry may help.
    Unavailable,
}

impl Failure {
    /// A failure of `kind` with the message of the server that refused.
    #[must_use]
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// Whether only a change of the spec helps. A node port is free again when its holder goes.
    #[must_use]
    pub fn needs_spec_change(&self) -> bool {
        self.kind == FailureKind::Rejected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refused_content_needs_spec_change() {
        assert!(Failure::new(FailureKind::Rejected, "").needs_spec_change());
        assert!(!Failure::new(FailureKind::QuotaExceeded, "").needs_spec_change());
    }
}
