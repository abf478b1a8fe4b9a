//! Reads what a `VncWorkspace` refers to: from the caches, and from the apiserver what no cache holds. That is the metadata of the
//! Secrets that it names, and the former workspace of a home that it takes over.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod, Secret};
use kube::{Api, ResourceExt};
use novasphere_core::{
    label,
    vnc_workspace::{
        activity::Activity,
        allowed_references::{KEY_SHARED, PodReferences},
        delay,
        home::made_for,
        plan::is_own,
        references::{NamedClaim, References, SnapshotApi, home_of},
        service_name,
        snapshots::is_of_home,
    },
};
use novasphere_crd::{SessionTargetKind, VncWorkspace};
use novasphere_foreign::volume_snapshot::VolumeSnapshot;
use novasphere_runtime::apply::{ApiReason, WriteError};

use super::Context;
use crate::{pod_events, shared_objects::labelled, watches::VOLUME_SNAPSHOTS};

/// A watch that lags is answered by the next event.
///
/// # Errors
///
/// When the apiserver did not answer.
pub(super) async fn dereference(workspace: &VncWorkspace, context: &Context) -> Result<References, WriteError> {
    let caches = &context.caches;
    let (namespace, name) = (workspace.namespace().unwrap_or_default(), workspace.name_any());
    let home = caches.claims.get(&namespace, &home_of(workspace));
    let home_is_used = match &home {
        Some(home) => is_used(workspace, home, context).await?,
        None => false,
    };
    let from = workspace.spec.storage.restore_from.as_ref();
    let restored = from.and_then(|from| from.volume_snapshot_name.as_deref());
    let named = PodReferences::of(workspace);
    // They are refused, and none of them is read.
    let named = if named.are_too_many() {
        PodReferences::default()
    } else {
        named
    };
    let pod = caches.pods.get(&namespace, &name);
    Ok(References {
        pod_warnings: pod_warnings(workspace, pod.as_deref(), context).await,
        pod,
        service: caches.services.get(&namespace, &service_name(&name)),
        home,
        home_is_used,
        snapshots: snapshots(workspace, context),
        restored_snapshot: restored.and_then(|name| caches.volume_snapshots.get(&namespace, name)),
        snapshot_api: snapshot_api(context),
        storage_classes: caches.storage_classes.store().state(),
        claims: claims(named.claims, &namespace, context).await?,
        shared_secrets: labelled::<Secret>(&context.client, &namespace, named.secrets, KEY_SHARED).await?,
        activity: activity(workspace, context),
        settings: Arc::clone(&context.settings),
    })
}

/// What is said of a Pod of the workspace that takes long to start. It only explains, so what cannot be read is left out.
async fn pod_warnings(workspace: &VncWorkspace, pod: Option<&Pod>, context: &Context) -> Vec<Event> {
    let overdue = pod.filter(|pod| is_own(workspace, &pod.metadata) && delay::is_overdue(pod, Timestamp::now()));
    let Some(uid) = overdue.and_then(ResourceExt::uid) else {
        return Vec::new();
    };
    pod_events::warnings(&context.client, &workspace.namespace().unwrap_or_default(), &uid).await
}

/// What the cluster says of volume snapshots. The event with which their first list ends enqueues all workspaces.
fn snapshot_api(context: &Context) -> SnapshotApi {
    if context.apis.listed(&VOLUME_SNAPSHOTS) {
        SnapshotApi::Listed
    } else if context.apis.served(&VOLUME_SNAPSHOTS).is_some() {
        SnapshotApi::Unlisted
    } else {
        SnapshotApi::Missing
    }
}

/// The snapshots that were taken of the workspace's home.
fn snapshots(workspace: &VncWorkspace, context: &Context) -> Vec<Arc<VolumeSnapshot>> {
    let key = label::own_key(&workspace.metadata);
    let all = key.map(|key| context.caches.volume_snapshots.indexed(&key));
    let mut snapshots = all.unwrap_or_default();
    snapshots.retain(|snapshot| is_of_home(workspace, snapshot));
    snapshots
}

/// Whether a claim is the home of another workspace that still exists.
///
/// The cache has no workspace that this version cannot read; it exists all the same, and its Pod may run. So a claim is taken over only
/// when the cluster itself has no such workspace.
async fn is_used(
    workspace: &VncWorkspace,
    home: &PersistentVolumeClaim,
    context: &Context,
) -> Result<bool, WriteError> {
    let owner = label::owner_uid(&home.metadata).unwrap_or_default();
    if Some(owner) == workspace.metadata.uid.as_deref() {
        return Ok(false);
    }
    let key = label::key_of_owner(&home.metadata).unwrap_or_default();
    if !context.caches.vnc_workspaces.indexed(&key).is_empty() {
        return Ok(true);
    }
    let restored = workspace.spec.storage.restore_from.as_ref();
    let is_wanted = restored.is_some_and(|from| from.persistent_volume_claim_name.is_some());
    let Some((name, uid)) = made_for(&home.metadata).filter(|_| is_wanted) else {
        return Ok(false);
    };
    let namespace = workspace.namespace().unwrap_or_default();
    let workspaces: Api<VncWorkspace> = Api::namespaced(context.client.clone(), &namespace);
    let live = workspaces.get_metadata_opt(name).await?;
    Ok(live.is_some_and(|live| live.metadata.uid.as_deref() == Some(uid)))
}

fn is_shared(object: &impl ResourceExt) -> bool {
    object.labels().get(KEY_SHARED).is_some_and(|value| value == "true")
}

/// How the claims that a workspace names stand; those that do not exist are left out.
async fn claims(
    named: BTreeSet<String>,
    namespace: &str,
    context: &Context,
) -> Result<BTreeMap<String, NamedClaim>, WriteError> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), namespace);
    let mut found = BTreeMap::new();
    for name in named {
        // Of claims, the cache has those of workspaces alone.
        if context.caches.claims.get(namespace, &name).is_some() {
            found.insert(name, NamedClaim::HomeOfOther);
            continue;
        }
        match claims.get_metadata_opt(&name).await.map_err(WriteError::from) {
            Ok(Some(claim)) if is_shared(&claim) => found.insert(name, NamedClaim::Shared),
            Ok(Some(_)) => found.insert(name, NamedClaim::NotShared),
            Ok(None) => None,
            Err(error) if error.is(ApiReason::Invalid) => None,
            Err(error) => return Err(error),
        };
    }
    Ok(found)
}

/// The activity that gateways report in the sessions on the desktop, and what is known from sessions that are gone.
fn activity(workspace: &VncWorkspace, context: &Context) -> Activity {
    let (namespace, uid) = (
        workspace.namespace().unwrap_or_default(),
        workspace.uid().unwrap_or_default(),
    );
    let caches = &context.caches;
    let sessions = caches.sessions_of(&namespace, SessionTargetKind::VncWorkspace, &workspace.name_any());
    let status = workspace.status.as_ref();
    let in_status = status.and_then(|status| status.last_input_at.as_ref());
    let in_status = in_status.map(|time| time.0);
    let shown = Activity::of(sessions.iter().map(AsRef::as_ref), &uid);
    let key = label::owner_key(&namespace, &uid);
    let known = context.last_inputs.record(&key, shown.last_input_at, |key| {
        !caches.vnc_workspaces.indexed(key).is_empty()
    });
    shown.or_known(known.max(in_status))
}
