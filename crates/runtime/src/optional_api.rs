//! APIs that a cluster may or may not serve, and that come and go while we run.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc, time::Duration};

use futures::{Stream, StreamExt, stream, stream::BoxStream};
use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Api, Client, Resource,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt, metadata_watcher,
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::{
    metrics::Metrics,
    shutdown::Shutdown,
    watch::{Guard, guarded},
};

/// Discovery is repeated at least this often; watches make it earlier.
const POLL: Duration = Duration::from_secs(30);

/// Definitions change in bursts, and a new one is served a moment after its event.
const BURST: Duration = Duration::from_millis(500);

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

type Served = BTreeMap<OptionalApi, &'static str>;

/// Which of the wanted APIs are served now. Clones share it.
#[derive(Clone)]
pub struct OptionalApis {
    served: Arc<watch::Sender<Served>>,
}

impl OptionalApis {
    /// Asks the cluster once, then goes on in a task of its own until `shutdown`: at once when a `CustomResourceDefinition` or
    /// `APIService` changes (where RBAC lets us watch them), and every 30 s in any case.
    ///
    /// # Errors
    ///
    /// When the first discovery fails, so that a role never starts on a wrong picture.
    pub async fn watch(
        client: Client,
        wanted: &'static [OptionalApi],
        metrics: Metrics,
        shutdown: Shutdown,
    ) -> Result<Self, kube::Error> {
        let first = discover(&client, wanted, &Served::new()).await?;
        let apis = Self { served: Arc::new(watch::Sender::new(Served::new())) };
        apis.set(first, wanted, &metrics);
        tokio::spawn(apis.clone().follow(client, wanted, metrics, shutdown));
        Ok(apis)
    }

    /// The best version that is served now, or `None`.
    #[must_use]
    pub fn served(&self, api: &OptionalApi) -> Option<&'static str> {
        self.served.borrow().get(api).copied()
    }

    /// Changes whenever an API comes, goes, or changes its best version.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<BTreeMap<OptionalApi, &'static str>> {
        self.served.subscribe()
    }

    async fn follow(self, client: Client, wanted: &'static [OptionalApi], metrics: Metrics, shutdown: Shutdown) {
        let mut hints = std::pin::pin!(hints(&client));
        loop {
            tokio::select! {
                () = shutdown.wait() => return,
                _ = hints.next() => while tokio::time::timeout(BURST, hints.next()).await.is_ok() {},
                () = tokio::time::sleep(POLL) => {}
            }
            let known = self.served.borrow().clone();
            match discover(&client, wanted, &known).await {
                Ok(served) => self.set(served, wanted, &metrics),
                Err(error) => tracing::warn!(%error, "cannot find out which APIs are served; what was known stays"),
            }
        }
    }

    fn set(&self, served: Served, wanted: &[OptionalApi], metrics: &Metrics) {
        for api in wanted {
            metrics.api_available(&format!("{}.{}", api.plural, api.group), served.contains_key(api));
        }
        self.served.send_if_modified(|known| {
            if *known == served {
                return false;
            }
            tracing::info!(apis = ?served.keys().map(|api| api.plural).collect::<Vec<_>>(), "optional APIs that are served");
            *known = served;
            true
        });
    }
}

/// One item for each change that may add or remove an API. Errors are no news: the poll goes on without this.
fn hints(client: &Client) -> impl Stream<Item = ()> + Send + use<> {
    fn of<K>(client: &Client) -> BoxStream<'static, ()>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        metadata_watcher(Api::<K>::all(client.clone()), watcher::Config::default())
            .default_backoff()
            .filter_map(|event| async move {
                matches!(event, Ok(Event::Apply(_) | Event::Delete(_) | Event::InitDone)).then_some(())
            })
            .boxed()
    }
    stream::select(of::<CustomResourceDefinition>(client), of::<APIService>(client))
}

/// The wanted APIs that are served. A group whose discovery fails keeps what was `known`: an aggregated API that is down for a
/// moment is not gone.
async fn discover(client: &Client, wanted: &[OptionalApi], known: &Served) -> Result<Served, kube::Error> {
    let groups = client.list_api_groups().await?.groups;
    let mut served = Served::new();
    for api in wanted {
        let Some(group) = groups.iter().find(|group| group.name == api.group) else { continue };
        let offered = |version: &&&str| group.versions.iter().any(|offered| offered.version == **version);
        for version in api.versions.iter().filter(offered) {
            match client.list_api_group_resources(&format!("{}/{version}", api.group)).await {
                Ok(list) if list.resources.iter().any(|resource| resource.name == api.plural) => {
                    served.insert(*api, version);
                    break;
                }
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => {
                    tracing::warn!(group = api.group, %error, "discovery of an API group failed");
                    if let Some(version) = known.get(api) {
                        served.insert(*api, version);
                    }
                    break;
                }
            }
        }
    }
    Ok(served)
}

