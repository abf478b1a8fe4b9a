//! Step 1: what a `VncWorkspace` refers to, from the caches; and the Secrets that it names, which no cache holds.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::{Api, ResourceExt};
use novasphere_core::{
    label,
    vnc_workspace::{
        activity::Activity,
        allowed_references::{KEY_SHARED, PodReferences},
        home::made_for,
        references::{References, home_of},
        service_name,
    },
};
use novasphere_crd::{SessionTargetKind, VncWorkspace};
use novasphere_runtime::apply::{ApiReason, WriteError};
use parking_lot::Mutex;

use super::Context;
use crate::watches::VOLUME_SNAPSHOTS;

/// Reads memory, and the metadata of the Secrets that the workspace names. A watch that lags is answered by the next event.
///
/// # Errors
///
/// When a Secret could not be read.
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
    // Of claims, the cache has those of workspaces alone.
    let foreign_homes = named.claims.into_iter();
    let foreign_homes = foreign_homes.filter(|claim| caches.claims.get(&namespace, claim).is_some());
    Ok(References {
        pod: caches.pods.get(&namespace, &name),
        service: caches.services.get(&namespace, &service_name(&name)),
        home,
        home_is_used,
        snapshots: caches.volume_snapshots.indexed(&workspace.uid().unwrap_or_default()),
        restored_snapshot: restored.and_then(|name| caches.volume_snapshots.get(&namespace, name)),
        snapshot_api: context.apis.served(&VOLUME_SNAPSHOTS).is_some(),
        storage_classes: caches.storage_classes.store().state(),
        foreign_homes: foreign_homes.collect(),
        shared_secrets: shared(named.secrets, &namespace, context).await?,
        activity: activity(workspace, context),
    })
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
    if !context.caches.vnc_workspaces.indexed(owner).is_empty() {
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

/// Those of the Secrets that desktops may read. Only their metadata is read.
async fn shared(named: BTreeSet<String>, namespace: &str, context: &Context) -> Result<BTreeSet<String>, WriteError> {
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let mut shared = BTreeSet::new();
    for name in named {
        match secrets.get_metadata_opt(&name).await.map_err(WriteError::from) {
            Ok(Some(secret)) if secret.labels().get(KEY_SHARED).is_some_and(|value| value == "true") => {
                shared.insert(name);
            }
            Ok(_) => {}
            Err(error) if error.is(ApiReason::Forbidden) || error.is(ApiReason::Invalid) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(shared)
}

/// What the gateways tell of the sessions on the desktop, and what was told before of sessions that are gone.
fn activity(workspace: &VncWorkspace, context: &Context) -> Activity {
    let (namespace, uid) = (
        workspace.namespace().unwrap_or_default(),
        workspace.uid().unwrap_or_default(),
    );
    let caches = &context.caches;
    let sessions = caches.sessions_of(&namespace, SessionTargetKind::VncWorkspace, &workspace.name_any());
    let told = workspace
        .status
        .as_ref()
        .and_then(|status| status.last_input_at.as_ref());
    let told = told.map(|time| time.0);
    let shown = Activity::of(sessions.iter().map(AsRef::as_ref), &uid);
    let known = context.inputs.add(&uid, shown.last_input_at, |uid| {
        !caches.vnc_workspaces.indexed(uid).is_empty()
    });
    shown.or_known(known.max(told))
}

/// The last input that was seen of each workspace. The status trails behind it, and a session that is deleted takes its own
/// account along.
#[derive(Default)]
pub(crate) struct Inputs {
    /// By the UID of the workspace.
    last: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    inputs: HashMap<String, Timestamp>,
    /// The size at which workspaces that are gone are forgotten.
    full_at: usize,
}

impl Inputs {
    /// Takes in an input and returns the newest that is known.
    fn add(&self, uid: &str, seen: Option<Timestamp>, exists: impl Fn(&str) -> bool) -> Option<Timestamp> {
        let mut known = self.last.lock();
        let Some(seen) = seen else {
            return known.inputs.get(uid).copied();
        };
        if known.inputs.len() > known.full_at {
            known.inputs.retain(|uid, _| exists(uid));
            known.full_at = known.inputs.len().saturating_mul(2);
        }
        let last = known.inputs.entry(uid.to_owned()).or_insert(seen);
        *last = seen.max(*last);
        Some(*last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_input_is_known_as_long_as_its_workspace() {
        let at = |second| Timestamp::from_second(second).ok();
        let inputs = Inputs::default();
        assert_eq!(inputs.add("a", None, |_| true), None);
        assert_eq!(inputs.add("a", at(5), |_| true), at(5));
        assert_eq!(inputs.add("a", at(3), |_| true), at(5));
        assert_eq!(inputs.add("a", None, |_| true), at(5));
        for uid in ["b", "c", "d"] {
            inputs.add(uid, at(1), |uid| uid != "a");
        }
        assert_eq!(inputs.add("a", None, |_| true), None, "its workspace has gone");
        assert_eq!(inputs.add("d", None, |_| true), at(1));
    }
}
