//! `/auth/oidc`: signing in at a provider by browser, program and device, and its word that a login has ended.

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use cookie::{Cookie, SameSite};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    OidcProvider,
    flow::{DeviceState, SignInState, is_loopback_redirect},
    id_token::Purpose,
};
use crate::{
    audit::{ActionRecord, AuditAction},
    caller::{CallerCredential, TenantId},
    code::Code,
    envelope::{Answer, Envelope, Nothing},
    error::{ApiError, ApiResult},
    http::{ClientAddress, JsonBody, Path, Query},
    login::{
        cookies, end_consoles,
        sign_in::{LoginAnswer, SignIn, begin_login},
    },
    state::ApiState,
};

/// The cookie of a person who is at a provider.
const STATE_COOKIE: &str = "novasphere-oidc";

/// What the cookie is sealed for.
const STATE_PURPOSE: &str = "oidc sign-in";

/// What a device's verifier is sealed for.
const DEVICE_PURPOSE: &str = "oidc device";

/// The paths of this topic.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(authorize))
        .routes(routes!(callback))
        .routes(routes!(code))
        .routes(routes!(device))
        .routes(routes!(device_token))
        .routes(routes!(backchannel_logout))
}

/// Where to go on.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuthorizeQuery {
    /// The path of this server to come back to. Default `/`.
    #[param(max_length = 2048)]
    #[serde(default)]
    return_to: Option<String>,
    /// The tenant to work in.
    #[param(min_length = 1, max_length = 63)]
    #[serde(default)]
    tenant_id: Option<String>,
}

/// What a provider sends a browser back with (RFC 6749, 4.1.2; RFC 9207).
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct CallbackQuery {
    /// The code.
    #[param(max_length = 4096)]
    #[serde(default)]
    code: Option<String>,
    /// What we sent.
    #[param(max_length = 256)]
    #[serde(default)]
    state: Option<String>,
    /// Who sends it.
    #[param(max_length = 2048)]
    #[serde(default)]
    iss: Option<String>,
    /// Why there is no code.
    #[param(max_length = 256)]
    #[serde(default)]
    error: Option<String>,
}

/// A code that a program was given at a loopback address (RFC 8252).
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CodeLogin {
    /// The code.
    #[schema(min_length = 1, max_length = 4096)]
    code: String,
    /// What its challenge was made of.
    #[schema(min_length = 43, max_length = 128)]
    code_verifier: String,
    /// The loopback address.
    #[schema(min_length = 1, max_length = 2048)]
    redirect_uri: String,
    /// The nonce that was sent.
    #[schema(min_length = 1, max_length = 256)]
    nonce: String,
    /// The tenant to work in.
    #[schema(min_length = 1, max_length = 63)]
    #[serde(default)]
    tenant_id: Option<String>,
}

/// What a person types at the provider.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeviceStarted {
    /// For `device/token`.
    device_code: String,
    /// What the person types.
    user_code: String,
    /// Where they type it.
    verification_uri: String,
    /// The same with the code in it.
    verification_uri_complete: Option<String>,
    /// Seconds until it is over.
    expires_in: u64,
    /// Seconds between two questions.
    interval: u64,
}

/// Which device asks.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DeviceLogin {
    /// What `device` answered.
    #[schema(min_length = 1, max_length = 8192)]
    device_code: String,
    /// The tenant to work in.
    #[schema(min_length = 1, max_length = 63)]
    #[serde(default)]
    tenant_id: Option<String>,
}

/// How a device's sign-in stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeviceReport {
    /// `pending` or `success`.
    status: &'static str,
    /// The login, once the person has signed in.
    login: Option<LoginAnswer>,
}

#[derive(Serialize, Deserialize)]
struct SealedDevice {
    code: String,
    verifier: String,
}

/// Send a browser to a provider. It comes back signed in, with cookies.
#[utoipa::path(get, path = "/auth/oidc/{provider}/authorize", tag = "auth", operation_id = "oidcAuthorize", security(()),
    params(("provider" = String, Path, max_length = 32), AuthorizeQuery), responses((status = 303, description = "To the provider")))]
async fn authorize(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    Query(query): Query<AuthorizeQuery>,
    client: ClientAddress,
) -> ApiResult<Response> {
    state.limits.login(client.0)?;
    let provider = state.identity.oidc.find(&name)?;
    let sign_in = SignInState::new(&name, query.return_to.as_deref(), query.tenant_id)?;
    let url = provider.authorization_url(&sign_in, &redirect(&state, &name)?).await?;
    let text = serde_json::to_vec(&sign_in).map_err(|_| ApiError::new(Code::INTERNAL))?;
    let sealed = state.logins.seal(STATE_PURPOSE, &text)?;
    let mut response = to(&url)?;
    add_cookie(&mut response, &state_cookie(&state, &sealed, 600));
    Ok(response)
}

