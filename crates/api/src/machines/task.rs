//! Operations that take their time: nothing is stored of them. The ID says what was asked for and how the machine was then; its state is worked out
//! from how the machine is now.

use axum::extract::State;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{machine, power::PowerOperation};
use crate::{
    caller::Caller,
    code::Code,
    envelope::{Answer, Envelope},
    error::{ApiError, ApiResult},
    http::Path,
    state::ApiState,
    watches::{MachineRow, MachineStatus},
};

/// Bytes of an ID of a task.
const TASK_ID_BYTES: usize = 2048;

/// An operation that has not succeeded by then has failed: a guest that ignores the request to shut down has three minutes by default.
const TASK_TIMEOUT: SignedDuration = SignedDuration::from_mins(15);

/// An operation, as its ID says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Task {
    /// What was asked for.
    operation: PowerOperation,
    /// The machine, as in paths.
    machine: String,
    /// The run that there was.
    run: Option<String>,
    /// When it was asked for.
    at: Timestamp,
}

/// The state of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TaskStatus {
    /// It goes on.
    Running,
    /// It has succeeded.
    Success,
    /// It has failed.
    Failed,
}

/// How an operation stands.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskReport {
    /// Its ID.
    task_id: String,
    /// Its state.
    status: TaskStatus,
    /// In percent.
    progress: u8,
    /// How the machine is, once it has succeeded.
    result: Option<TaskResult>,
    /// Why it has failed.
    error_msg: Option<String>,
}

/// What an operation has led to.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskResult {
    /// The machine.
    vm_id: String,
    /// Its state.
    status: MachineStatus,
}

/// How a machine is now.
struct Now<'a> {
    printable: &'a str,
    run: Option<&'a str>,
    time: Timestamp,
}

impl Task {
    pub(super) fn new(row: &MachineRow, operation: PowerOperation, run: Option<String>, at: Timestamp) -> Self {
        Self {
            operation,
            machine: row.id.clone(),
            run,
            at,
        }
    }

    /// The ID.
    pub(super) fn id(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads an ID. It gives no rights: the caller's are asked for, as everywhere.
    fn read(id: &str) -> Option<Self> {
        if id.len() > TASK_ID_BYTES {
            return None;
        }
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(id).ok()?).ok()
    }

    fn report(&self, now: &Now<'_>) -> TaskReport {
        let status = MachineStatus::of_printable(Some(now.printable));
        let is_late = now.time.duration_since(self.at) > TASK_TIMEOUT;
        let is_new_run = now.run.is_some() && now.run != self.run.as_deref();
        let (is_done, progress) = match (self.operation, status) {
            (PowerOperation::Start, MachineStatus::Running) | (PowerOperation::Stop, MachineStatus::Stopped) => {
                (true, 100)
            }
            (PowerOperation::Restart, MachineStatus::Running) => (is_new_run, 10),
            // The run that was to end has ended, and somebody has started the machine again.
            (PowerOperation::Stop, _) if is_late && is_new_run => (true, 100),
            (PowerOperation::Stop, MachineStatus::Stopping) | (PowerOperation::Start, MachineStatus::Pending) => {
                (false, 50)
            }
            (PowerOperation::Restart, MachineStatus::Pending) if is_new_run => (false, 80),
            (PowerOperation::Restart, _) => (false, 40),
            _ => (false, 10),
        };
        let has_failed =
            !is_done && (is_late || status == MachineStatus::Failed && self.operation != PowerOperation::Stop);
        let error_msg = has_failed.then(|| match status {
            MachineStatus::Failed => format!(
                "KubeVirt says {:?} of the machine; its VmAccess says why, in its conditions and events",
                now.printable
            ),
            _ => format!(
                "after {} minutes the machine is still {:?}; look at its events",
                TASK_TIMEOUT.as_mins(),
                now.printable
            ),
        });
        TaskReport {
            task_id: self.id(),
            status: match (is_done, has_failed) {
                (true, _) => TaskStatus::Success,
                (false, true) => TaskStatus::Failed,
                (false, false) => TaskStatus::Running,
            },
            progress: if is_done { 100 } else { progress },
            result: is_done.then(|| TaskResult {
                vm_id: self.machine.clone(),
                status,
            }),
            error_msg,
        }
    }
}

/// How an operation stands.
#[utoipa::path(get, path = "/tasks/{taskId}", tag = "tasks", operation_id = "getTask",
    params(("taskId" = String, Path, description = "What the operation answered", max_length = 2048)),
    responses((status = 200, body = Envelope<TaskReport>)))]
pub(super) async fn task(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Answer<TaskReport>> {
    let task = Task::read(&id).ok_or(ApiError::with(Code::INVALID_ID, "this is no ID of a task"))?;
    let row = machine(&state, &caller, &task.machine).await?;
    let printable = state.watched.printable_of(&row.namespace, &row.machine);
    let run = state.watched.run_of(&row.namespace, &row.machine);
    let now = Now {
        printable: printable.as_deref().unwrap_or(&row.printable),
        run: run.as_ref().and_then(|run| run.uid.as_deref()),
        time: Timestamp::now(),
    };
    Ok(Answer::new(task.report(&now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(operation: PowerOperation) -> Task {
        Task {
            operation,
            machine: "u1".to_owned(),
            run: Some("r1".to_owned()),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    fn status(operation: PowerOperation, printable: &str, run: Option<&str>, minutes: i64) -> TaskStatus {
        let time = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes);
        task(operation).report(&Now { printable, run, time }).status
    }

    #[test]
    fn the_machine_says_how_its_task_stands() {
        use PowerOperation::{Restart, Start, Stop};
        for (operation, printable, run, minutes, wanted) in [
            (Start, "Stopped", None, 0, TaskStatus::Running),
            (Start, "Starting", Some("r2"), 1, TaskStatus::Running),
            (Start, "Running", Some("r2"), 1, TaskStatus::Success),
            (Start, "ErrorUnschedulable", None, 1, TaskStatus::Failed),
            (Start, "Starting", Some("r2"), 16, TaskStatus::Failed),
            (Stop, "Running", Some("r1"), 0, TaskStatus::Running),
            (Stop, "Stopping", Some("r1"), 1, TaskStatus::Running),
            (Stop, "Stopped", None, 1, TaskStatus::Success),
            (Stop, "CrashLoopBackOff", None, 1, TaskStatus::Running),
            (Stop, "Running", Some("r1"), 16, TaskStatus::Failed),
            (Stop, "Running", Some("r2"), 16, TaskStatus::Success),
            (Restart, "Running", Some("r1"), 0, TaskStatus::Running),
            (Restart, "Stopping", Some("r1"), 0, TaskStatus::Running),
            (Restart, "Starting", Some("r2"), 1, TaskStatus::Running),
            (Restart, "Running", Some("r2"), 1, TaskStatus::Success),
        ] {
            assert_eq!(
                status(operation, printable, run, minutes),
                wanted,
                "{operation:?} {printable} {run:?}"
            );
        }
    }

    #[test]
    fn an_id_is_read_as_it_was_made_and_nothing_else_is_one() {
        let task = task(PowerOperation::Stop);
        assert_eq!(Task::read(&task.id()), Some(task));
        for bad in ["", "!", "e30", &"A".repeat(3000)] {
            assert_eq!(Task::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_failure_says_what_to_look_at() {
        let late = Now {
            printable: "Stopping",
            run: None,
            time: Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1),
        };
        let report = task(PowerOperation::Stop).report(&late);
        assert!(report.error_msg.unwrap().contains("Stopping"));
        assert_eq!(report.result, None);
    }
}
