//! Tells people about objects that this version cannot read.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use novasphere_core::undecodable::{UNDECODABLE, condition};
use novasphere_runtime::{cache::Cache, events::Reporter, namespaced::Namespaced, watch::BadObject};
use tokio::sync::mpsc;

use crate::caches::Caches;

/// A manager of its own: what the reconcile wrote into the status before the object became unreadable stays.
const MANAGER: &str = "novasphere/undecodable";

/// What is needed to tell.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) caches: Arc<Caches>,
    pub(crate) reporter: Reporter,
}

/// Our kinds, which have conditions.
const OURS: &[&str] = &["VmAccess", "ConsoleSession", "VncWorkspace"];

/// Reports each bad object: a Warning event on any kind, and a condition where the kind is ours.
pub(crate) async fn report(context: Context, mut bad_objects: mpsc::Receiver<BadObject>) {
    while let Some(bad) = bad_objects.recv().await {
        if is_superseded(&context, &bad) {
            continue;
        }
        forget(&context, &bad);
        let note = format!(
            "novasphere cannot read this object and leaves it as it is: {}. Correct the field, or install the CRD and the controller of one version",
            bad.error
        );
        context
            .reporter
            .warning(&bad.reference, UNDECODABLE, "Read", &note)
            .await;
        if let Some(kind) = OURS.iter().find(|kind| bad.reference.kind.as_deref() == Some(kind))
            && let Err(error) = write_condition(&context, kind, &bad, &note).await
        {
            tracing::warn!(%error, object = ?bad.reference.name, "cannot write the condition of an undecodable object");
        }
    }
}

/// Whether the watch has seen a later version that can be read. A replica that begins to lead finds reports from all the time that it
/// stood by.
fn is_superseded(context: &Context, bad: &BadObject) -> bool {
    let (Some(kind), Some(namespace), Some(name)) =
        (&bad.reference.kind, &bad.reference.namespace, &bad.reference.name)
    else {
        return false;
    };
    let caches = &context.caches;
    let version = match kind.as_str() {
        "VmAccess" => version_in(&caches.vm_accesses, namespace, name),
        "ConsoleSession" => version_in(&caches.console_sessions, namespace, name),
        "VncWorkspace" => version_in(&caches.vnc_workspaces, namespace, name),
        "VirtualMachine" => version_in(&caches.virtual_machines, namespace, name),
        "VirtualMachineInstance" => version_in(&caches.virtual_machine_instances, namespace, name),
        "Service" => version_in(&caches.services, namespace, name),
        _ => None,
    };
    is_newer(version.as_deref(), bad.resource_version.as_deref())
}

fn version_in<K: Namespaced>(cache: &Cache<K>, namespace: &str, name: &str) -> Option<String> {
    cache.get(namespace, name)?.resource_version()
}

/// Resource versions of one kind may be compared as integers (Kubernetes API concepts, "Comparing resource versions").
fn is_newer(cached: Option<&str>, reported: Option<&str>) -> bool {
    let number = |version: Option<&str>| version?.parse::<u64>().ok();
    match (number(cached), number(reported)) {
        (Some(cached), Some(reported)) => cached > reported,
        _ => false,
    }
}

/// The object that was readable before must not be reconciled any longer.
fn forget(context: &Context, bad: &BadObject) {
    let (Some(kind), Some(namespace), Some(name)) =
        (&bad.reference.kind, &bad.reference.namespace, &bad.reference.name)
    else {
        return;
    };
    match kind.as_str() {
        "VmAccess" => context.caches.vm_accesses.forget(namespace, name),
        "ConsoleSession" => context.caches.console_sessions.forget(namespace, name),
        "VncWorkspace" => context.caches.vnc_workspaces.forget(namespace, name),
        "VirtualMachine" => context.caches.virtual_machines.forget(namespace, name),
        "VirtualMachineInstance" => context.caches.virtual_machine_instances.forget(namespace, name),
        _ => {}
    }
}

/// Without a typed object there is neither an old status to keep times from nor a cache to compare with, so the live object is
/// read first.
async fn write_condition(context: &Context, kind: &str, bad: &BadObject, note: &str) -> Result<(), kube::Error> {
    let (Some(name), Some(namespace)) = (&bad.reference.name, &bad.reference.namespace) else {
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
    let Some(condition) = condition(&known, live.metadata.generation, note, Timestamp::now()) else {
        return Ok(());
    };
    let status = serde_json::json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": name, "uid": live.metadata.uid},
        "status": {"observedGeneration": live.metadata.generation, "conditions": [condition]},
    });
    let parameters = PatchParams::apply(MANAGER).force();
    api.patch_status(name, &parameters, &Patch::Apply(status)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ObjectReference, Service};
    use kube::runtime::watcher::Event;

    use super::*;

    #[tokio::test]
    async fn a_report_is_stale_when_a_later_version_was_read() {
        let caches = Caches::new();
        let mut good = Service::default();
        good.metadata.name = Some("web".into());
        good.metadata.namespace = Some("a".into());
        good.metadata.resource_version = Some("10".into());
        caches.services.observe(&Event::Apply(good));
        let service = |_request: http::Request<kube::client::Body>| async {
            Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("not called"))
        };
        let client = Client::new(tower::service_fn(service), "default");
        let reporter = Reporter::new(client.clone(), MANAGER, "test");
        let context = Context {
            client,
            caches,
            reporter,
        };
        let stale = |name: &str, version: &str| {
            let bad = BadObject {
                reference: ObjectReference {
                    kind: Some("Service".into()),
                    namespace: Some("a".into()),
                    name: Some(name.into()),
                    ..ObjectReference::default()
                },
                resource_version: Some(version.into()),
                error: String::new(),
            };
            is_superseded(&context, &bad)
        };
        assert!(stale("web", "9"));
        assert!(!stale("web", "11"), "it was good before");
        assert!(!stale("other", "9"));
    }
}
