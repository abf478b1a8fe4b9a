//! Keeps the `caBundle` of our `APIService` that of our authority, so that kube-apiserver trusts this server.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures::TryStreamExt;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::{
    Api, Client,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use novasphere_runtime::apply::{Applier, WriteError};
use serde_json::json;
use tokio::sync::watch;

use crate::API_SERVICE;

/// Pause after a failed write.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// The Service that leads to this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnService {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl OwnService {
    /// The names by which it is reached: kube-apiserver checks the certificate for `<name>.<namespace>.svc`.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let Self { namespace, name } = self;
        vec![
            format!("{name}.{namespace}.svc"),
            format!("{name}.{namespace}.svc.cluster.local"),
            "localhost".to_owned(),
        ]
    }
}

/// Follows the `APIService` and the bundle, and writes the one into the other where it differs. An `APIService` that names another
/// Service is left alone. Ends when the bundle closes.
pub async fn follow(client: Client, applier: Applier, service: OwnService, mut bundle: watch::Receiver<Arc<str>>) {
    let api: Api<APIService> = Api::all(client);
    let config = watcher::Config::default().fields(&format!("metadata.name={API_SERVICE}"));
    let mut events = std::pin::pin!(watcher::watcher(api, config).default_backoff());
    let mut present: Option<APIService> = None;
    let mut failed = false;
    loop {
        tokio::select! {
            event = events.try_next() => match event {
                Ok(Some(Event::Apply(seen) | Event::InitApply(seen))) => present = Some(seen),
                // What a list does not show was deleted while the watch was broken.
                Ok(Some(Event::Delete(_) | Event::Init)) => present = None,
                Ok(Some(Event::InitDone)) => continue,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!("cannot watch the APIService {API_SERVICE}: {error}");
                    continue;
                }
            },
            changed = bundle.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(RETRY_INTERVAL), if failed => {}
        }
        let Some(known) = &present else { continue };
        let trusted = Arc::clone(&bundle.borrow_and_update());
        match settle(&applier, known, &service, &trusted).await {
            Ok(Some(written)) => (present, failed) = (Some(written), false),
            Ok(None) => failed = false,
            Err(error) => {
                tracing::warn!("cannot write caBundle into the APIService {API_SERVICE}: {error}");
                failed = true;
            }
        }
    }
}

async fn settle(
    applier: &Applier,
    present: &APIService,
    service: &OwnService,
    bundle: &str,
) -> Result<Option<APIService>, WriteError> {
    if !is_ours(present, service) {
        tracing::warn!(
            namespace = service.namespace,
            name = service.name,
            "the APIService {API_SERVICE} does not name this server's Service and is left alone"
        );
        return Ok(None);
    }
    if has_bundle(present, bundle) {
        return Ok(None);
    }
    let change = json!({"spec": {"caBundle": STANDARD.encode(bundle)}});
    applier.merge_cluster_scoped(present, change).await.map(Some)
}

fn is_ours(present: &APIService, service: &OwnService) -> bool {
    let named = present.spec.as_ref().and_then(|spec| spec.service.as_ref());
    named.is_some_and(|named| {
        named.name.as_deref() == Some(&service.name) && named.namespace.as_deref() == Some(&service.namespace)
    })
}

fn has_bundle(present: &APIService, bundle: &str) -> bool {
    let own = present.spec.as_ref().and_then(|spec| spec.ca_bundle.as_ref());
    own.is_some_and(|own| own.0 == bundle.as_bytes())
}

#[cfg(test)]
mod tests {
    use http::{Method, Request, Response};
    use kube::client::Body;
    use novasphere_runtime::metrics::Metrics;
    use serde_json::Value;
    use tower_test::mock;

    use super::*;

    fn own() -> OwnService {
        OwnService {
            namespace: "system".into(),
            name: "server".into(),
        }
    }

    fn api_service(name: &str, bundle: Option<&str>) -> APIService {
        serde_json::from_value(json!({
            "metadata": {"name": API_SERVICE, "uid": "u1"},
            "spec": {
                "group": crate::GROUP,
                "version": crate::VERSION,
                "groupPriorityMinimum": 1000,
                "versionPriority": 15,
                "service": {"name": name, "namespace": "system"},
                "caBundle": bundle.map(|bundle| STANDARD.encode(bundle)),
            },
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn only_a_difference_is_written() {
        let (service, mut calls) = mock::pair::<Request<Body>, Response<Body>>();
        let applier = Applier::new(Client::new(service, "ns"), crate::FIELD_MANAGER, Metrics::default());
        for settled in [api_service("server", Some("new")), api_service("other", None)] {
            assert!(settle(&applier, &settled, &own(), "new").await.unwrap().is_none());
        }
        let old = api_service("server", Some("old"));
        let written = tokio::spawn(async move { settle(&applier, &old, &own(), "new").await });
        let (request, respond) = calls.next_request().await.unwrap();
        assert_eq!(request.method(), Method::PATCH);
        let sent: Value = serde_json::from_slice(&request.into_body().collect_bytes().await.unwrap()).unwrap();
        assert_eq!(
            sent,
            json!({"metadata": {"uid": "u1"}, "spec": {"caBundle": STANDARD.encode("new")}})
        );
        let answer = serde_json::to_vec(&api_service("server", Some("new"))).unwrap();
        respond.send_response(Response::new(Body::from(answer)));
        assert!(has_bundle(&written.await.unwrap().unwrap().unwrap(), "new"));
    }

    #[test]
    fn the_certificate_is_for_the_name_that_kube_apiserver_checks() {
        assert_eq!(own().names().first().unwrap(), "server.system.svc");
    }
}
