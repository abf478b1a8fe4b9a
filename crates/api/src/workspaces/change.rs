//! Making, waking, sending to sleep and deleting desktops, as the caller.

use std::collections::BTreeMap;

use axum::extract::State;
use kube::{
    Api,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions},
};
use novasphere_crd::{Quantity, VncWorkspace};
use serde_json::json;

use super::bodies::{DesktopResources, WorkspaceRequest, WorkspaceSummary};
use crate::{
    FIELD_MANAGER,
    audit::{ActionRecord, AuditAction},
    caller::Caller,
    code::Code,
    envelope::{Answer, Envelope, Nothing},
    error::{ApiError, ApiResult},
    http::{JsonBody, Path},
    kubernetes::refused,
    machines,
    state::ApiState,
    watches::row_of_workspace,
};

/// A desktop to make.
#[derive(Debug)]
pub(crate) struct NewDesktop {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// Whose desktop it is.
    pub(crate) user: String,
    /// Its image.
    pub(crate) image: String,
    /// What it may use.
    pub(crate) resources: Option<DesktopResources>,
    /// Bytes of its home.
    pub(crate) storage: Option<String>,
    /// The storage class of its home.
    pub(crate) storage_class: Option<String>,
}

/// Make a desktop.
#[utoipa::path(post, path = "/workspaces", tag = "workspaces", operation_id = "createWorkspace",
    request_body = WorkspaceRequest, responses((status = 200, body = Envelope<WorkspaceSummary>)))]
pub(super) async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    JsonBody(request): JsonBody<WorkspaceRequest>,
) -> ApiResult<Answer<WorkspaceSummary>> {
    let desktop = NewDesktop {
        user: request.user.unwrap_or_else(|| caller.display_name.clone()),
        namespace: request.namespace,
        name: request.name,
        image: request.image,
        resources: request.resources,
        storage: request.storage,
        storage_class: None,
    };
    let made = make(&state, &caller, desktop).await?;
    Ok(Answer::new(WorkspaceSummary::of(
        &row_of_workspace(&made),
        &state.time_zone,
    )))
}

/// Makes a desktop as the caller.
///
/// # Errors
///
/// [`Code::ALREADY_EXISTS`], and what else kube-apiserver answers.
pub(crate) async fn make(state: &ApiState, caller: &Caller, desktop: NewDesktop) -> ApiResult<VncWorkspace> {
    if !is_label(&desktop.namespace) || !is_label(&desktop.name) {
        return Err(ApiError::parameter(
            "name",
            "names have lower-case letters, digits and '-', at most 63",
        ));
    }
    state
        .authorization
        .within_tenant(caller, &desktop.namespace, &state.watched)?;
    let target = format!("VncWorkspace/{}/{}", desktop.namespace, desktop.name);
    let workspaces: Api<VncWorkspace> = Api::namespaced(state.client_of(caller)?, &desktop.namespace);
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let wanted = wanted(desktop)?;
    let made = workspaces.create(&params, &wanted).await.map_err(refused)?;
    note(state, caller, target, "create");
    Ok(made)
}

/// Wake a desktop.
#[utoipa::path(post, path = "/workspaces/{workspaceId}/start", tag = "workspaces", operation_id = "startWorkspace",
    params(("workspaceId" = String, Path, description = "Its UID, or <namespace>.<name>", max_length = 317)),
    responses((status = 200, body = Envelope<WorkspaceSummary>)))]
pub(super) async fn start(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Answer<WorkspaceSummary>> {
    lifecycle(&state, &caller, &id, "Running").await
}

/// Send a desktop to sleep. Its home stays.
#[utoipa::path(post, path = "/workspaces/{workspaceId}/hibernate", tag = "workspaces", operation_id = "hibernateWorkspace",
    params(("workspaceId" = String, Path, description = "Its UID, or <namespace>.<name>", max_length = 317)),
    responses((status = 200, body = Envelope<WorkspaceSummary>)))]
