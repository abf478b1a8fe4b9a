//! `consolesessions/token`: a token for a user who has the right to it and to the target's console. Only its hash is kept.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use k8s_openapi::{api::authorization::v1::ResourceAttributes, apimachinery::pkg::apis::meta::v1::Time};
use kube::{Api, ResourceExt, runtime::wait::await_condition};
use novasphere_core::console_session::{
    access::{ConsoleRight, console_right, may_have_token, token_right},
    endpoints::Endpoints,
    grant::{DEFAULT_TOKEN_TTL, IssueError, NewGrant, TOKEN_TTL_LIMIT, find},
};
use novasphere_crd::{ConsoleInput, ConsoleProtocol, ConsoleSession, ConsoleSessionStatus, SessionPhase, condition};
use novasphere_dataplane::audit::{AuditEvent, AuditRecord};
use novasphere_runtime::{
    access::UserInfo,
    optimistic::UpdateError,
    serve::status::StatusError,
    shares::{NoPlace, Shares},
};
use novasphere_sessions::SessionGateway;
use novasphere_wire::token::TokenHash;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::{GROUP, REVIEW_MAX_AGE, VERSION, connect::ApiCaller};

/// The kind of what is sent and answered.
pub const KIND: &str = "ConsoleToken";

/// The time that a session may take to become ready: it may just have been created.
const READY_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests that wait for a session at a time, and those of one user among them.
const WAITING_LIMIT: usize = 256;
const WAITING_PER_USER_LIMIT: usize = 32;

/// The shortest validity that can be asked for, in seconds.
const EXPIRATION_SECONDS_MIN: u64 = 5;

/// The most streams that a token can be asked for.
const USES_LIMIT: u32 = 64;

/// A token for a console. The request may name its lifetime and uses; the answer has the token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ConsoleToken {
    /// `subresources.novasphere.io/v1alpha1`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,

    /// `ConsoleToken`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,

    /// Name and namespace of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,

    /// For how many seconds the token opens a stream, from 5 to 86400, at most for the rest of the session. Default 60. A
    /// stream that is open goes on until the session ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration_seconds: Option<u64>,

    /// How many streams the token opens, from 1 to 64. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,

    /// The token: 43 characters. It is shown once and kept nowhere. Only in answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,

    /// The token opens no stream after this time. Only in answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub expiration_timestamp: Option<Time>,

    /// Where the token is good; those that novasphere's configuration knows. Only in answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub urls: Option<Urls>,
}

/// Which session the token is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Metadata {
    /// The session's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The session's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Where a token is good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Urls {
    /// A page that opens the console. It holds the token, so it is as secret as the token is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub browser: Option<String>,
    /// The `WebSocket`. It takes the token as the subprotocol `novasphere.token.<token>` or as the query parameter `token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub websocket: Option<String>,
    /// `host:port` for stock VNC viewers. The user is `<namespace>/<session>` and the password is the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vnc: Option<String>,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TokenOptions {
    ttl: Duration,
    uses: u32,
}

impl TokenOptions {
    /// Reads a body; an empty one asks for the defaults.
    fn read(body: &[u8]) -> Result<Self, StatusError> {
        let token: ConsoleToken = if body.trim_ascii().is_empty() {
            ConsoleToken::default()
        } else {
            // By way of a map: serde would take a list of fields for the object.
            serde_json::from_slice(body)
                .and_then(|fields: Map<String, Value>| serde_json::from_value(Value::Object(fields)))
                .map_err(|error| StatusError::BadRequest(format!("the body is not a {KIND}: {error}")))?
        };
        let version = format!("{GROUP}/{VERSION}");
        if token.kind.as_deref().is_some_and(|kind| kind != KIND)
            || token.api_version.as_deref().is_some_and(|given| given != version)
        {
            return Err(StatusError::BadRequest(format!(
                "the body must be of kind {KIND} of {version}"
            )));
        }
        let ttl = token.expiration_seconds.map_or(DEFAULT_TOKEN_TTL, Duration::from_secs);
        let longest = TOKEN_TTL_LIMIT.as_secs();
        if !(EXPIRATION_SECONDS_MIN..=longest).contains(&ttl.as_secs()) {
            let message = format!("must be from {EXPIRATION_SECONDS_MIN} to {longest}");
            return Err(StatusError::invalid(GROUP, KIND, "expirationSeconds", message));
        }
        let uses = token.uses.unwrap_or(1);
        if !(1..=USES_LIMIT).contains(&uses) {
            return Err(StatusError::invalid(
                GROUP,
                KIND,
                "uses",
                format!("must be from 1 to {USES_LIMIT}"),
            ));
        }
        Ok(Self { ttl, uses })
    }
}

