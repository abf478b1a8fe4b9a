//! Writes that happen only when something changes.

use std::fmt::Debug;

use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Client, Resource};
use serde::{Serialize, de::DeserializeOwned};

use crate::metrics::Metrics;

/// What [`Applier::apply`] did, with the object as it is in the cluster now.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome<K> {
    /// Nothing was sent: the cached object has all that is desired.
    Unchanged(K),
    /// The object did not exist.
    Created(K),
    /// The object was changed.
    Patched(K),
}

impl<K> Outcome<K> {
    /// The object.
    pub fn into_object(self) -> K {
        match self {
            Self::Unchanged(k) | Self::Created(k) | Self::Patched(k) => k,
        }
    }

    /// The object.
    pub fn object(&self) -> &K {
        match self {
            Self::Unchanged(k) | Self::Created(k) | Self::Patched(k) => k,
        }
    }
}

/// What [`Applier::delete`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// The apiserver took the request; finalizers may keep the object for a while.
    Requested,
    /// It had gone already, or another object has its name now.
    AlreadyGone,
}

/// Why a write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An object with this name exists and is not ours.
    #[error("{kind} {name} exists already and does not belong to this object ({owner}). Delete or rename it, or choose another name")]
    NotOwned {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Whose it is, in words.
        owner: String,
    },
    /// Somebody else changed the object at the same time.
    #[error("{0}")]
    Conflict(String),
    /// The apiserver does not let us.
    #[error("{0}")]
    Forbidden(String),
    /// The apiserver or an admission webhook refuses the content.
    #[error("{0}")]
    Invalid(String),
    /// It exists already, although the cache does not have it yet.
    #[error("{0}")]
    AlreadyExists(String),
    /// A `ResourceQuota` of the namespace is used up.
    #[error("{0}")]
    QuotaExceeded(String),
    /// The namespace is being deleted: nothing new can be made in it.
    #[error("{0}")]
    NamespaceTerminating(String),
    /// The API of the object is not served.
    #[error("{0}")]
    NotFound(String),
    /// This process does not lead (any more).
    #[error(transparent)]
    NotLeader(#[from] crate::lease::NotLeader),
    /// No answer in time.
    #[error("{0}")]
    Timeout(String),
    /// The apiserver could not be reached, or failed.
    #[error("{0}")]
    Transport(String),
    /// The desired object cannot be sent: a fault of ours.
    #[error("{0}")]
    Internal(String),
}

impl ApplyError {
    /// `PascalCase` word for conditions, events and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        todo!()
    }

    /// Whether trying again without a change can help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        todo!()
    }
}

impl From<kube::Error> for ApplyError {
    /// Sorts what the client or the apiserver said, by status code and reason.
    fn from(error: kube::Error) -> Self {
        let _ = error;
        todo!()
    }
}

/// Who must be the controller owner of what an [`Applier`] touches.
pub type Owner = OwnerReference;

/// Applies objects for one field manager.
#[derive(Clone)]
pub struct Applier {
    _private: (),
}

impl Applier {
    /// `field_manager` names one call site (`novasphere/vmaccess`); two that share a name take each other's fields away.
    #[must_use]
    pub fn new(client: Client, field_manager: &str, metrics: Metrics) -> Self {
        let _ = (client, field_manager, metrics);
        todo!()
    }

    /// Makes the cluster have `desired`. `live` is the cached object of that name, if there is one.
    ///
    /// `desired` needs a name and a namespace, and a controller owner reference: a live object with another (or no) controller is never taken over.
    ///
    /// # Errors
    ///
    /// [`ApplyError`].
    pub async fn apply<K>(&self, desired: &K, live: Option<&K>) -> Result<Outcome<K>, ApplyError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug,
    {
        let _ = (desired, live);
        todo!()
    }

    /// Makes the status of `live` be `status`, by server-side apply on the status subresource, unless it is equal but for
    /// `lastTransitionTime`. Returns the object as the apiserver answered it, or `None` when nothing was sent.
    ///
    /// # Errors
    ///
    /// [`ApplyError`].
    pub async fn apply_status<K, S>(&self, live: &K, current: Option<&S>, status: &S) -> Result<Option<K>, ApplyError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug,
        S: Serialize,
    {
        let _ = (live, current, status);
        todo!()
    }

    /// Deletes exactly the object `live` (by UID), with background propagation.
    ///
    /// # Errors
    ///
    /// [`ApplyError`].
    pub async fn delete<K>(&self, live: &K) -> Result<Deleted, ApplyError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug,
    {
        let _ = live;
        todo!()
    }

    /// Deletes those of `live` that `owner_uid` controls and whose UID is not in `keep`. Returns how many were asked to go.
    ///
    /// # Errors
    ///
    /// The first [`ApplyError`]; the others are tried all the same.
    pub async fn prune<'a, K>(&self, live: impl IntoIterator<Item = &'a K> + Send, owner_uid: &str, keep: &[String]) -> Result<usize, ApplyError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug + Sync + 'a,
    {
        let _ = (live.into_iter().count(), owner_uid, keep);
        todo!()
    }
}
