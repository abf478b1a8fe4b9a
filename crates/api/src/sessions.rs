//! Console sessions: who is connected to what, and how to cut it.

pub(crate) mod open;
mod token;

use std::collections::BTreeSet;

use axum::extract::State;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use novasphere_crd::ConsoleSession;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    FIELD_MANAGER,
    audit::{ActionRecord, AuditAction},
    authorization::{Listed, right},
    caller::Caller,
    code::Code,
    envelope::{Answer, Envelope, Nothing},
    error::{ApiError, ApiResult},
    http::{Path, Query},
    kubernetes::refused,
    state::ApiState,
    time::AnswerTimeZone,
    watches::SessionRow,
};

/// Rows of a page.
const PAGE_SIZE_LIMIT: usize = 200;

/// The paths of this topic.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get_session, revoke_session))
        .routes(routes!(token::token))
}

/// Which sessions are wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SessionQuery {
    /// The page, from 1. Default 1.
    #[param(minimum = 1, maximum = 1_000_000)]
    #[serde(default)]
    page: Option<usize>,
    /// Rows of a page. Default 50.
    #[param(minimum = 1, maximum = 200)]
    #[serde(default)]
    page_size: Option<usize>,
    /// Of one namespace alone.
    #[param(min_length = 1, max_length = 63)]
    #[serde(default)]
    namespace: Option<String>,
    /// Those alone to which somebody is connected. Default false.
    #[serde(default)]
    active: bool,
}

/// A page of sessions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionPage {
    /// Rows of all pages.
    total: usize,
    /// Pages.
    pages: usize,
    /// The rows of this page.
    list: Vec<SessionSummary>,
}

/// A session.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionSummary {
    /// Its UID.
    id: String,
    /// Its name.
    name: String,
    /// Its namespace.
    namespace: String,
    /// The kind of its target.
    target_kind: String,
    /// The name of its target.
    target: String,
    /// The console that it opens.
    protocol: Option<String>,
    /// Pending, Ready, Active, Closed, Expired or Failed.
    phase: Option<String>,
    /// Who last got a token.
    user: Option<String>,
    /// Why it was made.
    reason: Option<String>,
    /// Why it ended.
    close_reason: Option<&'static str>,
    /// When it was made.
    create_time: String,
    /// The same by RFC 3339.
    #[schema(format = DateTime)]
    create_at: String,
    /// When its streams end.
    expire_time: Option<String>,
    /// The same by RFC 3339.
    #[schema(format = DateTime)]
    expire_at: Option<String>,
    /// Who is connected.
    connections: Vec<SessionConnection>,
}

/// Somebody who is connected.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionConnection {
    /// Who.
    user: String,
    /// From where.
    client_ip: String,
    /// How.
    transport: String,
    /// `Control` or `ViewOnly`.
    input: Option<String>,
    /// Since when.
    connect_time: String,
    /// The same by RFC 3339.
    #[schema(format = DateTime)]
    connect_at: String,
}

impl SessionSummary {
    fn of(row: &SessionRow, zone: &AnswerTimeZone) -> Self {
        let connections = row.connections.iter().map(|connection| SessionConnection {
            user: connection.user.clone(),
            client_ip: connection.client.clone(),
            transport: format!("{:?}", connection.transport),
            input: connection.input.map(|input| format!("{input:?}")),
            connect_time: zone.text(connection.connected),
            connect_at: connection.connected.to_string(),
        });
        Self {
            id: row.id.clone(),
            name: row.name.clone(),
            namespace: row.namespace.clone(),
            target_kind: row.target_kind.as_str().to_owned(),
            target: row.target.clone(),
            protocol: row.protocol.map(|protocol| protocol.as_str().to_owned()),
            phase: row.phase.map(|phase| format!("{phase:?}")),
            user: row.user.clone(),
            reason: row.reason.clone(),
            close_reason: row.close_reason,
            create_time: zone.text(row.created),
            create_at: row.created.to_string(),
            expire_time: row.expires.map(|time| zone.text(time)),
            expire_at: row.expires.map(|time| time.to_string()),
            connections: connections.collect(),
        }
    }
}

/// The sessions that I may see, the youngest first.
#[utoipa::path(get, path = "/sessions", tag = "sessions", operation_id = "listSessions", params(SessionQuery),
    responses((status = 200, body = Envelope<SessionPage>)))]