/// Issues tokens. Clones share all of it.
#[derive(Clone)]
pub struct TokenHandler {
    gateway: SessionGateway,
    endpoints: Arc<Endpoints>,
    waiting: Shares,
}

impl TokenHandler {
    /// A handler whose answers name these addresses.
    #[must_use]
    pub fn new(gateway: SessionGateway, endpoints: Endpoints) -> Self {
        Self {
            gateway,
            endpoints: Arc::new(endpoints),
            waiting: waiting_places(),
        }
    }

    /// Answers a request with this body.
    ///
    /// # Errors
    ///
    /// [`StatusError`]: 400 and 422 for the body, 403 with the missing right, 404, 409 when the session is over or does not become
    /// ready within 10 s, 429 when it has too many tokens, 503.
    pub async fn create(
        &self,
        caller: ApiCaller<'_>,
        namespace: &str,
        name: &str,
        body: &[u8],
    ) -> Result<ConsoleToken, StatusError> {
        let issued = self.issue(caller, namespace, name, body).await;
        if let Err(error) = &issued
            && is_denial(error)
        {
            let detail = error.to_string();
            self.gateway.audit().record(
                AuditEvent::TokenDenied,
                &AuditRecord {
                    session: Some(format!("{namespace}/{name}")),
                    user: Some(&caller.user.name),
                    client: Some(caller.client),
                    reason: Some(error.reason()),
                    detail: Some(&detail),
                    ..AuditRecord::default()
                },
            );
        }
        issued
    }

    async fn issue(
        &self,
        caller: ApiCaller<'_>,
        namespace: &str,
        name: &str,
        body: &[u8],
    ) -> Result<ConsoleToken, StatusError> {
        let user = caller.user;
        self.require(user, &token_right(namespace, name)).await?;
        let options = TokenOptions::read(body)?;
        let sessions: Api<ConsoleSession> = Api::namespaced(self.gateway.client().clone(), namespace);
        let session = ready(&sessions, name, &user.name, &self.waiting).await?;
        if !may_have_token(&session.spec, &user.name, &user.groups) {
            return Err(StatusError::Forbidden(format!(
                "user {:?} is in neither users nor groups of the ConsoleSession {name:?}; ask its owner for one of your own",
                user.name
            )));
        }
        let protocol = protocol(&session);
        let target = &session.spec.target_ref;
        let right = |right| console_right(target.kind, protocol, namespace, &target.name, right);
        self.require(user, &right(ConsoleRight::View)).await?;
        // For the page alone: what a viewer may do is decided when the stream opens.
        let view_only = session.spec.input == Some(ConsoleInput::ViewOnly)
            || self.require(user, &right(ConsoleRight::Control)).await.is_err();

        let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let sha256 = TokenHash::of_token(token.as_bytes()).map_err(|error| StatusError::Internal(error.to_string()))?;
        let grant = NewGrant {
            id: format!("{:016x}", rand::random::<u64>()),
            sha256: sha256.to_hex(),
            user: user.name.clone(),
            uid: user.uid.clone(),
            groups: user.groups.clone(),
            extra: user.extra.clone(),
            ttl: options.ttl,
            uses: options.uses,
        };
        let granted = self.gateway.grant(&session, &grant, caller.client).await;
        let granted = granted.map_err(|error| not_granted(&error, &session))?;
        let status = granted.status.clone().unwrap_or_default();
        Ok(ConsoleToken {
            api_version: Some(format!("{GROUP}/{VERSION}")),
            kind: Some(KIND.to_owned()),
            metadata: Some(Metadata {
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
            }),
            expiration_seconds: Some(options.ttl.as_secs()),
            uses: Some(options.uses),
            urls: Some(Urls {
                browser: self.page(namespace, name, protocol, view_only, &token),
                websocket: self.endpoints.websocket(),
                vnc: status.endpoints.as_ref().and_then(|endpoints| endpoints.vnc.clone()),
            }),
            token: Some(token),
            expiration_timestamp: find(&status, &grant.sha256).map(|grant| grant.not_after.clone()),
        })
    }

