//! Reports objects that this version cannot read: by an event, and by a condition on our own kinds. The caches have dropped them
//! already ([`WatchEvent::Undecodable`](novasphere_runtime::watch::WatchEvent::Undecodable)).

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, Client,
    api::DynamicObject,
    core::{ApiResource, GroupVersionKind},
};
use novasphere_core::undecodable::{UNDECODABLE, condition};
use novasphere_runtime::{
    apply::{Applier, WriteError},
    events::Reporter,
    watch::UndecodableObject,
};
use tokio::sync::mpsc;

use crate::caches::Caches;

/// A manager of its own: what the reconcile wrote into the status before the object became unreadable stays.
pub(crate) const MANAGER: &str = "novasphere/undecodable";

/// What is needed to report.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) applier: Applier,
    pub(crate) caches: Arc<Caches>,
    pub(crate) reporter: Reporter,
}

/// Reports each object: a Warning event on any kind, and a condition where the kind is ours.
pub(crate) async fn report(context: Context, mut objects: mpsc::Receiver<UndecodableObject>) {
    while let Some(object) = objects.recv().await {
        if is_superseded(&context.caches, &object) {
            continue;
        }
        let note = format!(
            "novasphere cannot read this object and leaves it as it is: {}. Correct the field, or install the CRD and the controller of one version",
            object.error
        );
        context
            .reporter
            .warning(&object.reference, UNDECODABLE, "Read", &note)
            .await;
        let has_conditions = context
            .caches
            .of(&object.reference)
            .is_some_and(crate::watched_kind::AnyCache::is_reconciled);
        if has_conditions && let Err(error) = write_condition(&context, &object, &note).await {
            tracing::warn!(%error, object = ?object.reference.name, "cannot write the condition of an undecodable object");
        }
    }
}

/// Whether the watch has seen a later version that can be read. A replica that begins to lead finds reports from all the time that it
/// stood by.
fn is_superseded(caches: &Caches, object: &UndecodableObject) -> bool {
    let reference = &object.reference;
    let (Some(cache), Some(namespace), Some(name)) = (caches.of(reference), &reference.namespace, &reference.name)
    else {
        return false;
    };
    is_newer(
        cache.resource_version(namespace, name).as_deref(),
        object.resource_version.as_deref(),
    )
}

/// Resource versions of one kind may be compared as integers (Kubernetes API concepts, "Comparing resource versions").
fn is_newer(cached: Option<&str>, reported: Option<&str>) -> bool {
    let number = |version: Option<&str>| version?.parse::<u64>().ok();
    match (number(cached), number(reported)) {
        (Some(cached), Some(reported)) => cached > reported,
        _ => false,
    }
}

/// Without a typed object there is neither an old status to keep times from nor a cache to compare with, so the live object is
/// read first.
async fn write_condition(context: &Context, object: &UndecodableObject, note: &str) -> Result<(), WriteError> {
    let reference = &object.reference;
    let (Some(kind), Some(name), Some(namespace)) = (&reference.kind, &reference.name, &reference.namespace) else {
        return Ok(());
    };
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(
        novasphere_crd::GROUP,
        novasphere_crd::VERSION,
        kind,
    ));
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, &resource);
    let live = api.get(name).await?;
    let known: Vec<Condition> = live
        .data
        .pointer("/status/conditions")
        .and_then(|conditions| serde_json::from_value(conditions.clone()).ok())
        .unwrap_or_default();
    let generation = live.metadata.generation;
    let Some(condition) = condition(&known, generation, note, Timestamp::now()) else {
        return Ok(());
    };
    let status = serde_json::json!({"observedGeneration": generation, "conditions": [condition]});
    context.applier.apply_untyped_status(&live, &resource, status).await
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ObjectReference, Service};
    use novasphere_runtime::watch::WatchEvent;

    use super::*;

    #[test]
    fn a_report_is_stale_when_a_later_version_was_read() {
        let caches = Caches::new();
        let mut good = Service::default();
        good.metadata.name = Some("web".into());
        good.metadata.namespace = Some("a".into());
        good.metadata.resource_version = Some("10".into());
        caches.services.observe(&WatchEvent::Apply(good));
        let stale = |name: &str, version: &str| {
            let object = UndecodableObject {
                reference: ObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Service".into()),
                    namespace: Some("a".into()),
                    name: Some(name.into()),
                    ..ObjectReference::default()
                },
                resource_version: Some(version.into()),
                error: String::new(),
            };
            is_superseded(&caches, &object)
        };
        assert!(stale("web", "9"));
        assert!(!stale("web", "11"), "it was good before");
        assert!(!stale("other", "9"));
    }
}
