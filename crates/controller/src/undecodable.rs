//! Tells people about objects that this version cannot read.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use novasphere_core::undecodable::{UNDECODABLE, condition};
use novasphere_runtime::{events::Reporter, watch::BadObject};
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
