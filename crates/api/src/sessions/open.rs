//! A session and a token of it, made as the caller.

use http::Request;
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use novasphere_crd::{
    ConsoleInput, ConsoleProtocol, ConsoleSession, ConsoleSessionSpec, Duration, FinishedTtl, SessionTargetKind,
    SessionTargetRef,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    FIELD_MANAGER,
    audit::{ActionRecord, AuditAction},
    caller::Caller,
    code::Code,
    error::{ApiError, ApiResult},
    kubernetes::refused,
    login::LOGIN_LABEL,
    state::ApiState,
};

/// How long a token opens a console when no time is asked for; never longer than its session.
const DEFAULT_TOKEN_SECONDS: u32 = 3600;

/// How long a session that has ended is kept, for the list of sessions.
const TTL_AFTER_FINISHED: Duration = Duration::from_mins(10);

/// What a link is wanted to.
#[derive(Debug)]
pub(crate) struct LinkRequest {
    /// The target's namespace.
    pub(crate) namespace: String,
    /// The kind of the target.
    pub(crate) kind: SessionTargetKind,
    /// The target.
    pub(crate) name: String,
    /// The console.
    pub(crate) protocol: ConsoleProtocol,
    /// Its life. `None`: an hour, or as long as the target allows when that is less.
    pub(crate) seconds: Option<u32>,
    /// Whether it only shows.
    pub(crate) view_only: bool,
}

/// A console that can be opened.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConsoleLink {
    /// The WebSocket with its token, as noVNC takes it. `null` where the installation names no public URL.
    console_url: Option<String>,
    /// When the console ends.
    expire_time: String,
    /// The same by RFC 3339.
    #[schema(format = DateTime)]
    expire_at: String,
    /// `vnc`, `serial` or `ssh`.
    protocol: &'static str,
    /// The port of stock VNC viewers.
    port: Option<u16>,
    /// The page that opens it in a browser; the token stands behind `#`.
    browser_url: Option<String>,
    /// `host:port` for stock VNC viewers.
    vnc_address: Option<String>,
    /// The user that a stock viewer asks for; the password is the token.
    vnc_user: Option<String>,
    /// The token. It opens the console once, or as often as was asked for.
    token: String,
    /// The namespace of the session.
    namespace: String,
    /// The session, to be watched and revoked.
    session: String,
}

/// What the aggregated API answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenAnswer {
    token: String,
    expiration_timestamp: Timestamp,
    #[serde(default)]
    urls: TokenUrls,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TokenUrls {
    browser: Option<String>,
    websocket: Option<String>,
    vnc: Option<String>,
}

/// Makes a session and a token of it.
///
/// # Errors
///
/// [`Code::TOO_MANY_REQUESTS`], and what kube-apiserver answers to the caller.
pub(crate) async fn link(state: &ApiState, caller: &Caller, request: LinkRequest) -> ApiResult<ConsoleLink> {
    state.limits.console_link(&caller.user.name)?;
    let client = state.client_of(caller)?;
    let sessions: Api<ConsoleSession> = Api::namespaced(client.clone(), &request.namespace);
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let session = sessions
        .create(&params, &wanted(caller, &request))
        .await
        .map_err(refused)?;
    let name = session.metadata.name.ok_or(ApiError::new(Code::INTERNAL))?;
    let answer = token(&client, &request.namespace, &name, request.seconds, 1).await;
    let record = ActionRecord {
        user: Some(&caller.user.name),
        client: Some(caller.client),
        target: Some(format!(
            "{}/{}/{}",
            request.kind.as_str(),
            request.namespace,
            request.name
        )),
        reason: Some(request.protocol.as_str()),
        detail: Some(&name),
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            // A session without a token is of no use to anybody.
            let _ = super::revoke(state, caller, &request.namespace, &name).await;
            return Err(error);
        }
    };
    state.audit.record(AuditAction::ConsoleRequested, &record);
    Ok(ConsoleLink::of(
        state,
        request.protocol,
        request.namespace,
        name,
        answer,
    ))
}

/// Asks for a token of a session as the person whose client this is.
pub(super) async fn token(
    client: &Client,
    namespace: &str,
    session: &str,
    seconds: Option<u32>,
    uses: u32,
) -> ApiResult<TokenAnswer> {
    let path =
        format!("/apis/subresources.novasphere.io/v1alpha1/namespaces/{namespace}/consolesessions/{session}/token");
    let seconds = seconds.unwrap_or(DEFAULT_TOKEN_SECONDS);
    let body = json!({"expirationSeconds": seconds, "uses": uses}).to_string();
    let asked = Request::post(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body.into_bytes())
        .map_err(|_| ApiError::new(Code::INTERNAL))?;
    client.request::<TokenAnswer>(asked).await.map_err(refused)
}

fn wanted(caller: &Caller, request: &LinkRequest) -> ConsoleSession {
    let labels = caller
        .login
        .as_ref()
        .map(|login| [(LOGIN_LABEL.to_owned(), login.console_label())].into());
    let spec = ConsoleSessionSpec {
        target_ref: SessionTargetRef {
            kind: request.kind,
            name: request.name.clone(),
        },
        protocol: Some(request.protocol),
        // An absent one is never more than the target allows; the same number, written down, would be refused there.
        duration: request.seconds.map(|seconds| Duration::from_secs(u64::from(seconds))),
        input: request.view_only.then_some(ConsoleInput::ViewOnly),
        users: vec![caller.user.name.clone()],
        ttl_after_finished: FinishedTtl::After(TTL_AFTER_FINISHED),
        ..ConsoleSessionSpec::default()
    };
    ConsoleSession {
        metadata: ObjectMeta {
            generate_name: Some("rest-".to_owned()),
            labels,
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}

impl ConsoleLink {
    pub(super) fn of(
        state: &ApiState,
        protocol: ConsoleProtocol,
        namespace: String,
        name: String,
        answer: TokenAnswer,
    ) -> Self {
        let TokenAnswer {
            token,
            expiration_timestamp: expires,
            urls,
        } = answer;
        let is_vnc = urls.vnc.is_some();
        Self {
            console_url: urls.websocket.map(|url| format!("{url}?token={token}")),
            expire_time: state.time_zone.text(expires),
            expire_at: expires.to_string(),
            protocol: protocol.as_str(),
            port: urls
                .vnc
                .as_deref()
                .and_then(|address| address.rsplit_once(':')?.1.parse().ok()),
            browser_url: urls.browser,
            vnc_address: urls.vnc,
            vnc_user: is_vnc.then(|| format!("{namespace}/{name}")),
            token,
            namespace,
            session: name,
        }
    }
}