async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    Query(query): Query<SessionQuery>,
) -> ApiResult<Answer<SessionPage>> {
    let page = query.page.unwrap_or(1);
    let page_size = query.page_size.unwrap_or(50);
    if !(1..=1_000_000).contains(&page) {
        return Err(ApiError::parameter("page", "page is a number from 1"));
    }
    if !(1..=PAGE_SIZE_LIMIT).contains(&page_size) {
        return Err(ApiError::parameter(
            "pageSize",
            format!("pageSize is a number from 1 to {PAGE_SIZE_LIMIT}"),
        ));
    }
    let mut rows = state.watched.sessions();
    rows.retain(|row| {
        (!query.active || !row.connections.is_empty())
            && query
                .namespace
                .as_ref()
                .is_none_or(|namespace| *namespace == row.namespace)
    });
    let candidates: BTreeSet<String> = rows.iter().map(|row| row.namespace.clone()).collect();
    let visible = state
        .authorization
        .visible(&caller, Listed::Sessions, candidates, &state.watched)
        .await?;
    rows.retain(|row| visible.contains(&row.namespace));
    rows.sort_by(|one, other| (other.created, &other.name).cmp(&(one.created, &one.name)));
    let first = (page - 1).saturating_mul(page_size);
    let list = rows.iter().skip(first).take(page_size);
    Ok(Answer::new(SessionPage {
        total: rows.len(),
        pages: rows.len().div_ceil(page_size),
        list: list.map(|row| SessionSummary::of(row, &state.time_zone)).collect(),
    }))
}

/// A session.
#[utoipa::path(get, path = "/sessions/{namespace}/{name}", tag = "sessions", operation_id = "getSession",
    params(("namespace" = String, Path, max_length = 63), ("name" = String, Path, max_length = 253)),
    responses((status = 200, body = Envelope<SessionSummary>)))]
async fn get_session(
    State(state): State<ApiState>,
    caller: Caller,
    Path((namespace, name)): Path<(String, String)>,
) -> ApiResult<Answer<SessionSummary>> {
    see(&state, &caller, &namespace, &name).await?;
    let row = state
        .watched
        .session(&namespace, &name)
        .ok_or(ApiError::new(Code::NOT_FOUND))?;
    Ok(Answer::new(SessionSummary::of(&row, &state.time_zone)))
}

/// Revoke a session: its streams are cut, on all replicas, and its tokens are void.
#[utoipa::path(delete, path = "/sessions/{namespace}/{name}", tag = "sessions", operation_id = "revokeSession",
    params(("namespace" = String, Path, max_length = 63), ("name" = String, Path, max_length = 253)),
    responses((status = 200, body = Envelope<Nothing>)))]
async fn revoke_session(
    State(state): State<ApiState>,
    caller: Caller,
    Path((namespace, name)): Path<(String, String)>,
) -> ApiResult<Answer<()>> {
    see(&state, &caller, &namespace, &name).await?;
    // Also one that the watch has not shown: it may be new. What is gone is revoked.
    revoke(&state, &caller, &namespace, &name).await?;
    let record = ActionRecord {
        user: Some(&caller.user.name),
        client: Some(caller.client),
        target: Some(format!("ConsoleSession/{namespace}/{name}")),
        ..ActionRecord::default()
    };
    state.audit.record(AuditAction::SessionRevoked, &record);
    Ok(Answer::new(()))
}

/// Whether the caller may see a session; what is not there is asked about as well.
async fn see(state: &ApiState, caller: &Caller, namespace: &str, name: &str) -> ApiResult<()> {
    let is_name = |text: &str| {
        !text.is_empty()
            && text.len() <= 253
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
    };
    if !is_name(namespace) || !is_name(name) {
        return Err(ApiError::new(Code::INVALID_ID));
    }
    let mut get = right("novasphere.io", "consolesessions", None, "get", Some(namespace));
    get.name = Some(name.to_owned());
    let may_see = state.authorization.allows(caller, &get).await?;
    state.authorization.within_tenant(caller, namespace, &state.watched)?;
    if may_see {
        Ok(())
    } else {
        Err(ApiError::new(Code::NOT_FOUND))
    }
}

/// Revokes a session as the caller.
///
/// # Errors
///
/// What kube-apiserver answers; a session that is gone is revoked.
pub(crate) async fn revoke(state: &ApiState, caller: &Caller, namespace: &str, name: &str) -> ApiResult<()> {
    let sessions: Api<ConsoleSession> = Api::namespaced(state.client_of(caller)?, namespace);
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({"spec": {"revoked": true}}));
    match sessions.patch(name, &params, &patch).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(refused(error)),
    }
}