    async fn require(&self, user: &UserInfo, right: &ResourceAttributes) -> Result<(), StatusError> {
        Ok(self.gateway.access().require(user, right, REVIEW_MAX_AGE).await?)
    }

    /// The page that opens the console with this token.
    fn page(
        &self,
        namespace: &str,
        name: &str,
        protocol: ConsoleProtocol,
        view_only: bool,
        token: &str,
    ) -> Option<String> {
        let mut page = self.endpoints.browser(namespace, name, protocol, Some(token))?;
        if view_only {
            page.push_str("&input=ViewOnly");
        }
        Some(page)
    }
}

/// Places for requests that wait for a session.
pub(crate) fn waiting_places() -> Shares {
    Shares::new(WAITING_LIMIT, WAITING_PER_USER_LIMIT)
}

/// The session when it can be entered, after at most [`READY_TIMEOUT`]. `waiting` has places for those who wait.
pub(crate) async fn ready(
    sessions: &Api<ConsoleSession>,
    name: &str,
    user: &str,
    waiting: &Shares,
) -> Result<ConsoleSession, StatusError> {
    let session = read(sessions, name).await?;
    if is_settled(&session) {
        return Ok(session);
    }
    let _place = waiting.take(user).map_err(|why| crowded(why, user))?;
    let settled = |session: Option<&ConsoleSession>| session.is_none_or(is_settled);
    // When the time is over, what the session's status says by then is the answer.
    let _ = timeout(READY_TIMEOUT, await_condition(sessions.clone(), name, settled)).await;
    read(sessions, name).await
}

fn crowded(why: NoPlace, user: &str) -> StatusError {
    StatusError::TooManyRequests(match why {
        NoPlace::Full(limit) => format!("{limit} requests wait for their sessions already; try again"),
        NoPlace::ShareUsed(share) => format!(
            "{share} requests of user {user:?} wait for their sessions already, and a user may have no more; wait until these are answered, and \
             try again"
        ),
    })
}

/// The console that the session opens; a `VmAccess` has one right for all of them.
fn protocol(session: &ConsoleSession) -> ConsoleProtocol {
    let status = session.status.as_ref();
    let known = status.and_then(|status| status.protocol).or(session.spec.protocol);
    known.unwrap_or(ConsoleProtocol::Vnc)
}

/// Whether waiting changes nothing any more.
fn is_settled(session: &ConsoleSession) -> bool {
    let phase = session.status.as_ref().and_then(|status| status.phase);
    phase.is_some_and(|phase| phase != SessionPhase::Pending)
}

async fn read(sessions: &Api<ConsoleSession>, name: &str) -> Result<ConsoleSession, StatusError> {
    let session = sessions.get_opt(name).await.map_err(unavailable)?;
    session.ok_or_else(|| not_found(name))
}

/// Whether a decision about the user or the session stands behind an error, in contrast to one about the request or the cluster.
const fn is_denial(error: &StatusError) -> bool {
    matches!(
        error,
        StatusError::Forbidden(_)
            | StatusError::Conflict(_)
            | StatusError::NotFound { .. }
            | StatusError::TooManyRequests(_)
    )
}

