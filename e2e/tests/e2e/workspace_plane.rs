//! What the cases of `VncWorkspace` on a control plane have in common. No node is there: what a kubelet and a storage driver would
//! say is said by the test.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, Result};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::StorageClass,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use novasphere_controller::config::ControllerConfig;
use novasphere_crd::VncWorkspace;
use novasphere_e2e::{
    account::Account,
    audit::{self, Write},
    controller::{InProcess, config_for},
    namespace::Context,
    wait,
};
use novasphere_foreign::volume_snapshot::VolumeSnapshot;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{sync::Notify, task::JoinHandle};

use crate::workspace_support::{self, has};

pub(crate) const IMAGE: &str = "registry.example.org/desktop:1";

/// An image that never comes: no Pod with it is ready.
pub(crate) const MISSING_IMAGE: &str = "registry.example.org/missing:1";

/// Who plays the kubelet and the storage driver, by its user agent.
const STAND_IN: &str = "kubelet";

/// Starts a controller that looks at every object each second.
pub(crate) async fn start(context: &Context<'_>, account: &Account) -> Result<InProcess> {
    InProcess::start_ready(context, account, config(&context.namespace)).await
}

/// The configuration of that controller.
pub(crate) fn config(namespace: &str) -> ControllerConfig {
    ControllerConfig {
        resync_interval: novasphere_crd::Duration::from_secs(1),
        ..config_for(namespace)
    }
}

/// Applies a workspace as a person does.
pub(crate) async fn apply(context: &Context<'_>, name: &str, spec: &Value) -> Result<VncWorkspace> {
    let mut all = json!({
        "storage": {"storageClassName": class(context)},
        // The scheduler would say that there is no node.
        "podOverrides": {"spec": {"schedulerName": "nobody"}},
    });
    if let (Some(all), Some(spec)) = (all.as_object_mut(), spec.as_object()) {
        all.extend(spec.clone());
    }
    workspace_support::apply(context, name, IMAGE, &all).await
}

/// A class of this test alone, so that its volumes are bound by nobody else.
pub(crate) fn class(context: &Context<'_>) -> String {
    context.namespace.clone()
}

/// The storage class of a test and volumes for the homes of these workspaces, as a driver would make them.
pub(crate) async fn provision(context: &Context<'_>, names: &[String]) -> Result<()> {
    let storage_class = json!({"metadata": {"name": class(context)}, "provisioner": "kubernetes.io/no-provisioner"});
    let classes: Api<StorageClass> = Api::all(context.client.clone());
    classes
        .create(&PostParams::default(), &serde_json::from_value(storage_class)?)
        .await?;
    for name in names {
        let volume = json!({
            "metadata": {"name": format!("{}-{name}", context.namespace)},
            "spec": {
                "capacity": {"storage": "10Gi"},
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": class(context),
                "claimRef": {"namespace": context.namespace, "name": format!("{name}-home")},
                "hostPath": {"path": "/nowhere"},
            },
        });
        volumes(context)
            .create(&PostParams::default(), &serde_json::from_value(volume)?)
            .await?;
    }
    Ok(())
}

/// Takes away what [`provision`] made.
pub(crate) async fn unprovision(context: &Context<'_>, names: &[String]) -> Result<()> {
    let parameters = DeleteParams::default();
    for name in names {
        let volume = format!("{}-{name}", context.namespace);
        volumes(context).delete(&volume, &parameters).await?;
    }
    let classes: Api<StorageClass> = Api::all(context.client.clone());
    classes.delete(&class(context), &parameters).await?;
    Ok(())
}

fn volumes(context: &Context<'_>) -> Api<PersistentVolume> {
    Api::all(context.client.clone())
}

/// What a kubelet says of a Pod whose probe succeeds.
fn ready() -> Value {
    json!({"status": {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-03-01T00:00:00Z"}],
    }})
}

/// Says that the Pod is ready, as a kubelet does when its probe succeeds.
pub(crate) async fn pod_is_ready(context: &Context<'_>, name: &str) -> Result<Pod> {
    let pods: Api<Pod> = context.api();
    let pod = wait::object(&pods, name, "there and not ending", wait::SHORT, |pod: &Pod| {
        let ends = pod.metadata.deletion_timestamp.is_some();
        if ends { Err("it ends".to_owned()) } else { Ok(()) }
    })
    .await?;
    pods.patch_status(name, &PatchParams::default(), &Patch::Merge(ready()))
        .await?;
    Ok(pod)
}

/// Asks to wake a desktop, as a gateway does when somebody connects.
pub(crate) async fn ask_to_wake(context: &Context<'_>, name: &str) -> Result<()> {
    let wake = json!({"status": {"wakeRequestedAt": jiff::Timestamp::now().to_string()}});
    let workspaces: Api<VncWorkspace> = context.api();
    workspaces
        .patch_status(name, &PatchParams::default(), &Patch::Merge(wake))
        .await?;
    Ok(())
}

