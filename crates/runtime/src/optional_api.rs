//! APIs that a cluster may or may not serve, and that come and go while we run.

use futures::Stream;
use kube::{Api, Client, Resource, runtime::watcher};
use tokio::sync::watch;

use crate::{metrics::Metrics, shutdown::Shutdown, watch::Guard};

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

/// Which of the wanted APIs are served now. Clones share it.
#[derive(Clone)]
pub struct OptionalApis {
    _private: (),
}

impl OptionalApis {
    /// Asks the cluster once, then goes on in a task of its own until `shutdown`: at once when a `CustomResourceDefinition` or
    /// `APIService` changes (where RBAC lets us watch them), and every 30 s in any case.
    ///
    /// # Errors
    ///
    /// When the first discovery fails, so that a role never starts on a wrong picture.
    pub async fn watch(client: Client, wanted: &[OptionalApi], metrics: Metrics, shutdown: Shutdown) -> Result<Self, kube::Error> {
        let _ = (client, wanted, metrics, shutdown);
        todo!()
    }

    /// The best version that is served now, or `None`.
    #[must_use]
    pub fn served(&self, api: &OptionalApi) -> Option<&'static str> {
        let _ = api;
        todo!()
    }

    /// Changes whenever an API comes, goes, or changes its best version.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        todo!()
    }
}

/// Watches `K` while `api` is served; see [`crate::watch::guarded`] for the items. When the API goes, the stream says `Init`,
/// `InitDone`, which empties every store behind it, and waits for the API to come back. A store behind it is ready at once
/// when the API is absent.
///
/// `make_api` gets the served version.
pub fn optional_watch<K, F>(
    apis: &OptionalApis,
    api: &OptionalApi,
    config: watcher::Config,
    guard: Guard,
    make_api: F,
) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static
where
    K: Resource<DynamicType = ()> + serde::de::DeserializeOwned + Clone + std::fmt::Debug + Send + Sync + 'static,
    F: Fn(&'static str) -> Api<kube::core::DeserializeGuard<K>> + Send + 'static,
{
    let _ = (apis, api, config, guard, make_api);
    futures::stream::empty()
}
