//! A session and what it refers to → [`ValidatedSession`], or what stands in the way.

use novasphere_crd::{ConsoleProtocol, ConsoleSession, SessionTargetKind};

use super::{
    end::granted_policy,
    policy::{PolicyError, SessionPolicy, check, narrow},
    reason::{ReadyReason, TargetReason},
    references::References,
    target::{self, Target},
};

/// A session that may open its console, as soon as the target runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatedSession {
    /// What it may do. Of a session that has started: what it was given then, with a duration that was shortened since.
    pub policy: SessionPolicy,
    /// Whose console it opens.
    pub target: Target,
}

/// Why a session cannot open its console.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The object has no name, namespace or UID.
    #[error("the object has no name, namespace or UID: it does not come from an apiserver")]
    NoIdentity,
    /// The target does not exist, or is being deleted.
    #[error(
        "spec.targetRef: there is no {kind} {name} in this namespace; make it, or make a session for another target"
    )]
    TargetNotFound {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The target was made again since the session started.
    #[error("spec.targetRef: another object has the target's name now; make a new session for it")]
    TargetReplaced,
    /// No console of this kind of target can be opened yet.
    #[error(
        "spec.targetRef: this version of novasphere opens no consoles of VncWorkspaces; name a VmAccess or a VirtualMachine"
    )]
    TargetUnsupported,
    /// The target's kind has no such console.
    #[error("spec.protocol: a VncWorkspace has no serial console; remove protocol, or set it to vnc or ssh")]
    NoSerial,
    /// The cluster has no `KubeVirt`.
    #[error("KubeVirt is not installed in this cluster, so no virtual machine has a console; install it")]
    KubeVirtNotInstalled,
    /// The target's VNC server is not to be found in its services.
    #[error(
        "the target's vncServer names TCP port {port} of a service {service:?}, which its spec.services does not have; correct \
         one of the two"
    )]
    VncServer {
        /// The service that is named.
        service: String,
        /// The port that is named.
        port: u16,
    },
    /// The session asks for what the target's policy does not allow.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The target has as many sessions as it may have.
    #[error(
        "the target has {open} open sessions and its console.maxConcurrentSessions is {limit}; the session waits until one \
         ends. End one, or raise the limit"
    )]
    TooManySessions {
        /// The limit.
        limit: u16,
        /// How many sessions are before this one.
        open: usize,
    },
}

impl SessionError {
    /// One word for the condition, the event and the metric.
    #[must_use]
    pub const fn reason(&self) -> ReadyReason {
        match self {
            Self::NoIdentity | Self::NoSerial => ReadyReason::InvalidSpec,
            Self::TargetNotFound { .. } | Self::TargetReplaced => ReadyReason::TargetNotFound,
            Self::TargetUnsupported => ReadyReason::TargetUnsupported,
            Self::KubeVirtNotInstalled => ReadyReason::KubeVirtNotInstalled,
            Self::VncServer { .. } => ReadyReason::VncServerInvalid,
            Self::Policy(_) => ReadyReason::PolicyRefused,
            Self::TooManySessions { .. } => ReadyReason::TooManySessions,
        }
    }

    /// Whether only a person can help, who changes the target or makes another session.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Policy(_) | Self::NoSerial | Self::TargetUnsupported)
    }

    /// The reason of `TargetReady`, when it is about the target rather than about what the session asks for.
    #[must_use]
    pub const fn target_reason(&self) -> Option<TargetReason> {
        match self {
            Self::TargetNotFound { .. } | Self::TargetReplaced => Some(TargetReason::TargetNotFound),
            Self::TargetUnsupported => Some(TargetReason::TargetUnsupported),
            Self::KubeVirtNotInstalled => Some(TargetReason::KubeVirtNotInstalled),
            Self::VncServer { .. } => Some(TargetReason::VncServerInvalid),
            Self::NoIdentity | Self::NoSerial | Self::Policy(_) | Self::TooManySessions { .. } => None,
        }
    }
}

/// Checks a session against its target. Whether it is over is for [`end`](super::end::end) to say.
///
/// # Errors
///
/// What stands in the way, see [`SessionError`].
pub fn validate(session: &ConsoleSession, references: &References) -> Result<ValidatedSession, SessionError> {
    let spec = &session.spec;
    let kind = spec.target_ref.kind;
    if kind == SessionTargetKind::VncWorkspace && spec.protocol == Some(ConsoleProtocol::Serial) {
        return Err(SessionError::NoSerial);
    }
    let found = target::find(session, references)?;
    let policy = if let Some(granted) = granted_policy(session) {
        let uid = session.status.as_ref().and_then(|status| status.target_uid.as_deref());
        if uid != Some(found.uid.as_str()) {
            return Err(SessionError::TargetReplaced);
        }
        check(&found.policy, target::has(kind), &granted)?;
        granted
    } else {
        let policy = narrow(&found.policy, target::has(kind), spec)?;
        has_place(found.policy.max_concurrent_sessions, references)?;
        policy
    };
    let target = found.target(session, references, policy.protocol)?;
    Ok(ValidatedSession { policy, target })
}

fn has_place(limit: u16, references: &References) -> Result<(), SessionError> {
    let open = references.open_sessions;
    if open < usize::from(limit) {
        Ok(())
    } else {
        Err(SessionError::TooManySessions { limit, open })
    }
}

#[cfg(test)]
mod tests;
