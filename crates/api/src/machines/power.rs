//! Starting, stopping and restarting machines.

use axum::extract::State;
use http::Request;
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use novasphere_crd::VmAccess;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{machine, task::Task};
use crate::{
    FIELD_MANAGER,
    audit::{ActionRecord, AuditAction},
    caller::Caller,
    code::Code,
    envelope::{Answer, Envelope},
    error::{ApiError, ApiResult},
    http::{OptionalBody, Path},
    kubernetes::refused,
    language::Sentence,
    state::ApiState,
    watches::{MachineKind, MachineRow},
};

pub(super) const STARTED: Sentence = Sentence {
    english: "the operation has begun",
    chinese: "操作触发成功，正在执行",
};

/// What to do with a machine's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PowerOperation {
    /// Switch it on.
    Start,
    /// Shut it down.
    Stop,
    /// Shut it down, and switch it on again.
    Restart,
}

/// How to do it.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct PowerRequest {
    /// Do not wait for the guest to shut down. It loses what it has not written. Default false.
    pub(super) force: bool,
}

/// The operation that has begun.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskStarted {
    /// Names it in `/tasks/{taskId}`.
    pub(super) task_id: String,
}

impl PowerOperation {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }

    /// What the `VmAccess` has to say for it.
    fn power(self, now: Timestamp) -> Value {
        match self {
            Self::Start => json!({"state": "Running"}),
            Self::Stop => json!({"state": "Stopped"}),
            Self::Restart => json!({"state": "Running", "restartedAt": now.to_string()}),
        }
    }
}

/// Start a machine.
#[utoipa::path(post, path = "/vms/{vmId}/start", tag = "machines", operation_id = "startMachine",
    params(("vmId" = String, Path, description = "UID of the VmAccess, or <namespace>.<name>", max_length = 317)),
    request_body = Option<PowerRequest>, responses((status = 200, body = Envelope<TaskStarted>)))]
pub(super) async fn start(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(request): OptionalBody<PowerRequest>,
) -> ApiResult<Answer<TaskStarted>> {
    operate(&state, &caller, &id, PowerOperation::Start, request).await
}

/// Stop a machine.
#[utoipa::path(post, path = "/vms/{vmId}/stop", tag = "machines", operation_id = "stopMachine",
    params(("vmId" = String, Path, description = "UID of the VmAccess, or <namespace>.<name>", max_length = 317)),
    request_body = Option<PowerRequest>, responses((status = 200, body = Envelope<TaskStarted>)))]
pub(super) async fn stop(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(request): OptionalBody<PowerRequest>,
) -> ApiResult<Answer<TaskStarted>> {
    operate(&state, &caller, &id, PowerOperation::Stop, request).await
}

/// Restart a machine.
#[utoipa::path(post, path = "/vms/{vmId}/restart", tag = "machines", operation_id = "restartMachine",
    params(("vmId" = String, Path, description = "UID of the VmAccess, or <namespace>.<name>", max_length = 317)),
    request_body = Option<PowerRequest>, responses((status = 200, body = Envelope<TaskStarted>)))]
pub(super) async fn restart(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(request): OptionalBody<PowerRequest>,
) -> ApiResult<Answer<TaskStarted>> {
    operate(&state, &caller, &id, PowerOperation::Restart, request).await
}

async fn operate(
    state: &ApiState,
    caller: &Caller,
    id: &str,
    operation: PowerOperation,
    request: PowerRequest,
) -> ApiResult<Answer<TaskStarted>> {
    let row = machine(state, caller, id).await?;
    let task_id = begin(state, caller, &row, operation, request.force).await?;
    Ok(Answer::new(TaskStarted { task_id }).saying(STARTED))
}

/// Begins an operation as the caller, and names it.
pub(super) async fn begin(
    state: &ApiState,
    caller: &Caller,
    row: &MachineRow,
    operation: PowerOperation,
    force: bool,
) -> ApiResult<String> {
    let client = state.client_of(caller)?;
    let now = Timestamp::now();
    let run = state
        .watched
        .run_of(&row.namespace, &row.machine)
        .and_then(|run| run.uid.clone());
    if operation == PowerOperation::Restart && run.is_none() {
        return Err(ApiError::with(
            Code::NOT_RUNNING,
            "a machine that does not run is started, not restarted",
        ));
    }
    match row.kind {
        MachineKind::VmAccess => declare(&client, row, operation, now).await?,
        MachineKind::VirtualMachine => call(&client, row, operation, force).await?,
    }
    // What is declared is done with the guest's consent. Without it, KubeVirt is asked beside, once the wish is known: so nothing starts the machine again.
    if force && row.kind == MachineKind::VmAccess && operation != PowerOperation::Start && run.is_some() {
        call(&client, row, operation, force).await?;
    }
    let record = ActionRecord {
        user: Some(&caller.user.name),
        client: Some(caller.client),
        target: Some(format!("{:?}/{}/{}", row.kind, row.namespace, row.name)),
        reason: Some(operation.as_str()),
        ..ActionRecord::default()
    };
    state.audit.record(AuditAction::PowerRequested, &record);
    Ok(Task::new(row, operation, run, now).id())
}

/// Writes the wish into the `VmAccess`, and its controller sees to it.
async fn declare(client: &Client, row: &MachineRow, operation: PowerOperation, now: Timestamp) -> ApiResult<()> {
    let objects: Api<VmAccess> = Api::namespaced(client.clone(), &row.namespace);
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = json!({
        "metadata": {"uid": row.id},
        "spec": {"power": operation.power(now)},
    });
    let patched = objects.patch(&row.name, &params, &Patch::Merge(patch)).await;
    patched.map(drop).map_err(refused)
}

/// Asks `KubeVirt`, for a machine that no `VmAccess` names.
async fn call(client: &Client, row: &MachineRow, operation: PowerOperation, force: bool) -> ApiResult<()> {
    let body = if force && operation != PowerOperation::Start {
        json!({"gracePeriod": 0})
    } else {
        json!({})
    };
    let path = format!(
        "/apis/subresources.kubevirt.io/v1/namespaces/{}/virtualmachines/{}/{}",
        row.namespace,
        row.machine,
        operation.as_str()
    );
    let request = Request::put(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body.to_string().into_bytes())
        .map_err(|_| ApiError::new(Code::INTERNAL))?;
    client.request_text(request).await.map(drop).map_err(refused)
}
