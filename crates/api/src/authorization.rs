//! What a user may see and do: Kubernetes RBAC, asked by `SubjectAccessReview`, in the words of the documents.

pub mod words;

use std::{collections::BTreeSet, time::Duration};

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use kube::Client;
use novasphere_runtime::access::{AccessReviewer, FRESH_TTL, RECHECK_TTL, UserInfo};

use self::words::{PERMISSIONS, Permission};
use crate::{
    caller::{Caller, CallerCredential, TenantId},
    code::Code,
    error::{ApiError, ApiResult},
    watches::Watched,
};

/// Reviews of one request that are under way at a time.
const REVIEWS_LIMIT: usize = 32;

/// What lists are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// `VmAccess` objects, with their machines.
    Machines,
    /// Machines that no `VmAccess` names.
    BareMachines,
    /// `VncWorkspace` objects.
    Workspaces,
    /// `ConsoleSession` objects.
    Sessions,
}

/// The namespaces whose objects a user may list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VisibleNamespaces {
    /// All of them.
    All,
    /// These.
    Only(BTreeSet<String>),
}

impl VisibleNamespaces {
    /// Whether a namespace is among them.
    #[must_use]
    pub fn contains(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(namespaces) => namespaces.contains(namespace),
        }
    }
}

/// Asks for rights. Clones share the answers.
#[derive(Clone)]
pub struct Authorization {
    reviewer: AccessReviewer,
}

/// A right on objects of a kind in a namespace; `None` stands for all namespaces.
#[must_use]
pub fn right(
    group: &str,
    resource: &str,
    subresource: Option<&str>,
    verb: &str,
    namespace: Option<&str>,
) -> ResourceAttributes {
    ResourceAttributes {
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: subresource.map(str::to_owned),
        verb: Some(verb.to_owned()),
        namespace: namespace.map(str::to_owned),
        ..ResourceAttributes::default()
    }
}

impl Listed {
    /// Group and plural of what a user has to have the right for.
    const fn resource(self) -> (&'static str, &'static str) {
        match self {
            Self::Machines => ("novasphere.io", "vmaccesses"),
            Self::BareMachines => ("kubevirt.io", "virtualmachines"),
            Self::Workspaces => ("novasphere.io", "vncworkspaces"),
            Self::Sessions => ("novasphere.io", "consolesessions"),
        }
    }

    fn list(self, namespace: Option<&str>) -> ResourceAttributes {
        let (group, resource) = self.resource();
        right(group, resource, None, "list", namespace)
    }
}

