//! Finds out what the cluster serves.

use std::{fmt::Debug, time::Duration};

use futures::{Stream, StreamExt, stream::BoxStream};
use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::time::Instant;

use super::{OptionalApi, OptionalApis, Served};
use crate::metrics::Metrics;

/// When nothing tells of a change.
const POLL: Duration = Duration::from_secs(30);

/// After a change. Discovery trails a `CustomResourceDefinition` by its way through two controllers of kube-apiserver, and
/// another replica of kube-apiserver may answer later still.
const AFTER_CHANGE: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
];

pub(super) struct Discovery {
    pub(super) client: Client,
    pub(super) wanted: &'static [OptionalApi],
    pub(super) metrics: Metrics,
    pub(super) apis: OptionalApis,
}

impl Discovery {
    /// One look; it costs one request.
    pub(super) async fn look(&self) -> Result<(), kube::Error> {
        let groups = list_groups(&self.client).await?;
        let served = served_in(&groups, self.wanted, &self.apis.changed().borrow());
        for api in self.wanted {
            self.metrics.api_available(&api.name(), served.contains_key(api));
        }
        self.apis.replace(served);
        Ok(())
    }

    pub(super) async fn follow(&self) {
        let mut changes = self.changes();
        let mut pauses = [].iter();
        let mut next = Instant::now() + POLL;
        loop {
            tokio::select! {
                Some(()) = changes.next() => {
                    pauses = AFTER_CHANGE.iter();
                    // Only ever earlier, so that changes without an end cannot put it off.
                    next = next.min(Instant::now() + pauses.next().copied().unwrap_or(POLL));
                }
                () = tokio::time::sleep_until(next) => {
                    if let Err(error) = self.look().await {
                        tracing::warn!("cannot find out which APIs are served, the last picture stays: {error}");
                    }
                    next = Instant::now() + pauses.next().copied().unwrap_or(POLL);
                }
            }
        }
    }

    /// One item for each change that may bring or take a wanted API.
    fn changes(&self) -> BoxStream<'static, ()> {
        let wanted = self.wanted;
        let of_definition = move |name: &str| wanted.iter().any(|api| api.name() == name);
        // Named `<version>.<group>`.
        let of_service = move |name: &str| {
            wanted
                .iter()
                .any(|api| name.split_once('.').is_some_and(|(_, group)| group == api.group))
        };
        let definitions = changes_of::<CustomResourceDefinition>(&self.client, of_definition);
        let services = changes_of::<APIService>(&self.client, of_service);
        futures::stream::select(definitions, services).boxed()
    }
}

fn changes_of<K>(
    client: &Client,
    is_wanted: impl Fn(&str) -> bool + Send + 'static,
) -> impl Stream<Item = ()> + Send + 'static
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
{
    let api = Api::<PartialObjectMeta<K>>::all(client.clone());
    watcher::watcher(api, watcher::Config::default())
        .default_backoff()
        .take_while(|event| {
            let forbidden = event.as_ref().is_err_and(is_forbidden);
            if forbidden {
                tracing::info!(
                    "may not watch {}: optional APIs are looked for every {POLL:?}",
                    K::plural(&())
                );
            }
            std::future::ready(!forbidden)
        })
        .filter_map(move |event| {
            std::future::ready(match event {
                Ok(Event::Apply(object) | Event::Delete(object)) => is_wanted(&object.name_any()).then_some(()),
                // Something may have changed during a gap of the watch.
                Ok(Event::InitDone) => Some(()),
                Ok(Event::Init | Event::InitApply(_)) => None,
                Err(error) => {
                    tracing::debug!("watch of {}: {error}", K::plural(&()));
                    None
                }
            })
        })
}

fn is_forbidden(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status.is_forbidden(),
        _ => false,
    }
}

/// The part of `apidiscovery.k8s.io/v2` that is read here. kube's own types want a list of verbs for each resource, and
/// `KubeVirt`'s API server answers `verbs: null` for its subresources.
#[derive(Debug, Deserialize)]
struct GroupList {
    items: Vec<Group>,
}

#[derive(Debug, Deserialize)]
struct Group {
    metadata: GroupMetadata,
    #[serde(default)]
    versions: Vec<ListedVersion>,
}

#[derive(Debug, Deserialize)]
struct GroupMetadata {
    name: String,
}

