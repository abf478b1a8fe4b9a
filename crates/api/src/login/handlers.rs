//! `/auth`: sign in, renew, sign out, and what one may.

mod bodies;
mod list;
mod sign_in;

use axum::{Json, extract::State, response::IntoResponse};
use utoipa_axum::{router::OpenApiRouter, routes};

use self::bodies::{CsrfToken, HasPermission, PermissionQuery, Profile, ProviderEntry, Providers};
use super::{cookies, sign_in::end_consoles};
use crate::{
    audit::{ActionRecord, AuditAction},
    caller::Caller,
    code::Code,
    envelope::{Answer, Envelope, Nothing},
    error::{ApiError, ApiResult},
    http::Query,
    language::Sentence,
    state::ApiState,
};

pub(crate) use self::bodies::LoginAnswer;

const SIGNED_OUT: Sentence = Sentence {
    english: "signed out",
    chinese: "已退出登录",
};

/// The paths of this topic.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(sign_in::login))
        .routes(routes!(sign_in::kubernetes))
        .routes(routes!(sign_in::refresh))
        .routes(routes!(logout))
        .routes(routes!(me))
        .routes(routes!(permissions))
        .routes(routes!(csrf))
        .routes(routes!(providers))
        .routes(routes!(list::logins))
        .routes(routes!(list::end_login))
        .routes(routes!(jwks))
}

/// Sign out: this login ends on every replica, and with it the consoles that it opened.
#[utoipa::path(post, path = "/auth/logout", tag = "auth", operation_id = "logout",
    responses((status = 200, body = Envelope<Nothing>)))]
async fn logout(State(state): State<ApiState>, caller: Caller) -> ApiResult<Answer<()>> {
    let login = caller.login.as_ref().ok_or(ApiError::with(
        Code::INVALID_REQUEST,
        "this token is not of a login here, so there is nothing to end",
    ))?;
    let record = state.logins.get(login);
    state.logins.end(login).await?;
    end_consoles(&state, login).await;
    let line = ActionRecord {
        user: Some(&caller.user.name),
        client: Some(caller.client),
        ..ActionRecord::default()
    };
    state.audit.record(AuditAction::SignedOut, &line);
    let mut answer = Answer::new(()).saying(SIGNED_OUT);
    answer.headers = cookies::clear(&state.config);
    // A browser that goes there ends its login at the provider, too.
    if let Some(provider) = record.and_then(|record| state.identity.oidc.find(&record.provider).ok())
        && let Some(url) = provider.end_session_url().await
    {
        answer = answer.extra("providerLogoutUrl", url);
    }
    Ok(answer)
}

/// Who I am.
#[utoipa::path(get, path = "/auth/me", tag = "auth", operation_id = "me",
    responses((status = 200, body = Envelope<Profile>)))]
async fn me(State(state): State<ApiState>, caller: Caller) -> ApiResult<Answer<Profile>> {
    let permissions = state.authorization.permissions(&caller, None).await?;
    Ok(Answer::new(Profile {
        user: caller.user.name,
        display_name: caller.display_name,
        groups: caller.user.groups,
        tenant_id: caller.tenant.map(|tenant| tenant.0),
        permissions,
    }))
}

/// Whether I may do something.
#[utoipa::path(get, path = "/auth/permissions", tag = "auth", operation_id = "hasPermission", params(PermissionQuery),
    responses((status = 200, body = Envelope<HasPermission>)))]
async fn permissions(
    State(state): State<ApiState>,
    caller: Caller,
    Query(query): Query<PermissionQuery>,
) -> ApiResult<Answer<HasPermission>> {
    let word = format!("{}:{}", query.resource_type, query.operation);
    let namespace = query.namespace.as_deref();
    let has = state.authorization.permission(&caller, &word, namespace).await?;
    let has = has.ok_or_else(|| {
        ApiError::parameter(
            "operation",
            format!("there is no permission {word:?}; the documentation lists all of them"),
        )
    })?;
    Ok(Answer::new(HasPermission { has_permission: has }))
}

/// The token that a request with a cookie carries in `X-CSRF-Token`.
#[utoipa::path(get, path = "/auth/csrf", tag = "auth", operation_id = "csrfToken",
    responses((status = 200, body = Envelope<CsrfToken>)))]
async fn csrf(State(state): State<ApiState>, caller: Caller) -> ApiResult<Answer<CsrfToken>> {
    let login = caller.login.as_ref().ok_or(ApiError::with(
        Code::INVALID_REQUEST,
        "this token is not of a login here, so no cookie has to be guarded",
    ))?;
    let csrf_token = state.logins.csrf_token(login)?;
    Ok(Answer::new(CsrfToken { csrf_token }))
}

/// The ways to sign in here.
#[utoipa::path(get, path = "/auth/providers", tag = "auth", operation_id = "providers", security(()),
    responses((status = 200, body = Envelope<Providers>)))]
async fn providers(State(state): State<ApiState>) -> Answer<Providers> {
    let identity = &state.config.identity;
    Answer::new(Providers {
        password: state.identity.local.is_some(),
        kubernetes: identity.kubernetes.enabled,
        tenant_required: identity.tenants.required,
        oidc: state
            .identity
            .oidc
            .iter()
            .map(|provider| ProviderEntry::of(provider.config()))
            .collect(),
    })
}

/// The public keys of session tokens, as RFC 7517 has them; not in the envelope, because gateways read it.
#[utoipa::path(get, path = "/auth/jwks.json", tag = "auth", operation_id = "jwks", security(()),
    responses((status = 200, body = Value, description = "A JWK Set")))]
async fn jwks(State(state): State<ApiState>) -> impl IntoResponse {
    Json(state.logins.jwks())
}
