//! The same operation on several machines.

use std::collections::BTreeSet;

use axum::extract::State;
use futures::{FutureExt as _, StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    machine,
    power::{PowerOperation, STARTED, begin},
};
use crate::{
    caller::Caller,
    envelope::{Answer, Envelope},
    error::{ApiError, ApiResult},
    http::JsonBody,
    state::ApiState,
};

/// Machines of one request.
const BATCH_LIMIT: usize = 100;

/// Machines of one request that are asked at a time.
const CONCURRENT_LIMIT: usize = 8;

/// What to do with which machines.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct BatchRequest {
    /// What.
    operation: PowerOperation,
    /// UIDs of `VmAccess` objects, or `<namespace>.<name>`.
    #[schema(min_items = 1, max_items = 100)]
    ids: Vec<String>,
    /// Do not wait for the guests to shut down. Default false.
    #[serde(default)]
    force: bool,
}

/// What has come of one machine.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BatchResult {
    /// The machine, as it was named.
    id: String,
    /// 200, or why it was refused.
    code: u32,
    /// The operation that has begun.
    task_id: Option<String>,
    /// Why it was refused, in one word.
    reason: Option<&'static str>,
    /// Why it was refused, in a sentence.
    detail: Option<String>,
}

/// Start, stop or restart up to 100 machines. Each has a result of its own; one that is named twice has one.
#[utoipa::path(post, path = "/vms/batch", tag = "machines", operation_id = "operateMachines", request_body = BatchRequest,
    responses((status = 200, body = Envelope<Vec<BatchResult>>)))]
pub(super) async fn batch(
    State(state): State<ApiState>,
    caller: Caller,
    JsonBody(request): JsonBody<BatchRequest>,
) -> ApiResult<Answer<Vec<BatchResult>>> {
    if request.ids.is_empty() || request.ids.len() > BATCH_LIMIT {
        return Err(ApiError::parameter(
            "ids",
            format!("ids names 1 to {BATCH_LIMIT} machines"),
        ));
    }
    let BatchRequest {
        operation,
        mut ids,
        force,
    } = request;
    // Twice the same would be restarted twice.
    let mut seen = BTreeSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    let results = ids.into_iter().map(|id| {
        let (state, caller) = (&state, &caller);
        async move {
            let begun = async {
                let row = machine(state, caller, &id).await?;
                begin(state, caller, &row, operation, force).await
            };
            let begun = begun.await;
            BatchResult::of(id, begun)
        }
        .boxed()
    });
    let results: Vec<BatchResult> = stream::iter(results).buffered(CONCURRENT_LIMIT).collect().await;
    Ok(Answer::new(results).saying(STARTED))
}

impl BatchResult {
    fn of(id: String, begun: ApiResult<String>) -> Self {
        match begun {
            Ok(task_id) => Self {
                id,
                code: 200,
                task_id: Some(task_id),
                reason: None,
                detail: None,
            },
            Err(error) => Self {
                id,
                code: error.code.row().number,
                task_id: None,
                reason: Some(error.code.row().reason),
                detail: error.detail.or_else(|| Some(error.code.row().english.to_owned())),
            },
        }
    }
}
