//! What can go wrong with a write, told apart by what helps.

use kube::core::Status;

use crate::{
    client::TimedOut,
    lease::{self, NotLeader},
};

/// Why a write did not happen. The texts are the apiserver's own where there are any.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An object with this name exists and is not ours.
    #[error(
        "{kind} {name} exists already and does not belong to this object: {owner}. Delete or rename it, or choose another name"
    )]
    NotOwned {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Whose it is, in words.
        owner: String,
    },
    /// Somebody else changed or deletes the object at the same time.
    #[error("{0}")]
    Conflict(String),
    /// The apiserver does not let us.
    #[error("{0}")]
    Forbidden(String),
    /// The apiserver or an admission webhook refuses the content.
    #[error("{0}")]
    Invalid(String),
    /// It exists already, although the cache does not have it yet.
    #[error("{0}")]
    AlreadyExists(String),
    /// A `ResourceQuota` of the namespace is used up.
    #[error("{0}")]
    QuotaExceeded(String),
    /// The namespace is being deleted: nothing new can be made in it.
    #[error("{0}")]
    NamespaceTerminating(String),
    /// The API of the object is not served, or its namespace has gone.
    #[error("{0}")]
    NotFound(String),
    /// This process does not lead (any more).
    #[error(transparent)]
    NotLeader(#[from] NotLeader),
    /// No answer in time. Whether the write happened is not known.
    #[error("{0}")]
    Timeout(String),
    /// The apiserver could not be reached, or failed, or has too much to do.
    #[error("{0}")]
    Transport(String),
    /// The desired object cannot be sent: a fault of ours.
    #[error("{0}")]
    Internal(String),
}

impl ApplyError {
    /// `PascalCase` word for conditions, events and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotOwned { .. } => "NotOwned",
            Self::Conflict(_) => "Conflict",
            Self::Forbidden(_) => "Forbidden",
            Self::Invalid(_) => "Invalid",
            Self::AlreadyExists(_) => "AlreadyExists",
            Self::QuotaExceeded(_) => "QuotaExceeded",
            Self::NamespaceTerminating(_) => "NamespaceTerminating",
            Self::NotFound(_) => "NotFound",
            Self::NotLeader(_) => "NotLeader",
            Self::Timeout(_) => "Timeout",
            Self::Transport(_) => "ApiServerUnavailable",
            Self::Internal(_) => "InternalError",
        }
    }

    /// Whether trying again soon can help although nobody changes anything. (A quota that is raised, a right that is given or a
    /// foreign object that goes are changes, but none that a watch of ours shows: those are worth a try now and then.)
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Conflict(_) | Self::AlreadyExists(_) | Self::Timeout(_) | Self::Transport(_) => true,
            Self::NotOwned { .. }
            | Self::Forbidden(_)
            | Self::Invalid(_)
            | Self::QuotaExceeded(_)
            | Self::NamespaceTerminating(_)
            | Self::NotFound(_)
            | Self::NotLeader(_)
            | Self::Internal(_) => false,
        }
    }
}

impl From<kube::Error> for ApplyError {
    fn from(error: kube::Error) -> Self {
        if lease::is_not_leader(&error) {
            return Self::NotLeader(NotLeader);
        }
        match error {
            kube::Error::Api(status) => Self::of_status(&status),
            kube::Error::Service(cause) if cause.is::<TimedOut>() => Self::Timeout(cause.to_string()),
            kube::Error::BuildRequest(error) => Self::Internal(error.to_string()),
            error => Self::Transport(with_causes(&error)),
        }
    }
}

impl ApplyError {
    fn of_status(status: &Status) -> Self {
        let message = status.message.clone();
        match (status.code, status.reason.as_str()) {
            (409, "AlreadyExists") => Self::AlreadyExists(message),
            (409, _) => Self::Conflict(message),
            (403, _)
                if has_cause(status, "NamespaceTerminating") || message.contains("because it is being terminated") =>
            {
                Self::NamespaceTerminating(message)
            }
            (403, _) if message.contains("exceeded quota") => Self::QuotaExceeded(message),
            // A webhook that denies without a status of its own is a 403, too (`ToStatusErr` in k8s.io/apiserver's webhook/errors).
            (403, _) if is_denied_by_webhook(&message) => Self::Invalid(message),
            (401 | 403, _) => Self::Forbidden(message),
            // A server-side apply that names another UID than the live object's: the name has a new bearer.
            (422, _) if has_field(status, "metadata.uid") => Self::Conflict(message),
            (400 | 413 | 422, _) => Self::Invalid(message),
            (404 | 405, _) => Self::NotFound(message),
            (408 | 504, _) => Self::Timeout(message),
            (406 | 415, _) => Self::Internal(message),
            // What a server-side apply with an unknown field or a wrong type is answered with, for want of a better code
            // (`structuredmerge.go` in k8s.io/apimachinery).
            (500, _) if message.starts_with("failed to create typed patch object") => Self::Invalid(message),
            // 500 is also what a webhook that cannot be reached looks like.
            _ => Self::Transport(message),
        }
    }
}

