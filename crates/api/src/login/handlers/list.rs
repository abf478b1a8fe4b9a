//! The logins of a person, and of all people.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    audit::{ActionRecord, AuditAction},
    authorization::right,
    caller::Caller,
    code::Code,
    envelope::{Answer, Envelope, Nothing},
    error::{ApiError, ApiResult},
    http::Path,
    login::{LoginId, LoginRecord, end_consoles},
    state::ApiState,
};

/// A login.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LoginEntry {
    /// Names it in paths. It opens nothing.
    id: String,
    /// Whose it is, in Kubernetes.
    user: String,
    /// Who vouched.
    provider: String,
    /// Where it was made.
    client_ip: String,
    /// The tenant that it is for.
    tenant_id: Option<String>,
    /// When it was made.
    create_time: String,
    /// The same by RFC 3339.
    #[schema(format = DateTime)]
    create_at: String,
    /// When it ends at the latest.
    expire_time: String,
    /// The same by RFC 3339.
    #[schema(format = DateTime)]
    expire_at: String,
    /// Whether it is the one of this request.
    is_current: bool,
}

/// Who may end logins of others: whoever may delete the objects that hold them.
async fn is_administrator(state: &ApiState, caller: &Caller) -> ApiResult<bool> {
    let right = right("", "secrets", None, "delete", Some(&state.namespace));
    state.authorization.allows(caller, &right).await
}

/// My logins; all of them, when I may delete Secrets of the namespace of novasphere.
#[utoipa::path(get, path = "/auth/logins", tag = "auth", operation_id = "listLogins",
    responses((status = 200, body = Envelope<Vec<LoginEntry>>)))]
pub(super) async fn logins(State(state): State<ApiState>, caller: Caller) -> ApiResult<Answer<Vec<LoginEntry>>> {
    let sees_all = is_administrator(&state, &caller).await?;
    let mut entries: Vec<(LoginId, LoginRecord)> = state.logins.all();
    entries.retain(|(_, record)| sees_all || record.user == caller.user.name);
    entries.sort_by_key(|(_, record)| std::cmp::Reverse(record.created));
    let entries = entries.into_iter().map(|(login, record)| LoginEntry {
        is_current: caller.login.as_ref() == Some(&login),
        id: login.0,
        create_time: state.time_zone.text(record.created),
        create_at: record.created.to_string(),
        expire_time: state.time_zone.text(record.expires),
        expire_at: record.expires.to_string(),
        user: record.user,
        provider: record.provider,
        client_ip: record.client,
        tenant_id: record.tenant,
    });
    Ok(Answer::new(entries.collect()))
}

/// End a login, on every replica and with its consoles.
#[utoipa::path(delete, path = "/auth/logins/{id}", tag = "auth", operation_id = "endLogin",
    params(("id" = String, Path, description = "The ID of the login", max_length = 32)),
    responses((status = 200, body = Envelope<Nothing>)))]
pub(super) async fn end_login(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Answer<()>> {
    let login = LoginId::parse(&id).ok_or(ApiError::new(Code::INVALID_ID))?;
    let record = state.logins.get(&login);
    let is_own = record.as_ref().is_some_and(|record| record.user == caller.user.name);
    if !is_own && !is_administrator(&state, &caller).await? {
        // Whether there is one is nobody else's business.
        return Err(ApiError::new(Code::NOT_FOUND));
    }
    if let Some(record) = record {
        state.logins.end(&login).await?;
        end_consoles(&state, &login).await;
        let line = ActionRecord {
            user: Some(&caller.user.name),
            client: Some(caller.client),
            target: Some(record.user),
            ..ActionRecord::default()
        };
        state.audit.record(AuditAction::LoginEnded, &line);
    }
    Ok(Answer::new(()))
}
