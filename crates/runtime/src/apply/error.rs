//! What can go wrong with a write, told apart by what helps.

use kube::core::{Status, response::StatusCause};

use crate::{
    client::TimedOut,
    lease::{self, NotLeader},
};

/// Why a write did not happen. The messages are the apiserver's own where there are any.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// An object with this name exists and is not ours.
    #[error(
        "{kind} {name} exists already and does not belong to this object: {owner}. Delete or rename it, or choose another name"
    )]
    NotOwned {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Its owner, in words.
        owner: String,
    },
    /// This process does not lead (any more).
    #[error(transparent)]
    NotLeader(#[from] NotLeader),
    /// The apiserver refused the request, failed, or could not be reached.
    #[error("{message}")]
    Api {
        /// What helps.
        reason: ApiReason,
        /// The apiserver's sentence, or what the connection failed with.
        message: String,
        /// `Status.details.causes`: the fields that were refused, one by one.
        causes: Vec<StatusCause>,
    },
    /// The desired object cannot be sent: a fault of ours.
    #[error("{0}")]
    Internal(String),
}

/// Failed requests, told apart by what helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApiReason {
    /// Somebody else changed or deletes the object at the same time.
    Conflict,
    /// It exists already, although the cache does not have it yet.
    AlreadyExists,
    /// The apiserver does not let us.
    Forbidden,
    /// The apiserver or an admission webhook refuses the content.
    Invalid,
    /// A `ResourceQuota` of the namespace is used up.
    QuotaExceeded,
    /// The namespace is being deleted: nothing new can be created in it.
    NamespaceTerminating,
    /// The API of the object is not served, or the object or its namespace has gone.
    NotFound,
    /// No answer in time. Whether the write happened is not known.
    Timeout,
    /// The apiserver could not be reached, or failed, or has too much to do.
    Unavailable,
}

impl ApiReason {
    /// `PascalCase` word for conditions, events and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "Conflict",
            Self::AlreadyExists => "AlreadyExists",
            Self::Forbidden => "Forbidden",
            Self::Invalid => "Invalid",
            Self::QuotaExceeded => "QuotaExceeded",
            Self::NamespaceTerminating => "NamespaceTerminating",
            Self::NotFound => "NotFound",
            Self::Timeout => "Timeout",
            Self::Unavailable => "ApiServerUnavailable",
        }
    }
}

impl WriteError {
    /// A failed request without causes.
    pub fn api(reason: ApiReason, message: impl Into<String>) -> Self {
        Self::Api {
            reason,
            message: message.into(),
            causes: Vec::new(),
        }
    }

    /// `PascalCase` word for conditions, events and metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotOwned { .. } => "NotOwned",
            Self::NotLeader(_) => "NotLeader",
            Self::Api { reason, .. } => reason.as_str(),
            Self::Internal(_) => "InternalError",
        }
    }

    /// Whether a request failed for this reason.
    #[must_use]
    pub fn is(&self, wanted: ApiReason) -> bool {
        matches!(self, Self::Api { reason, .. } if *reason == wanted)
    }

    /// Whether trying again soon can help although nobody changes anything. (A quota that is raised, a right that is given or a
    /// foreign object that goes are changes, but none that a watch of ours shows: those are worth a try now and then.)
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Api { reason, .. } => match reason {
                ApiReason::Conflict | ApiReason::AlreadyExists | ApiReason::Timeout | ApiReason::Unavailable => true,
                ApiReason::Forbidden
                | ApiReason::Invalid
                | ApiReason::QuotaExceeded
                | ApiReason::NamespaceTerminating
                | ApiReason::NotFound => false,
            },
            Self::NotOwned { .. } | Self::NotLeader(_) | Self::Internal(_) => false,
        }
    }

    /// The port on nodes that belongs to another Service of the cluster, when that is why a Service was refused.
    ///
    /// The apiserver has no reason of its own for it. Its cause names the field `spec.ports[0].nodePort` and says `Invalid value:
    /// 30022: provided port is already allocated` (kubernetes/kubernetes `pkg/registry/core/service/storage/alloc.go`, and
    /// `ErrAllocated` in `portallocator/allocator.go`).
    #[must_use]
    pub fn node_port_in_use(&self) -> Option<u16> {
        let Self::Api { causes, .. } = self else { return None };
        let mut of_ports = causes.iter().filter(|cause| cause.field.ends_with(".nodePort"));
        let cause = of_ports.find(|cause| cause.message.ends_with("provided port is already allocated"))?;
        let value = cause.message.strip_prefix("Invalid value: ")?;
        value.split(':').next()?.trim_matches('"').parse().ok()
    }

    fn of_status(status: &Status) -> Self {
        let causes = status.details.as_ref().map(|details| details.causes.clone());
        Self::Api {
            reason: reason_of(status),
            message: status.message.clone(),
            causes: causes.unwrap_or_default(),
        }
    }
}

