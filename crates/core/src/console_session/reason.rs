//! The reasons of a session's conditions. `docs/console-session.md` has a row for every value.

use novasphere_crd::CloseReason;
use strum::{EnumIter, IntoStaticStr};

/// Reasons of `Ready` while the session is not over; after that it is a [`CloseReason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, IntoStaticStr)]
pub enum ReadyReason {
    /// Tokens are issued, and open the console.
    Open,

    /// The target does not exist.
    TargetNotFound,
    /// The target's machine does not run.
    TargetNotRunning,
    /// The cluster has no `KubeVirt`.
    KubeVirtNotInstalled,
    /// The target's `vncServer` names a service or port that it does not have.
    VncServerInvalid,
    /// The target has as many sessions as it may have.
    TooManySessions,

    /// The session asks for more than the target's policy allows.
    PolicyRefused,
    /// The spec contradicts itself.
    InvalidSpec,
}

/// Reasons of `TargetReady`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, IntoStaticStr)]
pub enum TargetReason {
    /// Its machine runs.
    Running,
    /// Its desktop does not run; a viewer who connects wakes it and waits for it.
    WakesOnConnect,
    /// Its machine does not run.
    TargetNotRunning,
    /// It does not exist.
    TargetNotFound,
    /// The cluster has no `KubeVirt`.
    KubeVirtNotInstalled,
    /// Its `vncServer` names a service or port that it does not have.
    VncServerInvalid,
    /// The spec was refused before the target's console was checked.
    NotChecked,
}

/// Reasons of `Closed` while it is `False`; `True` has a [`CloseReason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, IntoStaticStr)]
pub enum ClosedReason {
    /// The session is not over.
    NotOver,
}

/// The message of conditions and events about a closed session.
#[must_use]
pub const fn close_message(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Expired => "The session's time is over. Make a new session to go on.",
        CloseReason::Revoked => "The session was revoked (spec.revoked). Make a new session if it is needed again.",
        CloseReason::Deleted => "The session is being deleted.",
        CloseReason::TargetGone => {
            "The target was deleted, or another object has its name now. Make a new session for the present one."
        }
        CloseReason::PolicyChanged => {
            "The target's console policy no longer allows what this session was given. Make a new session that asks for less."
        }
        CloseReason::Finished => "The one connection that this session was made for is over.",
    }
}

/// Whether a session that ended so ended as it was meant to: in time, or by its owner. Nothing is wrong with such an object.
#[must_use]
pub const fn is_planned(reason: CloseReason) -> bool {
    match reason {
        CloseReason::Expired | CloseReason::Revoked | CloseReason::Deleted | CloseReason::Finished => true,
        CloseReason::TargetGone | CloseReason::PolicyChanged => false,
    }
}

#[cfg(test)]
mod tests;
