//! What became of an object that another one wants.

use crate::failure::Failure;

/// The outcome of applying one child.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ChildOutcome<K> {
    /// Nothing was tried.
    #[default]
    NotTried,
    /// The object as it is in the cluster now.
    Applied(K),
    /// It could not be applied.
    Failed(Failure),
}

impl<K> ChildOutcome<K> {
    /// The object, when it is as wanted.
    #[must_use]
    pub const fn applied(&self) -> Option<&K> {
        match self {
            Self::Applied(object) => Some(object),
            Self::NotTried | Self::Failed(_) => None,
        }
    }

    /// Why it could not be applied.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            Self::NotTried | Self::Applied(_) => None,
        }
    }
}
