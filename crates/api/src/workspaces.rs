//! Desktops: lists, details, sleep, and their consoles.

mod bodies;
mod change;

use std::collections::BTreeSet;

use axum::extract::State;
use novasphere_crd::SessionTargetKind;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::bodies::{WorkspaceConsoleRequest, WorkspacePage, WorkspaceQuery, WorkspaceSummary};
use crate::{
    authorization::Listed,
    caller::Caller,
    envelope::{Answer, Envelope},
    error::{ApiError, ApiResult},
    http::{OptionalBody, Path, Query},
    machines::{self, expire_seconds, protocol},
    sessions::open::{ConsoleLink, LinkRequest, link},
    state::ApiState,
};

pub(crate) use self::{
    bodies::DesktopResources,
    change::{NewDesktop, make, remove},
};

/// Rows of a page.
const PAGE_SIZE_LIMIT: usize = 200;

/// The paths of this topic.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, change::create))
        .routes(routes!(detail, change::delete))
        .routes(routes!(change::start))
        .routes(routes!(change::hibernate))
        .routes(routes!(console))
}

/// The workspaces that I may see, the youngest first.
#[utoipa::path(get, path = "/workspaces", tag = "workspaces", operation_id = "listWorkspaces", params(WorkspaceQuery),
    responses((status = 200, body = Envelope<WorkspacePage>)))]
async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    Query(query): Query<WorkspaceQuery>,
) -> ApiResult<Answer<WorkspacePage>> {
    let page = query.page.unwrap_or(1);
    let page_size = query.page_size.unwrap_or(10);
    if !(1..=1_000_000).contains(&page) {
        return Err(ApiError::parameter("page", "page is a number from 1"));
    }
    if !(1..=PAGE_SIZE_LIMIT).contains(&page_size) {
        return Err(ApiError::parameter(
            "pageSize",
            format!("pageSize is a number from 1 to {PAGE_SIZE_LIMIT}"),
        ));
    }
    let mut rows = state.watched.workspaces();
    rows.retain(|row| query.takes(row));
    let candidates: BTreeSet<String> = rows.iter().map(|row| row.namespace.clone()).collect();
    let visible = state
        .authorization
        .visible(&caller, Listed::Workspaces, candidates, &state.watched)
        .await?;
    rows.retain(|row| visible.contains(&row.namespace));
    rows.sort_by(|one, other| {
        (other.created, &other.name, &other.namespace).cmp(&(one.created, &one.name, &one.namespace))
    });
    let shown = rows.iter().skip((page - 1).saturating_mul(page_size)).take(page_size);
    Ok(Answer::new(WorkspacePage {
        total: rows.len(),
        pages: rows.len().div_ceil(page_size),
        list: shown.map(|row| WorkspaceSummary::of(row, &state.time_zone)).collect(),
    }))
}

/// A workspace.
#[utoipa::path(get, path = "/workspaces/{workspaceId}", tag = "workspaces", operation_id = "getWorkspace",
    params(("workspaceId" = String, Path, description = "Its UID, or <namespace>.<name>", max_length = 317)),
    responses((status = 200, body = Envelope<WorkspaceSummary>)))]
async fn detail(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Answer<WorkspaceSummary>> {
    let row = machines::workspace(&state, &caller, &id).await?;
    Ok(Answer::new(WorkspaceSummary::of(&row, &state.time_zone)))
}

/// A link to a desktop. Connecting wakes it.
#[utoipa::path(post, path = "/workspaces/{workspaceId}/console", tag = "consoles", operation_id = "openWorkspaceConsole",
    params(("workspaceId" = String, Path, description = "Its UID, or <namespace>.<name>", max_length = 317)),
    request_body = Option<WorkspaceConsoleRequest>, responses((status = 200, body = Envelope<ConsoleLink>)))]
async fn console(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(request): OptionalBody<WorkspaceConsoleRequest>,
) -> ApiResult<Answer<ConsoleLink>> {
    let protocol = protocol(request.protocol.as_deref())?;
    let seconds = expire_seconds(request.expire_time)?;
    let row = machines::workspace(&state, &caller, &id).await?;
    let wanted = LinkRequest {
        namespace: row.namespace.clone(),
        kind: SessionTargetKind::VncWorkspace,
        name: row.name.clone(),
        protocol,
        seconds,
        view_only: request.view_only,
    };
    Ok(Answer::new(link(&state, &caller, wanted).await?))
}