fn not_found(name: &str) -> StatusError {
    StatusError::NotFound {
        group: "novasphere.io",
        resource: "consolesessions",
        name: name.to_owned(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is the argument of map_err")]
fn unavailable(error: kube::Error) -> StatusError {
    StatusError::Unavailable(format!("kube-apiserver does not serve ConsoleSessions now: {error}"))
}

fn not_granted(error: &UpdateError<IssueError>, session: &ConsoleSession) -> StatusError {
    match error {
        UpdateError::Refused(error) => refused(*error, &session.status.clone().unwrap_or_default()),
        UpdateError::Gone => not_found(&session.name_any()),
        UpdateError::Contended | UpdateError::Write(_) => {
            StatusError::Unavailable(format!("the token cannot be kept: {error}; try again"))
        }
    }
}

fn refused(error: IssueError, status: &ConsoleSessionStatus) -> StatusError {
    match error {
        IssueError::Over | IssueError::TooManySessions => StatusError::Conflict(error.to_string()),
        IssueError::Undecided => StatusError::Unavailable(error.to_string()),
        IssueError::NotReady => {
            let ready = status.conditions.iter().find(|found| found.type_ == condition::READY);
            let why = match ready {
                None => "no controller has looked at it yet: check that the controller runs",
                // The controller has not said yet what this process sees.
                Some(ready) if ready.status == "True" => {
                    "something is wrong with its target since a moment ago; its conditions will say what"
                }
                Some(ready) => &ready.message,
            };
            StatusError::Conflict(format!("the session is not ready: {why}"))
        }
        IssueError::TooManyGrants => StatusError::TooManyRequests(error.to_string()),
        IssueError::UserTooLarge => StatusError::Forbidden(error.to_string()),
        IssueError::Duplicate => StatusError::Internal(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_optional_and_strict() {
        let defaults = TokenOptions {
            ttl: Duration::from_mins(1),
            uses: 1,
        };
        for body in [
            "",
            " \n",
            "{}",
            r#"{"kind":"ConsoleToken","apiVersion":"subresources.novasphere.io/v1alpha1","metadata":{}}"#,
        ] {
            assert_eq!(TokenOptions::read(body.as_bytes()).unwrap(), defaults, "{body:?}");
        }
        let options = TokenOptions::read(br#"{"expirationSeconds":300,"uses":3}"#).unwrap();
        assert_eq!((options.ttl.as_secs(), options.uses), (300, 3));
        for (body, code) in [
            ("[]", 400),
            (r#"{"use":2}"#, 400),
            (r#"{"kind":"TokenRequest"}"#, 400),
            (r#"{"apiVersion":"v1"}"#, 400),
            (r#"{"expirationSeconds":4}"#, 422),
            (r#"{"expirationSeconds":86401}"#, 422),
            (r#"{"uses":0}"#, 422),
            (r#"{"uses":65}"#, 422),
        ] {
            assert_eq!(TokenOptions::read(body.as_bytes()).unwrap_err().code(), code, "{body}");
        }
    }

    #[test]
    fn a_user_who_waits_often_keeps_no_other_user_from_waiting() {
        let waiting = waiting_places();
        let taken: Vec<_> = std::iter::from_fn(|| waiting.take("jane").ok()).collect();
        assert_eq!(taken.len(), WAITING_PER_USER_LIMIT);
        let refused = crowded(waiting.take("jane").unwrap_err(), "jane");
        assert_eq!(refused.code(), 429);
        assert!(
            refused.to_string().contains("32 requests of user \"jane\""),
            "{refused}"
        );
        assert!(waiting.take("joe").is_ok());
        let others: Vec<_> = (0..WAITING_LIMIT)
            .map(|number| waiting.take(&number.to_string()))
            .collect();
        let refused = crowded(*others.last().unwrap().as_ref().unwrap_err(), "late");
        assert_eq!(refused.code(), 429);
        assert!(refused.to_string().starts_with("256 requests wait"), "{refused}");
    }

    #[test]
    fn refusals_say_what_to_do() {
        let status = ConsoleSessionStatus::default();
        let not_ready = refused(IssueError::NotReady, &status);
        assert_eq!(not_ready.code(), 409);
        assert!(not_ready.to_string().contains("controller"), "{not_ready}");
        let ready = serde_json::from_value(serde_json::json!({"conditions": [{
            "type": "Ready", "status": "True", "reason": "Open", "message": "it can be opened", "lastTransitionTime": "2026-03-01T12:00:00Z",
        }]}));
        let of_ready = refused(IssueError::NotReady, &ready.unwrap());
        assert!(of_ready.to_string().contains("its target"), "{of_ready}");
        assert_eq!(refused(IssueError::Over, &status).code(), 409);
        assert_eq!(refused(IssueError::TooManySessions, &status).code(), 409);
        assert_eq!(refused(IssueError::Undecided, &status).code(), 503);
        assert_eq!(refused(IssueError::TooManyGrants, &status).code(), 429);
    }
}
