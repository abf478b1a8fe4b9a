//! Signing in, and renewing a login.

use axum::extract::State;
use http::HeaderMap;
use kube::api::{Api, ListParams};
use novasphere_crd::ConsoleSession;
use novasphere_runtime::cache::Cache;
use serde_json::json;

use super::bodies::{KubernetesLogin, LoginAnswer, PasswordLogin, RefreshRequest};
use crate::{
    audit::{ActionRecord, AuditAction},
    caller::{BearerToken, Caller, Credential, TenantId},
    code::Code,
    envelope::{Answer, Envelope},
    error::{ApiError, ApiResult},
    http::{Body, ClientAddress, OptionalBody, origin_is_allowed},
    identity::VerifiedUser,
    login::{IssuedLogin, LOGIN_LABEL, LoginId, NewLogin, cookies},
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
    Body(request): Body<PasswordLogin>,
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
    begin(
        &state,
        verified,
        Credential::Impersonated,
        tenant,
        client,
        request.cookie,
    )
    .await
}

/// Sign in by a token of Kubernetes: for pages, which keep it in a cookie. Scripts send it with each request.
#[utoipa::path(post, path = "/auth/kubernetes", tag = "auth", operation_id = "loginWithKubernetesToken", security(()),
    request_body = KubernetesLogin, responses((status = 200, body = Envelope<LoginAnswer>)))]
pub(super) async fn kubernetes(
    State(state): State<ApiState>,
    client: ClientAddress,
    headers: HeaderMap,
    Body(request): Body<KubernetesLogin>,
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
    let credential = Credential::Bearer(BearerToken::new(request.token));
    let tenant = request.tenant_id.map(TenantId);
    begin(&state, verified, credential, tenant, client, request.cookie).await
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
    let renewed = state.logins.refresh(&token).await;
    if let Err(error) = &renewed
        && error.code == Code::REFRESH_REUSED
    {
        let record = ActionRecord {
            client: Some(client.0),
            reason: Some(error.code.row().reason),
            ..ActionRecord::default()
        };
        state.audit.record(AuditAction::LoginEnded, &record);
    }
    let issued = renewed?;
    let caller = caller_of(&issued, Credential::Impersonated, client);
    answer(&state, &issued, &caller, by_cookie).await
}

/// A page of another site must not sign a browser in or renew what it has: the cookies would be the attacker's.
fn guard_cookie(sets_cookies: bool, headers: &HeaderMap, state: &ApiState) -> ApiResult<()> {
    if sets_cookies && !origin_is_allowed(headers, &state.config) {
        return Err(ApiError::new(Code::CSRF_REFUSED));
    }
    Ok(())
}

async fn begin(
    state: &ApiState,
    verified: VerifiedUser,
    credential: Credential,
    tenant: Option<TenantId>,
    client: ClientAddress,
    cookie: bool,
) -> ApiResult<Answer<LoginAnswer>> {
    // An impersonated `system:` name would be one of Kubernetes' own; with a token of theirs they are who they are.
    let is_reserved = |name: &String| name.starts_with("system:");
    if credential == Credential::Impersonated
        && (is_reserved(&verified.user.name) || verified.user.groups.iter().any(is_reserved))
    {
        return Err(ApiError::new(Code::FORBIDDEN));
    }
    let new = NewLogin {
        user: verified.user,
        display_name: verified.display_name,
        provider: verified.provider,
        provider_session: None,
        tenant: None,
        credential,
        client: client.0,
    };
    let tenant = chosen_tenant(state, &new, &verified.tenants, tenant).await?;
    let credential = new.credential.clone();
    let issued = state.logins.begin(NewLogin { tenant, ..new }).await?;
    let record = ActionRecord {
        user: Some(&issued.record.user),
        client: Some(client.0),
        reason: Some(&issued.record.provider),
        ..ActionRecord::default()
    };
    state.audit.record(AuditAction::SignedIn, &record);
    let caller = caller_of(&issued, credential, client);
    answer(state, &issued, &caller, cookie).await
}

/// The tenant that a login is for, if the user belongs to it.
async fn chosen_tenant(
    state: &ApiState,
    new: &NewLogin,
    tenants: &[TenantId],
    wanted: Option<TenantId>,
) -> ApiResult<Option<TenantId>> {
    let Some(wanted) = wanted else {
        return match tenants {
            // Whose provider names one tenant needs to name none.
            [only] => Ok(Some(only.clone())),
            _ if state.config.identity.tenants.required => Err(ApiError::new(Code::TENANT_REQUIRED)),
            _ => Ok(None),
        };
    };
    let caller = Caller {
        user: new.user.clone(),
        display_name: String::new(),
        credential: new.credential.clone(),
        login: None,
        tenant: None,
        by_cookie: false,
        client: new.client,
    };
    let is_member = tenants.contains(&wanted)
        || tenants.is_empty()
            && state
                .authorization
                .is_of_tenant(&caller, &wanted, &state.watched)
                .await?;
    if is_member {
        Ok(Some(wanted))
    } else {
        Err(ApiError::new(Code::TENANT_FORBIDDEN))
    }
}

fn caller_of(issued: &IssuedLogin, credential: Credential, client: ClientAddress) -> Caller {
    Caller {
        user: issued.record.user_info(),
        display_name: issued.record.display_name.clone(),
        credential,
        login: Some(issued.login.clone()),
        tenant: issued.record.tenant_id(),
        by_cookie: false,
        client: client.0,
    }
}

async fn answer(
    state: &ApiState,
    issued: &IssuedLogin,
    caller: &Caller,
    cookie: bool,
) -> ApiResult<Answer<LoginAnswer>> {
    let mut answer = Answer::new(LoginAnswer::of(state, issued, caller, cookie).await?);
    if cookie {
        answer.headers = cookies::set(issued, &state.config);
    }
    answer
        .headers
        .insert(http::header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    Ok(answer)
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

/// Revokes the sessions that a login made, by our own account: who ended the login need not have the right, and the person may be gone.
pub(crate) async fn end_consoles(state: &ApiState, login: &LoginId) {
    let labels = format!("{LOGIN_LABEL}={}", login.console_label());
    let all: Api<ConsoleSession> = Api::all(state.own.clone());
    let made = match all.list(&ListParams::default().labels(&labels)).await {
        Ok(made) => made,
        Err(error) => return tracing::warn!(%error, "the consoles of a login that has ended are not known"),
    };
    for session in made.items {
        let (Some(namespace), Some(name)) = (&session.metadata.namespace, &session.metadata.name) else {
            continue;
        };
        if session.spec.revoked {
            continue;
        }
        let patch = json!({"spec": {"revoked": true}});
        // The watch of this process shows it soon enough.
        let shown_by = Cache::new(|_| None);
        if let Err(error) = state.applier.merge(&session, patch, &shown_by).await {
            tracing::warn!(namespace, name, %error, "the console of a login that has ended is not revoked");
        }
    }
}
