//! A further token of a session that exists.

use axum::extract::State;
use kube::Api;
use novasphere_crd::{ConsoleProtocol, ConsoleSession};
use serde::Deserialize;
use utoipa::ToSchema;

use super::open::{self, ConsoleLink};
use crate::{
    audit::{ActionRecord, AuditAction},
    caller::Caller,
    envelope::{Answer, Envelope},
    error::{ApiError, ApiResult},
    http::{OptionalBody, Path},
    kubernetes::refused,
    state::ApiState,
};

/// How long a token may open its console, in seconds: the bounds of the aggregated API.
const TOKEN_SECONDS: std::ops::RangeInclusive<u32> = 5..=86_400;

/// How often a token may open its console.
const TOKEN_USES: std::ops::RangeInclusive<u32> = 1..=64;

/// A token that is wanted.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct SessionTokenRequest {
    /// For how many seconds it opens the console, from 5 to 86400, and never after the session's end. Default 3600.
    #[schema(minimum = 5, maximum = 86400)]
    expire_time: Option<u32>,
    /// How often it opens the console, from 1 to 64. Default 1.
    #[schema(minimum = 1, maximum = 64)]
    uses: Option<u32>,
}

impl SessionTokenRequest {
    fn check(self) -> ApiResult<(Option<u32>, u32)> {
        if self
            .expire_time
            .is_some_and(|seconds| !TOKEN_SECONDS.contains(&seconds))
        {
            return Err(ApiError::parameter(
                "expireTime",
                "expireTime is from 5 to 86400 seconds",
            ));
        }
        let uses = self.uses.unwrap_or(1);
        if !TOKEN_USES.contains(&uses) {
            return Err(ApiError::parameter("uses", "uses is from 1 to 64"));
        }
        Ok((self.expire_time, uses))
    }
}

/// A token of a session, for who may have one: the session's `users` and `groups`, and the rights to its console, decide.
#[utoipa::path(post, path = "/sessions/{namespace}/{name}/token", tag = "sessions", operation_id = "createSessionToken",
    params(("namespace" = String, Path, max_length = 63), ("name" = String, Path, max_length = 253)),
    request_body = Option<SessionTokenRequest>, responses((status = 200, body = Envelope<ConsoleLink>)))]
pub(super) async fn token(
    State(state): State<ApiState>,
    caller: Caller,
    Path((namespace, name)): Path<(String, String)>,
    OptionalBody(request): OptionalBody<SessionTokenRequest>,
) -> ApiResult<Answer<ConsoleLink>> {
    let (seconds, uses) = request.check()?;
    super::see(&state, &caller, &namespace, &name).await?;
    state.limits.console_link(&caller.user.name)?;
    let client = state.client_of(&caller)?;
    let sessions: Api<ConsoleSession> = Api::namespaced(client.clone(), &namespace);
    let session = sessions.get(&name).await.map_err(refused)?;
    let known = session.status.as_ref().and_then(|status| status.protocol);
    let protocol = known.or(session.spec.protocol).unwrap_or(ConsoleProtocol::Vnc);
    let answer = open::token(&client, &namespace, &name, seconds, uses).await?;
    let target = &session.spec.target_ref;
    let record = ActionRecord {
        user: Some(&caller.user.name),
        client: Some(caller.client),
        target: Some(format!("{}/{namespace}/{}", target.kind.as_str(), target.name)),
        reason: Some(protocol.as_str()),
        detail: Some(&name),
    };
    state.audit.record(AuditAction::ConsoleRequested, &record);
    let link = ConsoleLink::of(&state, protocol, namespace, name, answer);
    Ok(Answer::new(link))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::code::Code;

    fn check(body: Value) -> ApiResult<(Option<u32>, u32)> {
        serde_json::from_value::<SessionTokenRequest>(body).unwrap().check()
    }

    #[test]
    fn a_token_has_bounds() {
        assert_eq!(check(json!({})).unwrap(), (None, 1));
        assert_eq!(check(json!({"expireTime": 5, "uses": 64})).unwrap(), (Some(5), 64));
        for (bad, field) in [
            (json!({"expireTime": 4}), "expireTime"),
            (json!({"expireTime": 86_401}), "expireTime"),
            (json!({"uses": 0}), "uses"),
            (json!({"uses": 65}), "uses"),
        ] {
            let refused = check(bad).unwrap_err();
            assert_eq!(
                (refused.code, refused.field.as_deref()),
                (Code::INVALID_PARAMETER, Some(field))
            );
        }
    }
}
