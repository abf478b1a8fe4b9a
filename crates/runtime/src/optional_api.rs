//! APIs that a cluster may or may not serve, and that come and go while we run.

mod discovery;
mod stream;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kube::Client;
use parking_lot::RwLock;
use tokio::sync::watch;

pub use self::stream::{optional_watch, while_served};
use crate::{metrics::Metrics, rbac::Rule, shutdown::Shutdown, tasks::spawn_until};

/// What [`OptionalApis::watch`] needs to hear at once of APIs that come and go as definitions.
pub const DEFINITIONS: Rule = Rule {
    group: "apiextensions.k8s.io",
    resources: &["customresourcedefinitions"],
    names: &[],
    verbs: &["list", "watch"],
    reason: "Learn at once when KubeVirt is installed or removed; only metadata is read.",
};

/// The same for APIs of an aggregated server.
pub const API_SERVICES: Rule = Rule {
    group: "apiregistration.k8s.io",
    resources: &["apiservices"],
    names: &[],
    verbs: &["list", "watch"],
    reason: "The same for APIs that a server of their own serves.",
};

/// An API that we can use when it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OptionalApi {
    /// API group, such as `kubevirt.io`.
    pub group: &'static str,
    /// Versions that we can speak, best first.
    pub versions: &'static [&'static str],
    /// Resource name in paths, such as `virtualmachines`.
    pub plural: &'static str,
    /// Kind, such as `VirtualMachine`.
    pub kind: &'static str,
}

impl OptionalApi {
    /// The API of a type. A type is of one version, so it is the only one that is looked for.
    #[must_use]
    pub const fn of<K: k8s_openapi::Resource>() -> Self {
        Self {
            group: K::GROUP,
            versions: const { &[K::VERSION] },
            plural: K::URL_PATH_SEGMENT,
            kind: K::KIND,
        }
    }

    /// Name of its `CustomResourceDefinition` and in metrics, such as `virtualmachines.kubevirt.io`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }
}

/// The APIs that are served, each with the best of our versions.
pub type Served = BTreeMap<OptionalApi, &'static str>;

/// Which of the wanted APIs are served now. Clones share it.
#[derive(Clone, Debug)]
pub struct OptionalApis {
    served: Arc<watch::Sender<Served>>,
    /// Those whose objects were listed to the end since they appeared.
    listed: Arc<RwLock<BTreeSet<OptionalApi>>>,
}

impl OptionalApis {
    /// Asks the cluster once, then goes on in a task of its own until `shutdown`: at once when a `CustomResourceDefinition` or
    /// `APIService` of a wanted API changes (where RBAC lets us list and watch them), and every 30 s in any case.
    ///
    /// A later look that fails leaves the picture as it was.
    ///
    /// # Errors
    ///
    /// When the first look fails, so that a role never starts on a wrong picture.
    pub async fn watch(
        client: Client,
        wanted: &'static [OptionalApi],
        metrics: Metrics,
        shutdown: Shutdown,
    ) -> Result<Self, kube::Error> {
        let apis = Self::none();
        let discovery = discovery::Discovery {
            client,
            wanted,
            metrics,
            apis: apis.clone(),
        };
        discovery.look().await?;
        spawn_until("optional APIs", shutdown, async move { discovery.follow().await });
        Ok(apis)
    }

    /// A picture that does not change, of APIs that are listed as well, for tests of what uses it.
    #[must_use]
    pub fn fixed(served: Served) -> Self {
        Self {
            listed: Arc::new(RwLock::new(served.keys().copied().collect())),
            served: Arc::new(watch::Sender::new(served)),
        }
    }

    /// The same, of APIs whose first list has not ended.
    #[must_use]
    pub fn unlisted(served: Served) -> Self {
        Self {
            listed: Arc::default(),
            ..Self::fixed(served)
        }
    }

    /// The same, where the first list of some alone has ended.
    #[must_use]
    pub fn listed_where(served: Served, is_listed: impl Fn(&OptionalApi) -> bool) -> Self {
        let apis = Self::unlisted(served.clone());
        apis.listed.write().extend(served.into_keys().filter(is_listed));
        apis
    }

    fn none() -> Self {
        Self::fixed(Served::new())
    }

    /// The best version of `api` that is served now, or `None`.
    #[must_use]
    pub fn served(&self, api: &OptionalApi) -> Option<&'static str> {
        self.served.borrow().get(api).copied()
    }

    /// Whether `api` is served and its [`optional_watch`] has shown all objects at least once since it appeared.
    ///
    /// Before that, an object that is in no cache may well exist: a caller that takes its absence for a fact asks this and not
    /// [`served`](Self::served). The `InitDone` with which it becomes true comes after it did. Always `false` of an API that
    /// nobody watches.
    #[must_use]
    pub fn listed(&self, api: &OptionalApi) -> bool {
        let listed = self.listed.read();
        listed.contains(api) && self.served(api).is_some()
    }

    fn set_listed(&self, api: OptionalApi, is_listed: bool) {
        let mut listed = self.listed.write();
        if is_listed {
            listed.insert(api);
        } else {
            listed.remove(&api);
        }
    }

    /// Changes whenever an API comes, goes, or changes its best version.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<Served> {
        self.served.subscribe()
    }

    fn replace(&self, served: Served) {
        self.served.send_if_modified(|current| {
            let changed = *current != served;
            if changed {
                tracing::info!(served = ?served.iter().map(|(api, version)| format!("{}/{version}", api.name())).collect::<Vec<_>>(), "optional APIs");
                *current = served;
            }
            changed
        });
    }
}
