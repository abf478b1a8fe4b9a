//! Starting, stopping and restarting machines.

use axum::extract::State;
use http::Request;
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use novasphere_crd::{PowerState, VmAccess, VmAccessSpec};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{machine, task::Task};
use crate::{
    FIELD_MANAGER,
    audit::{ActionRecord, AuditAction},
    authorization::right,
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

    /// What the `VmAccess` has to say for it. A `restartedAt` of before would be refused beside `Stopped`.
    fn power(self, now: Timestamp) -> Value {
        match self {
            Self::Start => json!({"state": "Running"}),
            Self::Stop => json!({"state": "Stopped", "restartedAt": null}),
            Self::Restart => json!({"state": "Running", "restartedAt": now.to_string()}),
        }
    }

    /// What `KubeVirt` is sent. It has two names for the time that the guest gets (`StopOptions`, `RestartOptions`).
    fn options(self, force: bool) -> Value {
        match self {
            Self::Stop if force => json!({"gracePeriod": 0}),
            Self::Restart if force => json!({"gracePeriodSeconds": 0}),
            _ => json!({}),
        }
    }
}

/// How an operation reaches a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PowerWay {
    /// The wish is written into the `VmAccess`, and the controller sees to it.
    Declare,
    /// `KubeVirt` is asked, and nothing holds the state afterwards.
    Call,
    /// The wish is written, so that nothing starts the machine again, and then `KubeVirt` is asked not to wait for the guest.
    DeclareAndCall,
}

impl PowerWay {
    /// `spec` is that of the machine's `VmAccess`.
    fn of(spec: Option<&VmAccessSpec>, operation: PowerOperation, force: bool, is_running: bool) -> Self {
        let Some(spec) = spec else { return Self::Call };
        // An existing machine whose power nobody declares is left so: a declared one would be started again whenever its guest shuts down.
        if spec.power.is_none() && spec.virtual_machine.template.is_none() {
            return Self::Call;
        }
        let state = spec.power.as_ref().and_then(|power| power.state);
        let is_to_run = matches!(state, None | Some(PowerState::Running));
        match operation {
            PowerOperation::Stop if force && is_running => Self::DeclareAndCall,
            // The call alone: it and the controller's own, for `restartedAt`, would refuse each other.
            PowerOperation::Restart if force && is_to_run => Self::Call,
            _ => Self::Declare,
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
    let declared = spec_of(&client, row).await?;
    match PowerWay::of(declared.as_ref(), operation, force, run.is_some()) {
        PowerWay::Declare => declare(&client, row, operation, now).await?,
        PowerWay::Call => call(&client, row, operation, force).await?,
        PowerWay::DeclareAndCall => {
            // Asked first, so that nothing is half done.
            let asked = right(
                "subresources.kubevirt.io",
                "virtualmachines",
                Some(operation.as_str()),
                "update",
                Some(&row.namespace),
            );
            state.authorization.require(caller, &asked).await?;
            declare(&client, row, operation, now).await?;
            match call(&client, row, operation, force).await {
                // It has ended meanwhile.
                Err(error) if error.code == Code::CONFLICT => {}
                answered => answered?,
            }
        }
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

async fn spec_of(client: &Client, row: &MachineRow) -> ApiResult<Option<VmAccessSpec>> {
    if row.kind == MachineKind::VirtualMachine {
        return Ok(None);
    }
    let objects: Api<VmAccess> = Api::namespaced(client.clone(), &row.namespace);
    let object = objects.get(&row.name).await.map_err(refused)?;
    Ok(Some(object.spec))
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

/// Asks `KubeVirt`.
async fn call(client: &Client, row: &MachineRow, operation: PowerOperation, force: bool) -> ApiResult<()> {
    let path = format!(
        "/apis/subresources.kubevirt.io/v1/namespaces/{}/virtualmachines/{}/{}",
        row.namespace,
        row.machine,
        operation.as_str()
    );
    let request = Request::put(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(operation.options(force).to_string().into_bytes())
        .map_err(|_| ApiError::new(Code::INTERNAL))?;
    client.request_text(request).await.map(drop).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(spec: Value) -> VmAccessSpec {
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn only_what_is_declared_or_made_here_is_declared() {
        use PowerOperation::{Restart, Start, Stop};
        let template = json!({"template": {"memory": "1Gi", "rootDisk": {"containerDisk": {"image": "a:1"}}}});
        let by_hand = spec(json!({"virtualMachine": {"name": "old"}}));
        let adopted = spec(json!({"virtualMachine": {"name": "old"}, "power": {"state": "Running"}}));
        let made = spec(json!({"virtualMachine": template}));
        let stopped = spec(json!({"virtualMachine": template, "power": {"state": "Stopped"}}));
        for (spec, operation, force, is_running, way) in [
            (None, Start, false, false, PowerWay::Call),
            (None, Stop, true, true, PowerWay::Call),
            (Some(&by_hand), Start, false, false, PowerWay::Call),
            (Some(&by_hand), Restart, false, true, PowerWay::Call),
            (Some(&adopted), Stop, false, true, PowerWay::Declare),
            (Some(&adopted), Stop, true, true, PowerWay::DeclareAndCall),
            (Some(&adopted), Stop, true, false, PowerWay::Declare),
            (Some(&made), Start, true, false, PowerWay::Declare),
            (Some(&made), Restart, false, true, PowerWay::Declare),
            (Some(&made), Restart, true, true, PowerWay::Call),
            (Some(&stopped), Restart, true, true, PowerWay::Declare),
        ] {
            assert_eq!(
                PowerWay::of(spec, operation, force, is_running),
                way,
                "{operation:?} {force} {is_running}"
            );
        }
    }

    #[test]
    fn a_stop_takes_the_time_of_a_restart_away() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(
            PowerOperation::Stop.power(now),
            json!({"state": "Stopped", "restartedAt": null})
        );
        assert_eq!(
            PowerOperation::Restart.power(now)["restartedAt"],
            "1970-01-01T00:00:00Z"
        );
    }

    #[test]
    fn force_has_the_names_that_kubevirt_reads() {
        assert_eq!(PowerOperation::Stop.options(true), json!({"gracePeriod": 0}));
        assert_eq!(PowerOperation::Restart.options(true), json!({"gracePeriodSeconds": 0}));
        assert_eq!(PowerOperation::Start.options(true), json!({}));
        assert_eq!(PowerOperation::Stop.options(false), json!({}));
    }
}
