//! The cluster as the caller sees it, and its refusals as ours.

use std::time::Duration;

use http::StatusCode;
use kube::{Client, core::Status};
use novasphere_runtime::client::{TimedOut, user::UserClientError};
use serde_json::json;

use crate::{
    caller::{Caller, CallerCredential},
    code::Code,
    error::{ApiError, ApiResult},
    state::SharedState,
};

impl SharedState {
    /// A client whose requests are the caller's own: kube-apiserver decides, and its audit log names the person.
    ///
    /// # Errors
    ///
    /// [`Code::FORBIDDEN`] for a user whom we do not impersonate.
    pub fn client_of(&self, caller: &Caller) -> ApiResult<Client> {
        let client = match &caller.credential {
            CallerCredential::Bearer(token) => self.clients.bearer(token.expose()),
            CallerCredential::Impersonated => self.clients.impersonating(&caller.user),
        };
        client.map_err(|error| match error {
            UserClientError::Reserved(_) | UserClientError::NotAHeader(_) => {
                ApiError::with(Code::FORBIDDEN, error.to_string())
            }
        })
    }
}

/// What kube-apiserver answered to a request of the caller's, as an answer of ours. Its words are in `extra.detail`.
#[must_use]
pub fn refused(error: kube::Error) -> ApiError {
    match error {
        kube::Error::Api(status) => of_status(&status),
        kube::Error::Service(error) if error.is::<TimedOut>() => ApiError::new(Code::CLUSTER_TIMEOUT),
        error => {
            tracing::warn!(%error, "kube-apiserver does not answer");
            ApiError::new(Code::CLUSTER_UNAVAILABLE).retry_after(Duration::from_secs(1))
        }
    }
}

fn of_status(status: &Status) -> ApiError {
    let code = match (status.code, status.reason.as_str()) {
        (400, _) => Code::INVALID_BODY,
        (403, _) => Code::FORBIDDEN,
        (404, _) => Code::NOT_FOUND,
        (409, "AlreadyExists") => Code::ALREADY_EXISTS,
        (409, _) => Code::CONFLICT,
        (412, _) => Code::PRECONDITION_FAILED,
        (413, _) => Code::TOO_LARGE,
        (422, _) => Code::INVALID_OBJECT,
        (429, _) => Code::TOO_MANY_REQUESTS,
        (504, _) => Code::CLUSTER_TIMEOUT,
        // The caller's token was good a moment ago. So it is ours that is not, or theirs has just been revoked, which the next request finds out.
        (401 | 500.., _) => Code::CLUSTER_UNAVAILABLE,
        _ => Code::INTERNAL,
    };
    let mut error = ApiError::with(code, status.message.clone());
    let details = status.details.as_ref();
    if let Some(cause) = details.and_then(|details| details.causes.first()) {
        error.field = Some(cause.field.clone()).filter(|field| !field.is_empty());
    }
    let wait = details.map_or(0, |details| details.retry_after_seconds);
    if wait > 0 || code.status() == StatusCode::SERVICE_UNAVAILABLE {
        error.retry_after = Some(Duration::from_secs(u64::from(wait.max(1))));
    }
    error.extra.insert("kubernetesReason".to_owned(), json!(status.reason));
    error
}