/// Where a provider sends browsers back to.
#[utoipa::path(get, path = "/auth/oidc/{provider}/callback", tag = "auth", operation_id = "oidcCallback", security(()),
    params(("provider" = String, Path, max_length = 32), CallbackQuery), responses((status = 303, description = "To where the person was")))]
async fn callback(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    Query(query): Query<CallbackQuery>,
    headers: HeaderMap,
    client: ClientAddress,
) -> ApiResult<Response> {
    let provider = state.identity.oidc.find(&name)?;
    let sign_in = kept(&state, &headers).ok_or(ApiError::with(
        Code::INVALID_REQUEST,
        "this browser has not begun to sign in, or took longer than ten minutes; begin again",
    ))?;
    let is_ours =
        sign_in.provider == name && query.state.as_deref() == Some(sign_in.state.as_str()) && !sign_in.is_over();
    // RFC 9207: a code of another provider is not sent to this one.
    let is_issuer = query
        .iss
        .as_ref()
        .is_none_or(|issuer| *issuer == provider.config().issuer);
    if !is_ours || !is_issuer {
        return Err(ApiError::with(
            Code::INVALID_REQUEST,
            "this answer is not to a question of this browser",
        ));
    }
    if let Some(error) = query.error {
        let error: String = error.chars().filter(char::is_ascii_graphic).take(64).collect();
        return Err(ApiError::with(
            Code::BAD_CREDENTIALS,
            format!("the provider says: {error}"),
        ));
    }
    let code = query.code.ok_or(ApiError::new(Code::INVALID_REQUEST))?;
    let redirect = redirect(&state, &name)?;
    let claims = provider
        .exchange(&code, &sign_in.verifier, &redirect, &sign_in.nonce)
        .await?;
    let issued = begin(&state, provider, &claims, sign_in.tenant.map(TenantId), client)
        .await?
        .issued;
    let mut response = to(&sign_in.return_to)?;
    response.headers_mut().extend(cookies::set(&issued, &state.config));
    add_cookie(&mut response, &state_cookie(&state, "", 0));
    Ok(response)
}

/// Sign in by a code that a program got at a loopback address.
#[utoipa::path(post, path = "/auth/oidc/{provider}/code", tag = "auth", operation_id = "oidcCode", security(()),
    params(("provider" = String, Path, max_length = 32)), request_body = CodeLogin, responses((status = 200, body = Envelope<LoginAnswer>)))]
async fn code(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    client: ClientAddress,
    JsonBody(request): JsonBody<CodeLogin>,
) -> ApiResult<Answer<LoginAnswer>> {
    state.limits.login(client.0)?;
    let provider = state.identity.oidc.find(&name)?;
    if !is_loopback_redirect(&request.redirect_uri) {
        return Err(ApiError::parameter(
            "redirectUri",
            "redirectUri is http://127.0.0.1:<port>/... or http://[::1]:<port>/...",
        ));
    }
    let exchanged = provider.exchange(
        &request.code,
        &request.code_verifier,
        &request.redirect_uri,
        &request.nonce,
    );
    let claims = exchanged.await?;
    let signed_in = begin(&state, provider, &claims, request.tenant_id.map(TenantId), client).await?;
    signed_in.answer(&state, false).await
}

/// Begin to sign in on another device (RFC 8628).
#[utoipa::path(post, path = "/auth/oidc/{provider}/device", tag = "auth", operation_id = "oidcDevice", security(()),
    params(("provider" = String, Path, max_length = 32)), responses((status = 200, body = Envelope<DeviceStarted>)))]
async fn device(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    client: ClientAddress,
) -> ApiResult<Answer<DeviceStarted>> {
    state.limits.login(client.0)?;
    let provider = state.identity.oidc.find(&name)?;
    let sign_in = SignInState::new(&name, None, None)?;
    let started = provider.device(&sign_in.verifier).await?;
    let sealed = SealedDevice {
        code: started.device_code,
        verifier: sign_in.verifier,
    };
    let text = serde_json::to_vec(&sealed).map_err(|_| ApiError::new(Code::INTERNAL))?;
    Ok(Answer::new(DeviceStarted {
        device_code: state.logins.seal(DEVICE_PURPOSE, &text)?,
        user_code: started.user_code,
        verification_uri: started.verification_uri,
        verification_uri_complete: started.verification_uri_complete,
        expires_in: started.expires_in,
        interval: started.interval.unwrap_or(5),
    }))
}

/// Whether the person has signed in meanwhile.
#[utoipa::path(post, path = "/auth/oidc/{provider}/device/token", tag = "auth", operation_id = "oidcDeviceToken", security(()),
    params(("provider" = String, Path, max_length = 32)), request_body = DeviceLogin, responses((status = 200, body = Envelope<DeviceReport>)))]