/// Watches `K` while `api` is served; see [`guarded`] for the items. When the API goes, the stream says `Init`, `InitDone`, which
/// empties every store behind it, and waits for the API to come back. A store behind it is ready at once when the API is absent.
///
/// `make_api` gets the served version.
pub fn optional_watch<K, F>(
    apis: &OptionalApis,
    api: &OptionalApi,
    config: watcher::Config,
    guard: Guard,
    make_api: F,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static + use<K, F>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
    F: Fn(&'static str) -> Api<DeserializeGuard<K>> + Send + 'static,
{
    let api = *api;
    let versions = stream::unfold((apis.served.subscribe(), None), move |(mut changes, last)| async move {
        loop {
            let version = changes.borrow_and_update().get(&api).copied();
            if last != Some(version) {
                return Some((version, (changes, Some(version))));
            }
            changes.changed().await.ok()?;
        }
    });
    let streams = versions.map(move |version| match version {
        Some(version) => guarded(make_api(version), config.clone(), guard.clone()).boxed(),
        None => stream::iter([Ok(Event::Init), Ok(Event::InitDone)]).chain(stream::pending()).boxed(),
    });
    switch(streams)
}

/// Follows the newest of the inner streams.
fn switch<T: Send + 'static>(
    streams: impl Stream<Item = BoxStream<'static, T>> + Send + 'static,
) -> impl Stream<Item = T> + Send + 'static {
    let start = (Box::pin(streams), stream::pending().boxed());
    stream::unfold(start, |(mut streams, mut current)| async move {
        loop {
            tokio::select! {
                biased;
                next = streams.next() => current = next?,
                item = current.next() => return item.map(|item| (item, (streams, current))),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::StreamExt;
    use http::{Request, Response};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    const MACHINES: OptionalApi =
        OptionalApi { group: "kubevirt.io", versions: &["v2", "v1"], plural: "virtualmachines", kind: "VirtualMachine" };

    /// A client whose API server answers by `answer`.
    fn client(answer: impl Fn(&str) -> (u16, Value) + Clone + Send + Sync + 'static) -> Client {
        let service = tower::service_fn(move |request: Request<Body>| {
            let (code, body) = answer(request.uri().path());
            async move {
                let response = Response::builder().status(code).body(Body::from(body.to_string().into_bytes()));
                response.map_err(|error| tower::BoxError::from(error.to_string()))
            }
        });
        Client::new(service, "default")
    }

    fn groups() -> Value {
        let version = json!({"groupVersion": "kubevirt.io/v1", "version": "v1"});
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [{"name": "kubevirt.io", "versions": [version]}]})
    }

    fn resources(names: &[&str]) -> Value {
        let resources: Vec<_> = names
            .iter()
            .map(|name| json!({"name": name, "singularName": "", "namespaced": true, "kind": "X", "verbs": ["list"]}))
            .collect();
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "kubevirt.io/v1", "resources": resources})
    }

    #[tokio::test]
    async fn the_best_offered_version_that_has_the_resource_counts() {
        let there = client(|path| match path {
            "/apis" => (200, groups()),
            _ => (200, resources(&["virtualmachines"])),
        });
        assert_eq!(discover(&there, &[MACHINES], &Served::new()).await.unwrap().get(&MACHINES), Some(&"v1"));
        let other = client(|path| match path {
            "/apis" => (200, groups()),
            _ => (200, resources(&["kubevirts"])),
        });
        assert!(discover(&other, &[MACHINES], &Served::new()).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_group_that_is_down_for_a_moment_stays_known() {
        let down = client(|path| match path {
            "/apis" => (200, groups()),
            _ => (500, json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 500, "message": "down"})),
        });
        let known = Served::from([(MACHINES, "v1")]);
        assert_eq!(discover(&down, &[MACHINES], &known).await.unwrap(), known);
        assert!(discover(&down, &[MACHINES], &Served::new()).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_watch_empties_the_store_when_the_api_goes() {
        let list = client(|_| {
            let item = json!({"metadata": {"name": "a", "namespace": "ns", "resourceVersion": "1"}});
            (200, json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": [item]}))
        });
        let apis = OptionalApis { served: Arc::new(watch::Sender::new(Served::new())) };
        let guard = Guard { metrics: Metrics::default(), tell: None };
        let events = optional_watch::<ConfigMap, _>(&apis, &MACHINES, watcher::Config::default(), guard, move |_| {
            Api::all(list.clone())
        });
        let mut events = std::pin::pin!(events);
        let mut next = async || {
            let event = tokio::time::timeout(Duration::from_secs(10), events.next()).await.expect("an event");
            format!("{:?}", event.unwrap().unwrap()).split(['(', ' ']).next().unwrap_or_default().to_owned()
        };
        assert_eq!([next().await, next().await], ["Init", "InitDone"], "absent");
        apis.served.send_replace(Served::from([(MACHINES, "v1")]));
        assert_eq!([next().await, next().await, next().await], ["Init", "InitApply", "InitDone"], "there");
        apis.served.send_replace(Served::new());
        assert_eq!([next().await, next().await], ["Init", "InitDone"], "gone");
    }
}
