//! KubeVirt's objects as the tests see them, and a stand-in for KubeVirt's
//! controllers on clusters without a node.

use anyhow::Result;
use futures::TryStreamExt;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
    discovery::ApiResource,
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// The program that the stand-in names itself as, so that its writes are told
/// from the controller's.
pub const STAND_IN: &str = "virt-controller";

/// `virtualmachines.kubevirt.io`.
#[must_use]
pub fn virtual_machines() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("kubevirt.io", "v1", "VirtualMachine"))
}

/// `virtualmachineinstances.kubevirt.io`.
#[must_use]
pub fn virtual_machine_instances() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("kubevirt.io", "v1", "VirtualMachineInstance"))
}

/// The text at a JSON pointer of an object, empty when there is none.
#[must_use]
pub fn text<'a>(object: &'a DynamicObject, pointer: &str) -> &'a str {
    object.data.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Plays virt-controller and virt-handler: every machine that shall run runs at
/// once, every other is stopped at once. It ends when it is dropped.
///
/// It is for tests of what *our* controller writes and when; what KubeVirt
/// really does is tested on the real one.
#[derive(Debug)]
pub struct StandIn(JoinHandle<()>);

impl Drop for StandIn {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl StandIn {
    /// Starts it for one namespace; `client` must name itself [`STAND_IN`].
    #[must_use]
    pub fn start(client: Client, namespace: &str) -> Self {
        let machines: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &virtual_machines());
        Self(tokio::spawn(async move {
            let events = watcher(machines, watcher::Config::default())
                .default_backoff()
                .applied_objects();
            let mut events = std::pin::pin!(events);
            loop {
                match events.try_next().await {
                    Ok(Some(machine)) => {
                        // Conflicts come back as the next event.
                        if let Err(error) = settle(&client, &machine).await {
                            tracing::info!(machine = machine.name_any(), %error, "stand-in for KubeVirt");
                        }
                    }
                    Ok(None) => return,
                    // The apiserver is restarted by some tests.
                    Err(error) => tracing::info!(%error, "stand-in for KubeVirt watches again"),
                }
            }
        }))
    }
}

async fn settle(client: &Client, machine: &DynamicObject) -> Result<()> {
    if machine.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let namespace = machine.namespace().unwrap_or_default();
    let name = machine.name_any();
    let runs = matches!(text(machine, "/spec/runStrategy"), "Always" | "RerunOnFailure" | "Once");
    let instances: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &virtual_machine_instances());
    let exists = instances.get_opt(&name).await?.is_some();
    if runs && !exists {
        instances.create(&PostParams::default(), &instance(machine)?).await?;
    } else if !runs && exists {
        instances.delete(&name, &DeleteParams::default()).await?;
    }
    let machines: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &virtual_machines());
    machines
        .patch_status(&name, &PatchParams::default(), &Patch::Merge(&status(runs)))
        .await?;
    Ok(())
}

fn status(runs: bool) -> Value {
    let (word, ready) = if runs {
        ("Running", "True")
    } else {
        ("Stopped", "False")
    };
    let reason = if runs { Value::Null } else { json!("VMINotExists") };
    json!({"status": {
        "created": runs,
        "ready": runs,
        "printableStatus": word,
        "conditions": [{"type": "Ready", "status": ready, "reason": reason}],
    }})
}

fn instance(machine: &DynamicObject) -> Result<DynamicObject> {
    let name = machine.name_any();
    Ok(serde_json::from_value(json!({
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {
            "name": name,
            "namespace": machine.namespace(),
            "ownerReferences": [{
                "apiVersion": "kubevirt.io/v1",
                "kind": "VirtualMachine",
                "name": name,
                "uid": machine.uid(),
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "spec": machine.data.pointer("/spec/template/spec"),
        "status": {
            "phase": "Running",
            "nodeName": "node-1",
            "interfaces": [{
                "name": "default",
                "ipAddress": "10.244.0.7",
                "ipAddresses": ["10.244.0.7"],
                "mac": "52:54:00:00:00:07",
            }],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }))?)
}
