//! Signing in, and renewing a login.

use axum::extract::State;
use http::HeaderMap;

use super::bodies::{KubernetesLogin, LoginAnswer, PasswordLogin, RefreshRequest};
use crate::{
    audit::{ActionRecord, AuditAction},
    caller::{BearerToken, CallerCredential, TenantId},
    code::Code,
    envelope::{Answer, Envelope},
    error::{ApiError, ApiResult},
    http::{ClientAddress, JsonBody, OptionalBody, origin_is_allowed},
    identity::VerifiedUser,
    login::{
        cookies, end_consoles,
        sign_in::{SignIn, SignedIn, begin_login},
    },
    state::ApiState,
};

/// Bytes of a name that somebody may sign in by.
const USERNAME_BYTES: usize = 256;

/// Sign in by name and password.
#[utoipa::path(post, path = "/auth/login", tag = "auth", operation_id = "login", security(()),
    request_body = PasswordLogin, responses((status = 200, body = Envelope<LoginAnswer>)))]
pub(super) async fn login(
    State(state): State<ApiState>,
    client: ClientAddress,
    headers: HeaderMap,
    JsonBody(request): JsonBody<PasswordLogin>,
) -> ApiResult<Answer<LoginAnswer>> {
    guard_cookie(request.cookie, &headers, &state)?;
    state.limits.login(client.0)?;
    let throttle = &state.identity.throttle;
    let name = request.username;
    if name.is_empty() || name.len() > USERNAME_BYTES {
        return Err(ApiError::new(Code::BAD_CREDENTIALS));
    }
    if let Some(wait) = throttle.wait(&name, client.0) {
        refused(&state, &name, client, Code::LOCKED_OUT);
        return Err(ApiError::new(Code::LOCKED_OUT).retry_after(wait));
    }
    let local = state
        .identity
        .local
        .as_ref()
        .ok_or(ApiError::new(Code::NOT_IMPLEMENTED))?;
    let Some(verified) = local.verify(&name, request.password).await else {
        throttle.failed(&name, client.0);
        refused(&state, &name, client, Code::BAD_CREDENTIALS);
        return Err(ApiError::new(Code::BAD_CREDENTIALS));
    };
    throttle.succeeded(&name);
    let tenant = request.tenant_id.map(TenantId);
    let sign_in = SignIn {
        verified,
        provider_session: None,
        credential: CallerCredential::Impersonated,
        tenant,
        client,
    };
    begin_login(&state, sign_in).await?.answer(&state, request.cookie).await
}

/// Sign in by a token of Kubernetes: for pages, which keep it in a cookie. Scripts send it with each request.
#[utoipa::path(post, path = "/auth/kubernetes", tag = "auth", operation_id = "loginWithKubernetesToken", security(()),
    request_body = KubernetesLogin, responses((status = 200, body = Envelope<LoginAnswer>)))]
pub(super) async fn kubernetes(
    State(state): State<ApiState>,
    client: ClientAddress,
    headers: HeaderMap,
    JsonBody(request): JsonBody<KubernetesLogin>,
) -> ApiResult<Answer<LoginAnswer>> {
    guard_cookie(request.cookie, &headers, &state)?;
    state.limits.login(client.0)?;
    if !state.config.identity.kubernetes.enabled {
        return Err(ApiError::new(Code::NOT_IMPLEMENTED));
    }
    let Some(user) = state.identity.kubernetes.user(&request.token).await? else {
        refused(&state, "", client, Code::TOKEN_INVALID);
        return Err(ApiError::new(Code::TOKEN_INVALID));
    };
    let verified = VerifiedUser {
        display_name: user.name.clone(),
        user,
        tenants: Vec::new(),
        provider: "kubernetes".to_owned(),
    };
    let credential = CallerCredential::Bearer(BearerToken::new(request.token));
    let tenant = request.tenant_id.map(TenantId);
    let sign_in = SignIn {
        verified,
        provider_session: None,
        credential,
        tenant,
        client,
    };
    begin_login(&state, sign_in).await?.answer(&state, request.cookie).await
}

/// Renew a login. The old refresh token is used up: if it comes again, the login ends.
#[utoipa::path(post, path = "/auth/refresh", tag = "auth", operation_id = "refreshLogin", security(()),
    request_body = Option<RefreshRequest>, responses((status = 200, body = Envelope<LoginAnswer>)))]
pub(super) async fn refresh(
    State(state): State<ApiState>,
    client: ClientAddress,
    headers: HeaderMap,
    OptionalBody(request): OptionalBody<RefreshRequest>,
) -> ApiResult<Answer<LoginAnswer>> {
    let by_cookie = request.refresh_token.is_none();
    let token = request
        .refresh_token
        .or_else(|| cookies::refresh_token(&headers, &state.config));
    let token = token.ok_or(ApiError::new(Code::NOT_SIGNED_IN))?;
    guard_cookie(by_cookie, &headers, &state)?;
    let login = state.logins.login_of(&token);
    if let Some(login) = &login
        && let Some(record) = state.logins.get(login)
        && !state.identity.vouches_for(&record)
    {
        state.logins.end(login).await?;
        end_consoles(&state, login).await;
        return Err(ApiError::new(Code::LOGIN_ENDED));
    }
    let renewed = state.logins.refresh(&token).await;
    if let (Err(error), Some(login)) = (&renewed, &login)
        && error.code == Code::REFRESH_REUSED
    {
        end_consoles(&state, login).await;
        let record = ActionRecord {
            client: Some(client.0),
            reason: Some(error.code.row().reason),
            ..ActionRecord::default()
        };
        state.audit.record(AuditAction::LoginEnded, &record);
    }
    let signed_in = SignedIn {
        issued: renewed?,
        client,
    };
    signed_in.answer(&state, by_cookie).await
}

/// A page of another site must not sign a browser in or renew what it has: the cookies would be the attacker's.
fn guard_cookie(sets_cookies: bool, headers: &HeaderMap, state: &ApiState) -> ApiResult<()> {
    if sets_cookies && !origin_is_allowed(headers, &state.config) {
        return Err(ApiError::new(Code::CSRF_REFUSED));
    }
    Ok(())
}

fn refused(state: &ApiState, user: &str, client: ClientAddress, code: Code) {
    let record = ActionRecord {
        user: Some(user).filter(|user| !user.is_empty()),
        client: Some(client.0),
        reason: Some(code.row().reason),
        ..ActionRecord::default()
    };
    state.audit.record(AuditAction::SignInRefused, &record);
}
