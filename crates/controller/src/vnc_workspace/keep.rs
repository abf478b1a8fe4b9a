//! What decides beforehand whether a home goes with its workspace: the workspace's finalizer, and the home's owner references.

use std::sync::Arc;

use http::{Method, Request, header};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use novasphere_core::{
    label::{self, Owner},
    vnc_workspace::{
        FINALIZER,
        home::owner_references,
        status::Applied,
        validate::{has_finalizer, needs_finalizer},
    },
};
use novasphere_crd::VncWorkspace;
use novasphere_runtime::{
    apply::{ApiReason, WriteError},
    lease::NotLeader,
};
use serde_json::{Value, json};

use super::Look;
use crate::{applying::refused, reconciler::ReconcileError, run::VNC_WORKSPACE_MANAGER};

/// A manager of its own: what it applies is the finalizer alone.
const FINALIZER_MANAGER: &str = "novasphere/vncworkspace-finalizer";

/// The home as it is, when it is ours.
pub(super) fn home(look: &Look<'_>) -> Option<Arc<PersistentVolumeClaim>> {
    let uid = look.workspace.metadata.uid.as_deref();
    let home = look.references.home.clone()?;
    (label::owner_uid(&home.metadata) == uid).then_some(home)
}

/// Sets or takes away the finalizer, as the reclaim policy needs it.
///
/// # Errors
///
/// When the workspace could not be written: nothing that would need the finalizer is made before it is there.
pub(super) async fn keep_finalizer(look: &Look<'_>) -> Result<(), ReconcileError> {
    let wanted = needs_finalizer(look.workspace);
    if wanted == has_finalizer(look.workspace) {
        return Ok(());
    }
    set_finalizer(look, wanted).await
}

/// The same, whatever the policy.
///
/// # Errors
///
/// When the workspace could not be written.
pub(super) async fn set_finalizer(look: &Look<'_>, wanted: bool) -> Result<(), ReconcileError> {
    let result = if wanted { add(look).await } else { remove(look).await };
    match result.map_err(WriteError::from) {
        Ok(mut written) => {
            written.metadata.managed_fields = None;
            let cache = &look.context.caches.vnc_workspaces;
            if written.metadata.deletion_timestamp.is_some() && written.finalizers().is_empty() {
                // That was its end, and the answer has the version of before.
                cache.deleted(look.workspace);
            } else {
                cache.written(written);
            }
            Ok(())
        }
        Err(error) if error.is(ApiReason::NotFound) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn add(look: &Look<'_>) -> Result<VncWorkspace, kube::Error> {
    let workspace = look.workspace;
    let api: Api<VncWorkspace> =
        Api::namespaced(look.context.client.clone(), &workspace.namespace().unwrap_or_default());
    let patch = json!({
        "apiVersion": "novasphere.io/v1alpha1",
        "kind": "VncWorkspace",
        "metadata": {"name": workspace.name_any(), "uid": workspace.uid(), "finalizers": [FINALIZER]},
    });
    let parameters = PatchParams::apply(FINALIZER_MANAGER).force();
    api.patch(&workspace.name_any(), &parameters, &Patch::Apply(patch))
        .await
}

/// Not by an apply without it: that leaves it there when somebody else has applied it as well, for ever.
async fn remove(look: &Look<'_>) -> Result<VncWorkspace, kube::Error> {
    let workspace = look.workspace;
    let path = VncWorkspace::url_path(&(), workspace.namespace().as_deref());
    let request = Request::builder()
        .method(Method::PATCH)
        .uri(format!(
            "{path}/{}?fieldManager={FINALIZER_MANAGER}",
            workspace.name_any()
        ))
        .header(header::CONTENT_TYPE, "application/json-patch+json")
        .body(without_finalizer(workspace).to_string().into_bytes())
        .map_err(|error| kube::Error::BuildRequest(kube::core::request::Error::BuildRequest(error)))?;
    look.context.client.request(request).await
}

/// A JSON patch (RFC 6902) that takes the finalizer away where it was seen, and nothing else.
fn without_finalizer(workspace: &VncWorkspace) -> Value {
    let place = workspace
        .finalizers()
        .iter()
        .position(|finalizer| finalizer == FINALIZER);
    let path = format!("/metadata/finalizers/{}", place.unwrap_or_default());
    json!([
        {"op": "test", "path": "/metadata/uid", "value": workspace.uid()},
        {"op": "test", "path": path, "value": FINALIZER},
        {"op": "remove", "path": path},
    ])
}

/// Makes the home go with its workspace, or not, as the reclaim policy says. What has to be done otherwise is told in `applied`.
///
/// On a spec that can be carried out, the apply of the home did that already, but for a reference that this has written before.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(super) async fn keep_home(look: &mut Look<'_>, owner: &Owner, applied: &mut Applied) -> Result<(), NotLeader> {
    let applied_home = applied.home.as_ref().and_then(|home| home.as_ref().ok());
    let claim = match applied_home {
        Some(claim) => Arc::new(claim.clone()),
        None => match home(look) {
            Some(claim) => claim,
            None => return Ok(()),
        },
    };
    let reclaim = look.workspace.spec.storage.reclaim;
    let Some(owners) = owner_references(owner, reclaim, &claim.metadata) else {
        return Ok(());
    };
    let patch = json!({"metadata": {
        "uid": claim.uid(),
        "resourceVersion": claim.resource_version(),
        "ownerReferences": owners,
    }});
    let parameters = PatchParams {
        field_manager: Some(VNC_WORKSPACE_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(look.context.client.clone(), &owner.namespace);
    let patched = claims.patch(&claim.name_any(), &parameters, &Patch::Merge(patch)).await;
    match patched {
        Ok(mut claim) => {
            claim.metadata.managed_fields = None;
            look.context.caches.claims.written(claim.clone());
            look.references.home = Some(Arc::new(claim.clone()));
            // What else of the home was refused stays told.
            if !matches!(applied.home, Some(Err(_))) {
                applied.home = Some(Ok(claim));
            }
        }
        Err(error) => applied.home = Some(Err(refused(claim.as_ref(), &WriteError::from(error), &mut look.retry)?)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_finalizer_is_taken_away_and_only_where_it_is() {
        let workspace: VncWorkspace = serde_json::from_value(json!({
            "apiVersion": "novasphere.io/v1alpha1", "kind": "VncWorkspace",
            "metadata": {"name": "alice", "uid": "alice-1", "finalizers": ["example.org/other", FINALIZER]},
            "spec": {"user": "alice", "image": "desktop:1"},
        }))
        .unwrap();
        let patch = without_finalizer(&workspace);
        assert_eq!(
            patch,
            json!([
                {"op": "test", "path": "/metadata/uid", "value": "alice-1"},
                {"op": "test", "path": "/metadata/finalizers/1", "value": "novasphere.io/home"},
                {"op": "remove", "path": "/metadata/finalizers/1"},
            ])
        );
    }
}
