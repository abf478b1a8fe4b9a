//! Why a stream ended or was never opened: one table for close codes, logs, events and metrics.

/// Why a stream ended or was refused.
///
/// Codes 4000-4099 are the range that RFC 6455 section 7.4.2 leaves to applications. A browser learns the code; a stock
/// viewer, whose protocol has no place for one, learns [`sentence`](Self::sentence) while it connects and nothing later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, strum::EnumIter, strum::IntoStaticStr)]
pub enum EndReason {
    /// The viewer left by itself.
    ViewerLeft,
    /// The gateway is broken.
    Internal,
    /// The gateway is being restarted.
    Restarting,
    /// The session's time is over.
    Expired,
    /// `revoked` was set on the session.
    Revoked,
    /// The session was deleted.
    Deleted,
    /// No human input for the idle timeout.
    Idle,
    /// The target was deleted or made again.
    TargetGone,
    /// The target's policy no longer allows the session.
    PolicyChanged,
    /// The user lost the right to the console.
    AccessWithdrawn,
    /// Another viewer took the console over.
    Replaced,
    /// The viewer has come back in another tab or window, and the stream went there.
    Moved,
    /// What lets the viewer come back was used twice, so two hold it.
    CredentialReused,
    /// The target was shut down.
    TargetStopped,
    /// The target's console closed the connection and it is not known why.
    TargetDisconnected,
    /// The target's console cannot be reached.
    TargetUnreachable,
    /// The target's console turned the gateway away, or does not speak the protocol.
    TargetRefused,
    /// The console carries one viewer and has it.
    InUse,
    /// The target does not run.
    TargetNotRunning,
    /// The desktop did not wake in time.
    WakeTimeout,
    /// The desktop cannot start before a person has done something.
    TargetFailed,
    /// The desktop's time is over.
    TargetExpired,
    /// The desktop went to sleep. Not [`TargetStopped`](Self::TargetStopped): a client that reconnects by itself would wake it.
    TargetHibernated,
    /// Too many viewers wait for desktops.
    TooManyWaiting,
    /// The token opens nothing. It is not said why.
    TokenRefused,
    /// The session has all the viewers that it may have.
    TooManyViewers,
    /// The session allows other client addresses only.
    AddressNotAllowed,
    /// The session does not allow this way in.
    TransportNotAllowed,
    /// The gateway cannot find out whether the token is good.
    Unavailable,
    /// The viewer may only view, and this console cannot be viewed only.
    InputNotAllowed,
    /// The viewer cannot come back: they were not here, left for good, or stayed away too long. It is not said which.
    ResumeRefused,
    /// The viewer has come back too often within a short time, or has too many consoles of the target.
    TooManyAttempts,
    /// The viewer broke the protocol.
    ProtocolError,
    /// The viewer sent a message that is unknown or was not agreed on.
    MessageNotAllowed,
    /// The viewer sent a message that is too large.
    MessageTooLarge,
    /// The viewer took too long to connect.
    HandshakeTimeout,
    /// The viewer no longer answers, or its connection broke.
    ViewerLost,
}