async fn device_token(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    client: ClientAddress,
    JsonBody(request): JsonBody<DeviceLogin>,
) -> ApiResult<Answer<DeviceReport>> {
    let provider = state.identity.oidc.find(&name)?;
    let opened = state.logins.open(DEVICE_PURPOSE, &request.device_code);
    let sealed: Option<SealedDevice> = opened.and_then(|text| serde_json::from_slice(&text).ok());
    let sealed = sealed.ok_or(ApiError::parameter("deviceCode", "this is not what `device` answered"))?;
    let claims = match provider.device_token(&sealed.code, &sealed.verifier).await? {
        DeviceState::Pending => {
            return Ok(Answer::new(DeviceReport {
                status: "pending",
                login: None,
            }));
        }
        DeviceState::SignedIn(claims) => claims,
    };
    let signed_in = begin(&state, provider, &claims, request.tenant_id.map(TenantId), client).await?;
    let answer = signed_in.answer(&state, false).await?;
    Ok(Answer::new(DeviceReport {
        status: "success",
        login: Some(answer.data),
    }))
}

/// A provider says that a login has ended there (`OpenID` Connect Back-Channel Logout): its logins here end, and their consoles are cut.
#[utoipa::path(post, path = "/auth/oidc/{provider}/backchannel-logout", tag = "auth", operation_id = "oidcBackchannelLogout", security(()),
    params(("provider" = String, Path, max_length = 32)),
    request_body(content = String, content_type = "application/x-www-form-urlencoded", description = "`logout_token`"),
    responses((status = 200, body = Envelope<Nothing>)))]
async fn backchannel_logout(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    client: ClientAddress,
    body: Bytes,
) -> ApiResult<Answer<()>> {
    let provider = state.identity.oidc.find(&name)?;
    let token = form_urlencoded::parse(&body).find(|(name, _)| name == "logout_token");
    let token = token.ok_or(ApiError::new(Code::INVALID_BODY))?.1.into_owned();
    let claims = provider.verify(&token, &Purpose::Logout).await?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
    let (subject, session) = (text("sub"), text("sid"));
    if !provider.is_first(&text("jti").unwrap_or_default()) {
        return Err(ApiError::new(Code::TOKEN_INVALID));
    }
    let ended = state.logins.end_where(|record| {
        record.provider_session.as_ref().is_some_and(|known| {
            let is_session = session.is_none() || known.session == session;
            let is_subject = subject.as_ref().is_none_or(|subject| *subject == known.subject);
            known.issuer == provider.config().issuer && is_session && is_subject
        })
    });
    for login in ended.await? {
        end_consoles(&state, &login).await;
        let record = ActionRecord {
            client: Some(client.0),
            user: subject.as_deref(),
            reason: Some("BackChannelLogout"),
            ..ActionRecord::default()
        };
        state.audit.record(AuditAction::LoginEnded, &record);
    }
    let mut answer = Answer::new(());
    answer
        .headers
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

async fn begin(
    state: &ApiState,
    provider: &OidcProvider,
    claims: &Map<String, Value>,
    tenant: Option<TenantId>,
    client: ClientAddress,
) -> ApiResult<crate::login::sign_in::SignedIn> {
    let sign_in = SignIn {
        verified: provider.user(claims)?,
        provider_session: provider.session(claims),
        credential: CallerCredential::Impersonated,
        tenant,
        client,
    };
    begin_login(state, sign_in).await
}

/// Where the provider sends browsers back to.
fn redirect(state: &ApiState, provider: &str) -> ApiResult<String> {
    let base = state
        .config
        .public_url
        .as_deref()
        .ok_or(ApiError::new(Code::NOT_IMPLEMENTED))?;
    Ok(format!(
        "{}/api/v1/auth/oidc/{provider}/callback",
        base.trim_end_matches('/')
    ))
}

fn to(url: &str) -> ApiResult<Response> {
    let location = HeaderValue::from_str(url).map_err(|_| ApiError::new(Code::PROVIDER_FAILED))?;
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(header::LOCATION, location);
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn add_cookie(response: &mut Response, cookie: &str) {
    if let Ok(mut value) = HeaderValue::from_str(cookie) {
        value.set_sensitive(true);
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

/// `Lax`: the provider's answer is a navigation from another site.
fn state_cookie(state: &ApiState, value: &str, seconds: u32) -> String {
    let cookie = Cookie::build((STATE_COOKIE, value.to_owned()))
        .path("/api/v1/auth/oidc")
        .http_only(true)
        .secure(state.config.has_secure_cookies())
        .same_site(SameSite::Lax)
        .build();
    format!("{cookie}; Max-Age={seconds}")
}

fn kept(state: &ApiState, headers: &HeaderMap) -> Option<SignInState> {
    let sealed = cookies::find(headers, STATE_COOKIE)?;
    serde_json::from_slice(&state.logins.open(STATE_PURPOSE, &sealed)?).ok()
}