pub(super) async fn hibernate(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Answer<WorkspaceSummary>> {
    lifecycle(&state, &caller, &id, "Hibernated").await
}

async fn lifecycle(state: &ApiState, caller: &Caller, id: &str, wanted: &str) -> ApiResult<Answer<WorkspaceSummary>> {
    let row = machines::workspace(state, caller, id).await?;
    let workspaces: Api<VncWorkspace> = Api::namespaced(state.client_of(caller)?, &row.namespace);
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({"metadata": {"uid": row.id}, "spec": {"lifecycle": {"state": wanted}}}));
    let changed = workspaces.patch(&row.name, &params, &patch).await.map_err(refused)?;
    note(
        state,
        caller,
        format!("VncWorkspace/{}/{}", row.namespace, row.name),
        wanted,
    );
    Ok(Answer::new(WorkspaceSummary::of(
        &row_of_workspace(&changed),
        &state.time_zone,
    )))
}

/// Delete a desktop. What becomes of its home, its `storage.reclaim` says.
#[utoipa::path(delete, path = "/workspaces/{workspaceId}", tag = "workspaces", operation_id = "deleteWorkspace",
    params(("workspaceId" = String, Path, description = "Its UID, or <namespace>.<name>", max_length = 317)),
    responses((status = 200, body = Envelope<Nothing>)))]
pub(super) async fn delete(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Answer<()>> {
    let row = machines::workspace(&state, &caller, &id).await?;
    remove(&state, &caller, &row.namespace, &row.name, &row.id).await?;
    Ok(Answer::new(()))
}

/// Deletes a desktop as the caller, unless another one has its name now.
pub(crate) async fn remove(state: &ApiState, caller: &Caller, namespace: &str, name: &str, uid: &str) -> ApiResult<()> {
    let workspaces: Api<VncWorkspace> = Api::namespaced(state.client_of(caller)?, namespace);
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match workspaces.delete(name, &params).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => return Err(refused(error)),
    }
    note(state, caller, format!("VncWorkspace/{namespace}/{name}"), "delete");
    Ok(())
}

fn note(state: &ApiState, caller: &Caller, target: String, reason: &str) {
    let record = ActionRecord {
        user: Some(&caller.user.name),
        client: Some(caller.client),
        target: Some(target),
        reason: Some(reason),
        ..ActionRecord::default()
    };
    state.audit.record(AuditAction::WorkspaceChanged, &record);
}

fn is_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// The object. What its schema decides is decided by kube-apiserver, whose words the answer has.
fn wanted(desktop: NewDesktop) -> ApiResult<VncWorkspace> {
    let mut limits = BTreeMap::new();
    let resources = desktop.resources.unwrap_or_default();
    for (name, value) in [("cpu", resources.cpu), ("memory", resources.memory)] {
        if let Some(value) = value {
            limits.insert(name.to_owned(), Quantity(value));
        }
    }
    let mut storage = serde_json::Map::new();
    if let Some(size) = desktop.storage {
        storage.insert("size".to_owned(), json!(size));
    }
    if let Some(class) = desktop.storage_class {
        storage.insert("storageClassName".to_owned(), json!(class));
    }
    let mut spec = json!({"user": desktop.user, "image": desktop.image, "storage": storage});
    if let (false, Some(spec)) = (limits.is_empty(), spec.as_object_mut()) {
        // A desktop that asks for all that it may use leaves no room for others.
        spec.insert("resources".to_owned(), json!({"limits": limits}));
    }
    let spec = serde_json::from_value(spec).map_err(|error| ApiError::with(Code::INVALID_BODY, error.to_string()))?;
    Ok(VncWorkspace {
        metadata: ObjectMeta {
            name: Some(desktop.name),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_desktop_has_what_was_asked_for() {
        let workspace = wanted(NewDesktop {
            namespace: "team".to_owned(),
            name: "desk".to_owned(),
            user: "ann".to_owned(),
            image: "desktop:1".to_owned(),
            resources: Some(DesktopResources {
                cpu: Some("2".to_owned()),
                memory: Some("4Gi".to_owned()),
            }),
            storage: Some("10Gi".to_owned()),
            storage_class: None,
        })
        .unwrap();
        let value: Value = serde_json::to_value(&workspace.spec).unwrap();
        assert_eq!(value["user"], "ann");
        assert_eq!(value["resources"]["limits"], json!({"cpu": "2", "memory": "4Gi"}));
        assert_eq!(value["storage"]["size"], "10Gi");
    }

    #[test]
    fn names_that_no_object_can_have_are_refused_here() {
        assert!(is_label("desk-1"));
        for bad in ["", "-a", "a-", "A", "a/b", "a.b"] {
            assert!(!is_label(bad), "{bad}");
        }
    }
}