/// Waits until a condition is as given.
pub(crate) async fn wait_for(
    context: &Context<'_>,
    name: &str,
    kind: &str,
    status: &str,
    reason: &str,
) -> Result<VncWorkspace> {
    workspace_support::wait_for(context, name, (kind, status, reason), wait::SHORT).await
}

/// What the controller wrote since `mark`.
pub(crate) fn by(context: &Context<'_>, account: &Account, mark: audit::Mark) -> Result<Vec<Write>> {
    let mut writes = context.cluster.audit().since(mark)?;
    writes.retain(|write| write.user() == account.user() && !write.is_lease());
    Ok(writes)
}

/// Whether the workspace runs, with its home.
pub(crate) fn runs(workspace: &VncWorkspace) -> Result<(), String> {
    has(workspace, "Ready", "True", "Running").and_then(|()| has(workspace, "StorageReady", "True", "Bound"))
}

/// Plays the kubelet, for which every Pod is ready at once, and the storage driver, whose snapshots are ready when they may be. It
/// ends when it is dropped.
///
/// It is for tests of what *our* controller writes and when; what a node and a driver really do is tested on real ones.
pub(crate) struct StandIn {
    task: JoinHandle<()>,
    shared: Arc<Shared>,
}

struct Shared {
    holds_snapshots: AtomicBool,
    released: Notify,
    /// Claims that went before their snapshot was ready.
    unsaved: Mutex<Vec<String>>,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StandIn {
    /// Starts it for the namespace of a case.
    pub(crate) async fn start(context: &Context<'_>, holds_snapshots: bool) -> Result<Self> {
        let client = Client::try_from(context.cluster.config(STAND_IN).await?)?;
        let shared = Arc::new(Shared {
            holds_snapshots: AtomicBool::new(holds_snapshots),
            released: Notify::new(),
            unsaved: Mutex::default(),
        });
        let (namespace, its) = (context.namespace.clone(), Arc::clone(&shared));
        let task = tokio::spawn(async move {
            tokio::join!(
                kubelet(Api::namespaced(client.clone(), &namespace)),
                storage(client, &namespace, &its),
            );
        });
        Ok(Self { task, shared })
    }

    /// From now on snapshots become ready, also those that wait.
    pub(crate) fn release_snapshots(&self) {
        self.shared.holds_snapshots.store(false, Ordering::SeqCst);
        self.shared.released.notify_one();
    }

    /// The claims that went before their snapshot was ready.
    pub(crate) fn unsaved(&self) -> Vec<String> {
        let unsaved = self.shared.unsaved.lock();
        unsaved.clone()
    }
}

async fn kubelet(pods: Api<Pod>) {
    let events = watcher(pods.clone(), watcher::Config::default())
        .default_backoff()
        .applied_objects();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        let Ok(pod) = event else { continue };
        let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
        let is_missing = container.is_some_and(|container| container.image.as_deref() == Some(MISSING_IMAGE));
        let is_told = is_missing || pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
        if pod.metadata.deletion_timestamp.is_none() && !is_told {
            // One that has gone meanwhile needs no status.
            let _ = pods
                .patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(ready()))
                .await;
        }
    }
}

async fn storage(client: Client, namespace: &str, shared: &Shared) {
    let snapshots: Api<VolumeSnapshot> = Api::namespaced(client.clone(), namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client, namespace);
    let events = watcher(snapshots.clone(), watcher::Config::default())
        .default_backoff()
        .applied_objects()
        .try_filter(|snapshot| std::future::ready(!snapshot.is_ready()));
    let mut events = std::pin::pin!(events);
    let mut waiting = Vec::new();
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(snapshot)) => waiting.push(snapshot),
                Some(Err(_)) => {}
                None => return,
            },
            () = shared.released.notified() => {}
        }
        if shared.holds_snapshots.load(Ordering::SeqCst) {
            continue;
        }
        for snapshot in waiting.drain(..) {
            // An error is that of a namespace that is gone.
            if let Ok(Some(unsaved)) = take(&snapshots, &claims, &snapshot).await {
                shared.unsaved.lock().push(unsaved);
            }
        }
    }
}

/// Takes a snapshot. Returns the claim when it is not there any more, or going.
async fn take(
    snapshots: &Api<VolumeSnapshot>,
    claims: &Api<PersistentVolumeClaim>,
    snapshot: &VolumeSnapshot,
) -> Result<Option<String>> {
    let spec = snapshot.spec.as_ref().context("it has no spec")?;
    let claim = spec.source.persistent_volume_claim_name.clone();
    let claim = claim.context("it has no source")?;
    let live = claims.get_opt(&claim).await?;
    if live.is_none_or(|live| live.metadata.deletion_timestamp.is_some()) {
        return Ok(Some(claim));
    }
    let status = json!({"status": {
        "readyToUse": true,
        "creationTime": jiff::Timestamp::now().to_string(),
    }});
    snapshots
        .patch_status(&snapshot.name_any(), &PatchParams::default(), &Patch::Merge(status))
        .await?;
    Ok(None)
}