impl Authorization {
    /// Asks with our own account.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            reviewer: AccessReviewer::new(client),
        }
    }

    /// Whether the caller has a right; the answer may be 3 s old.
    ///
    /// # Errors
    ///
    /// [`Code::CLUSTER_UNAVAILABLE`], [`Code::CLUSTER_TIMEOUT`].
    pub async fn allows(&self, caller: &Caller, right: &ResourceAttributes) -> ApiResult<bool> {
        Ok(self.reviewer.allows(&asked_about(caller), right, FRESH_TTL).await?)
    }

    /// Succeeds only when the caller has a right.
    ///
    /// # Errors
    ///
    /// [`Code::FORBIDDEN`] with the right by name, and as [`allows`](Self::allows).
    pub async fn require(&self, caller: &Caller, right: &ResourceAttributes) -> ApiResult<()> {
        Ok(self.reviewer.require(&asked_about(caller), right, FRESH_TTL).await?)
    }

    /// The namespaces among `candidates` whose objects of a kind the caller may list. The right in all namespaces is asked for first, so that
    /// an administrator costs one review. The tenant of the login bounds them.
    ///
    /// # Errors
    ///
    /// [`Code::CLUSTER_UNAVAILABLE`], [`Code::CLUSTER_TIMEOUT`].
    pub async fn visible(
        &self,
        caller: &Caller,
        listed: Listed,
        candidates: BTreeSet<String>,
        watched: &Watched,
    ) -> ApiResult<VisibleNamespaces> {
        let candidates = match &caller.tenant {
            None => candidates,
            Some(tenant) => {
                let of_tenant: BTreeSet<String> = watched.namespaces_of(tenant).into_iter().collect();
                candidates.intersection(&of_tenant).cloned().collect()
            }
        };
        if self
            .reviewer
            .allows(&asked_about(caller), &listed.list(None), RECHECK_TTL)
            .await?
        {
            return Ok(if caller.tenant.is_some() {
                VisibleNamespaces::Only(candidates)
            } else {
                VisibleNamespaces::All
            });
        }
        // Boxed, because the compiler cannot prove a stream of such futures to be `Send` (rust-lang/rust#102211).
        let user = &asked_about(caller);
        let asked: Vec<BoxFuture<'_, _>> = candidates
            .into_iter()
            .map(|namespace| {
                let asked = async move {
                    let right = listed.list(Some(&namespace));
                    let allowed = self.reviewer.allows(user, &right, RECHECK_TTL).await?;
                    ApiResult::Ok(allowed.then_some(namespace))
                };
                asked.boxed()
            })
            .collect();
        let asked = stream::iter(asked);
        let found: Vec<Option<String>> = asked.buffer_unordered(REVIEWS_LIMIT).try_collect().await?;
        Ok(VisibleNamespaces::Only(found.into_iter().flatten().collect()))
    }

    /// Refuses what belongs to another tenant than that of the login, as if it were not there.
    ///
    /// # Errors
    ///
    /// [`Code::NOT_FOUND`].
    pub fn within_tenant(&self, caller: &Caller, namespace: &str, watched: &Watched) -> ApiResult<()> {
        match &caller.tenant {
            Some(tenant) if watched.tenant_of(namespace).as_ref() != Some(tenant) => {
                Err(ApiError::new(Code::NOT_FOUND))
            }
            _ => Ok(()),
        }
    }

    /// The words for what the caller may do, in a namespace or in all.
    ///
    /// # Errors
    ///
    /// [`Code::CLUSTER_UNAVAILABLE`], [`Code::CLUSTER_TIMEOUT`].
    pub async fn permissions(&self, caller: &Caller, namespace: Option<&str>) -> ApiResult<Vec<String>> {
        let user = &asked_about(caller);
        let asked: Vec<BoxFuture<'_, _>> = PERMISSIONS
            .iter()
            .map(|permission| {
                let right = permission.right(namespace);
                let asked = async move {
                    let allowed = self.reviewer.allows(user, &right, RECHECK_TTL).await?;
                    ApiResult::Ok(allowed.then(|| permission.word.to_owned()))
                };
                asked.boxed()
            })
            .collect();
        let found: Vec<Option<String>> = stream::iter(asked).buffered(REVIEWS_LIMIT).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Whether the caller has the right of a word such as `vm:start`; `None` when there is no such word.
    ///
    /// # Errors
    ///
    /// [`Code::CLUSTER_UNAVAILABLE`], [`Code::CLUSTER_TIMEOUT`].
    pub async fn permission(&self, caller: &Caller, word: &str, namespace: Option<&str>) -> ApiResult<Option<bool>> {
        match Permission::find(word) {
            Some(permission) => Ok(Some(self.allows(caller, &permission.right(namespace)).await?)),
            None => Ok(None),
        }
    }

    /// Whether the user belongs to a tenant: by what their provider says, or by a right in one of its namespaces.
    ///
    /// # Errors
    ///
    /// [`Code::CLUSTER_UNAVAILABLE`], [`Code::CLUSTER_TIMEOUT`].
    pub async fn is_of_tenant(&self, caller: &Caller, tenant: &TenantId, watched: &Watched) -> ApiResult<bool> {
        for namespace in watched.namespaces_of(tenant) {
            for listed in [Listed::Machines, Listed::Workspaces] {
                if self.allows(caller, &listed.list(Some(&namespace))).await? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// The user as kube-apiserver sees their requests: it adds this group to whom is impersonated.
fn asked_about(caller: &Caller) -> UserInfo {
    const AUTHENTICATED: &str = "system:authenticated";
    let mut user = caller.user.clone();
    if caller.credential == CallerCredential::Impersonated && !user.groups.iter().any(|group| group == AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}

/// How old the answers behind an open stream of events may be.
pub(crate) const STREAM_RECHECK_INTERVAL: Duration = Duration::from_secs(20);