impl From<kube::Error> for WriteError {
    fn from(error: kube::Error) -> Self {
        if lease::is_not_leader(&error) {
            return Self::NotLeader(NotLeader);
        }
        match error {
            kube::Error::Api(status) if matches!(status.code, 406 | 415) => Self::Internal(status.message),
            kube::Error::Api(status) => Self::of_status(&status),
            kube::Error::Service(cause) if cause.is::<TimedOut>() => Self::api(ApiReason::Timeout, cause.to_string()),
            kube::Error::BuildRequest(error) => Self::Internal(error.to_string()),
            error => Self::api(ApiReason::Unavailable, with_causes(&error)),
        }
    }
}

fn reason_of(status: &Status) -> ApiReason {
    let message = &status.message;
    match (status.code, status.reason.as_str()) {
        (409, "AlreadyExists") => ApiReason::AlreadyExists,
        (409, _) => ApiReason::Conflict,
        (403, _) if has_cause(status, "NamespaceTerminating") || message.contains("because it is being terminated") => {
            ApiReason::NamespaceTerminating
        }
        (403, _) if message.contains("exceeded quota") => ApiReason::QuotaExceeded,
        // A webhook that denies without a status of its own is a 403, too (`ToStatusErr` in k8s.io/apiserver's webhook/errors).
        (403, _) if is_denied_by_webhook(message) => ApiReason::Invalid,
        (401 | 403, _) => ApiReason::Forbidden,
        // A server-side apply that names another UID than the live object's: the name has a new bearer.
        (422, _) if has_field(status, "metadata.uid") => ApiReason::Conflict,
        (400 | 413 | 422, _) => ApiReason::Invalid,
        (404 | 405, _) => ApiReason::NotFound,
        (408 | 504, _) => ApiReason::Timeout,
        // The answer to a server-side apply with an unknown field or a wrong type, which has no better code
        // (`structuredmerge.go` in k8s.io/apimachinery).
        (500, _) if message.starts_with("failed to create typed patch object") => ApiReason::Invalid,
        // 500 is also what a webhook that cannot be reached looks like.
        _ => ApiReason::Unavailable,
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

    fn of(status: serde_json::Value) -> WriteError {
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
    fn a_node_port_of_somebody_else_is_told_from_other_refusals() {
        // As kube-apiserver 1.36 writes them.
        let refused = |message: &str| {
            of(json!({
                "code": 422, "reason": "Invalid",
                "message": format!("Service \"web-ssh\" is invalid: spec.ports[0].nodePort: {message}"),
                "details": {"causes": [{"reason": "FieldValueInvalid", "field": "spec.ports[0].nodePort", "message": message}]},
            }))
        };
        let clash = refused("Invalid value: 30022: provided port is already allocated");
        assert_eq!(clash.node_port_in_use(), Some(30022));
        let range = refused(
            "Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
        );
        assert_eq!(range.node_port_in_use(), None);
    }

    #[test]
    fn errors_of_the_way_there_are_told_apart() {
        let timeout: WriteError = kube::Error::Service(Box::new(TimedOut(Duration::from_secs(10)))).into();
        assert_eq!(
            (timeout.reason(), timeout.to_string().as_str()),
            ("Timeout", "no answer from the apiserver within 10s")
        );
        let not_leader: WriteError = kube::Error::Service(Box::new(NotLeader)).into();
        assert!(matches!(not_leader, WriteError::NotLeader(_)));
        let refused: WriteError = kube::Error::Service(Box::new(std::io::Error::other("connection refused"))).into();
        assert!(refused.is_transient() && refused.to_string().contains("connection refused"));
    }
}
