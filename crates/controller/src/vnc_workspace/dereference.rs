//! Step 1: what a `VncWorkspace` refers to, from the caches.

use jiff::Timestamp;
use kube::ResourceExt;
use novasphere_core::{
    label,
    vnc_workspace::{
        lifecycle::Activity,
        references::{References, home_of},
        service_name,
    },
};
use novasphere_crd::{SessionTargetKind, VncWorkspace};

use super::Context;
use crate::watches::VOLUME_SNAPSHOTS;

/// Reads only memory, so it cannot fail; a watch that lags is answered by the next event.
pub(super) fn dereference(workspace: &VncWorkspace, context: &Context) -> References {
    let caches = &context.caches;
    let (namespace, name) = (workspace.namespace().unwrap_or_default(), workspace.name_any());
    let home = caches.claims.get(&namespace, &home_of(workspace));
    let home_is_used = home.as_deref().is_some_and(|home| {
        let owner = label::owner_uid(&home.metadata).unwrap_or_default();
        Some(owner) != workspace.metadata.uid.as_deref() && !caches.vnc_workspaces.indexed(owner).is_empty()
    });
    let from = workspace.spec.storage.restore_from.as_ref();
    let restored = from.and_then(|from| from.volume_snapshot_name.as_deref());
    References {
        pod: caches.pods.get(&namespace, &name),
        service: caches.services.get(&namespace, &service_name(&name)),
        home,
        home_is_used,
        snapshots: caches.volume_snapshots.indexed(&workspace.uid().unwrap_or_default()),
        restored_snapshot: restored.and_then(|name| caches.volume_snapshots.get(&namespace, name)),
        snapshot_api: context.apis.served(&VOLUME_SNAPSHOTS).is_some(),
        storage_classes: caches.storage_classes.store().state(),
        activity: activity(workspace, context),
    }
}

/// What the gateways tell of the sessions on the desktop, and what was told before of sessions that are gone.
fn activity(workspace: &VncWorkspace, context: &Context) -> Activity {
    let namespace = workspace.namespace().unwrap_or_default();
    let sessions = context
        .caches
        .sessions_of(&namespace, SessionTargetKind::VncWorkspace, &workspace.name_any());
    let statuses: Vec<_> = sessions.iter().filter_map(|session| session.status.as_ref()).collect();
    let connections = || statuses.iter().flat_map(|status| &status.connections);
    let typed = connections().filter_map(|connection| connection.last_input_at.as_ref());
    let told = workspace
        .status
        .as_ref()
        .and_then(|status| status.last_input_at.as_ref());
    let last_input_at: Option<Timestamp> = typed.chain(told).map(|time| time.0).max();
    Activity {
        last_input_at,
        connected: connections().next().is_some(),
    }
}
