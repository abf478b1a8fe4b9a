//! What an HTTP client is told of a viewer who is not let in.

use novasphere_runtime::serve::status::StatusError;
use novasphere_wire::close::{EndReason, StreamEnd};

/// What a refusal means over HTTP. The user is known and may view the console, so they may know why. The policy of a target can have changed
/// only for a session that `was_ready`.
pub(super) fn refused(refusal: &StreamEnd, target: &str, was_ready: bool) -> StatusError {
    let detail = refusal.detail().to_owned();
    let why = refusal.reason;
    let sentence = format!("{} ({target}: {detail})", why.sentence());
    match why {
        // It names the verb and the resource that are missing.
        EndReason::AccessWithdrawn | EndReason::InputNotAllowed => StatusError::Forbidden(detail),
        EndReason::AddressNotAllowed | EndReason::TransportNotAllowed => StatusError::Forbidden(sentence),
        EndReason::Unavailable | EndReason::Restarting | EndReason::TargetUnreachable => {
            StatusError::Unavailable(sentence)
        }
        EndReason::Internal => StatusError::Internal(detail),
        EndReason::TooManyWaiting => StatusError::TooManyRequests(sentence),
        // It names the limit.
        EndReason::TooManyAttempts => StatusError::TooManyRequests(detail),
        // It says to ask for a token, of which there is none here.
        EndReason::TokenRefused => StatusError::Conflict(format!("the session cannot be joined: {detail}")),
        // Nobody has asked the machine yet: the target has no such console, or no place for another session.
        EndReason::TargetRefused => StatusError::Conflict(detail),
        EndReason::PolicyChanged if !was_ready => StatusError::Conflict(detail),
        _ => StatusError::Conflict(sentence),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_the_code_of_their_kind() {
        let code = |why| {
            let refusal = StreamEnd {
                reason: why,
                detail: Some("x".into()),
            };
            refused(&refusal, "web", true).code().as_u16()
        };
        assert_eq!(code(EndReason::AccessWithdrawn), 403);
        assert_eq!(code(EndReason::InputNotAllowed), 403);
        assert_eq!(code(EndReason::AddressNotAllowed), 403);
        assert_eq!(code(EndReason::InUse), 409);
        assert_eq!(code(EndReason::TargetNotRunning), 409);
        assert_eq!(code(EndReason::TargetFailed), 409);
        assert_eq!(code(EndReason::TooManyWaiting), 429);
        assert_eq!(code(EndReason::TooManyAttempts), 429);
        assert_eq!(code(EndReason::TokenRefused), 409);
        assert_eq!(code(EndReason::Unavailable), 503);
        assert_eq!(code(EndReason::Internal), 500);
    }

    #[test]
    fn what_is_said_is_true_of_a_console_that_never_opened() {
        let said = |why, was_ready| {
            let refusal = StreamEnd {
                reason: why,
                detail: Some("spec.input: ask for less".into()),
            };
            let error = refused(&refusal, "web", was_ready);
            (error.code().as_u16(), error.to_string())
        };
        let plain = (409, "spec.input: ask for less".to_owned());
        assert_eq!(said(EndReason::PolicyChanged, false), plain);
        assert_eq!(said(EndReason::TargetRefused, false), plain);
        assert_eq!(said(EndReason::TargetRefused, true), plain);
        assert_eq!(said(EndReason::InputNotAllowed, false), (403, plain.1));
        let (code, changed) = said(EndReason::PolicyChanged, true);
        assert!(
            code == 409 && changed.contains(EndReason::PolicyChanged.sentence()),
            "{changed}"
        );
    }
}