#[derive(Debug, Deserialize)]
struct ListedVersion {
    version: String,
    resources: Option<Vec<ResourceName>>,
    freshness: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ResourceName {
    resource: String,
}

/// One request for all groups. Aggregated discovery v2 is served since Kubernetes 1.30.
async fn list_groups(client: &Client) -> Result<GroupList, kube::Error> {
    let request = http::Request::get("/apis")
        .header(
            http::header::ACCEPT,
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        )
        .body(Vec::new())
        .map_err(kube::Error::HttpError)?;
    client.request(request).await
}

/// What of `wanted` is in a discovery document. A group whose own server does not answer is marked stale and listed without
/// resources; what was served there `before` is taken to be so still.
fn served_in(groups: &GroupList, wanted: &[OptionalApi], before: &Served) -> Served {
    let versions_of = |api: &OptionalApi| {
        let group = groups.items.iter().find(|group| group.metadata.name == api.group);
        group.map_or(&[][..], |group| group.versions.as_slice())
    };
    wanted
        .iter()
        .filter_map(|api| {
            let listed = versions_of(api);
            let best = api.versions.iter().copied().find(|version| {
                listed.iter().any(|listed| {
                    let was_served = before.get(api) == Some(version);
                    is_version(listed, version)
                        && (has_resource(listed, api.plural) || (is_stale(listed) && was_served))
                })
            });
            best.map(|version| (*api, version))
        })
        .collect()
}

fn is_version(listed: &ListedVersion, version: &str) -> bool {
    listed.version == version
}

fn has_resource(listed: &ListedVersion, plural: &str) -> bool {
    listed
        .resources
        .iter()
        .flatten()
        .any(|resource| resource.resource == plural)
}

fn is_stale(listed: &ListedVersion) -> bool {
    listed.freshness.as_deref() == Some("Stale")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ROUTES: OptionalApi = OptionalApi {
        group: "gateway.networking.k8s.io",
        versions: &["v1", "v1alpha2"],
        plural: "tcproutes",
        kind: "TCPRoute",
    };
    const MACHINES: OptionalApi = OptionalApi {
        group: "kubevirt.io",
        versions: &["v1"],
        plural: "virtualmachines",
        kind: "VirtualMachine",
    };

    fn document(groups: &serde_json::Value) -> GroupList {
        serde_json::from_value(json!({"items": groups})).unwrap()
    }

    fn group(name: &str, versions: &[(&str, &[&str], &str)]) -> serde_json::Value {
        let versions: Vec<_> = versions
            .iter()
            .map(|(version, resources, freshness)| {
                let resources: Vec<_> = resources.iter().map(|name| json!({"resource": name})).collect();
                json!({"version": version, "resources": resources, "freshness": freshness})
            })
            .collect();
        json!({"metadata": {"name": name}, "versions": versions})
    }

    #[test]
    fn the_best_served_version_is_chosen() {
        let wanted = [ROUTES, MACHINES];
        let of = |groups| served_in(&document(&groups), &wanted, &Served::new());
        assert_eq!(of(json!([])), Served::new());
        let alpha = group(
            ROUTES.group,
            &[
                ("v1", &["httproutes"], "Current"),
                ("v1alpha2", &["tcproutes"], "Current"),
            ],
        );
        assert_eq!(of(json!([alpha])), Served::from([(ROUTES, "v1alpha2")]));
        let both = group(
            ROUTES.group,
            &[
                ("v1alpha2", &["tcproutes"], "Current"),
                ("v1", &["tcproutes"], "Current"),
            ],
        );
        let machines = group("kubevirt.io", &[("v1", &["virtualmachines"], "Current")]);
        assert_eq!(
            of(json!([both, machines])),
            Served::from([(ROUTES, "v1"), (MACHINES, "v1")])
        );
        let unknown = group("kubevirt.io", &[("v2", &["virtualmachines"], "Current")]);
        assert_eq!(of(json!([unknown])), Served::new());
    }

    #[test]
    fn resources_without_verbs_do_not_hide_the_rest() {
        // As KubeVirt's API server answers for its subresources.
        let resources = json!([{"resource": "virtualmachines", "verbs": null, "subresources": [{"verbs": null}]}]);
        let groups = json!([
            {"metadata": {"name": "kubevirt.io"}, "versions": [{"version": "v1", "resources": resources}]},
            {"metadata": {"name": "empty.example.com"}, "versions": [{"version": "v1", "resources": null}]},
        ]);
        assert_eq!(
            served_in(&document(&groups), &[MACHINES], &Served::new()),
            Served::from([(MACHINES, "v1")])
        );
    }

    #[test]
    fn a_stale_group_keeps_what_it_had_and_gets_nothing_new() {
        let stale = document(&json!([group("kubevirt.io", &[("v1", &[], "Stale")])]));
        let before = Served::from([(MACHINES, "v1")]);
        assert_eq!(served_in(&stale, &[MACHINES], &before), before);
        assert_eq!(served_in(&stale, &[MACHINES], &Served::new()), Served::new());
        let gone = document(&json!([group("kubevirt.io", &[("v1", &[], "Current")])]));
        assert_eq!(served_in(&gone, &[MACHINES], &before), Served::new());
    }
}