fn is_denied_by_webhook(message: &str) -> bool {
    message.starts_with("admission webhook ") && message.contains(" denied the request")
}

fn has_cause(status: &Status, reason: &str) -> bool {
    status
        .details
        .iter()
        .flat_map(|details| &details.causes)
        .any(|cause| cause.reason == reason)
}

fn has_field(status: &Status, field: &str) -> bool {
    status
        .details
        .iter()
        .flat_map(|details| &details.causes)
        .any(|cause| cause.field == field)
}

/// The error and what caused it; hyper's errors say what happened only in their causes.
fn with_causes(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn of(status: serde_json::Value) -> ApplyError {
        let status: Status = serde_json::from_value(status).unwrap();
        kube::Error::Api(status.boxed()).into()
    }

    #[test]
    fn answers_are_told_apart() {
        // Messages as kube-apiserver 1.36 and KubeVirt 1.8 write them.
        let cases = [
            (
                json!({"code": 409, "reason": "AlreadyExists", "message": "services \"a\" already exists"}),
                "AlreadyExists",
                true,
            ),
            (
                json!({"code": 409, "reason": "Conflict", "message": "the object has been modified"}),
                "Conflict",
                true,
            ),
            (
                json!({"code": 403, "reason": "Forbidden", "message": "User \"x\" cannot patch resource"}),
                "Forbidden",
                false,
            ),
            (
                json!({"code": 401, "reason": "Unauthorized", "message": "Unauthorized"}),
                "Forbidden",
                false,
            ),
            (
                json!({"code": 403, "reason": "Forbidden", "message": "services \"a\" is forbidden: exceeded quota: q, requested: services=1"}),
                "QuotaExceeded",
                false,
            ),
            (
                json!({"code": 403, "reason": "Forbidden", "message": "unable to create new content in namespace ns because it is being terminated",
                       "details": {"causes": [{"reason": "NamespaceTerminating", "message": "namespace ns is being terminated"}]}}),
                "NamespaceTerminating",
                false,
            ),
            (
                json!({"code": 403, "reason": "Forbidden", "message": "admission webhook \"v.example.org\" denied the request: no"}),
                "Invalid",
                false,
            ),
            (
                json!({"code": 422, "reason": "Invalid", "message": "spec.ports: Required value"}),
                "Invalid",
                false,
            ),
            (
                json!({"code": 422, "reason": "Invalid", "message": "metadata.uid: Invalid value: field is immutable",
                       "details": {"causes": [{"reason": "FieldValueInvalid", "field": "metadata.uid"}]}}),
                "Conflict",
                true,
            ),
            (
                json!({"code": 400, "reason": "BadRequest", "message": "strict decoding error: unknown field"}),
                "Invalid",
                false,
            ),
            (
                json!({"code": 404, "reason": "NotFound", "message": "the server could not find the requested resource"}),
                "NotFound",
                false,
            ),
            (
                json!({"code": 500, "message": "failed to create typed patch object (ns/a; v1, Kind=Service): .spec.x: field not declared in schema"}),
                "Invalid",
                false,
            ),
            (
                json!({"code": 500, "reason": "InternalError", "message": "failed calling webhook"}),
                "ApiServerUnavailable",
                true,
            ),
            (
                json!({"code": 503, "reason": "ServiceUnavailable", "message": "starting"}),
                "ApiServerUnavailable",
                true,
            ),
            (
                json!({"code": 429, "reason": "TooManyRequests", "message": "too many"}),
                "ApiServerUnavailable",
                true,
            ),
            (
                json!({"code": 504, "reason": "Timeout", "message": "timed out"}),
                "Timeout",
                true,
            ),
        ];
        for (status, reason, transient) in cases {
            let error = of(status.clone());
            assert_eq!((error.reason(), error.is_transient()), (reason, transient), "{status}");
            assert_eq!(error.to_string(), status["message"].as_str().unwrap());
        }
    }

    #[test]
    fn errors_of_the_way_there_are_told_apart() {
        let timeout: ApplyError = kube::Error::Service(Box::new(TimedOut(Duration::from_secs(10)))).into();
        assert_eq!(
            (timeout.reason(), timeout.to_string().as_str()),
            ("Timeout", "no answer from the apiserver within 10s")
        );
        let not_leader: ApplyError = kube::Error::Service(Box::new(NotLeader)).into();
        assert!(matches!(not_leader, ApplyError::NotLeader(_)));
        let refused: ApplyError = kube::Error::Service(Box::new(std::io::Error::other("connection refused"))).into();
        assert!(refused.is_transient() && refused.to_string().contains("connection refused"));
    }
}