impl EndReason {
    /// The WebSocket close code.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.row().0
    }

    /// One word for status, events and metric labels.
    #[must_use]
    pub fn reason(self) -> &'static str {
        self.into()
    }

    /// What to tell a person. At most 100 bytes, so that it fits a WebSocket close frame.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        self.row().1
    }

    const fn row(self) -> (u16, &'static str) {
        match self {
            Self::ViewerLeft => (1000, "The viewer left."),
            Self::Internal => (
                1011,
                "The console gateway failed. Try again; if it stays so, tell your administrator.",
            ),
            Self::Restarting => (1012, "The console gateway is being restarted. Connect again."),
            Self::Expired => (4000, "The session's time is over."),
            Self::Revoked => (4001, "The session was revoked."),
            Self::Deleted => (4002, "The session was deleted."),
            Self::Idle => (
                4003,
                "Nobody typed or moved the pointer for the session's idle timeout.",
            ),
            Self::TargetGone => (4004, "The machine was deleted, or another one has its name now."),
            Self::PolicyChanged => (4005, "The machine's console policy no longer allows this session."),
            Self::AccessWithdrawn => (4006, "Your right to this console was withdrawn."),
            Self::Replaced => (4007, "Another viewer took this console over."),
            Self::Moved => (4008, "This console was opened in another tab or window."),
            Self::CredentialReused => (
                4009,
                "What lets you come back was used twice, so it was withdrawn. Ask for a new link.",
            ),
            Self::TargetStopped => (4020, "The machine was shut down."),
            Self::TargetDisconnected => (4021, "The machine's console closed the connection."),
            Self::TargetUnreachable => (4022, "The machine's console cannot be reached."),
            Self::TargetRefused => (4023, "The machine's console turned the gateway away."),
            Self::InUse => (
                4024,
                "This console carries one viewer, and somebody else is connected or may still come back.",
            ),
            Self::TargetNotRunning => (4025, "The machine is not running."),
            Self::WakeTimeout => (4026, "The desktop did not start in time. Try again."),
            Self::TargetFailed => (
                4027,
                "The desktop cannot start: its settings have to be corrected. Tell your administrator.",
            ),
            Self::TargetExpired => (4028, "The desktop's time is over."),
            Self::TargetHibernated => (4029, "The desktop went to sleep. Connect again to wake it."),
            Self::TooManyWaiting => (
                4030,
                "Too many viewers wait for desktops to start. Try again in a minute.",
            ),
            Self::TokenRefused => (4040, "Access refused. Ask for a new token."),
            Self::TooManyViewers => (4041, "The session has as many viewers as it may have."),
            Self::AddressNotAllowed => (4042, "The session does not allow connections from your address."),
            Self::TransportNotAllowed => (4043, "The session does not allow this kind of viewer."),
            Self::Unavailable => (4044, "The token cannot be checked now. Try again."),
            Self::InputNotAllowed => (
                4045,
                "You may only look here, and SSH needs the right to type. Use the screen instead.",
            ),
            Self::ResumeRefused => (4046, "There is no console to come back to. Open it by a new link."),
            Self::TooManyAttempts => (4047, "You connected too often in a short time. Try again in a minute."),
            Self::ProtocolError => (4060, "The viewer broke the protocol."),
            Self::MessageNotAllowed => (4061, "The viewer sent a message that was not agreed on."),
            Self::MessageTooLarge => (4062, "The viewer sent a message that is too large."),
            Self::HandshakeTimeout => (4063, "The viewer took too long to connect."),
            Self::ViewerLost => (4064, "The viewer no longer answers."),
        }
    }
}

/// Why a stream ended or was never opened, and what the log should know beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEnd {
    /// What the viewer learns. [`EndReason::TokenRefused`] for everything that would tell a stranger something.
    pub reason: EndReason,
    /// What exactly; for logs, never for viewers.
    pub detail: Option<String>,
}

impl StreamEnd {
    /// An end with a detail for the log.
    pub fn new(reason: EndReason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: Some(detail.into()),
        }
    }

    /// What exactly; the reason's sentence when nothing more is known.
    #[must_use]
    pub fn detail(&self) -> &str {
        self.detail.as_deref().unwrap_or_else(|| self.reason.sentence())
    }
}

impl From<EndReason> for StreamEnd {
    fn from(reason: EndReason) -> Self {
        Self { reason, detail: None }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use strum::IntoEnumIterator;

    use super::*;

    #[test]
    fn every_end_has_a_code_of_its_own_that_may_be_sent() {
        let mut seen = HashSet::new();
        for close in EndReason::iter() {
            assert!(seen.insert(close.code()), "{close:?} shares its code");
            assert!(matches!(close.code(), 1000 | 1011 | 1012 | 4000..=4099), "{close:?}");
            assert!(close.sentence().len() <= 100, "{close:?}");
            assert!(close.sentence().ends_with('.'), "{close:?}");
        }
    }

    #[test]
    fn the_documented_table_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/console-close-codes.md");
        let text = std::fs::read_to_string(path).unwrap();
        let documented: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("| 1") || line.starts_with("| 4"))
            .collect();
        let ours: Vec<String> = EndReason::iter()
            .map(|end| format!("| {} | `{}` | {} |", end.code(), end.reason(), end.sentence()))
            .collect();
        assert_eq!(
            documented,
            ours,
            "{path} must hold exactly these rows:\n{}",
            ours.join("\n")
        );
    }
}
